"""Several connections read a table of PostgreSQL as one connection does: same moment, rows, order and bytes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from database_place import Server, place_of
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlglot import exp

from dataops_assets.config.databases import DatabaseConnection, PostgresDatabase
from dataops_assets.connections.databases import postgres as reader
from dataops_assets.connections.databases import postgres_ranges
from dataops_assets.connections.databases.reading import Begin, ParallelSnapshot, Statement
from dataops_assets.errors import ConfigError, DataOpsError, StorageError
from dataops_assets.sql import query

FULL = {"type": "full", "key": ["id"]}
TABLE = exp.table_("orders", quoted=True)
ROWS = query("SELECT * FROM $t", t=TABLE)
# texts that COPY must quote, nulls, empty texts, bytes, and values that are stored outside the row
MADE = """
CREATE TABLE orders (id integer, note text, amount numeric, raw bytea, day date);
ALTER TABLE orders ALTER note SET STORAGE EXTERNAL;
INSERT INTO orders
  SELECT n, CASE n % 5 WHEN 0 THEN NULL WHEN 1 THEN '' WHEN 2 THEN E'a,"b"\\n' ELSE repeat('x', n % 90) END,
    n / 3.0, CASE WHEN n % 7 > 0 THEN decode(md5(n::text), 'hex') END, date '2024-01-01' + n
  FROM generate_series(1, 900) AS n;
