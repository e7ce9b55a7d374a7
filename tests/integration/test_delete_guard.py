"""An extract that implies many deletes waits for a person; everything else goes on without it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from refresh_scenarios import Scenario

FULL = {"type": "full", "key": ["k"]}
COLUMNS = {"k": "integer", "v": "text"}
ALL = [(k, "a") for k in range(200)]


@pytest.fixture
def things(tmp_path: Path) -> Callable[..., Scenario]:
    return lambda settings=FULL, **more: Scenario(tmp_path, settings, COLUMNS, **more)


def test_a_truncated_extract_is_held_and_says_how_many_and_which(things: Callable[..., Scenario]) -> None:
    hub = things()
    hub.arrives(1, ALL)
    (error,) = hub.arrives(2, ALL[:120])
    assert "80 of 200 rows (40.0%) go because they are missing, e.g. s_key '120', '121', '122'" in error
    assert "approve_deletes: true" in error
    assert len(hub.rows("k")) == 200


def test_an_empty_extract_is_held(things: Callable[..., Scenario]) -> None:
    hub = things()
    hub.arrives(1, ALL)
    (error,) = hub.arrives(2, [])
    assert "200 of 200 rows (100.0%)" in error
    assert len(hub.rows("k")) == 200


def test_a_held_input_stays_held_in_refresh_and_goes_on_once_approved(things: Callable[..., Scenario]) -> None:
    hub = things()
    hub.arrives(1, ALL)
    hub.arrives(2, ALL[:120])
    assert hub.refreshes(2), "refresh alone does not let it through"
    assert len(hub.rows("k")) == 200
    hub.workspace.metadata.approve("things", [hub.input(2).input_id], "run")
    assert hub.runs(2) == []
    assert len(hub.rows("k")) == 120
    assert hub.runs(2) == [], "again changes nothing"
    assert len(hub.rows("k")) == 120


def test_inputs_after_a_held_one_are_taken_without_it(things: Callable[..., Scenario]) -> None:
    hub = things()
    hub.arrives(1, ALL)
    hub.parsed(2, ALL[:100])
    hub.parsed(3, [(k, "b") for k in range(199)])
    (error,) = hub.runs(2, 3)
    assert "day-2" in error
    assert hub.rows("k", "v") == sorted([(k, "b") for k in range(199)], key=repr)


def test_a_history_in_one_run_is_judged_extract_by_extract(things: Callable[..., Scenario]) -> None:
    hub = things()
    for number, rows in ((1, ALL), (2, ALL[:190]), (3, ALL[:60])):
        hub.parsed(number, rows)
    (error,) = hub.runs(1, 2, 3)
    assert "130 of 190 rows" in error
    assert len(hub.rows("k")) == 190


@pytest.mark.parametrize(
    ("left", "is_held"), [(150, True), (151, False), (160, False), (199, False)], ids=lambda value: str(value)
)
def test_fewer_than_50_rows_are_never_held(things: Callable[..., Scenario], left: int, is_held: bool) -> None:
    hub = things()
    hub.arrives(1, ALL)
    assert bool(hub.arrives(2, ALL[:left])) == is_held


def test_the_limit_is_declared(things: Callable[..., Scenario]) -> None:
    hub = things(gates={"deletes": {"max_share": 0.5, "min_rows": 1}})
    hub.arrives(1, ALL)
    assert hub.arrives(2, ALL[:100]) == []
    (error,) = hub.arrives(3, ALL[:49])
    assert "51 of 100 rows" in error


def test_deletes_within_a_range_are_held_too(things: Callable[..., Scenario]) -> None:
    hub = things({"type": "sequence", "range_by": "k"})
    hub.arrives(1, ALL)
    (error,) = hub.arrives(2, [(0, "a"), (199, "a")])
    assert "198 of 200 rows" in error
    assert hub.arrives(3, [(200, "a"), (300, "a")]) == [], "beyond the range of the others nothing is missing"


def test_a_rebuild_takes_what_was_in_the_hub(things: Callable[..., Scenario]) -> None:
    hub = things()
    hub.arrives(1, ALL)
    hub.workspace.metadata.register_inputs("things", [hub.input(2)])
    hub.workspace.metadata.approve("things", [hub.input(2).input_id], "run")
    hub.arrives(2, ALL[:100])
    before: list[Any] = hub.rows("k", "v", "s_input_id")
    hub.rebuilds()
    assert hub.rows("k", "v", "s_input_id") == before
