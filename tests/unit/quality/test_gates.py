"""What a gate makes of the failures of its contract."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest
from pandera.pandas import Check, Column, DataFrameSchema

from dataops_assets.config.quality import Gate
from dataops_assets.engines.duckdb import DuckDBSession
from dataops_assets.quality.gates import blocked, gate_inputs, gate_table
from dataops_assets.sql import query

# n fails from 10 on, and is worth a warning from 5 on
LIMITS = DataFrameSchema({"n": Column(int, [Check.lt(5, raise_warning=True), Check.lt(10)])})


@pytest.fixture(scope="module")
def session() -> Iterator[DuckDBSession]:
    with duckdb.connect() as connection:
        yield DuckDBSession(connection)


@pytest.mark.parametrize(
    ("value", "gate", "passed", "severity"),
    [
        (4, "fail", True, "fail"),
        (5, "fail", False, "warn"),
        # both checks fail: one that only warns does not soften the other
        (10, "fail", False, "fail"),
        (10, "warn", False, "warn"),
    ],
)
def test_a_gate_warns_only_where_all_that_fails_only_warns(
    session: DuckDBSession, value: int, gate: str, passed: bool, severity: str
) -> None:
    declared = Gate.model_validate({"contract": f"{__name__}:LIMITS", "severity": gate})
    rows = query("SELECT CAST($value AS BIGINT) AS n, 'a' AS s_input_id", value=value)
    of_table = gate_table(session, declared, "hub/sales", rows)
    of_input = gate_inputs(session, declared, "hub/sales", rows, ["a"])["a"]
    for outcome in (of_table, of_input):
        assert (outcome.passed, outcome.severity) == (passed, severity)
        assert (blocked(outcome) is None) == (passed or severity == "warn")
