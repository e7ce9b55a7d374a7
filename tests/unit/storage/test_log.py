"""A checkpoint is read as the commits before it; a table that asks for more than this project knows is refused."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataops_assets.errors import StorageError
from dataops_assets.storage import log
from dataops_assets.storage.delta import DataFile, Table, TableChange, TableVersion

COLUMNS = {"k": "BIGINT"}


def table_of_one_file(folder: Path) -> tuple[Table, TableVersion]:
    folder.mkdir()
    pq.write_table(pa.table({"k": [1, 2, 3]}), folder / "a.parquet")
    file = DataFile("a.parquet", (folder / "a.parquet").stat().st_size, 3, {"nullCount": {"k": 0}})
    table = Table(str(folder))
    table.commit(None, TableChange(operation="WRITE", columns=COLUMNS, add=[file]))
    return table, table.commit(
        table.snapshot(), TableChange(operation="MERGE", columns=COLUMNS, mask={"a.parquet": [1]})
    )


def told_by_another(table: Table, action: dict[str, object]) -> None:
    """What another tool commits."""
    newest = table.snapshot()
    assert newest is not None
    path = Path(table.uri, "_delta_log", f"{newest.version + 1:020d}.json")
    path.write_text(json.dumps({"commitInfo": {}}) + "\n" + json.dumps(action) + "\n")


def test_a_checkpoint_says_what_the_commits_said(tmp_path: Path) -> None:
    table, newest = table_of_one_file(tmp_path / "t")
    named = {**newest.metadata, "name": "sales", "description": "One row a sale.", "configuration": {"owner": "us"}}
    told_by_another(table, {"metaData": named})
    by_commits = table.snapshot()
    table.checkpoint()
    for commit in Path(table.uri, "_delta_log").glob("*.json"):
        if not commit.name.endswith("2.json"):
            commit.unlink()
    by_checkpoint = table.snapshot()
    assert by_commits is not None
    assert by_checkpoint is not None
    assert by_checkpoint.metadata == by_commits.metadata == named
    assert by_checkpoint.files == by_commits.files
    assert by_checkpoint.protocol == by_commits.protocol == log.PROTOCOL
    assert json.dumps(dict(by_checkpoint.files[0].deletion_vector or {})) == json.dumps(
        dict(by_commits.files[0].deletion_vector or {})
    )
    # and so a commit writes it again
    table.commit(by_checkpoint, TableChange(operation="WRITE", columns={**COLUMNS, "v": "VARCHAR"}))
    actions = log.of_commit(Path(table.uri, "_delta_log", f"{3:020d}.json").read_bytes())
    (written,) = [action["metaData"] for action in actions if "metaData" in action]
    assert {**written, "schemaString": ""} == {**named, "schemaString": ""}


def test_what_another_tool_says_of_a_column_stays(tmp_path: Path) -> None:
    table, newest = table_of_one_file(tmp_path / "t")
    schema = json.loads(newest.metadata["schemaString"])
    schema["fields"][0]["metadata"] = {"comment": "the key"}
    told_by_another(table, {"metaData": {**newest.metadata, "schemaString": json.dumps(schema)}})
    after = table.commit(table.snapshot(), TableChange(operation="WRITE", columns={**COLUMNS, "v": "VARCHAR"}))
    fields = json.loads(after.metadata["schemaString"])["fields"]
    assert [field["metadata"] for field in fields] == [{"comment": "the key"}, {}]


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        ({"minReaderVersion": 3, "readerFeatures": ["columnMapping"]}, "columnMapping"),
        ({"minReaderVersion": 4, "readerFeatures": []}, "minReaderVersion 4"),
    ],
)
def test_a_table_that_asks_more_of_its_readers_is_not_read(
    protocol: dict[str, object], message: str, tmp_path: Path
) -> None:
    table, _ = table_of_one_file(tmp_path / "t")
    told_by_another(table, {"protocol": {**log.PROTOCOL, **protocol}})
    with pytest.raises(StorageError, match=message):
        table.snapshot()


def test_a_table_that_asks_more_of_its_writers_is_read_and_not_changed(tmp_path: Path) -> None:
    table, _ = table_of_one_file(tmp_path / "t")
    told_by_another(table, {"protocol": {**log.PROTOCOL, "writerFeatures": ["rowTracking"]}})
    newest = table.snapshot()
    assert newest is not None
    assert newest.rows == 2
    with pytest.raises(StorageError, match="rowTracking"):
        table.commit(newest, TableChange(operation="WRITE", columns=COLUMNS))


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("0.01", 0.01),
        ("-99999999.99", -99999999.99),
        ("90071992547409.93", None),
        ("9007199254740993", 9007199254740993),
        ("1234567890123456789012345678901234", 1234567890123456789012345678901234),
        ("5.00", 5),
        ("90071992547409931.5", None),
        ("0.0000001", None),
        ("1234567890123456789.01", None),
    ],
)
def test_a_bound_is_exact_or_not_there(value: str, number: float | None) -> None:
    found = log.number(Decimal(value))
    assert (found, type(found)) == (number, type(number))
    if found is not None:
        assert Decimal(json.dumps(json.loads(json.dumps(found)))) == Decimal(value)
