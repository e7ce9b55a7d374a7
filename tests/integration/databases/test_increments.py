"""Increments miss nothing and take nothing twice: late commits, equal and backward cursors, nulls, deletes, kills."""

from __future__ import annotations

import datetime as dt
import errno
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from database_place import DatabasePlace, Server, SideBySide, place_of
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from dataops_assets.errors import CommitConflict, ConfigError, StorageError
from dataops_assets.metadata.position_store import FinishedLook, PositionStore
from dataops_assets.storage.raw import RawArea

APPEND = {"type": "append"}
KEY_OF_T = {"type": "key", "key": ["id"]}
XMIN = {"cursor": "xmin"}
EMPTY = "DROP TABLE IF EXISTS t; CREATE TABLE t (id integer PRIMARY KEY, note text, at timestamptz DEFAULT now())"


def taken(place: DatabasePlace) -> list[tuple[Any, ...]]:
    return [row for item in place.inputs for row in place.rows(item)]


# --- the cursor xmin -------------------------------------------------------------------------------------------------

CLIENTS = 3
ACTS = st.one_of(
    st.tuples(st.just("write"), st.integers(0, CLIENTS - 1), st.integers(1, 4)),
    st.tuples(st.just("delete"), st.integers(0, CLIENTS - 1), st.integers(1, 4)),
    st.tuples(st.just("savepoint"), st.integers(0, CLIENTS - 1), st.integers(1, 4)),
    st.tuples(st.just("commit"), st.integers(0, CLIENTS - 1), st.just(0)),
    st.tuples(st.just("rollback"), st.integers(0, CLIENTS - 1), st.just(0)),
    st.tuples(st.just("look"), st.just(0), st.just(0)),
)


class Clients(SideBySide):
    """A client has rows of its own, so that none waits for another."""

    def act(self, what: str, client: int, key: int) -> None:
        connection, own = self.connections[client], client * 10 + key
        with connection.cursor() as cursor:
            if what in ("write", "savepoint"):
                self.serial += 1
                if what == "savepoint":
                    cursor.execute("SAVEPOINT s")
                cursor.execute(
                    "INSERT INTO t VALUES (%s, %s) ON CONFLICT (id) DO UPDATE SET note = excluded.note, at = now()",
                    (own, f"v{self.serial}"),
                )
                if what == "savepoint":
                    cursor.execute("RELEASE s" if self.serial % 2 else "ROLLBACK TO s")
            elif what == "delete":
                cursor.execute("DELETE FROM t WHERE id = %s", (own,))
            elif what == "commit":
                connection.commit()
            elif what == "rollback":
                connection.rollback()


