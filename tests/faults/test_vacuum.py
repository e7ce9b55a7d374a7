"""Vacuum removes what no version within the retention period needs, and nothing else."""

from __future__ import annotations

import datetime as dt
import os
import time
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, QueryBuilder

from dataops_assets.config.environment import environment_from
from dataops_assets.config.source import Source
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.errors import StorageError
from dataops_assets.operations import cli, project
from dataops_assets.sql import query
from dataops_assets.storage import publish
from dataops_assets.storage.delta import CHECKPOINT_EVERY, Table, TableChange, TableVersion
from dataops_assets.storage.vacuum import vacuum

COLUMNS = {"k": "BIGINT"}
NOTHING = dt.timedelta(0)
HOURS = 3600


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> DuckDBEngine:
    home = tmp_path_factory.mktemp("engine")
    return DuckDBEngine(environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home))


def rows(engine: DuckDBEngine, snapshot: TableVersion | None) -> list[int]:
    assert snapshot is not None
    with engine.session() as session:
        found = session.fetch(query("SELECT k FROM $t AS t", t=session.scan(snapshot)))
    return sorted(found.column("k").to_pylist())


def change(engine: DuckDBEngine, table: Table, add: range, remove: list[int]) -> TableVersion:
    base = table.snapshot()
    with engine.session() as session:
        new = session.register(pa.table({"k": pa.array(add, pa.int64())}))
        gone = None
        if base is not None and remove:
            there = session.scan(base, positions=True)
            gone = query("SELECT s_file, s_position FROM $t AS t WHERE k IN ($ks)", t=there, ks=remove)
        insert = query("SELECT n.* FROM $new AS n", new=new) if len(add) else None
        return publish.apply(session, table, base, publish.RowChange(columns=COLUMNS, remove=gone, insert=insert))


def at(monkeypatch: pytest.MonkeyPatch, hour: float) -> None:
    """Commits are made in hour `hour` from now on."""
    monkeypatch.setattr(time, "time", lambda: hour * HOURS)


