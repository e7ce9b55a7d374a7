"""Databases that SQLAlchemy reads: the same rows as by the platform's own readers, at one moment, and nothing missed.

PostgreSQL, MariaDB and SQLite are real. SQL Server and Oracle are in `test_sql_server_and_oracle.py`.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import dataops
from database_place import DatabasePlace, Server, by_sqlalchemy, place_of
from hypothesis import given, settings
from hypothesis import strategies as st
from test_exact_types import KINDS, SETTINGS, every_value, same, with_every_type

from dataops_assets.config.databases import SqlAlchemyDatabase
from dataops_assets.connections.databases import sqlalchemy_database
from dataops_assets.connections.databases.opening import database_of, written
from dataops_assets.connections.databases.reading import Field, Statement
from dataops_assets.errors import ConfigError, InputError, StorageError
from dataops_assets.operations import project

APPEND = {"type": "append"}
FULL = {"type": "full"}
SQL_SERVER = {"type": "sqlalchemy", "dialect": "mssql+pymssql", "host": "127.0.0.1", "port": 1, "database": "shop"}
ORACLE = {
    **SQL_SERVER,
    "dialect": "oracle+oracledb",
    "database": "",
    "options": {"service_name": "shop"},
}


@pytest.fixture(params=["postgres", "mysql"])
def server(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


# --- the same rows ---------------------------------------------------------------------------------------------------


def in_text(value: Any) -> Any:
    """A value as its text, so that a number and its text are the same."""
    return value if value is None or isinstance(value, bytes | str) else str(value)


# each type has a text there, also one that SQLAlchemy does not know
@pytest.mark.filterwarnings("ignore:Did not recognize type")
def test_every_type_of_postgresql_is_as_by_its_own_reader(
    postgres: Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with_every_type(postgres, "n integer")
    home = tmp_path_factory.mktemp("types")
    native = place_of(home / "native", postgres.declared, FULL, table="public.t")
    place = place_of(home / "place", by_sqlalchemy(postgres).declared, FULL, table="public.t")
    asked = place_of(home / "asked", by_sqlalchemy(postgres).declared, FULL, query="SELECT * FROM public.t")
    insert = f"INSERT INTO t VALUES (%s, {', '.join(f'%s::{kind}' for kind in KINDS)})"
    connection = postgres.connect()
    row = st.tuples(*(st.one_of(st.none(), values) for values in KINDS.values()))

    @settings(max_examples=2)
    @given(st.lists(row, min_size=1, max_size=20))
    def law(rows: list[tuple[str | None, ...]]) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE t; {SETTINGS}")
            cursor.executemany(insert, [(number, *one) for number, one in enumerate(rows)])
        expected = last_rows(native)
        for found in (last_rows(place), [(int(one[0]), *one[1:]) for one in last_rows(asked)]):
            assert len(found) == len(expected)
            for one, other in zip(sorted(found, key=first), expected, strict=True):
                pairs = zip(("n", *KINDS), one, other, strict=True)
                assert not [pair for pair in pairs if not is_same(*pair)]

    law()
    connection.close()


def last_rows(place: DatabasePlace) -> list[tuple[Any, ...]]:
    place.look()
    return place.rows(place.inputs[-1])


def first(row: tuple[Any, ...]) -> Any:
    return row[0]


def is_same(kind: str, value: Any, other: Any) -> bool:
    if value is None or other is None:
        return value is other
    if kind in ("real", "double precision"):
        return same(float(value), float(other))
    if isinstance(other, bytes):
        # in a query, bytes are the text that the server prints
        return value == (other if isinstance(value, bytes) else f"\\x{other.hex()}")
    if isinstance(other, bool) and isinstance(value, str):
        return value == str(other).lower()[:1]
    return in_text(value) == in_text(other)


def test_every_type_of_mariadb_is_as_by_its_own_reader(mysql: Server, tmp_path: Path) -> None:
    every_value(mysql)
    places = [place_of(tmp_path / item.declared["type"], item.declared, FULL, table="t") for item in ways(mysql)]
    native, found = (last_rows(place) for place in places)
    assert Counter(tuple(map(in_text, row)) for row in found) == Counter(tuple(map(in_text, row)) for row in native)


def ways(server: Server) -> tuple[Server, Server]:
    return server, by_sqlalchemy(server)


def test_values_of_a_query_are_printed_and_what_has_no_exact_text_is_refused(tmp_path: Path, mysql: Server) -> None:
    there = by_sqlalchemy(mysql).declared
    text = (
        "SELECT 1 AS a, 0.10 AS b, 1e300 AS c, DATE '2024-01-02' AS d, TIMESTAMP '2024-01-02 03:04:05.5' AS e, "
        "'50%:x' AS f, NULL AS g WHERE '::' <> ':a' ORDER BY 1"
    )
    rows = last_rows(place_of(tmp_path / "query", there, FULL, query=text))
    assert rows == [("1", "0.10", "1e+300", "2024-01-02", "2024-01-02 03:04:05.500000", "50%:x", None)]
    with pytest.raises(InputError, match=r"column 'a'.*bytes.*convert the column to text"):
        place_of(tmp_path / "bytes", there, FULL, query="SELECT x'00ff' AS a").look()
    mysql.run("CREATE TABLE shapes (id integer, shape point)", "INSERT INTO shapes VALUES (1, point(1, 2))")
    with (
        pytest.warns(Warning, match="Did not recognize type"),
        pytest.raises(InputError, match=r"column 'shape'.*no exact form"),
    ):
        place_of(tmp_path / "shape", there, FULL, table="shapes").look()


@settings(max_examples=50)
@given(st.decimals(allow_nan=False, allow_infinity=False), st.datetimes(timezones=st.timezones()), st.floats())
def test_texts_of_values_are_read_as_these_values_again(number: Decimal, moment: dt.datetime, double: float) -> None:
    from dataops_assets.connections.databases.sqlalchemy_columns import converted

    fields = [Field(name, "text") for name in "abcd"]
    ((a, b, c, d),) = converted([(number, moment.date(), double, moment.time())], fields, "reading")
    assert (Decimal(a), dt.date.fromisoformat(b), dt.time.fromisoformat(d)) == (number, moment.date(), moment.time())
    assert same(float(c), double)
    ((found,),) = converted([(moment,)], fields[:1], "reading")
    if 1 < moment.year < 9999:
        assert (dt.datetime.fromisoformat(found), found.endswith("+00:00")) == (moment.astimezone(dt.UTC), True)


def test_values_of_sqlite_are_as_by_its_own_reader(tmp_path: Path) -> None:
    path = str(tmp_path / "a.sqlite")
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (a INTEGER, b BLOB, c)")
        given = [(1, b"\x00\xff", 0.1), ("x", None, 2**63 - 1), (1e300, b"", "é"), (None, b"1", -0.0)]
        connection.executemany("INSERT INTO t VALUES (?, ?, ?)", given)
    native = place_of(tmp_path / "native", {"type": "sqlite", "path": path}, FULL, table="t")
    declared = {"type": "sqlalchemy", "dialect": "sqlite", "database": path}
    place = place_of(tmp_path / "place", declared, FULL, table="t")
    assert Counter(last_rows(place)) == Counter(last_rows(native))


# --- one moment, and nothing missed ----------------------------------------------------------------------------------


def test_all_statements_of_a_look_see_one_moment(server: Server) -> None:
    server.run("CREATE TABLE t (id integer)", "INSERT INTO t VALUES (1)", "CREATE SEQUENCE numbers")
    declared = SqlAlchemyDatabase.model_validate(by_sqlalchemy(server).declared)
    with database_of(declared).snapshot() as opened:
        assert numbers(opened.read) == [1]
        server.run("INSERT INTO t VALUES (2)")
        assert numbers(opened.read) == [1]
        writes = "INSERT INTO t VALUES (3) RETURNING id" if server.kind == "mysql" else "SELECT nextval('numbers')"
        with pytest.raises((ConfigError, StorageError), match=r"(?i)read.only"):
            opened.read(Statement(writes), "", lambda _: lambda _: None)
    committed = SqlAlchemyDatabase.model_validate({**by_sqlalchemy(server).declared, "isolation": "READ COMMITTED"})
    with database_of(committed).snapshot() as opened:
        assert numbers(opened.read) == [1, 2]
        server.run("INSERT INTO t VALUES (3)")
        assert numbers(opened.read) == [1, 2, 3]
    wrong = SqlAlchemyDatabase.model_validate({**by_sqlalchemy(server).declared, "isolation": "SNAPSHOOT"})
    with pytest.raises(ConfigError, match=r"SNAPSHOOT.*isolation"), database_of(wrong).snapshot():
        pass


def numbers(read: Callable[..., None]) -> list[int]:
    found: list[int] = []
    read(Statement("SELECT id FROM t"), "t", lambda _: lambda rows: found.extend(rows.column(0).to_pylist()))
    return found


def test_a_row_that_is_committed_late_is_taken_once(server: Server, tmp_path: Path) -> None:
    """Whatever the order: each of three clients writes with the time at which it began, and commits later."""
    server.run("CREATE TABLE t (id integer, at timestamp(6) NULL)")
    incremental = {"cursor": "at", "overlap": "1 hour"}
    place = place_of(tmp_path, by_sqlalchemy(server).declared, APPEND, table="t", incremental=incremental)
    clients = [server.connect() for _ in range(3)]
    for number, client in enumerate(clients):
        with client.cursor() as cursor:
            cursor.execute("BEGIN")
            # the last one writes first
            cursor.execute(f"INSERT INTO t VALUES ({number}, '2024-06-01 10:{30 - number * 10}:00.000001')")
    for number, client in enumerate(clients):
        with client.cursor() as cursor:
            cursor.execute("COMMIT")
        client.close()
        place.look()
        assert sorted(row[0] for item in place.inputs for row in place.rows(item)) == [*range(number + 1)]
    assert not place.look()


class Killed(BaseException):
    """The process ended here."""


def test_a_look_that_is_killed_in_the_middle_leaves_nothing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.run("CREATE TABLE t (id integer)", f"INSERT INTO t VALUES {', '.join(f'({n})' for n in range(40))}")
    place = place_of(tmp_path, by_sqlalchemy(server).declared, APPEND, table="t")
    monkeypatch.setattr(sqlalchemy_database, "_ROWS", 10)
    made, portions = sqlalchemy_database.table_of, 0

    def killed(*given: Any) -> Any:
        nonlocal portions
        portions += 1
        if portions == 3:
            raise Killed
        return made(*given)

    with monkeypatch.context() as patched:
        patched.setattr(sqlalchemy_database, "table_of", killed)
        with pytest.raises(Killed):
            place.look()
    assert place.metadata.inputs("orders") == []
    assert not list(place.environment.home.rglob("*.parquet"))
    (item,) = place.look()
    assert [row[0] for row in place.rows(item)] == [*range(40)]
    assert not place.look()


def test_rows_are_sorted_or_come_as_they_come(postgres: Server, tmp_path: Path) -> None:
    postgres.run("CREATE TABLE t (id integer, note text)", "INSERT INTO t VALUES (2, 'a'), (1, 'b'), (1, 'a')")
    declared = by_sqlalchemy(postgres).declared
    assert last_rows(place_of(tmp_path / "a", declared, FULL, table="t")) == [(1, "a"), (1, "b"), (2, "a")]
    unsorted = {**declared, "is_sorted": False}
    assert last_rows(place_of(tmp_path / "b", unsorted, FULL, table="t")) == [(2, "a"), (1, "b"), (1, "a")]


def test_few_rows_are_in_memory_at_a_time(postgres: Server, tmp_path: Path) -> None:
    """The server keeps the rows: a cursor of it gives them in portions."""
    postgres.run("CREATE TABLE t (id integer)")
    declared = SqlAlchemyDatabase.model_validate(by_sqlalchemy(postgres).declared)
    with database_of(declared).snapshot() as opened:
        sizes: list[int] = []
        text = "SELECT n AS id FROM generate_series(1, 12000) AS s(n)"
        opened.read(Statement(text), "", lambda _: lambda rows: sizes.append(len(rows)))
        assert sizes == [5000, 5000, 2000]


# --- drivers, errors, commands ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "module", "extra"), [(SQL_SERVER, "pymssql", "mssql"), (ORACLE, "oracledb", "oracle")]
)
def test_a_driver_that_is_missing_is_told_with_its_extra(
    declared: dict[str, Any], module: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=rf"no package {module}.*install the extra '{extra}'"):
        place_of(tmp_path, declared, FULL, table="t").look()


def test_a_dialect_and_an_option_that_are_not_known_are_told(tmp_path: Path, postgres: Server) -> None:
    unknown = {"type": "sqlalchemy", "dialect": "nosuch+thing", "host": "h"}
    with pytest.raises(ConfigError, match=r"nosuch.*install the package"):
        place_of(tmp_path / "a", unknown, FULL, table="t").look()
    option = {**by_sqlalchemy(postgres).declared, "options": {"no_such": "1"}}
    with pytest.raises(ConfigError, match="no_such"):
        place_of(tmp_path / "b", option, FULL, table="t").look()
    with pytest.raises(ConfigError, match=r"only read.*deliver"):
        written(SqlAlchemyDatabase.model_validate(unknown))


@pytest.mark.parametrize("declared", [SQL_SERVER, ORACLE])
def test_the_real_drivers_say_that_no_server_answers(
    declared: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_DB_PASSWORD", "planted secret")
    place = place_of(tmp_path, {**declared, "user": "u", "password": {"env": "SHOP_DB_PASSWORD"}}, FULL, table="t")
    with pytest.raises(StorageError, match=r"connecting to .*shop.*check that the server runs") as raised:
        place.look()
    assert "planted secret" not in str(raised.value)


def test_commands_work_with_it(mysql: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mysql.run("CREATE TABLE orders (id integer primary key, amount decimal(9,2), placed datetime)")
    mysql.run("INSERT INTO orders VALUES (1, 0.10, '2024-01-01 10:00:00'), (2, 5, NULL)")
    monkeypatch.setenv("DATAOPS_ENV", "test")
    monkeypatch.setenv("DATAOPS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(project, "PROJECT", tmp_path)
    monkeypatch.setattr(project, "DEFS", tmp_path / "defs")
    (tmp_path / "defs" / "databases").mkdir(parents=True)
    connections = {"connections": {"shop": by_sqlalchemy(mysql).declared}}
    declaration = {"type": "dataops_assets.components.ConnectionsComponent", "attributes": connections}
    (tmp_path / "defs" / "databases" / "defs.yaml").write_text(yaml.safe_dump(declaration))
    ended = dataops([], "connections", "test", "--json")
    assert ended.code == 0, ended.out + ended.err
    (shop,) = ended.data
    assert (shop["tables"], shop["server"].startswith("mysql 1")) == (["orders"], True)
    assert mysql.password not in ended.out + ended.err
    ended = dataops([], "init", "orders", "--database", "shop", "--table", "orders")
    assert ended.code == 0, ended.out + ended.err
    (drafted,) = (path for path in (tmp_path / "defs").rglob("defs.yaml") if path.parent.name == "orders")
    columns = yaml.safe_load(drafted.read_text())["attributes"]["columns"]
    assert [column["name"] for column in columns] == ["id", "amount", "placed"]
