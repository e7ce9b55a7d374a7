"""Which rows are kept out does not depend on what else was there when their input was compared."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from refresh_scenarios import Scenario

COLUMNS = {"id": "integer", "v": "text", "kind": "text"}
KEYED = {"type": "key", "key": ["id"], "ignore_changes_in": ["kind"]}
FULL = {"type": "full", "key": ["id"], "ignore_changes_in": ["kind"]}
NOT_PRE = [{"name": "not_pre", "expression": "kind <> 'pre'", "severity": "quarantine"}]
INPUTS = {1: [(1, "a", "ins")], 2: [(1, "b", "post"), (1, "a", "pre")]}


@pytest.mark.parametrize("history", [False, True], ids=["latest", "history"])
@pytest.mark.parametrize("refresh", [KEYED, FULL], ids=["key", "full"])
@pytest.mark.parametrize("runs", [[(1,), (2,)], [(2,), (1,)], [(1, 2)], [(1,), (2,), (2,)]], ids=str)
def test_a_row_that_is_kept_out_hides_no_valid_one_of_its_input(
    tmp_path: Path, refresh: dict[str, object], history: bool, runs: list[tuple[int, ...]]
) -> None:
    hub = Scenario(tmp_path, {**refresh, "history": history}, COLUMNS, validations=NOT_PRE)
    for number, rows in INPUTS.items():
        hub.parsed(number, rows)
    for run in runs:
        assert hub.runs(*run) == []
    current = [row[:2] for row in hub.rows("id", "v", *(["s_is_current"] if history else [])) if row[2:] != (False,)]
    assert current == [(1, "b")]


def test_a_row_that_is_kept_out_hides_no_deletion(tmp_path: Path) -> None:
    refresh = {**KEYED, "delete_when": "v = 'gone'"}
    hub = Scenario(tmp_path, refresh, COLUMNS, validations=NOT_PRE)
    assert hub.arrives(1, [(1, "a", "ins"), (2, "a", "ins")]) == []
    assert hub.arrives(2, [(1, "gone", "pre"), (1, "a", "pre")]) == []
    assert hub.rows("id", "v") == [(2, "a")]


def test_a_late_deletion_is_not_validated(tmp_path: Path) -> None:
    refresh = {**KEYED, "delete_when": "v = 'gone'"}
    strict = [{"name": "not_pre", "expression": "kind <> 'pre'", "severity": "fail"}]
    for number, order in enumerate(itertools.permutations((1, 2, 3))):
        hub = Scenario(tmp_path / str(number), refresh, COLUMNS, validations=strict)
        rows = {1: [(1, "a", "ins")], 2: [(1, "gone", "pre")], 3: [(1, "a", "ins")]}
        for day in order:
            assert hub.arrives(day, rows[day]) == []
        assert hub.rows("id", "s_input_id") == [(1, "day-3")], order


def test_a_late_absence_is_not_validated(tmp_path: Path) -> None:
    strict = [{"name": "told", "expression": "v is not null", "severity": "fail"}]
    for number, order in enumerate(itertools.permutations((1, 2, 3))):
        hub = Scenario(tmp_path / str(number), FULL, COLUMNS, validations=strict)
        rows = {1: [(1, "a", "ins"), (2, "a", "ins")], 2: [(2, "a", "ins")], 3: [(1, "a", "ins"), (2, "a", "ins")]}
        for day in order:
            assert hub.arrives(day, rows[day]) == []
        assert hub.rows("id", "s_input_id") == [(1, "day-3"), (2, "day-1")], order


def test_a_row_between_others_that_was_never_asked_does_not_decide_since_when_a_key_is_there(tmp_path: Path) -> None:
    """It says nothing new when it comes; later a deletion is put before it, and a row after it."""
    refresh = {**KEYED, "delete_when": "v = 'gone'"}
    inputs = {1: [(1, "a", "ins")], 2: [(1, "gone", "ins")], 3: [(1, "a", "pre")], 4: [(1, "c", "ins")]}
    found = set()
    for number, order in enumerate(([1, 2, 3, 4], [1, 3, 4, 2])):
        hub = Scenario(tmp_path / str(number), refresh, COLUMNS, validations=NOT_PRE)
        for day in order:
            assert hub.arrives(day, inputs[day]) == []
        found |= set(hub.rows("id", "v", "s_input_id", "s_created_at"))
    assert len(found) == 1, found


def test_a_validation_that_is_declared_later_looks_at_what_decided(tmp_path: Path) -> None:
    hub = Scenario(tmp_path, KEYED, COLUMNS, validations=[{**NOT_PRE[0], "expression": "kind <> 'no'"}])
    for number, rows in INPUTS.items():
        assert hub.arrives(number, rows) == []
    assert hub.rows("id", "v") == [(1, "a")]
    after = Scenario(tmp_path, KEYED, COLUMNS, validations=NOT_PRE)
    assert after.arrives(3, [(2, "x", "ins")]) == []
    assert after.rows("id", "v") == [(1, "b"), (2, "x")]


@pytest.mark.parametrize("refresh", [KEYED, FULL], ids=["key", "full"])
@pytest.mark.parametrize("runs", [[(1,), (2,)], [(2,), (1,)], [(1, 2)]], ids=str)
def test_a_row_that_changes_nothing_stops_its_input_as_well(
    tmp_path: Path, refresh: dict[str, object], runs: list[tuple[int, ...]]
) -> None:
    """A validation of severity `fail` reads a column that is ignored when rows are compared."""
    strict = [{**NOT_PRE[0], "severity": "fail"}]
    hub = Scenario(tmp_path, refresh, COLUMNS, validations=strict)
    for number, rows in {1: [(1, "a", "ins")], 2: [(1, "a", "pre"), (2, "b", "ins")]}.items():
        hub.parsed(number, rows)
    errors = [str(error) for run in runs for error in hub.runs(*run)]
    assert len(errors) == 1
    assert "not_pre does not hold in 1 of " in errors[0]
    assert hub.rows("id", "v", "s_input_id") == [(1, "a", "day-1")]
