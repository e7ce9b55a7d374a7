"""The sensor of automation evaluates only after an event. `automation_graph.py` compares its answers at each tick."""

from collections.abc import Iterator

import dagster as dg
import pytest
from automation_graph import Graph

from dataops_assets.components.automation import when_published
from dataops_assets.components.automation_sensor import MOST_CONDITIONS, QuietAutomation, automation_sensor


@pytest.fixture
def graph() -> Iterator[Graph]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Graph(instance)


def is_left_out(graph: Graph) -> bool:
    return "no event since" in (graph.sensor_tick().skip_message or "")


def test_it_evaluates_after_an_event_until_nothing_is_requested_twice(graph: Graph) -> None:
    graph.add("hub").add("current", "hub", automated=True)
    assert [is_left_out(graph) for _ in range(4)] == [False, False, True, True]
    graph.make("hub")
    assert len(graph.sensor_tick().run_requests or ()) == 1
    assert [is_left_out(graph) for _ in range(4)] == [False, False, True, True]
    graph.now += 60
    assert [is_left_out(graph) for _ in range(2)] == [False, True]


def test_it_evaluates_if_the_daemon_did_not_store_the_last_answer(graph: Graph) -> None:
    graph.add("hub").add("current", "hub", automated=True)
    for _ in range(3):
        graph.sensor_tick()
    graph.make("hub")
    before = graph.told
    assert len(graph.sensor_tick().run_requests or ()) == 1
    graph.told = before
    assert len(graph.sensor_tick().run_requests or ()) == 1


@pytest.mark.parametrize(("conditions", "is_quiet"), [(MOST_CONDITIONS, True), (MOST_CONDITIONS + 1, False)])
def test_the_daemon_evaluates_more_conditions_than_a_code_server_may(conditions: int, is_quiet: bool) -> None:
    def table(number: int) -> dg.AssetsDefinition:
        @dg.asset(name=f"t{number}", automation_condition=when_published())
        def made() -> None: ...

        return made

    sensor = automation_sensor(dg.Definitions(assets=[table(number) for number in range(conditions)]))
    assert isinstance(sensor, QuietAutomation) == is_quiet
    if is_quiet:
        # Dagster makes such copies
        assert isinstance(sensor.with_attributes(metadata={"a": 1}), QuietAutomation)