def test_law_of_late_commits(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever the order of writes, commits and looks: the newest rows by key are the table when all have ended.

    Each version of a row is taken once, so append has no row twice. Full looks find deleted rows.
    """
    home = tmp_path_factory.mktemp("late")

    @settings(max_examples=8)
    @given(st.lists(ACTS, min_size=8, max_size=40))
    def law(acts: list[tuple[str, int, int]]) -> None:
        postgres.run(EMPTY)
        clients = Clients(postgres, CLIENTS)
        folder = home / str(len(list(home.iterdir())))
        full = {"cursor": "xmin", "full_every": "3 hours", "deleted": "gone"}
        keyed = place_of(folder / "keyed", postgres.declared, KEY_OF_T, table="t", incremental=full)
        all_rows = place_of(folder / "all", postgres.declared, APPEND, table="t", incremental=XMIN)
        try:
            for what, client, key in acts:
                clients.act(what, client, key)
                if what == "look":
                    keyed.look()
                    all_rows.look()
            clients.end()
        finally:
            clients.close()
        for _ in range(4):
            keyed.look()
            all_rows.look()
        table = {row[0]: row for row in postgres.run("SELECT id, note, at::text FROM t")}
        assert {key: row[:2] for key, row in keyed.by_key("gone").items()} == {k: r[:2] for k, r in table.items()}
        twice = [row for row, number in Counter(taken(all_rows)).items() if number > 1]
        assert not twice
        newest = all_rows.by_key()
        assert {key: newest[key][1] for key in table} == {key: row[1] for key, row in table.items()}
        assert not keyed.look(dt.timedelta(minutes=61)), "nothing changed"

    law()


def test_a_subtransaction_that_commits_late_is_not_missed(postgres: Server, tmp_path: Path) -> None:
    """A snapshot does not list subtransactions, so their rows seem to be visible before."""
    postgres.run(EMPTY)
    place = place_of(tmp_path, postgres.declared, APPEND, table="t", incremental=XMIN)
    late, other = postgres.connect(), postgres.connect()
    late.autocommit = False
    with late.cursor() as cursor, other.cursor() as quick:
        cursor.execute("INSERT INTO t VALUES (1, 'a')")
        cursor.execute("SAVEPOINT s; INSERT INTO t VALUES (2, 'b'); RELEASE s")
        quick.execute("INSERT INTO t VALUES (3, 'c')")
        place.look()
        late.commit()
        place.look()
    assert sorted(row[1] for row in taken(place)) == ["a", "b", "c"]
    late.close()
    other.close()


# --- a column as cursor ----------------------------------------------------------------------------------------------


@pytest.fixture(params=["postgres", "mysql"])
def server(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


@pytest.fixture(params=["postgres", "mysql", "postgres_by_sqlalchemy", "mysql_by_sqlalchemy"])
def reached(request: pytest.FixtureRequest) -> Any:
    """A server by each way to reach it."""
    return request.getfixturevalue(request.param)


def make(server: Server) -> None:
    server.run("CREATE TABLE t (id integer, note varchar(20), at timestamp(6) NULL)")


def test_a_cursor_takes_what_is_new_and_what_came_late_once(reached: Server, tmp_path: Path) -> None:
    make(reached)
    reached.run("INSERT INTO t VALUES (1, 'a', '2024-06-01 10:00:00'), (2, 'null', NULL), (2, 'null', NULL)")
    place = place_of(
        tmp_path, reached.declared, APPEND, table="t", incremental={"cursor": "at", "overlap": "30 minutes"}
    )
    (first,) = place.look()
    assert [row[1] for row in place.rows(first)] == ["a", "null", "null"]
    assert not place.look()
    reached.run(
        "INSERT INTO t VALUES (3, 'equal', '2024-06-01 10:00:00'), (4, 'late', '2024-06-01 09:30:00'), "
        "(5, 'too late', '2024-06-01 09:29:59'), (6, 'new', '2024-06-01 11:00:00'), (2, 'null', NULL), "
        "(1, 'a', '2024-06-01 10:00:00')"
    )
    (second,) = place.look()
    assert sorted(row[1] for row in place.rows(second)) == ["a", "equal", "late", "new", "null"]
    assert not place.look()
    reached.run("UPDATE t SET note = 'newer' WHERE id = 6", "INSERT INTO t VALUES (7, 'equal', '2024-06-01 11:00:00')")
    (third,) = place.look()
    assert sorted(row[1] for row in place.rows(third)) == ["equal", "newer"]
    reached.run("UPDATE t SET note = 'new' WHERE id = 6")
    (fourth,) = place.look()
    assert [row[1] for row in place.rows(fourth)] == ["new"], "a value that comes back is a change"


def test_a_full_look_finds_backward_cursors_and_deletes(server: Server, tmp_path: Path) -> None:
    make(server)
    server.run("INSERT INTO t VALUES (1, 'a', '2024-06-01 10:00:00'), (2, 'b', '2024-06-01 10:00:00')")
    incremental = {"cursor": "at", "overlap": "1 minute", "full_every": "3 hours", "deleted": "gone"}
    place = place_of(tmp_path, server.declared, KEY_OF_T, table="t", incremental=incremental)
    place.look()
    server.run("UPDATE t SET note = 'back', at = '2024-06-01 08:00:00' WHERE id = 1", "DELETE FROM t WHERE id = 2")
    server.run("INSERT INTO t VALUES (3, 'c', '2024-06-01 12:00:00')")
    place.look()
    assert {key: row[1] for key, row in place.by_key("gone").items()} == {1: "a", 2: "b", 3: "c"}
    place.look(dt.timedelta(hours=2))
    assert {key: row[1] for key, row in place.by_key("gone").items()} == {1: "back", 3: "c"}
    (deleted,) = [row for row in place.rows(place.inputs[-1]) if row[-1]]
    assert deleted[:2] == (2, "b"), "the last values, so that no rule on a row refuses it"
    assert not place.look(dt.timedelta(hours=3)), "deleted rows are told once"
    server.run("INSERT INTO t VALUES (2, 'again', '2024-06-01 13:00:00')")
    place.look()
    assert place.by_key("gone")[2][1] == "again"


def test_numbers_and_queries_as_cursor(reached: Server, tmp_path: Path) -> None:
    reached.run("CREATE TABLE t (id numeric(30,2), note varchar(20))")
    big = 10**20
    reached.run(f"INSERT INTO t VALUES ({big}.01, 'a')")
    query = "SELECT note, id FROM t WHERE {{ last_cursor }} IS NULL OR id >= {{ last_cursor }}"
    place = place_of(tmp_path, reached.declared, APPEND, query=query, incremental={"cursor": "id", "overlap": 2})
    place.look()
    reached.run(f"INSERT INTO t VALUES ({big}.02, '%'), ({big - 2}.01, 'c'), ({big - 2}.00, 'below')")
    place.look()
    reached.run(f"INSERT INTO t VALUES ({big + 100}, 'e')")
    place.look()
    assert [row[0] for row in taken(place)] == ["a", "%", "c", "e"]


def test_a_cursor_must_be_a_column_with_an_order(postgres: Server, tmp_path: Path) -> None:
    postgres.run(EMPTY)
    for cursor in ("att", "note"):
        place = place_of(tmp_path / cursor, postgres.declared, APPEND, table="t", incremental={"cursor": cursor})
        with pytest.raises(ConfigError, match=cursor):
            place.look()


def test_infinite_cursors_do_not_stop_the_others(postgres: Server, tmp_path: Path) -> None:
    postgres.run(EMPTY, "INSERT INTO t VALUES (1, 'a', 'infinity'), (2, 'b', '2024-01-01'), (3, 'c', '-infinity')")
    place = place_of(tmp_path, postgres.declared, APPEND, table="t", incremental={"cursor": "at"})
    place.look()
    postgres.run("INSERT INTO t VALUES (4, 'd', '2024-01-02'), (5, 'e', 'infinity')")
    place.look()
    assert not place.look()
    assert [row[1] for row in taken(place)] == ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize("kind", ["sqlite", "duckdb"])
def test_a_cursor_in_a_file(kind: str, tmp_path: Path) -> None:
    """SQLite has times as texts, which are compared letter by letter: 'T' is above a space."""
    path = str(tmp_path / "shop")

    def run(statement: str) -> None:
        connection: Any = duckdb.connect(path) if kind == "duckdb" else sqlite3.connect(path, isolation_level=None)
        connection.execute(statement)
        connection.close()

    run("CREATE TABLE t (id integer, moment timestamp, note text)")
    run("INSERT INTO t VALUES (1, '2024-06-01 10:00:00', 'a'), (2, '2024-06-01T10:00:00', 'b'), (3, NULL, 'c')")
    incremental = {"cursor": "moment", "overlap": "1 hour"}
    place = place_of(tmp_path / "home", {"type": kind, "path": path}, APPEND, table="t", incremental=incremental)
    place.look()
    assert not place.look()
    run("INSERT INTO t VALUES (4, '2024-06-01 09:30:00', 'd'), (5, '2024-06-01T10:00:00', 'e'), (6, NULL, 'f')")
    place.look()
    assert not place.look()
    run("UPDATE t SET note = 'g', moment = '2024-06-01 12:00:00' WHERE id = 1")
    place.look()
    assert [row[2] for row in taken(place)] == ["a", "b", "c", "d", "e", "f", "g"]


# --- faults ----------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """The process ended here."""


@pytest.mark.parametrize("where", ["put", "sync", "record"])
def test_a_look_that_is_killed_misses_nothing_and_takes_nothing_twice(
    where: str, postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres.run(EMPTY, "INSERT INTO t VALUES (1, 'a')")
    place = place_of(tmp_path, postgres.declared, APPEND, table="t", incremental=XMIN)
    place.look()
    postgres.run("INSERT INTO t VALUES (2, 'b')")

    def killed(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(PositionStore if where == "record" else RawArea, where, killed)
        with pytest.raises(Killed):
            place.look()
    postgres.run("UPDATE t SET note = 'c' WHERE id = 2")
    place.look()
    assert not place.look()
    assert taken(place)[0][1] == "a"
    assert [row[1] for row in taken(place)] == ["a", "c"]
    assert [item.input_id for item in place.metadata.inputs("orders")] == [item.input_id for item in place.inputs]


def test_a_full_disk_is_told_as_such_and_nothing_is_missed(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(server)
    server.run("INSERT INTO t VALUES (1, 'a', NULL), (2, 'b', NULL)")
    place = place_of(tmp_path, server.declared, APPEND, table="t")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(pq.ParquetWriter, "write_table", full)
        with pytest.raises(StorageError, match=r"No space left.*free space"):
            place.look()
    place.look()
    assert [row[1] for row in taken(place)] == ["a", "b"]


def test_of_two_daemons_one_takes_the_rows(postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    postgres.run(EMPTY, "INSERT INTO t VALUES (1, 'a')")
    place = place_of(tmp_path, postgres.declared, APPEND, table="t", incremental=XMIN)
    record = PositionStore.record
    for round_ in range(2):
        postgres.run(f"INSERT INTO t VALUES ({round_ + 10}, 'n')")

        def late(self: PositionStore, done: FinishedLook) -> None:
            # the other daemon looks, and is quicker
            monkeypatch.setattr(PositionStore, "record", record)
            place.look(dt.timedelta(0))
            record(self, done)

        monkeypatch.setattr(PositionStore, "record", late)
        with pytest.raises(CommitConflict):
            place.look()
    assert sorted(row[0] for row in taken(place)) == [1, 10, 11]
    known = place.metadata.inputs("orders")
    assert [item.input_id for item in known] == [item.input_id for item in sorted(place.inputs)]


def test_a_changed_declaration_reads_all_again(postgres: Server, tmp_path: Path) -> None:
    postgres.run(EMPTY, "CREATE TABLE u AS SELECT 9 AS id, 'z' AS note", "INSERT INTO t VALUES (1, 'a')")
    place = place_of(tmp_path, postgres.declared, KEY_OF_T, table="t", incremental=XMIN)
    place.look()
    place.source = place_of(tmp_path / "b", postgres.declared, KEY_OF_T, table="u", incremental=XMIN).source
    (item,) = place.look()
    assert [row[0] for row in place.rows(item)] == [9]


def test_a_password_that_changes_is_read_at_the_next_look(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres.run(EMPTY, "CREATE ROLE r1 LOGIN PASSWORD 'first secret'", "GRANT SELECT ON t TO r1")
    secret = tmp_path / "secret"
    secret.write_text("first secret\n")
    declared = {**postgres.declared, "user": "r1", "password": {"file": str(secret)}}
    place = place_of(tmp_path / "home", declared, APPEND, table="t")
    place.look()
    postgres.run("ALTER ROLE r1 PASSWORD 'second secret'", "INSERT INTO t VALUES (1, 'a')")
    with pytest.raises(Exception, match="password") as refused:
        place.look()
    assert "first secret" not in str(refused.value)
    secret.write_text("second secret")
    assert place.look()
    postgres.run("DROP OWNED BY r1", "DROP ROLE r1")


@pytest.mark.parametrize(
    ("refresh", "connection", "reason"),
    [
        ({"type": "full"}, {"table": "t", "incremental": XMIN}, "not the whole table"),
        (APPEND, {"table": "t", "incremental": {"cursor": "at", "full_every": "1 day"}}, "append would keep"),
        (APPEND, {"query": "SELECT 1", "incremental": XMIN}, "xmin is for a table"),
        (KEY_OF_T, {"query": "SELECT 1", "incremental": {"cursor": "a"}}, "last_cursor"),
        (KEY_OF_T, {"query": "SELECT {{ last_curser }}"}, "unknown token"),
        (KEY_OF_T, {"query": "SELECT '{{ last_extract }}'"}, "in quotes"),
        (KEY_OF_T, {"table": "t", "query": "SELECT 1"}, "either table or query"),
        (KEY_OF_T, {"table": "t", "incremental": {"cursor": "at", "deleted": "gone"}}, "needs full_every"),
    ],
)
def test_a_declaration_that_cannot_work_is_refused(
    refresh: dict[str, Any], connection: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(ValidationError, match=reason):
        place_of(tmp_path, {"type": "sqlite", "path": "none"}, refresh, **connection)