def moment(hour: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(hour * HOURS, dt.UTC)


def data(table: Table) -> set[str]:
    return {item.path for item in table.folder.objects() if not item.path.startswith("_delta_log/")}


def aged(table: Table, hour: float) -> None:
    for path in data(table):
        os.utime(Path(table.uri, path), (hour * HOURS, hour * HOURS))


def test_versions_within_the_retention_period_stay_readable_and_others_go(
    engine: DuckDBEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Table(str(tmp_path / "t"))
    at(monkeypatch, 1)
    first = change(engine, table, range(10), [])
    at(monkeypatch, 2)
    change(engine, table, range(10, 20), [3])
    at(monkeypatch, 3)
    change(engine, table, range(0), [4])
    at(monkeypatch, 4)
    with engine.session() as session:
        # of the first file more than a third is masked: it is written anew
        change(engine, table, range(20, 30), [5, 6, 7])
        newest = publish.compact(session, table, table.snapshot())  # type: ignore[arg-type]
    states = {version: rows(engine, table.snapshot(version)) for version in range(newest.version + 1)}
    before = data(table)
    aged(table, 4)

    assert vacuum(table, retention=dt.timedelta(hours=100), now=moment(50)).removed == 0, "all are young enough to read"
    # half an hour ago version 1 was the newest; its deletion vector is that of no later version
    vacuum(table, retention=dt.timedelta(hours=2.5), young=NOTHING, now=moment(5))
    assert {version: rows(engine, table.snapshot(version)) for version in range(1, newest.version + 1)} == {
        version: found for version, found in states.items() if version
    }
    assert data(table) == before, "version 1 still has the first file"
    done = vacuum(table, retention=NOTHING, young=NOTHING, now=moment(5))
    assert done.removed == len(before - data(table)) > 0
    assert rows(engine, table.snapshot()) == states[newest.version]
    assert DeltaTable(table.uri).version() == newest.version
    assert first.files[0].path not in data(table)
    assert vacuum(table, retention=NOTHING, young=NOTHING, now=moment(5)).removed == 0


def test_the_log_is_shortened_to_the_checkpoint_that_the_oldest_kept_version_needs(
    engine: DuckDBEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Table(str(tmp_path / "t"))
    for number in range(CHECKPOINT_EVERY * 2 + 5):
        at(monkeypatch, number)
        change(engine, table, range(number, number + 1), [])
    log = {item.path for item in table.folder.objects() if item.path.startswith("_delta_log/")}
    for path in log:
        os.utime(Path(table.uri, path), (0, 0))
    # what was newest two hours ago needs the second checkpoint
    vacuum(table, retention=dt.timedelta(hours=2), young=NOTHING, now=moment(number))
    left = {item.path for item in table.folder.objects() if item.path.startswith("_delta_log/")}
    first = CHECKPOINT_EVERY * 2
    assert {int(path[11:31]) for path in left if path[11:31].isdigit()} == set(range(first, number + 1))
    assert left < log
    states = [rows(engine, table.snapshot(version)) for version in range(first, number + 1)]
    assert states == [list(range(version + 1)) for version in range(first, number + 1)]
    read = QueryBuilder().register("t", DeltaTable(table.uri)).execute("SELECT count(*) FROM t").read_all()
    assert read.column(0)[0].as_py() == number + 1
    with pytest.raises(StorageError, match=f"versions {first} to {number}"):
        table.snapshot(first - 1)
    change(engine, table, range(100, 101), [0])
    assert rows(engine, table.snapshot()) == [*range(1, number + 1), 100]


def test_a_deletion_vector_stays_while_a_version_needs_it(
    engine: DuckDBEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Table(str(tmp_path / "t"))
    at(monkeypatch, 1)
    change(engine, table, range(10), [])
    change(engine, table, range(0), [3])
    vectors = {path for path in data(table) if path.endswith(".bin")}
    at(monkeypatch, 2)
    change(engine, table, range(0), [4])
    aged(table, 1)
    assert len(vectors) == 1
    vacuum(table, retention=dt.timedelta(hours=1), young=NOTHING, now=moment(2.5))
    assert vectors <= data(table)
    assert rows(engine, table.snapshot(1)) == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    vacuum(table, retention=NOTHING, young=NOTHING, now=moment(2.5))
    assert not vectors & data(table)
    assert rows(engine, table.snapshot()) == [0, 1, 2, 5, 6, 7, 8, 9]


def test_what_a_running_writer_has_written_is_kept(engine: DuckDBEngine, tmp_path: Path) -> None:
    table = Table(str(tmp_path / "t"))
    base = change(engine, table, range(10), [])
    with engine.session() as session:
        new = session.register(pa.table({"k": pa.array([77], pa.int64())}))
        files = session.write(query("SELECT n.* FROM $new AS n", new=new), table.uri, COLUMNS)
        assert vacuum(table, retention=NOTHING).removed == 0
        table.commit(base, TableChange(operation="WRITE", columns=COLUMNS, add=files))
    assert rows(engine, table.snapshot()) == [*range(10), 77]


def test_what_is_not_the_tables_is_left_alone(engine: DuckDBEngine, tmp_path: Path) -> None:
    table = Table(str(tmp_path / "t"))
    Path(table.uri).mkdir()
    stray = Path(table.uri, "part-x.parquet")
    stray.touch()
    assert vacuum(table, young=NOTHING).removed == 0, "nothing says that this is no table's"
    change(engine, table, range(10), [])
    Path(table.uri, "_delta_log", "00000000000000000000.json#1").touch()
    Path(table.uri, "README.md").touch()
    log = {path.name for path in Path(table.uri, "_delta_log").iterdir() if "#" not in path.name}
    assert vacuum(table, young=NOTHING).removed == 2
    assert not stray.exists()
    assert {path.name for path in Path(table.uri, "_delta_log").iterdir()} == log
    assert Path(table.uri, "README.md").exists()


def test_the_command_cleans_up_a_declared_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], engine: DuckDBEngine
) -> None:
    monkeypatch.setenv("DATAOPS_ENV", "test")
    monkeypatch.setenv("DATAOPS_HOME", str(tmp_path))
    source = Source.model_validate(
        {
            "name": "sales",
            "area": "x",
            "connection": {"type": "files", "path": "*.csv"},
            "columns": [{"name": "a"}],
            "refresh": {"type": "append"},
        }
    )
    monkeypatch.setattr(project, "declared", lambda: {"sales": source})
    table = Table(str(tmp_path / "storage" / "hub" / "sales"))
    change(engine, table, range(10), [])
    (old,) = data(table)
    change(engine, table, range(10, 20), list(range(10)))
    aged(table, 1)
    assert cli.main(["vacuum"]) == 0
    assert old in data(table)
    assert cli.main(["vacuum", "sales", "--keep-days", "0"]) == 0
    assert old not in data(table)
    assert "sales: 1 files removed" in capsys.readouterr().out
    assert cli.main(["vacuum", "sale"]) == 2
    assert "did you mean 'sales'?" in capsys.readouterr().err
    assert cli.main(["vacuum", "--keep-days", "-1"]) == 2
