"""On a local disk all that a version consists of is synced before its commit has a name, and that before it is told."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dataops_assets.config.environment import environment_from
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.errors import CommitConflict
from dataops_assets.sql import query
from dataops_assets.storage import durable, publish
from dataops_assets.storage.delta import Table, TableVersion
from dataops_assets.storage.objects import Folder


@pytest.fixture
def acts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What this process syncs and names, in order."""
    seen: list[tuple[str, str]] = []
    link = os.link

    def sync(descriptor: int) -> None:
        seen.append(("sync", os.readlink(f"/proc/self/fd/{descriptor}")))

    def name(staged: Any, target: Any) -> None:
        link(staged, target)
        seen.append(("name", str(target)))

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "link", name)
    return seen


def commit(
    engine: DuckDBEngine, table: Table, base: TableVersion | None, keys: list[int], gone: int = -1
) -> TableVersion:
    with engine.session() as session:
        new = session.register(pa.table({"k": pa.array(keys, pa.int64())}))
        remove = None
        if base is not None:
            rows = session.scan(base, positions=True)
            remove = query("SELECT s_file, s_position FROM $t AS t WHERE t.k = $gone", t=rows, gone=gone)
        insert = query("SELECT n.* FROM $new AS n", new=new)
        return publish.apply(
            session, table, base, publish.RowChange(columns={"k": "BIGINT"}, remove=remove, insert=insert)
        )


def test_data_and_commit_are_on_the_disk_before_a_commit_is_told(tmp_path: Path, acts: list[tuple[str, str]]) -> None:
    engine = DuckDBEngine(environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(tmp_path)}, tmp_path))
    table = Table(str(tmp_path / "storage" / "hub" / "sales"))
    first = commit(engine, table, None, [1, 2, 3])
    # folders that are new: the names of all of them
    synced = [place for act, place in acts if act == "sync"]
    assert {str(tmp_path / name) for name in ("storage", "storage/hub", "storage/hub/sales")} <= set(synced)
    acts.clear()
    second = commit(engine, table, first, [4], gone=2)

    (new,) = {file.path for file in second.files} - {file.path for file in first.files}
    vector = next(path for path in os.listdir(table.uri) if path.endswith(".bin"))
    named = acts.index(("name", f"{table.uri}/_delta_log/{1:020d}.json"))
    before = acts[:named]
    assert ("sync", f"{table.uri}/{new}") in before
    assert before.index(("sync", f"{table.uri}/{new}")) < before.index(("sync", table.uri))
    # the vectors: bytes, then name, then the folder that has the name
    at = before.index(("name", f"{table.uri}/{vector}"))
    assert any(act == "sync" and place.startswith(f"{table.uri}/{vector}#") for act, place in before[:at])
    assert ("sync", table.uri) in before[at:]
    # the commit the same, and its folder's name is the last that is synced
    assert any(act == "sync" and "/_delta_log/" in place for act, place in before)
    assert acts[-1] == ("sync", f"{table.uri}/_delta_log")


def test_a_file_is_on_the_disk_before_it_takes_the_place_of_another(
    tmp_path: Path, acts: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = Path.replace

    def named(staged: Path, target: Path) -> None:
        replace(staged, target)
        acts.append(("name", str(target)))

    monkeypatch.setattr(Path, "replace", named)
    target = tmp_path / "new" / "page.html"
    for content in (b"old", b"new"):
        acts.clear()
        durable.replace_file(target, content)
        (first, staged), *others = acts
        assert (first, staged.partition("#")[0]) == ("sync", str(target.with_name(f".{target.name}")))
        assert others[:2] == [("name", str(target)), ("sync", str(target.parent))]
        assert target.read_bytes() == content
    assert os.listdir(target.parent) == ["page.html"]
    acts.clear()
    durable.sync_files(tmp_path)
    assert {place for _, place in acts} == {str(path) for path in (tmp_path, target.parent, target)}


def test_a_name_that_is_taken_stays_what_it_is(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    folder.create("a/b", b"first")
    with pytest.raises(CommitConflict):
        folder.create("a/b", b"second")
    assert folder.read("a/b") == b"first"
    assert os.listdir(tmp_path / "a") == ["b"]
