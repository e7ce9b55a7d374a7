"""Validations that look beyond one row: columns that must be unique in an input."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from declared import unchecked_source
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from refresh_scenarios import Scenario

from dataops_assets.config.rules import Validation
from dataops_assets.sql import query
from dataops_assets.steps.recalculate import recalculate
from dataops_assets.steps.upkeep.quarantine import kept_out

COLUMNS = {"k": "integer", "mail": "text", "v": "integer"}
KEY = {"type": "key", "key": ["k"]}


def unique(*columns: str, severity: str = "quarantine", name: str = "alone") -> dict[str, Any]:
    return {"name": name, "unique": list(columns), "severity": severity}


def test_all_rows_fail_that_share_a_value_within_their_input(tmp_path: Path) -> None:
    hub = Scenario(tmp_path, KEY, COLUMNS, validations=[unique("mail")])
    assert hub.arrives(1, [(1, "a", 1), (2, "a", 1), (3, "A", 1), (4, None, 1), (5, None, 1)]) == []
    assert hub.rows("k") == [(3,), (4,), (5,)]
    # another input may have it again
    assert hub.arrives(2, [(6, "A", 1), (7, "a", 1)]) == []
    assert hub.rows("k") == [(3,), (4,), (5,), (6,), (7,)]
    found = kept_out(hub.context)
    assert [(row.row_id, row.rule, row.column, row.value) for row in found.rows] == [
        (0, "alone", "mail", "a"),
        (1, "alone", "mail", "a"),
    ]
    assert found.totals == {"alone": 2}


def test_a_key_that_comes_twice_keeps_the_version_before(tmp_path: Path) -> None:
    hub = Scenario(tmp_path, KEY, COLUMNS, validations=[unique("k")])
    hub.arrives(1, [(1, "a", 1)])
    hub.arrives(2, [(1, "b", 2), (1, "c", 3), (2, "d", 1)])
    assert hub.rows("k", "mail") == [(1, "a"), (2, "d")]


@pytest.mark.parametrize("together", [False, True])
def test_a_row_that_is_kept_out_hides_no_equal_one_that_comes_later(tmp_path: Path, together: bool) -> None:
    hub = Scenario(tmp_path, KEY, COLUMNS, validations=[unique("mail")])
    hub.parsed(1, [(1, "a", 1), (2, "a", 1)])
    hub.parsed(2, [(1, "a", 1), (2, "b", 1)])
    for run in ((1, 2),) if together else ((1,), (2,)):
        assert hub.runs(*run) == []
    assert hub.rows("k", "mail", "s_input_id") == [(1, "a", "day-2"), (2, "b", "day-2")]


def test_a_row_that_is_kept_out_hides_no_equal_one_of_a_later_order(tmp_path: Path) -> None:
    ordered = {"type": "key", "key": ["k"], "order_by": "v", "ignore_changes_in": ["mail", "v"]}
    hub = Scenario(tmp_path, ordered, COLUMNS, validations=[unique("mail")])
    assert hub.arrives(1, [(1, "a", 1), (2, "a", 1), (1, "b", 2)]) == []
    assert hub.rows("k", "mail") == [(1, "b")]


def test_severities_roll_into_the_status(tmp_path: Path) -> None:
    hub = Scenario(tmp_path, KEY, COLUMNS, validations=[unique("mail", "v", severity="warn")])
    hub.arrives(1, [(1, "a", 1), (2, "a", 1), (3, "a", 2), (4, "a", None), (5, "a", None)])
    assert hub.rows("k", "s_status") == [(1, "warn"), (2, "warn"), (3, "pass"), (4, "pass"), (5, "pass")]


def test_a_strict_one_stops_the_input_with_examples(tmp_path: Path) -> None:
    hub = Scenario(tmp_path, KEY, COLUMNS, validations=[unique("mail", severity="fail")])
    (error,) = hub.arrives(1, [(1, "a", 1), (2, "b", 1), (3, "a", 1)])
    assert "alone does not hold in 2 of 3 rows, e.g. row 0 (mail=a); row 2 (mail=a)" in error
    assert hub.arrives(2, [(1, "a", 1)]) == []
    assert hub.rows("k") == [(1,)]


def test_a_row_that_changes_nothing_counts_as_well(tmp_path: Path) -> None:
    full = {"type": "full", "key": ["k"]}
    hub = Scenario(tmp_path, full, COLUMNS, validations=[unique("mail")])
    hub.arrives(1, [(1, "a", 1)])
    hub.arrives(2, [(1, "a", 1), (2, "a", 1)])
    assert hub.rows("k") == [(1,)], "the first stands as it did, the second is kept out"


def test_a_delete_marker_is_compared_with_nothing(tmp_path: Path) -> None:
    hub = Scenario(tmp_path, {**KEY, "delete_when": "v < 0"}, COLUMNS, validations=[unique("mail")])
    hub.arrives(1, [(1, "a", 1)])
    hub.arrives(2, [(1, "a", -1), (2, "a", 1)])
    assert hub.rows("k", "mail") == [(2, "a")]


def test_a_keep_current_rule_counts_over_the_whole_hub(tmp_path: Path) -> None:
    count = {"name": "same", "expression": "count(*) over (partition by mail)", "mode": "keep_current"}
    hub = Scenario(tmp_path, KEY, COLUMNS, rules=[count])
    hub.arrives(1, [(1, "a", 1), (2, "b", 1)])
    hub.arrives(2, [(3, "a", 1)])
    recalculate(hub.context)
    current = hub.context.current.snapshot()
    assert current is not None
    with hub.context.engine.session() as session:
        found = session.fetch(query("SELECT h.k, h.same FROM $hub AS h ORDER BY h.k", hub=session.scan(current)))
    assert found.to_pylist() == [{"k": 1, "same": 2}, {"k": 2, "same": 1}, {"k": 3, "same": 2}]


ROWS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["a", "b", None]), st.integers(0, 1)), min_size=1, max_size=5
)


@settings(max_examples=4)
@given(inputs=st.lists(ROWS, min_size=2, max_size=3))
def test_what_fails_depends_on_the_input_alone(
    inputs: list[list[tuple[Any, ...]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Every order of arrival gives the hub of the rows that are alone in their input."""
    alone = []
    for rows in inputs:
        counts = Counter(row[1] for row in rows)
        alone.append([row if row[1] is None or counts[row[1]] == 1 else None for row in rows])
    expected: dict[int, tuple[Any, ...]] = {}
    for number, rows in enumerate(alone):
        expected |= {row[0]: (*row[:2], f"day-{number}") for row in rows if row is not None}
    orders = [range(len(inputs)), range(len(inputs) - 1, -1, -1)]
    for order in orders:
        hub = Scenario(tmp_path_factory.mktemp("hub"), KEY, COLUMNS, validations=[unique("mail")])
        for number in order:
            assert hub.arrives(number, inputs[number]) == []
        found = {row[0]: row for row in hub.rows("k", "mail", "s_input_id")} if hub.context.hub.snapshot() else {}
        assert {key: row[1] for key, row in found.items()} == {key: row[1] for key, row in expected.items()}


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        ({"name": "v"}, "either an expression or columns that are unique"),
        ({"name": "v", "expression": "k > 0", "unique": ["k"]}, "either an expression or columns that are unique"),
        ({"name": "v", "unique": []}, "either an expression or columns that are unique"),
    ],
)
def test_a_validation_is_one_of_two(declared: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Validation.model_validate(declared)


def test_an_unknown_column_is_told_with_the_nearest() -> None:
    with pytest.raises(ValidationError, match="names 'mial', did you mean 'mail'"):
        unchecked_source("things", COLUMNS, validations=[unique("mial")])
