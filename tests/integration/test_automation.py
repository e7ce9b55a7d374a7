"""What the daemon requests: the named automation conditions, ticked over small graphs as tables come and fail."""

from collections.abc import Iterator

import dagster as dg
import pytest
from automation_graph import Graph

# what Dagster uses itself to evaluate conditions


@pytest.fixture
def graph() -> Iterator[Graph]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Graph(instance)


def test_a_published_table_is_followed_once(graph: Graph) -> None:
    graph.add("hub").add("current", "hub", automated=True)
    assert graph.tick() == set()
    for _ in range(2):
        graph.make("hub")
        assert graph.tick() == {"current"}
        # requested, and not made yet
        assert graph.tick() == set()
        graph.make("current")
        assert graph.tick() == set()


def test_nothing_is_requested_before_all_that_it_reads_is_there(graph: Graph) -> None:
    graph.add("sales").add("stores").add("features", "sales", "stores", automated=True)
    graph.make("sales")
    assert graph.tick() == set()
    graph.make("sales")
    assert graph.tick() == set()
    graph.make("stores")
    assert graph.tick() == {"features"}
    assert graph.tick() == set()


def test_what_is_there_when_the_daemon_first_looks_is_followed(graph: Graph) -> None:
    graph.add("hub").add("current", "hub", automated=True)
    graph.make("hub")
    assert graph.tick() == {"current"}
    assert graph.tick() == set()


def test_a_table_whose_blocking_check_fails_is_not_followed_until_it_passes(graph: Graph) -> None:
    graph.add("hub", blocking={"contract": True}).add("current", "hub", automated=True)
    graph.tick()
    graph.outcomes["contract"] = False
    graph.make("hub")
    assert graph.tick() == set()
    assert graph.tick() == set()
    graph.outcomes["contract"] = True
    graph.make("hub")
    assert graph.tick() == {"current"}
    graph.make("current")
    # passed once, and failing again
    graph.outcomes["contract"] = False
    graph.make("hub")
    assert graph.tick() == set()


def test_a_check_that_passes_later_lets_the_table_go_on(graph: Graph) -> None:
    graph.add("hub", blocking={"contract": True}).add("current", "hub", automated=True)
    graph.tick()
    graph.outcomes["contract"] = False
    graph.make("hub")
    assert graph.tick() == set()
    graph.outcomes["contract"] = True
    graph.make("hub", only_checks=True)
    assert graph.tick() == {"current"}
    assert graph.tick() == set()


def test_a_blocking_check_without_a_result_holds_the_table(graph: Graph) -> None:
    graph.add("hub", blocking={"contract": True}).add("current", "hub", automated=True)
    graph.tick()
    graph.make("hub", checks=False)
    assert graph.tick() == set()
    # nor does the result of an earlier version speak for this one
    graph.outcomes["contract"] = True
    graph.make("hub", only_checks=True)
    assert graph.tick() == {"current"}
    graph.make("current")
    graph.make("hub", checks=False)
    assert graph.tick() == set()


def test_a_check_that_does_not_block_holds_nothing(graph: Graph) -> None:
    graph.add("hub", blocking={"volume": False}).add("current", "hub", automated=True)
    graph.tick()
    graph.outcomes["volume"] = False
    graph.make("hub")
    assert graph.tick() == {"current"}


def test_one_failed_gate_of_several_holds_the_table(graph: Graph) -> None:
    graph.add("sales", blocking={"contract": True}).add("stores").add("features", "sales", "stores", automated=True)
    graph.tick()
    graph.outcomes["contract"] = False
    graph.make("sales")
    graph.make("stores")
    assert graph.tick() == set()


def test_a_failed_run_is_not_repeated_until_something_above_changes(graph: Graph) -> None:
    graph.add("hub").add("current", "hub", automated=True)
    graph.make("hub")
    assert graph.tick() == {"current"}
    graph.broken.add("current")
    assert not graph.make("current")
    assert graph.tick() == set()
    assert graph.tick() == set()
    graph.make("hub")
    assert graph.tick() == {"current"}


