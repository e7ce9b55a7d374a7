"""Delta tables: what is committed is what every reader sees, and a lost race publishes nothing."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap64

from dataops_assets.config.environment import environment_from
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.errors import CommitConflict, StorageError
from dataops_assets.sql import query
from dataops_assets.storage import deletion_vectors, publish
from dataops_assets.storage.delta import Table, TableVersion
from dataops_assets.storage.objects import Folder

TYPES = {"k": "BIGINT", "v": "VARCHAR"}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> DuckDBEngine:
    home = tmp_path_factory.mktemp("engine")
    return DuckDBEngine(environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home))


def rows_of(engine: DuckDBEngine, snapshot: TableVersion) -> list[tuple[int, str | None]]:
    with engine.session() as session:
        found = session.fetch(query("SELECT * FROM $t AS t", t=session.scan(snapshot))).to_pylist()
    return sorted((row["k"], row["v"]) for row in found)


def change(
    engine: DuckDBEngine, table: Table, base: TableVersion | None, gone: set[int], new: list[tuple[int, str | None]]
) -> TableVersion:
    with engine.session() as session:
        names = {"k": pa.array([k for k, _ in new], pa.int64()), "v": pa.array([v for _, v in new], pa.string())}
        added = session.register(pa.table(names))
        left = session.register(pa.table({"k": pa.array(sorted(gone), pa.int64())}))
        remove = None
        if base is not None:
            remove = query(
                "SELECT s_file, s_position FROM $t AS t SEMI JOIN $left AS g ON g.k = t.k",
                left=left,
                t=session.scan(base, positions=True),
            )
        insert = query("SELECT a.* FROM $added AS a", added=added)
        return publish.apply(
            session,
            table,
            base,
            publish.RowChange(columns=TYPES, remove=remove, insert=insert, info={"rows": len(new)}),
        )


KEYS = st.integers(0, 30)
TEXTS = st.one_of(st.none(), st.text(max_size=80))


@settings(max_examples=25, deadline=None)
@given(changes=st.lists(st.tuples(st.sets(KEYS, max_size=8), st.dictionaries(KEYS, TEXTS, max_size=8)), max_size=6))
def test_every_version_reads_as_the_rows_it_was_made_of(
    changes: list[tuple[set[int], dict[int, str | None]]], engine: DuckDBEngine
) -> None:
    model: dict[int, str | None] = {}
    with tempfile.TemporaryDirectory() as home:
        table = Table(f"{home}/a table")
        base: TableVersion | None = None
        versions = []
        for gone, new in changes:
            base = change(engine, table, base, gone | set(new), list(new.items()))
            model = {k: v for k, v in model.items() if k not in gone} | new
            versions.append(sorted(model.items()))
            assert base.rows == len(model)
        for number, expected in enumerate(versions):
            snapshot = table.snapshot(number)
            assert snapshot is not None
            assert rows_of(engine, snapshot) == expected
        if base is not None and base.files:
            newest = table.snapshot()
            assert newest is not None
            assert newest.info == base.info
            with engine.session() as session:
                compacted = publish.compact(session, table, newest)
            assert rows_of(engine, compacted) == versions[-1]
            read_by_another = pa.table(DeltaTable(table.uri).scan())
            assert sorted(zip(*(read_by_another[name].to_pylist() for name in TYPES), strict=True)) == versions[-1]


@given(positions=st.sets(st.one_of(st.integers(0, 100), st.integers(0, 2**40)), min_size=1, max_size=50))
def test_deletion_vectors_read_back_as_written(positions: set[int]) -> None:
    with tempfile.TemporaryDirectory() as home:
        folder = Folder(home)
        descriptors = deletion_vectors.write_all(folder, {"a": positions, "b": [7]})
        assert set(deletion_vectors.read(folder, descriptors["a"])) == positions
        assert deletion_vectors.read(folder, descriptors["b"]) == BitMap64([7])


def test_a_damaged_deletion_vector_is_refused(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    descriptor = deletion_vectors.write_all(folder, {"a": range(100)})["a"]
    path = tmp_path / str(deletion_vectors.path_of(descriptor))
    content = bytearray(path.read_bytes())
    content[-6] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(StorageError, match="checksum"):
        deletion_vectors.read(folder, descriptor)


def test_the_second_of_two_writers_publishes_nothing(tmp_path: Path, engine: DuckDBEngine) -> None:
    table = Table(str(tmp_path / "t"))
    base = change(engine, table, None, set(), [(1, "first")])
    won = change(engine, table, base, {1}, [(1, "won")])
    with pytest.raises(CommitConflict):
        change(engine, table, base, {1}, [(1, "lost")])
    newest = table.snapshot()
    assert newest is not None
    assert (newest.version, rows_of(engine, newest)) == (won.version, [(1, "won")])


def test_a_long_log_is_read_through_its_checkpoints(tmp_path: Path, engine: DuckDBEngine) -> None:
    table = Table(str(tmp_path / "t"))
    base: TableVersion | None = None
    for number in range(45):
        base = change(engine, table, base, {number % 7}, [(number % 7, str(number))])
    assert list((tmp_path / "t" / "_delta_log").glob("*.checkpoint.parquet"))
    newest = table.snapshot()
    assert newest is not None
    assert base is not None
    assert {file.identity() for file in newest.files} == {file.identity() for file in base.files}
    assert rows_of(engine, newest) == sorted((k, str(max(n for n in range(45) if n % 7 == k))) for k in range(7))


def test_many_small_inputs_do_not_write_a_larger_file_again(tmp_path: Path, engine: DuckDBEngine) -> None:
    table = Table(str(tmp_path / "t"))
    base: TableVersion | None = change(engine, table, None, set(), [(k, f"{k * 7919:.20f}") for k in range(20_000)])
    assert base is not None
    large = base.files[0].path
    for number in range(20):
        base = change(engine, table, base, set(), [(100_000 + number, str(number))])
    with engine.session() as session:
        compacted = publish.compact(session, table, base)
    assert rows_of(engine, compacted) == rows_of(engine, base)
    assert (compacted.version, compacted.info) == (base.version + 1, base.info)
    newest = table.snapshot()
    assert newest is not None
    assert newest.info == base.info == {"rows": 1}
    assert len(compacted.files) == 2
    assert large in {file.path for file in compacted.files}
