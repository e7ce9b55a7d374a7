"""Large mappings of a version: the size of a commit follows its change, and every version reads what it recorded."""

from __future__ import annotations

import datetime as dt
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataops_assets.errors import StorageError
from dataops_assets.storage import records
from dataops_assets.storage.delta import Table, TableChange, TableVersion
from dataops_assets.storage.examine import examine
from dataops_assets.storage.objects import Folder
from dataops_assets.storage.vacuum import vacuum

COLUMNS = {"id": "BIGINT"}
DAY = dt.timedelta(days=1)

KEYS = st.integers(0, 120).map("input-{}".format)
STATES = st.lists(
    st.dictionaries(KEYS, st.one_of(st.integers(0, 3), st.lists(st.integers(0, 3), max_size=2)), max_size=110),
    min_size=1,
    max_size=12,
)


def commit(table: Table, base: TableVersion | None, written: Mapping[str, Any]) -> TableVersion:
    return table.commit(base, TableChange(operation="WRITE", columns=COLUMNS, info={"kept": 1, "written": written}))


def history(table: Table, inputs: int) -> TableVersion:
    """A table that was given one input after another, beginning with all but the last hundred at once."""
    known = {f"input-{number:06}": f"write-{number:06}" for number in range(inputs - 100)}
    snapshot = commit(table, table.snapshot(), dict(known))
    for number in range(inputs - 100, inputs):
        known |= {f"input-{number:06}": f"write-{number:06}"}
        snapshot = commit(table, snapshot, dict(known))
    return snapshot


def log_bytes(table: Table, last: int) -> int:
    names = sorted(Path(table.uri, "_delta_log").glob("*.json"))[-last:]
    return sum(name.stat().st_size for name in names)


@settings(max_examples=60, deadline=None)
@given(states=STATES)
def test_a_mapping_is_read_as_it_was_recorded_whatever_came_before(
    states: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = Folder(str(tmp_path_factory.mktemp("table")))
    base: dict[str, records.Record] = {}
    before: Mapping[str, Any] = {}
    versions = []
    for state in states:
        rest, told = records.split(folder, base, before, {"of": state, "horizon": "x"})
        read = records.named(json.loads(json.dumps({records.KEY: {name: told[name].as_json() for name in told}})))
        found = records.Info(folder, rest, read)
        assert found == {"of": state, "horizon": "x"}
        assert all(len(record.recent) + len(record.gone) <= 32 for record in read.values())
        # few files, each much larger than the next
        sizes = [entries for record in read.values() for _, entries in record.files]
        assert all(first >= 4 * second for first, second in itertools.pairwise(sizes))
        versions.append((rest, read, state))
        base, before = read, found
    for rest, read, state in versions:
        assert records.Info(folder, rest, read)["of"] == state


def test_a_commit_is_as_small_at_1000_inputs_as_at_200(tmp_path: Path) -> None:
    few, many = Table(str(tmp_path / "few")), Table(str(tmp_path / "many"))
    history(few, 200)
    history(many, 1000)
    assert log_bytes(many, 64) <= 1.2 * log_bytes(few, 64)
    assert log_bytes(many, 1) <= 2_000


def test_an_input_is_written_again_only_a_few_times(tmp_path: Path) -> None:
    table = Table(str(tmp_path / "t"))
    snapshot = history(table, 1000)
    assert len(snapshot.records["written"].files) <= 6
    there = [len(records._content(table.uri, path)["entries"]) for path in table.folder.names("_records")]
    # 100 commits of one input each, after 900 at once
    assert sum(there) <= 900 + 100 * 8


def test_every_version_keeps_its_own_mapping(tmp_path: Path) -> None:
    table = Table(str(tmp_path / "t"))
    history(table, 150)
    for version in (0, 40, 100):
        snapshot = table.snapshot(version)
        assert snapshot is not None
        assert len(snapshot.info["written"]) == 50 + version
    head = table.newest()
    assert head is not None
    assert len(head.info["written"]) == 150


def test_a_table_whose_commits_have_whole_mappings_is_read_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Table(str(tmp_path / "t"))
    known = {f"input-{number}": "w" for number in range(500)}
    with monkeypatch.context() as earlier:
        # as it was before there were records: everything in the commit
        earlier.setattr(records, "_SMALL", 10_000)
        commit(table, None, known)
    old = table.snapshot()
    assert old is not None
    assert (old.info["written"], dict(old.records)) == (known, {})
    for number in range(20):
        known[f"more-{number}"] = "w"
        commit(table, table.snapshot(), dict(known))
    again = table.snapshot()
    assert again is not None
    assert again.info["written"] == known
    assert log_bytes(table, 1) <= 2_000


def test_vacuum_keeps_what_kept_versions_read_and_removes_the_rest(tmp_path: Path) -> None:
    table = Table(str(tmp_path / "t"))
    history(table, 400)
    orphan = tmp_path / "t" / "_records" / f"{'0' * 16}-{'0' * 32}.json.gz"
    orphan.write_bytes(b"of a killed writer")
    later = dt.datetime.now(dt.UTC) + 30 * DAY
    before = len(table.folder.names("_records"))
    removed = vacuum(table, now=later)
    assert removed.removed > 1
    assert not orphan.exists()
    assert len(table.folder.names("_records")) < before
    records._content.cache_clear()
    snapshot = table.snapshot()
    assert snapshot is not None
    assert len(snapshot.info["written"]) == 400
    assert set(table.folder.names("_records")) == set(records.paths(snapshot.records))


@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_a_damaged_file_is_named_and_found_by_the_doctor(tmp_path: Path, damage: str) -> None:
    table = Table(str(tmp_path / "t"))
    snapshot = history(table, 200)
    (path, *_) = records.paths(snapshot.records)
    place = tmp_path / "t" / path
    content = place.read_bytes()
    if damage == "gone":
        place.unlink()
    else:
        place.write_bytes(content[:-1] + b"?")
    found = examine(table, deep=True)
    assert [(item.path, item.kind) for item in found] == [(path, "log")]
    records._content.cache_clear()
    again = table.snapshot()
    assert again is not None
    with pytest.raises(StorageError, match=path):
        again.info["written"]
    # without --deep, files are looked for and not read
    assert [item.path for item in examine(table, deep=False)] == ([path] if damage == "gone" else [])


def test_vacuum_works_where_an_earlier_one_kept_less(tmp_path: Path) -> None:
    table = Table(str(tmp_path / "t"))
    history(table, 150)
    later = dt.datetime.now(dt.UTC) + 30 * DAY
    vacuum(table, now=later)
    kept = vacuum(table, now=later, retention=60 * DAY)
    assert kept.removed == 0
