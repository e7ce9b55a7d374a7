"""What a killed or failed run of automation left behind is requested again, at once or later, and never without end."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import dagster as dg
import pytest
from automation_graph import Graph

from dataops_assets.components.stale_tables import (
    AUTOMATION_TAG,
    LEFT_UNDONE_TAG,
    LeftUndone,
    PresentVersion,
    left_undone,
)

# what Dagster uses itself to evaluate conditions
pytestmark = pytest.mark.filterwarnings("ignore:Parameter `include_sources` of function `AssetSelection.all`")

AUTOMATION = {AUTOMATION_TAG: "true"}
AGAIN = {LEFT_UNDONE_TAG: "true"}
MINUTE = dt.timedelta(minutes=1)


class World:
    """A hub, a table that is kept current of it, and one that reads both; the hub's version is a number here."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.graph = Graph(instance)
        self.graph.add("hub").add("current", "hub", automated=True, blocking={"contract": True})
        self.graph.add("facts", "current", automated=True)
        self.version = 0
        self.publish()
        self.graph.outcomes["contract"] = True
        self.graph.tick()
        self.make("current", "facts")

    def publish(self) -> None:
        self.version += 1
        self.graph.make("hub")

    def make(self, *names: str, tags: dict[str, str] = AUTOMATION) -> bool:
        self.graph.read["current"] = {"hub": self.version}
        return self.graph.make(*names, tags=tags)

    def look(self, later: dt.timedelta = dt.timedelta(0)) -> LeftUndone:
        graph = self.graph.definitions.get_repository_def().asset_graph
        now = dt.datetime.now(dt.UTC) + later
        present = PresentVersion(self.version, has_rows=True)
        return left_undone(graph, self.graph.instance, lambda _: present, now)

    def due(self, later: dt.timedelta = dt.timedelta(0)) -> set[str]:
        return {key.to_user_string() for key in self.look(later).due}


@pytest.fixture
def world() -> Iterator[World]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield World(instance)


def test_nothing_is_asked_for_where_all_is_made(world: World) -> None:
    seen = world.look(dt.timedelta(days=9))
    assert (seen.due, seen.messages) == ([], [])


def test_what_a_killed_run_left_is_asked_for_again_at_once(world: World) -> None:
    world.publish()
    assert world.graph.tick() == {"current", "facts"}
    world.graph.dying.add("current")
    assert not world.make("current", "facts")
    # the condition itself has done what it does
    assert world.graph.tick() == set()
    assert world.due() == {"current"}
    world.graph.dying.clear()
    assert world.make("current", tags=AGAIN)
    assert world.due() == set()
    assert world.graph.tick() == {"facts"}
    world.make("facts")
    assert world.due(dt.timedelta(days=9)) == set()


def test_deaths_that_repeat_are_asked_for_later_and_later_and_said_so(world: World) -> None:
    world.publish()
    world.graph.dying.add("current")
    keys = set()
    for tags in (AUTOMATION, AGAIN):
        world.make("current", tags=tags)
        keys.add(world.look().run_key)
        assert world.due() == {"current"}
    world.make("current", tags=AGAIN)
    assert world.due() == set()
    assert "current: run " in world.look().messages[0]
    assert "tried again at" in world.look().messages[0]
    assert world.due(MINUTE) == {"current"}
    for _ in range(2):
        world.make("current", tags=AGAIN)
    assert world.due(3 * MINUTE) == set()
    assert world.due(60 * MINUTE) == {"current"}
    assert len(keys) == 2, "asked for twice is one run, and after another death it is another"


def test_a_failure_is_a_verdict_that_is_looked_at_again_much_later(world: World) -> None:
    world.publish()
    world.graph.broken.add("current")
    assert not world.make("current")
    assert world.due(9 * MINUTE) == set()
    assert world.due(10 * MINUTE) == {"current"}
    assert not world.make("current", tags=AGAIN)
    assert world.due(19 * MINUTE) == set()
    assert world.due(dt.timedelta(days=1)) == {"current"}
    # what changes above is followed at once, by the condition
    world.publish()
    assert world.graph.tick() == {"current"}


def test_a_change_that_came_while_the_table_was_made_is_not_forgotten_with_a_killed_run(world: World) -> None:
    world.publish()
    assert world.make("current")
    # made of what was before, told after the new version was
    world.version += 1
    world.graph.dying.add("current")
    world.make("current")
    assert world.due() == {"current"}


def test_what_never_gets_right_is_not_asked_for_without_end(world: World) -> None:
    world.version += 1
    for _ in range(3):
        # it tells each time of an old version
        world.graph.make("current", tags=AGAIN)
    assert "current" not in world.due(39 * MINUTE)
    assert "current" in world.due(dt.timedelta(days=1))


def test_a_failed_gate_above_holds_what_is_below(world: World) -> None:
    world.publish()
    world.graph.outcomes["contract"] = False
    world.make("current")
    assert world.due(dt.timedelta(days=9)) == set()
    assert "facts: current was made after it; it waits for a blocking check" in world.look(MINUTE).messages[0]


def test_a_table_that_is_being_made_is_not_asked_for(world: World) -> None:
    world.publish()
    world.graph.dying.add("current")
    world.make("current")
    world.graph.dying.clear()
    seen: list[set[str]] = []
    world.graph.during["current"] = lambda: seen.append(world.due())
    world.make("current", tags=AGAIN)
    assert seen == [set()]
