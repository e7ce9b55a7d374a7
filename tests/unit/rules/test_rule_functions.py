"""The allow-list of functions: each is parsed to what the list says, and is rendered without changing what it gives."""

from __future__ import annotations

import duckdb
import pytest
import sqlglot

from dataops_assets.rules.functions import AGGREGATES, FUNCTIONS, NEEDS_WINDOW, SCALARS, STRUCTURE, WINDOW_FUNCTIONS
from dataops_assets.sql import DIALECT


def test_each_function_has_one_kind() -> None:
    assert len(SCALARS) + len(AGGREGATES) + len(WINDOW_FUNCTIONS) == len(FUNCTIONS)
    assert not set(STRUCTURE) & set(FUNCTIONS.values())
    assert not set(SCALARS.values()) & set(NEEDS_WINDOW)


def test_the_engine_has_every_function() -> None:
    syntax = {"cast", "try_cast", "extract", "coalesce", "if", "ifnull"}
    with duckdb.connect() as connection:
        known = {row[0] for row in connection.execute("select function_name from duckdb_functions()").fetchall()}
    window = {"row_number", "rank", "dense_rank", "percent_rank", "cume_dist", "ntile", "lag", "lead", "nth_value"}
    assert set(FUNCTIONS) - known - syntax - window - {"first_value", "last_value"} <= {"nullif"}


@pytest.mark.parametrize("name", sorted(AGGREGATES | WINDOW_FUNCTIONS))
def test_aggregates_are_recognised(name: str) -> None:
    arguments = {"row_number": 0, "rank": 0, "dense_rank": 0, "percent_rank": 0, "cume_dist": 0, "nth_value": 2}
    call = sqlglot.parse_one(f"{name}({', '.join(['x'] * arguments.get(name, 1))})", dialect=DIALECT)
    assert isinstance(call, NEEDS_WINDOW)
    assert type(call) is FUNCTIONS[name]
