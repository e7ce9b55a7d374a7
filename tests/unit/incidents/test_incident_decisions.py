"""Incidents follow from problems: one for each cause, and a state that does not depend on how events arrive."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from dataops_assets.incidents.decisions import INSTANT, Recorded, Seen, decide
from dataops_assets.incidents.grouping import Lineage, causes
from dataops_assets.incidents.journal import Event, Incident, folded
from dataops_assets.incidents.problem import Problem

START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
WINDOW = dt.timedelta(hours=3)
TABLES = "abcdef"


def hour(number: float) -> dt.datetime:
    return START + dt.timedelta(hours=number)


def problem(asset: str, kind: str = "volume", at: float = 0, **changes: object) -> Problem:
    made = Problem(asset, kind, "fail", hour(at), hour(at), f"{kind} of {asset}")
    return replace(made, **changes)


class World:
    """The journal of a deployment in memory."""

    def __init__(self, parents: dict[str, list[str]]) -> None:
        self.lineage = Lineage(parents)
        self.events: list[Event] = []

    def look(self, at: float, *problems: Problem, passed: Iterable[str] = (), brief: Iterable[Problem] = ()) -> int:
        """Look, and return how many events were recorded."""
        seen = Seen(problems, {key: hour(at) for key in passed}, list(brief))
        recorded = Recorded(self.events, max(self.incidents, default=0) + 1)
        new = decide(recorded, seen, self.lineage, hour(at), WINDOW)
        self.events += new
        return len(new)

    def person(self, number: int, kind: str, at: float) -> None:
        time = max(hour(at), max(event.at for event in self.events) + INSTANT)
        self.events.append(Event(number, kind, time, time, by="ann"))  # type: ignore[arg-type]

    @property
    def incidents(self) -> dict[int, Incident]:
        return folded(self.events)

    @property
    def open(self) -> dict[int, set[str]]:
        return {number: set(item.problems) for number, item in self.incidents.items() if item.state != "resolved"}


CHAIN = {"raw/a": [], "lake/a": ["raw/a"], "hub/a": ["lake/a"], "hub/b": ["hub/a"], "lake/c": []}


def test_what_fails_below_belongs_to_the_cause_and_a_repeat_joins() -> None:
    world = World(CHAIN)
    world.look(1, problem("hub/b"), problem("lake/a"), problem("lake/c"))
    assert world.open == {1: {"lake/a volume", "hub/b volume"}, 2: {"lake/c volume"}}
    assert world.incidents[1].cause == "lake/a volume"
    assert world.look(2, problem("lake/a", at=2), problem("hub/b"), problem("lake/c")) == 0
    world.look(3, problem("hub/a", "schema", at=3), problem("lake/a"), problem("hub/b"), problem("lake/c"))
    assert world.open[1] == {"lake/a volume", "hub/a schema", "hub/b volume"}


def test_a_cause_found_later_joins_what_it_explains() -> None:
    world = World({"top": [], "one": ["top"], "two": ["top"]})
    world.look(1, problem("one"), problem("two"))
    assert len(world.open) == 2
    world.look(2, problem("one"), problem("two"), problem("top", at=2))
    assert world.open == {1: {"one volume", "two volume", "top volume"}}
    assert (world.incidents[1].cause, world.incidents[2].joined) == ("top volume", 1)
    assert world.look(3, problem("one"), problem("two"), problem("top", at=2)) == 0


def test_different_inputs_of_a_source_have_different_causes() -> None:
    world = World(CHAIN)
    of_one = problem("lake/a", "failed", source="a", inputs=("1",))
    held = problem("hub/a", "held", source="a", inputs=("2",))
    late = problem("raw/a", "late", source="a")
    world.look(1, of_one, held, late)
    assert len(world.open) == 3
    world = World(CHAIN)
    world.look(1, of_one, replace(held, inputs=("1", "2")))
    assert len(world.open) == 1


def test_it_closes_by_itself_and_comes_back() -> None:
    world = World(CHAIN)
    world.look(1, problem("lake/a", at=1))
    world.person(1, "acknowledged", 1.5)
    assert world.incidents[1].state == "acknowledged"
    # a check that did not run again is as it was
    assert world.look(2) == 0
    world.look(2, passed=["lake/a volume"])
    closed = world.incidents[1]
    assert (closed.state, closed.resolved_by, closed.resolved_at) == ("resolved", "", hour(2))
    world.look(4, problem("lake/a", at=4))
    back = world.incidents[1]
    assert (back.state, back.acknowledged_at, back.openings) == ("open", None, 2)
    world.look(5, passed=["lake/a volume"])
    world.look(9, problem("lake/a", at=9))
    assert world.open == {2: {"lake/a volume"}}


def test_what_a_person_resolved_stays_resolved_until_something_new_is_seen() -> None:
    world = World(CHAIN)
    world.look(1, problem("lake/a", "failed", at=1))
    world.person(1, "resolved", 2)
    assert world.look(3, problem("lake/a", "failed", at=1)) == 0
    world.look(4, problem("lake/a", "failed", at=4))
    assert world.open == {1: {"lake/a failed"}}


def test_what_came_and_went_between_two_looks_is_one_closed_incident() -> None:
    world = World(CHAIN)
    for _ in range(2):
        world.look(3, passed=["lake/a volume"], brief=[problem("lake/a", at=2)])
    (incident,) = world.incidents.values()
    assert [change.kind for change in incident.changes] == ["opened", "resolved"]


def test_a_warning_that_becomes_a_failure_is_a_change() -> None:
    world = World(CHAIN)
    world.look(1, problem("lake/a", severity="warn"))
    world.look(2, problem("lake/a", at=2))
    assert [change.kind for change in world.incidents[1].changes] == ["opened", "worsened"]


# --- the same against small models of their own ----------------------------------------------------------------------

edges = st.sets(st.sampled_from([(x, y) for x, y in product(TABLES, TABLES) if x < y]), max_size=9)
failing = st.sets(st.tuples(st.sampled_from(TABLES), st.sampled_from(["volume", "failed"])), max_size=7)


def is_above(pairs: set[tuple[str, str]], x: str, y: str) -> bool:
    """Whether table y is made from x, directly or not."""
    return any(one == x and (other == y or is_above(pairs, other, y)) for one, other in pairs)


@given(edges, failing)
def test_each_problem_is_with_the_most_upstream_one_that_explains_it(
    pairs: set[tuple[str, str]], found: set[tuple[str, str]]
) -> None:
    def explains(x: tuple[str, str], y: tuple[str, str]) -> bool:
        # of two problems of one table a failed input says more than a check
        return is_above(pairs, x[0], y[0]) or (x[0] == y[0] and (x[1], y[1]) == ("failed", "volume"))

    parents = {name: [x for x, y in pairs if y == name] for name in TABLES}
    cause_of = causes([problem(*one) for one in found], Lineage(parents))
    tops = {one for one in found if not any(explains(other, one) for other in found)}
    assert set(cause_of.values()) == {" ".join(one) for one in tops}
    for one in found:
        cause = tuple(cause_of[" ".join(one)].split(" "))
        assert cause == one if one in tops else cause in tops and explains(cause, one)


@settings(max_examples=60)
@given(edges, st.lists(failing, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_looks_keep_one_incident_for_each_cause_and_the_state_is_a_function_of_the_events(
    pairs: set[tuple[str, str]], looks: list[set[tuple[str, str]]], chance
) -> None:
    world = World({name: [x for x, y in pairs if y == name] for name in TABLES})
    every = {f"{name} volume" for name in TABLES}
    for at, found in enumerate(looks):
        there = [problem(*one, at=at) for one in sorted(found)]
        keys = {item.key for item in there}
        world.look(at, *there, passed=every - keys)
        assert world.look(at, *there, passed=every - keys) == 0, "the same look again changes nothing"
        shown = [key for some in world.open.values() for key in some]
        assert sorted(shown) == sorted(keys), "each problem is in exactly one open incident"
        tops = set(causes(there, world.lineage).values())
        assert len(world.open) <= len(tops)
    mixed = [*world.events, *chance.sample(world.events, len(world.events) // 2)]
    chance.shuffle(mixed)
    assert folded(mixed) == world.incidents


@dataclass
class Model:
    """What a person would write down about one check: the number of its incident, its state, when it was resolved."""

    incidents: int = 0
    state: str = "none"
    since: float = 0
    evidence: float = -1
    by_person: bool = False

    def fails(self, now: float, evidence: float) -> None:
        if self.state == "resolved" and self.by_person and evidence <= self.since:
            return
        if self.state in ("none", "resolved"):
            self.incidents += self.state == "none" or now - self.since > WINDOW.total_seconds() / 3600
            self.state = "open"

    def passes(self, now: float) -> None:
        if self.state in ("open", "acknowledged"):
            self.state, self.since, self.by_person = "resolved", now, False
        self.by_person = False


steps = st.lists(
    st.tuples(st.sampled_from(["fails", "fails as before", "passes", "acknowledged", "resolved"]), st.integers(1, 4)),
    max_size=12,
)


@given(steps)
def test_the_states_are_those_of_the_model(some: list[tuple[str, int]]) -> None:
    world, model, now, evidence = World({"a": []}), Model(), 0.0, -1.0
    for what, hours in some:
        now += hours
        if what == "fails" or (what == "fails as before" and evidence >= 0):
            evidence = now if what == "fails" else evidence
            model.fails(now, evidence)
            world.look(now, problem("a", "failed", at=evidence))
        elif what == "passes":
            evidence = -1
            model.passes(now)
            world.look(now)
        elif model.state != "none":
            (number, incident) = max(world.incidents.items())
            if incident.state != "resolved":
                world.person(number, what, now)
            if what == "acknowledged" and model.state == "open":
                model.state = "acknowledged"
            elif what == "resolved" and model.state != "resolved":
                model.state, model.since, model.by_person = "resolved", now, True
        incidents = world.incidents
        assert len(incidents) == model.incidents
        if incidents:
            assert incidents[max(incidents)].state == model.state
