"""What a gate makes of the failures of its contract."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest
from pandera.pandas import Check, Column, DataFrameSchema

from dataops_assets.config.quality import Gate
from dataops_assets.engines.duckdb import DuckDBSession
from dataops_assets.quality.gates import blocked, gate_inputs, gate_table
from dataops_assets.sql import alias, column, query

# n fails from 10 on, and is worth a warning from 5 on
LIMITS = DataFrameSchema({"n": Column(int, [Check.lt(5, raise_warning=True), Check.lt(10)])})

# of the values 0, 1 and 2, the first column fails for three, each after it for one or none less
MANY = DataFrameSchema({f"c{most}": Column(int, Check.lt(most)) for most in (0, 1, 2, -1, -2, -3, -4)})


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


def test_a_gate_tells_of_the_first_failures_and_counts_the_others(session: DuckDBSession) -> None:
    gate = Gate.model_validate({"contract": f"{__name__}:MANY"})
    names = [column(name) for name in MANY.columns]
    rows = query(
        "SELECT $values FROM generate_series(0, 2) AS t(n)", values=[alias(column("n"), name.name) for name in names]
    )
    outcome = gate_table(session, gate, "hub/sales", rows)
    assert outcome.explanation.count("fails for") == 5
    assert outcome.explanation.endswith("; and 2 more")
    assert outcome.numbers == {"contract": gate.contract, "failed checks": 7, "failing rows": 3}
    refused = blocked(outcome)
    assert refused is not None
    assert (refused.attempted, refused.received) == ("publishing the table in hub/sales", outcome.explanation)
    assert "then run the step again; nothing was published" in refused.next_step


def test_a_gate_that_holds_says_so(session: DuckDBSession) -> None:
    gate = Gate.model_validate({"contract": f"{__name__}:MANY"})
    outcome = gate_table(session, gate, "hub/sales", query("SELECT CAST(-3 AS BIGINT) AS c0 WHERE FALSE"))
    # all columns but one are missing
    assert (outcome.numbers["failed checks"], outcome.numbers["failing rows"]) == (6, 0)
    rows = query("SELECT CAST($value AS BIGINT) AS n", value=1)
    held = gate_table(session, Gate.model_validate({"contract": f"{__name__}:LIMITS"}), "hub/sales", rows)
    assert held.explanation == f"contract {__name__}:LIMITS holds"
