"""A whole table or query of a real database becomes one exact input, and the same content is no new one."""

from __future__ import annotations

import datetime as dt
import sqlite3
from pathlib import Path
from typing import Any

import duckdb
import pytest
from database_place import DatabasePlace, place_of

from dataops_assets.errors import ConfigError, StorageError

FULL = {"type": "full", "key": ["id"]}
NO_TIME = dt.timedelta(0)


class Files:
    """An SQLite or DuckDB file with the same ways as a server."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.path = str(folder / f"shop.{kind}")
        self.declared = {"type": kind, "path": self.path}

    def run(self, *statements: str) -> list[tuple[Any, ...]]:
        connection: Any = (
            duckdb.connect(self.path) if self.kind == "duckdb" else sqlite3.connect(self.path, isolation_level=None)
        )
        try:
            for statement in statements:
                found = connection.execute(statement)
            return list(found.fetchall())
        finally:
            connection.close()


@pytest.fixture(
    params=[
        *("postgres", "mysql", "sqlite", "duckdb"),
        *("postgres_by_sqlalchemy", "mysql_by_sqlalchemy", "sqlite_by_sqlalchemy"),
    ]
)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    kind, _, other_way = request.param.partition("_by_")
    if kind not in ("sqlite", "duckdb"):
        return request.getfixturevalue(request.param)
    files = Files(kind, tmp_path)
    if other_way:
        files.declared = {"type": other_way, "dialect": kind, "database": files.path}
    return files


def test_a_table_is_one_input_and_again_when_it_changes(server: Any, tmp_path: Path) -> None:
    server.run("CREATE TABLE orders (id integer, note varchar(50))")
    server.run("INSERT INTO orders VALUES (1, 'a,\"b\"'), (2, ''), (3, NULL), (4, 'é\n€ '), (5, 'null')")
    place = place_of(tmp_path / "home", server.declared, FULL, table="orders")
    (first,) = place.look()
    assert [(int(key), note) for key, note in place.rows(first)] == [
        (1, 'a,"b"'),
        (2, ""),
        (3, None),
        (4, "é\n€ "),
        (5, "null"),
    ]
    assert not place.look(), "the same content"
    server.run("UPDATE orders SET note = 'new' WHERE id = 5")
    (second,) = place.look()
    assert (5, "new") in [(int(key), note) for key, note in place.rows(second)]
    assert second.extract_time > first.extract_time
    server.run("DELETE FROM orders")
    (third,) = place.look()
    assert place.rows(third) == []
    assert place.table(third).column_names == ["id", "note"]


def test_a_query_has_the_time_of_the_last_look_as_a_bound_value(server: Any, tmp_path: Path) -> None:
    server.run("CREATE TABLE orders (id integer, note varchar(50))", "INSERT INTO orders VALUES (1, '50%'), (2, 'x')")
    query = "SELECT id, note FROM orders WHERE note LIKE '%!%' ESCAPE '!' AND ({{ last_extract }} IS NULL OR 1 = 1) -- "
    place = place_of(tmp_path / "home", server.declared, FULL, query=query)
    (first,) = place.look()
    assert [(int(key), note) for key, note in place.rows(first)] == [(1, "50%")]
    server.run("INSERT INTO orders VALUES (3, '1%')")
    assert len(place.look()) == 1


def test_a_look_waits_for_its_time_and_not_when_the_clock_was_set_back(server: Any, tmp_path: Path) -> None:
    server.run("CREATE TABLE orders (id integer, note varchar(50))", "INSERT INTO orders VALUES (1, 'a')")
    place = place_of(tmp_path / "home", server.declared, FULL, table="orders", every="15 minutes")
    (first,) = place.look()
    server.run("INSERT INTO orders VALUES (2, 'b')")
    assert not place.look(dt.timedelta(minutes=14))
    (second,) = place.look(dt.timedelta(minutes=1))
    server.run("INSERT INTO orders VALUES (3, 'c')")
    (third,) = place.look(dt.timedelta(days=-400))
    assert first < second < third, "the order of the looks, whatever the clock says"
    assert len({item.input_id for item in (first, second, third)}) == 3


def test_errors_say_what_is_wrong_and_show_no_secret(server: Any, tmp_path: Path) -> None:
    server.run("CREATE TABLE orders (id integer, note varchar(50))")
    with pytest.raises(ConfigError, match="ordes") as missing:
        place_of(tmp_path / "a", server.declared, FULL, table="ordes").look()
    assert "orders" in str(missing.value)
    with pytest.raises(ConfigError, match="nothere"):
        place_of(tmp_path / "b", server.declared, FULL, query="SELECT nothere FROM orders").look()
    with pytest.raises((ConfigError, StorageError)) as wrong:
        place_of(tmp_path / "c", {**server.declared, **elsewhere(server)}, FULL, table="orders").look()
    assert "next: " in str(wrong.value)
    assert getattr(server, "password", "no secret") not in str(wrong.value)


def elsewhere(server: Any) -> dict[str, Any]:
    field = "database" if server.declared["type"] == "sqlalchemy" else "path"
    return {field: "/nowhere/file"} if isinstance(server, Files) else {"port": 1}


def test_columns_of_one_name_are_refused(server: Any, tmp_path: Path) -> None:
    server.run("CREATE TABLE orders (id integer)")
    place: DatabasePlace = place_of(tmp_path / "home", server.declared, FULL, query="SELECT 1 AS id, 2 AS id")
    with pytest.raises(Exception, match=r"(?i)two columns named 'id'|duplicate|ambiguous"):
        place.look()
