"""A write that was done, and whose answer was lost: the client repeats it, and finds its own object there."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from objectstore import BUCKET, Line, object_store
from story import prepare

from dataops_assets.config.environment import environment_from
from dataops_assets.engines.duckdb import DuckDBEngine, DuckDBSession
from dataops_assets.errors import CommitConflict, StorageError
from dataops_assets.sql import query
from dataops_assets.storage import durable, publish
from dataops_assets.storage.delta import CHECKPOINT_EVERY, Table, TableChange
from dataops_assets.storage.objects import Folder


@pytest.fixture(scope="module")
def line() -> Iterator[Line]:
    with pytest.MonkeyPatch.context() as patch, object_store(patch, by_line=True) as line:
        yield line


@pytest.mark.slow
def test_no_row_is_lost_or_doubled_when_a_store_fails_after_each_write(line: Line, tmp_path: Path) -> None:
    """Up to a checkpoint, which another library writes from the log: it would keep one of two equal actions."""
    url = f"s3://{BUCKET}/lost_answers"
    engine = DuckDBEngine(environment_from({"DATAOPS_ENV": "test", "DATAOPS_STORAGE": url}, tmp_path))
    table = Table(f"{url}/t")
    with engine.session() as session:
        with line.losing_answers():
            for number in range(CHECKPOINT_EVERY + 1):
                name = f"input {number % 7}"
                publish.replace_inputs(session, table, rows_of(session, name, number), [name])
        found = table.snapshot()
        assert found is not None
        assert found.version == CHECKPOINT_EVERY
        rows = session.fetch(query("SELECT * FROM $t AS t", t=session.scan(found))).to_pylist()
    assert line.lost > CHECKPOINT_EVERY
    last = {f"input {number % 7}": number for number in range(CHECKPOINT_EVERY + 1)}
    expected = Counter((name, number * 10 + row) for name, number in last.items() for row in range(3))
    assert Counter((row["s_input_id"], row["k"]) for row in rows) == expected
    endpoint = {"AWS_ENDPOINT_URL": os.environ["AWS_ENDPOINT_URL"], "AWS_ALLOW_HTTP": "true"}
    assert len(DeltaTable(table.uri, storage_options=endpoint).file_uris()) == len(found.files)


def test_another_object_of_the_name_is_a_conflict_also_when_answers_are_lost(line: Line) -> None:
    folder = Folder(f"s3://{BUCKET}/conflicts")
    with line.losing_answers():
        folder.create("one", b"mine")
        with pytest.raises(CommitConflict):
            folder.create("one", b"another's")
    assert folder.read("one") == b"mine"


def test_a_link_that_was_made_although_the_system_says_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS repeats a request whose answer was lost, and then the name is taken: by the file itself."""
    link = os.link

    def twice(source: Any, target: Any) -> None:
        link(source, target)
        link(source, target)

    with monkeypatch.context() as lossy:
        lossy.setattr(os, "link", twice)
        durable.write_new(tmp_path / "one", b"mine")
    assert (tmp_path / "one").read_bytes() == b"mine"
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
    with pytest.raises(FileExistsError):
        durable.write_new(tmp_path / "one", b"mine")


def test_a_change_that_removes_and_adds_one_file_is_refused(tmp_path: Path) -> None:
    context = prepare(tmp_path).source_context()
    table = Table(str(tmp_path / "t"))
    with context.engine.session() as session:
        version = publish.replace_inputs(session, table, rows_of(session, "a", 1), ["a"])
    change = TableChange(operation="WRITE", columns=version.columns, add=version.files, remove=version.files, info={})
    with pytest.raises(StorageError, match="removes and adds the same file"):
        table.commit(version, change)
    assert table.snapshot() == version


def rows_of(session: DuckDBSession, input_id: str, number: int) -> Any:
    keys = pa.array([number * 10 + row for row in range(3)], pa.int64())
    return query("SELECT * FROM $t", t=session.register(pa.table({"s_input_id": [input_id] * 3, "k": keys})))