def test_a_chain_is_requested_together(graph: Graph) -> None:
    graph.add("hub").add("current", "hub", automated=True).add("outputs", "current", automated=True)
    for _ in range(2):
        graph.make("hub")
        assert graph.tick() == {"current", "outputs"}
        graph.make("current", "outputs")
        assert graph.tick() == set()


def test_a_chain_stops_at_each_gate_until_it_has_passed(graph: Graph) -> None:
    graph.add("hub").add("current", "hub", automated=True, blocking={"contract": True})
    graph.add("outputs", "current", automated=True)
    graph.make("hub")
    assert graph.tick() == {"current"}
    graph.outcomes["contract"] = False
    graph.make("current")
    assert graph.tick() == set()
    graph.outcomes["contract"] = True
    graph.make("current")
    assert graph.tick() == {"outputs"}
    assert graph.tick() == set()


def test_nothing_is_requested_below_a_run_that_goes_on(graph: Graph) -> None:
    graph.add("sales").add("stores").add("features", "sales", "stores", automated=True)
    graph.make("sales", "stores")
    assert graph.tick() == {"features"}
    graph.make("features")
    graph.make("sales")
    # sales has come; stores is being made, and the daemon looks
    seen: list[set[str]] = []
    graph.during["stores"] = lambda: seen.append(graph.tick())
    graph.make("stores")
    assert seen == [set()]
    assert graph.tick() == {"features"}


def test_an_update_between_a_request_and_the_next_look_is_followed(graph: Graph) -> None:
    graph.add("hub").add("current", "hub", automated=True)
    graph.make("hub")
    assert graph.tick() == {"current"}
    graph.make("current")
    graph.make("hub")
    assert graph.tick() == {"current"}
    graph.make("current")
    assert graph.tick() == set()


@pytest.mark.parametrize("looks", [1, 2])
def test_an_update_while_the_table_is_being_made_is_followed(graph: Graph, looks: int) -> None:
    graph.add("hub").add("current", "hub", automated=True)
    graph.make("hub")
    assert graph.tick() == {"current"}
    seen: list[set[str]] = []

    def meanwhile() -> None:
        graph.make("hub")
        seen.extend(graph.tick() for _ in range(looks))

    graph.during["current"] = meanwhile
    graph.make("current")
    assert seen == [set()] * looks
    assert graph.tick() == {"current"}
    graph.during.clear()
    graph.make("current")
    assert graph.tick() == set()


def test_tables_that_are_made_together_are_not_requested_again(graph: Graph) -> None:
    graph.add("hub").add("current", "hub", automated=True)
    assert graph.tick() == set()
    for _ in range(2):
        graph.make("hub", "current")
        assert graph.tick() == set()


def test_one_input_of_many_is_enough_and_one_that_never_comes_holds_nothing(graph: Graph) -> None:
    inputs = dg.DynamicPartitionsDefinition(name="inputs")
    graph.instance.add_dynamic_partitions("inputs", ["good", "bad"])
    graph.add("hub", partitions=inputs).add("current", "hub", automated=True)
    assert graph.tick() == set()
    graph.make("hub", partition="good")
    assert graph.tick() == {"current"}
    graph.make("current")
    graph.broken.add("hub")
    graph.make("hub", partition="bad")
    assert graph.tick() == set()
    graph.broken.clear()
    graph.make("hub", partition="bad")
    assert graph.tick() == {"current"}


def test_a_new_input_that_nobody_has_taken_yet_requests_nothing(graph: Graph) -> None:
    inputs = dg.DynamicPartitionsDefinition(name="inputs")
    graph.instance.add_dynamic_partitions("inputs", ["first"])
    graph.add("hub", partitions=inputs).add("current", "hub", automated=True)
    graph.make("hub", partition="first")
    assert graph.tick() == {"current"}
    graph.make("current")
    graph.instance.add_dynamic_partitions("inputs", ["second"])
    assert graph.tick() == set()