INSERT INTO orders SELECT -n, repeat(md5(n::text), 300) FROM generate_series(1, 20) AS n;
DELETE FROM orders WHERE id % 11 = 3
"""
WRITES = (
    "UPDATE orders SET note = note || 'y' WHERE id % 13 = {n} % 13",
    "DELETE FROM orders WHERE id % 97 = {n} % 97",
    "INSERT INTO orders SELECT {n} * 1000 + m, 'new' FROM generate_series(1, 50) AS m",
)


def database(server: Server) -> reader.Postgres:
    return reader.Postgres(PostgresDatabase.model_validate(server.declared), server.password)


def open_sessions(server: Server) -> int:
    ((number,),) = server.run("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dataops'")
    return int(number)


def no_session_is_left(server: Server) -> bool:
    """The server ends a session a moment after its client is gone."""
    deadline = time.monotonic() + 30
    while open_sessions(server):
        assert time.monotonic() < deadline, "a connection of the look is still there"
        time.sleep(0.02)
    return True


def collected(into: list[pa.Table]) -> Begin:
    return lambda _fields: into.append


def in_parallel(snapshot: Any, connections: int, begin: Begin) -> None:
    assert isinstance(snapshot, ParallelSnapshot)
    snapshot.read_parallel(ROWS, TABLE, connections, begin)


@contextmanager
def written_meanwhile(server: Server) -> Iterator[None]:
    """Other clients change the table, and clean it, all the time."""
    stopped = threading.Event()
    failed: list[BaseException] = []

    def write(first: int) -> None:
        connection = server.connect()
        number = first
        try:
            with connection.cursor() as cursor:
                while not stopped.is_set():
                    cursor.execute(WRITES[number % len(WRITES)].format(n=number))
                    if number % 9 == 0:
                        cursor.execute("VACUUM orders")
                    number += 2
                    stopped.wait(0.01)
        except Exception as error:  # noqa: BLE001  the test fails with it
            failed.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=write, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopped.set()
        for thread in threads:
            thread.join()
    assert not failed, failed


def test_it_reads_what_one_connection_reads_while_others_write(
    postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres.run(MADE)
    seen: set[int] = set()

    @settings(max_examples=6)
    @given(
        connections=st.integers(1, 6),
        pages=st.sampled_from([1, 2, 5, 1000]),
        portion=st.sampled_from([500, 5_000, 70_000, 1 << 23]),
    )
    def law(connections: int, pages: int, portion: int) -> None:
        monkeypatch.setattr(postgres_ranges, "RANGE_BYTES", pages * 8192)
        monkeypatch.setattr(reader, "PORTION_BYTES", portion)
        alone: list[pa.Table] = []
        beside: list[pa.Table] = []
        with database(postgres).snapshot() as snapshot:
            # the moment is before the writes that follow
            time.sleep(0.02)
            in_parallel(snapshot, connections, collected(beside))
            snapshot.read(Statement(ROWS.sql("postgres")), "orders", collected(alone))
        assert [len(rows) for rows in beside] == [len(rows) for rows in alone]
        assert beside == alone
        seen.add(sum(len(rows) for rows in alone))

    with written_meanwhile(postgres):
        law()
    assert len(seen) > 1, "nobody wrote between the looks"
    assert no_session_is_left(postgres)


def test_the_same_bytes_so_the_same_content_is_no_input(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_ranges, "RANGE_BYTES", 3 * 8192)
    monkeypatch.setattr(reader, "PORTION_BYTES", 50_000)
    # an index that the server would rather read, in another order
    index = "CREATE INDEX ON orders (day) INCLUDE (id, note, amount, raw)"
    postgres.run(MADE, "UPDATE orders SET day = day - 2 * id, note = left(note, 90)", index, "VACUUM ANALYZE orders")
    postgres.run(f"ALTER DATABASE {postgres.declared['database']} SET seq_page_cost = 1000")
    columns = {"refresh": FULL, "table": "public.orders"}
    place = place_of(tmp_path / "home", postgres.declared, **columns)
    (first,) = place.look()
    several = place.source.connection.model_copy(update={"parallel": 4})
    changed = place.source.model_copy(update={"connection": several})
    assert not place.look(source=changed), "other connections, the same content"
    postgres.run("UPDATE orders SET note = 'new' WHERE id = 500")
    (second,) = place.look(source=changed)
    other = place_of(tmp_path / "other", postgres.declared, **columns)
    (alone,) = other.look()
    assert place.path(second).read_bytes() == other.path(alone).read_bytes()
    assert place.path(first).read_bytes() != place.path(second).read_bytes()
    xmin = {"parallel": 3, "incremental": {"cursor": "xmin"}}
    every = place_of(tmp_path / "xmin", postgres.declared, {"type": "append"}, table="orders", **xmin)
    assert every.rows(every.look()[0]) == place.rows(second)
    postgres.run("UPDATE orders SET amount = 7 WHERE id % 100 = 1")
    (changed_rows,) = every.look()
    assert sorted(row[0] for row in every.rows(changed_rows)) == [n for n in range(1, 900, 100) if n % 11 != 3]
    postgres.run("DELETE FROM orders", "VACUUM orders")
    (empty,) = place.look(source=changed)
    assert place.rows(empty) == []


@pytest.mark.parametrize("fault", ["a backend is ended", "the disk is full"])
def test_if_one_part_fails_all_end(postgres: Server, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    monkeypatch.setattr(postgres_ranges, "RANGE_BYTES", 8192)
    monkeypatch.setattr(reader, "PORTION_BYTES", 1_000)
    postgres.run(MADE)
    taken: list[int] = []
    one = "SELECT min(pid) FROM pg_stat_activity WHERE application_name = 'dataops' AND query LIKE 'COPY%'"

    def take(rows: pa.Table) -> None:
        taken.append(len(rows))
        if len(taken) < 5:
            return
        if fault == "the disk is full":
            raise StorageError("writing", received="no space", next_step="free some")
        postgres.run(f"SELECT pg_terminate_backend(({one}))")

    threads = threading.active_count()
    with pytest.raises(DataOpsError) as raised, database(postgres).snapshot() as snapshot:
        in_parallel(snapshot, 4, lambda _fields: take)
    assert isinstance(raised.value, StorageError), "another try can help"
    assert threading.active_count() == threads
    assert no_session_is_left(postgres)
    with database(postgres).snapshot() as snapshot:
        rows: list[pa.Table] = []
        in_parallel(snapshot, 4, collected(rows))
    assert [(sum(map(len, rows)),)] == postgres.run("SELECT count(*) FROM orders")


def test_it_does_not_wait_for_somebody_who_waits_for_it(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "LONGEST_LOCK_WAIT", "200ms")
    postgres.run(MADE)
    alter = threading.Thread(target=postgres.run, args=("ALTER TABLE orders ADD COLUMN added integer",))

    def begin(_fields: Any) -> Any:
        alter.start()
        while postgres.run("SELECT count(*) FROM pg_locks WHERE NOT granted") == [(0,)]:
            time.sleep(0.01)
        return lambda _rows: None

    with pytest.raises(StorageError, match="lock timeout"), database(postgres).snapshot() as snapshot:
        in_parallel(snapshot, 2, begin)
    alter.join()
    assert no_session_is_left(postgres)


def test_what_cannot_be_divided_is_refused(postgres: Server, mysql: Server, tmp_path: Path) -> None:
    made = "(id integer, note varchar(50))"
    postgres.run(
        f"CREATE TABLE parts {made} PARTITION BY LIST (id)",
        f"CREATE TABLE parent {made}",
        "CREATE TABLE child () INHERITS (parent)",
        "CREATE VIEW seen AS SELECT * FROM parent",
    )
    mysql.run(f"CREATE TABLE orders {made}")
    refused = {"parts": "a partitioned table", "parent": "child tables", "seen": "a view"}
    for table, reason in refused.items():
        place = place_of(tmp_path / table, postgres.declared, FULL, table=table, parallel=2)
        with pytest.raises(ConfigError, match=reason):
            place.look()
    with pytest.raises(ConfigError, match=r"no such|does not exist"):
        place_of(tmp_path / "none", postgres.declared, FULL, table="nothere", parallel=2).look()
    with pytest.raises(ConfigError, match="one connection reads"):
        place_of(tmp_path / "mysql", mysql.declared, FULL, table="orders", parallel=2).look()
    with pytest.raises(ValueError, match="parallel is for a table"):
        DatabaseConnection.model_validate({"type": "database", "database": "d", "query": "SELECT 1", "parallel": 2})
