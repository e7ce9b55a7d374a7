"""The law of the incremental strategy: after it, the target is the model's rows, and what was equal is untouched."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import Environment

MACROS = Path(__file__).resolve().parents[3] / "dbt_project" / "macros"
COLUMNS = ['"s_input_id"', '"s_row_id"', '"Text"', '"number"', '"day"', '"flag"']
SCHEMA = pa.schema(
    [
        ("s_input_id", "string"),
        ("s_row_id", "int64"),
        ("Text", "string"),
        ("number", "float64"),
        ("day", "date32"),
        ("flag", "bool"),
    ]
)

# few identities and values, so that states overlap, repeat and collide; texts that look like what they are not
rows = st.tuples(
    st.sampled_from(["a", "b", "", None, "a,b"]),
    st.sampled_from([0, 1, 2**63 - 1, -1, None]),
    st.sampled_from(["", None, "x", "NULL", "'; drop table target; --", 'quo"te', "é", "x "]),
    st.sampled_from([0.0, 1.5, None, float("nan"), float("inf"), -1e300]),
    st.sampled_from([dt.date(2013, 1, 1), dt.date(9999, 12, 31), None]),
    st.sampled_from([True, False, None]),
)
states = st.lists(rows, max_size=8)
Row = tuple[Any, ...]


@pytest.fixture(scope="module")
def macros() -> Any:
    text = (MACROS / "hub_sync.sql").read_text()
    return Environment(extensions=["jinja2.ext.do"], autoescape=False).from_string(text).module  # noqa: S701


def sync(connection: duckdb.DuckDBPyConnection, macros: Any, key: Sequence[str]) -> int:
    """What the strategy does with the rows of `fresh_rows`; gives the number of identities that differ."""
    changes = macros.changed_identities("target", "fresh_rows", key, COLUMNS)
    connection.execute("create or replace temp table changed as " + changes)
    [(count,)] = connection.execute("select count(*) from changed").fetchall()
    connection.execute("begin")
    connection.execute(
        macros.default__replace_identities("changed" if count else None, "target", "fresh_rows", key, COLUMNS)
    )
    connection.execute("commit")
    return int(count)


def load(connection: duckdb.DuckDBPyConnection, table: str, state: Sequence[Row]) -> None:
    rows = pa.table([pa.array(values, kind) for values, kind in zip(_turned(state), SCHEMA.types, strict=True)], SCHEMA)
    connection.register("arrived", rows)
    connection.execute(f"create or replace table {table} as from arrived")


def _turned(state: Sequence[Row]) -> list[list[Any]]:
    return [[row[at] for row in state] for at in range(len(SCHEMA))]


def difference(connection: duckdb.DuckDBPyConnection) -> list[Row]:
    """Rows, counted, that one table has and the other has not."""
    return connection.execute(
        "(from target except all from fresh_rows) union all (from fresh_rows except all from target)"
    ).fetchall()


@pytest.fixture(scope="module")
def database() -> Callable[[], duckdb.DuckDBPyConnection]:
    connection = duckdb.connect()
    return connection.cursor


@settings(max_examples=50, deadline=None)
@given(history=st.lists(states, min_size=1, max_size=5), key=st.sampled_from([["s_input_id", "s_row_id"], ["flag"]]))
def test_after_every_state_the_target_is_a_full_refresh(
    macros: Any, database: Callable[[], duckdb.DuckDBPyConnection], history: list[list[Row]], key: list[str]
) -> None:
    connection = database()
    load(connection, "target", [])
    for state in history:
        load(connection, "fresh_rows", state)
        sync(connection, macros, key)
        assert difference(connection) == []
        assert sync(connection, macros, key) == 0


@settings(max_examples=40, deadline=None)
@given(before=states, after=states)
def test_equal_identities_are_not_written(
    macros: Any, database: Callable[[], duckdb.DuckDBPyConnection], before: list[Row], after: list[Row]
) -> None:
    connection = database()
    load(connection, "target", before)
    load(connection, "fresh_rows", after)
    written = "select rowid, * from target order by rowid"
    places = connection.execute(written).fetchall()
    sync(connection, macros, ["s_input_id", "s_row_id"])
    kept = {repr(row) for row in connection.execute(written).fetchall()}

    def of(state: Sequence[Row], identity: Row) -> list[str]:
        return sorted(repr(row[2:]) for row in state if row[:2] == identity)

    for place in places:
        identity = place[1:3]
        if of(before, identity) == of(after, identity):
            assert repr(place) in kept


@settings(max_examples=40, deadline=None)
@given(before=states, after=states)
def test_each_identity_that_differs_is_counted_once(
    macros: Any, database: Callable[[], duckdb.DuckDBPyConnection], before: list[Row], after: list[Row]
) -> None:
    connection = database()
    load(connection, "target", before)
    load(connection, "fresh_rows", after)

    def of(state: Sequence[Row], identity: Row) -> list[str]:
        return sorted(repr(row[2:]) for row in state if row[:2] == identity)

    differing = {row[:2] for row in [*before, *after] if of(before, row[:2]) != of(after, row[:2])}
    assert sync(connection, macros, ["s_input_id", "s_row_id"]) == len(differing)


def test_nothing_is_half_done_when_the_insert_fails(macros: Any) -> None:
    connection = duckdb.connect()
    load(connection, "target", [("a", 1, "x", 1.0, None, True)])
    load(connection, "fresh_rows", [("a", 1, "y", 1.0, None, True)])
    connection.execute("create or replace temp table changed as select 'a' as s_input_id, 1 as s_row_id")
    statements = macros.default__replace_identities(
        "changed", "target", "fresh_rows", ["s_input_id", "s_row_id"], COLUMNS
    )
    connection.execute("begin")
    with pytest.raises(duckdb.Error):
        connection.execute(statements + "; select error('interrupted')")
    connection.execute("rollback")
    assert connection.execute('select "Text" from target').fetchall() == [("x",)]
