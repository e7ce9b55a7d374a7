"""What a table looks like is asked in one query, and of personal columns no value is shown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest
from jinja2 import Environment

MACROS = Path(__file__).resolve().parents[3] / "dbt_project" / "macros"
NUMBERS = ("BIGINT", "DOUBLE", "DECIMAL(9,2)")


@dataclass(frozen=True)
class Column:
    name: str
    dtype: str

    @property
    def quoted(self) -> str:
        return f'"{self.name}"'

    def is_number(self) -> bool:
        return self.dtype in NUMBERS


@pytest.fixture
def macros() -> Any:
    text = (MACROS / "log_profile.sql").read_text()
    return Environment(extensions=["jinja2.ext.do"], autoescape=False).from_string(text).module  # noqa: S701


@pytest.fixture
def connection() -> duckdb.DuckDBPyConnection:
    made = duckdb.connect()
    made.execute(
        "create table people as select * from (values (1, 'Ann', 2.50::decimal(9,2), date '2013-01-01'),"
        " (3, null, null, null), (null, 'Bob', 4.50, date '2014-01-01')) as t(\"Id\", name, pay, born)"
    )
    return made


def profile(
    connection: duckdb.DuckDBPyConnection, macros: Any, personal: list[str]
) -> tuple[str, dict[str, list[Any]]]:
    columns = [Column(*row[:2]) for row in connection.execute("describe people").fetchall()]
    columns[0] = Column("Id", "BIGINT")
    [row] = connection.execute(macros.profile_query("people", columns, personal)).fetchall()
    return row[0], {column.name: list(row[1 + at * 6 : 7 + at * 6]) for at, column in enumerate(columns)}


def test_every_column_is_described(connection: duckdb.DuckDBPyConnection, macros: Any) -> None:
    rows, columns = profile(connection, macros, [])
    assert rows == "3"
    assert columns["Id"] == ["1", "2", "1", "3", "2.0", "1.4142135623730951"]
    assert columns["name"] == ["1", "2", "Ann", "Bob", None, None]
    assert columns["pay"][:5] == ["1", "2", "2.50", "4.50", "3.5"]
    assert columns["born"] == ["1", "2", "2013-01-01", "2014-01-01", None, None]


def test_of_personal_columns_no_value_is_shown(connection: duckdb.DuckDBPyConnection, macros: Any) -> None:
    _, columns = profile(connection, macros, ["id", "name", "pay"])
    for name in ("Id", "name", "pay"):
        assert columns[name] == ["1", "2", None, None, None, None]
    assert columns["born"][2] == "2013-01-01"


def test_an_empty_table_has_a_profile(connection: duckdb.DuckDBPyConnection, macros: Any) -> None:
    connection.execute("delete from people")
    rows, columns = profile(connection, macros, [])
    assert rows == "0"
    assert columns["pay"] == ["0", "0", None, None, None, None]


def test_a_few_rows_are_shown_without_personal_values(connection: duckdb.DuckDBPyConnection, macros: Any) -> None:
    columns = [Column(*row[:2]) for row in connection.execute("describe people").fetchall()]
    found = connection.execute(macros.preview_query("people", columns, ["name"])).fetchall()
    assert found == [("1", "***", "2.50", "2013-01-01"), ("3", None, None, None), (None, "***", "4.50", "2014-01-01")]
    connection.execute("insert into people select 1, repeat('x', 300), 1, date '2013-01-01' from range(20)")
    rows = connection.execute(macros.preview_query("people", columns, [])).fetchall()
    assert len(rows) == 10
    assert max(len(row[1]) for row in rows if row[1]) == 100
