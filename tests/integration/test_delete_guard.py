"""An extract that implies many deletes waits for a person; everything else goes on without it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from refresh_scenarios import Scenario, day

FULL = {"type": "full", "key": ["k"]}
COLUMNS = {"k": "integer", "v": "text"}
ALL = [(k, "a") for k in range(200)]


@pytest.fixture
def things(tmp_path: Path) -> Callable[..., Scenario]:
    return lambda settings=FULL, columns=COLUMNS, **more: Scenario(tmp_path, settings, columns, **more)


def test_a_truncated_extract_is_held_and_says_how_many_and_which(things: Callable[..., Scenario]) -> None:
    hub = things()
    hub.arrives(1, ALL)
    (error,) = hub.arrives(2, ALL[:120])
    assert "80 of 200 rows (40.0%) go because they are missing, e.g. s_key '120', '121', '122'" in error
    assert "dataops approve things" in error
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
    hub.context.metadata.decisions.approve("things", [hub.input(2).input_id], "run")
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


def test_a_range_delivered_again_with_every_value_revised_loses_nothing(things: Callable[..., Scenario]) -> None:
    hub = things({"type": "timestamp", "range_by": "at"}, columns={"at": "timestamptz", "v": "text"})
    hub.arrives(1, [(day(number), "a") for number in range(82)])
    assert hub.arrives(2, [(day(number), "b") for number in range(82)]) == []
    assert hub.arrives(3, [(day(number), "c") for number in range(60, 90)]) == []
    assert [v for _, v in sorted(hub.rows("at", "v"))] == ["b"] * 60 + ["c"] * 30
    (error,) = hub.arrives(4, [(day(0), "d"), (day(89), "d")])
    assert "88 of 90 rows (97.8%) go and are not replaced" in error


def test_a_keyless_extract_that_is_revised_loses_nothing(things: Callable[..., Scenario]) -> None:
    hub = things({"type": "full"})
    hub.arrives(1, ALL)
    assert hub.arrives(2, [(k, "b") for k in range(195)]) == []
    assert hub.arrives(3, [(k, "c") for k in range(120)]) != []


@pytest.mark.parametrize(
    ("settings", "columns"),
    [
        ({"type": "sequence", "range_by": "k"}, COLUMNS),
        ({"type": "custom", "delete_where": "k >= input.k and v = input.v"}, COLUMNS),
    ],
    ids=["sequence", "custom"],
)
def test_the_share_is_of_what_an_input_covers(
    things: Callable[..., Scenario], settings: dict[str, Any], columns: dict[str, str]
) -> None:
    hub = things(settings, columns=columns)
    hub.arrives(1, [(k, "a") for k in range(1000)])
    assert hub.arrives(2, [(k, "a") for k in range(900, 1000) if k % 10]) == [], "ten of a hundred"
    (error,) = hub.arrives(3, [(800, "a"), (999, "a")])
    assert "189 of 191 rows" in error


def test_an_extract_that_leaves_nothing_is_held_unless_all_may_go(things: Callable[..., Scenario]) -> None:
    hub = things(gates={"deletes": {"min_rows": 1000}})
    hub.arrives(1, ALL[:40])
    assert hub.arrives(2, ALL[:1]) == []
    (error,) = hub.arrives(3, [])
    assert "1 of 1 rows (100.0%)" in error
    assert "no row would be left" in error
    anything = things(gates={"deletes": {"max_share": 1}})
    assert anything.runs(3) == []
    assert anything.rows("k") == []


def test_a_first_load_is_no_loss(things: Callable[..., Scenario]) -> None:
    hub = things()
    assert hub.arrives(1, []) == []
    assert hub.arrives(2, ALL) == []


def test_limits_that_are_changed_let_what_is_held_be_judged_again(things: Callable[..., Scenario]) -> None:
    hub = things()
    hub.arrives(1, ALL)
    assert hub.arrives(2, ALL[:120])
    assert not hub.due()
    wider = things(gates={"deletes": {"max_share": 0.5}})
    assert wider.due() == ["day-2"]
    assert wider.runs(2) == []
    assert len(wider.rows("k")) == 120


def test_a_row_that_never_was_in_the_hub_is_not_lost(things: Callable[..., Scenario]) -> None:
    sane = {"name": "sane", "expression": "v <> 'bad'", "severity": "quarantine"}
    hub = things(validations=[sane])
    rows = [(k, "bad" if k < 100 else "a") for k in range(200)]
    hub.parsed(1, rows)
    hub.parsed(2, rows[100:])
    hub.runs(1, 2)
    # together they were compared before it was known what is kept out, so the second is judged once more
    assert hub.runs(*[int(one.removeprefix("day-")) for one in hub.due()]) == []
    assert hub.due() == []
    assert hub.changes("k")
    assert [k for (k,) in hub.rows("k")] == list(range(100, 200))
    assert len({one for (one,) in hub.rows("s_input_id")}) == 1
    # what is kept out does not stand for what goes
    (error,) = hub.arrives(3, [(k, "bad") for k in range(300, 400)])
    assert "100 of 100 rows" in error


def test_extracts_of_one_time_are_judged_one_after_the_other(things: Callable[..., Scenario]) -> None:
    hub = things()
    hub.arrives(1, ALL[:100])
    hub.parsed(2, ALL)
    late = replace(hub.input(3), extract_time=hub.input(2).extract_time)
    hub.parsed(3, ALL[:100], late)
    (error,) = hub.runs_of([hub.input(2), late])
    assert "100 of 200 rows" in error
    assert len(hub.rows("k")) == 200


def test_a_rebuild_takes_what_was_in_the_hub(things: Callable[..., Scenario]) -> None:
    hub = things()
    hub.arrives(1, ALL)
    hub.context.metadata.register_inputs("things", [hub.input(2)])
    hub.context.metadata.decisions.approve("things", [hub.input(2).input_id], "run")
    hub.arrives(2, ALL[:100])
    before: list[Any] = hub.rows("k", "v", "s_input_id")
    hub.rebuilds()
    assert hub.rows("k", "v", "s_input_id") == before
