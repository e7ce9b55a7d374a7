"""`on_anomaly: hold`: what is held is a function of the inputs and approvals, and approved it is as without hold.

The declared limit of the check `volume` makes the anomalies here: the reference can say it in three lines. For `full`
the delete guard is on as well: an input can be held for both reasons, one after the other.
"""

from __future__ import annotations

import datetime as dt
import math
import statistics
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from guard_reference import Guard
from guarded_world import World
from hypothesis import given, settings
from hypothesis import strategies as st
from law import at, hub_rows, workspace_for
from law_cases import COLUMNS, KINDS, Kind, actual_rows, expected_rows, source_for
from reference import GivenInput, place
from test_law_of_the_guard import LIMITS, everything, guard

from dataops_assets.metadata.decision_store import ANOMALY, DELETES
from dataops_assets.steps.refresh import rebuild
from dataops_assets.steps.upkeep.approvals import approve

RATIO = 2.0
CHECKS = {"volume": {"max_change_ratio": RATIO}, "distribution": {"enabled": False}}
_ENOUGH = 3


def row(number: int, day: int) -> Mapping[str, Any]:
    return dict.fromkeys(COLUMNS) | {"k": f"{number}", "part": "", "at": day, "v": f"{day}", "seen": at(day)}


@st.composite
def stories(draw: st.DrawFn) -> list[list[GivenInput]]:
    """Inputs of usual and of odd sizes, some days twice, in any order and grouping."""
    sizes = draw(st.lists(st.sampled_from((4, 4, 5, 5, 0, 1, 20)), min_size=4, max_size=7))
    found = []
    for day, size in enumerate(sizes):
        for version in range(draw(st.sampled_from((1, 1, 1, 2)))):
            rows = tuple(row(number, day) for number in range(size if version == 0 else 4))
            name = f"{at(day):%Y-%m-%d}_{version}"
            found.append(GivenInput(at(day), name, rows, version))
    order = draw(st.permutations(found))
    cuts = draw(st.lists(st.integers(1, 3), min_size=len(order), max_size=len(order)))
    groups, start = [], 0
    for cut in cuts:
        groups.append(list(order[start : start + cut]))
        start += cut
    return [group for group in groups if group]


def held(
    inputs: Collection[GivenInput], approved: Mapping[str, Collection[str]], deletes: Guard | None
) -> dict[str, str]:
    """The ids of the inputs that wait for a person, each with what it waits for."""
    taken: list[GivenInput] = []
    found = {}
    for item in sorted(inputs, key=place):
        if item.input_id not in approved[ANOMALY] and is_odd(taken, item):
            found[item.input_id] = ANOMALY
        elif deletes is not None and deletes.held([*taken, item], {*approved[DELETES], *(i.input_id for i in taken)}):
            found[item.input_id] = DELETES
        else:
            taken.append(item)
    return found


def is_odd(taken: Sequence[GivenInput], item: GivenInput) -> bool:
    """Whether it has no row, or less than half or more than twice the rows of the inputs before it."""
    points: dict[dt.datetime, int] = {other.time: len(other.rows) for other in taken if other.time < item.time}
    least, most = 1, math.inf
    if len(points) >= _ENOUGH:
        median = statistics.median(points.values())
        least = max(1, math.ceil(median / RATIO))
        most = max(least, math.floor(median * RATIO))
    return not least <= len(item.rows) <= most


GUARDS = [
    pytest.param(KINDS["key"], None, id="key"),
    pytest.param(KINDS["timestamp"], None, id="timestamp"),
    pytest.param(KINDS["full"], guard(KINDS["full"], everything, of_table=True), id="full"),
]


@pytest.mark.parametrize(("kind", "deletes"), GUARDS)
@settings(max_examples=3, deadline=None)
@given(groups=stories(), data=st.data())
def test_what_is_held_follows_from_the_inputs_and_approved_it_is_as_without_hold(
    kind: Kind, deletes: Guard | None, groups: list[list[GivenInput]], data: st.DataObject
) -> None:
    limits = LIMITS if deletes is not None else {"max_share": 1}
    source = source_for(kind.refresh, gates={"deletes": limits, "on_anomaly": "hold"}, checks=CHECKS)
    with tempfile.TemporaryDirectory() as folder:
        world = World(workspace_for(source, Path(folder)))
        approved: dict[str, set[str]] = {ANOMALY: set(), DELETES: set()}

        def holds() -> dict[str, str]:
            waiting = held(world.given.values(), approved, deletes)
            assert set(world.rests()) == waiting.keys()
            assert {key: item.kind for key, item in world.context.metadata.decisions.held("things").items()} == waiting
            taken = [item for name, item in world.given.items() if name not in waiting]
            assert actual_rows(hub_rows(world.context), False) == expected_rows(kind.meaning(taken), None, False)
            return waiting

        def approves(waiting: Mapping[str, str]) -> None:
            approve(world.context, sorted(waiting), "person")
            for name, what in waiting.items():
                approved[what].add(name)

        for group in groups:
            world.arrives(group)
            waiting = holds()
            if waiting and data.draw(st.booleans(), label="approve one"):
                chosen = data.draw(st.sampled_from(sorted(waiting)), label="approved")
                approves({chosen: waiting[chosen]})
                holds()
        gone = data.draw(st.lists(st.sampled_from(sorted(world.given)), max_size=2, unique=True), label="removed")
        if gone:
            world.removes(gone)
        waiting = holds()
        if world.context.hub.snapshot() is not None and data.draw(st.booleans(), label="rebuilt"):
            rebuild(world.context)
            holds()
        while waiting:
            approves(waiting)
            waiting = holds()
        everything_taken = kind.meaning(list(world.given.values()))
        assert actual_rows(hub_rows(world.context), False) == expected_rows(everything_taken, None, False)
