"""What the daemon requests: the named automation conditions, ticked over small graphs as tables come and fail.

Annotations are not postponed here: Dagster reads those of an asset's function.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import dagster as dg
import pytest

from dataops_assets.components.automation import when_published

# what Dagster uses itself to evaluate conditions


class Graph:
    """Assets without content, their checks by name with the outcome to tell, and the daemon's ticks."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.outcomes: dict[str, bool] = {}
        self.broken: set[str] = set()
        self.during: dict[str, Callable[[], object]] = {}
        self._assets: list[dg.AssetsDefinition] = []
        self._cursor: Any = None

    def add(
        self,
        name: str,
        *reads: str,
        automated: bool = False,
        blocking: Mapping[str, bool] | None = None,
        partitions: dg.PartitionsDefinition[str] | None = None,
    ) -> Self:
        """An asset that reads others. `blocking` are its checks, with whether they block."""

        @dg.multi_asset(
            name=name,
            specs=[
                dg.AssetSpec(
                    name,
                    deps=list(reads),
                    automation_condition=when_published() if automated else None,
                    partitions_def=partitions,
                )
            ],
            check_specs=[
                dg.AssetCheckSpec(check, asset=name, blocking=is_blocking)
                for check, is_blocking in (blocking or {}).items()
            ],
            can_subset=True,
        )
        def made(context: dg.AssetExecutionContext) -> Iterator[Any]:
            self.during.get(name, bool)()
            if name in self.broken:
                raise dg.Failure("broken", allow_retries=False)
            if context.selected_asset_keys:
                yield dg.MaterializeResult(asset_key=name)
            for key in context.selected_asset_check_keys:
                if key.name in self.outcomes:
                    yield dg.AssetCheckResult(
                        asset_key=name, check_name=key.name, passed=self.outcomes[key.name], metadata={}
                    )

        self._assets.append(made)
        return self

    @property
    def definitions(self) -> dg.Definitions:
        return dg.Definitions(assets=self._assets, executor=dg.in_process_executor)

    def tick(self) -> set[str]:
        """What the daemon requests now."""
        found = dg.evaluate_automation_conditions(self.definitions, self.instance, cursor=self._cursor)
        self._cursor = found.cursor
        keys = [key for asset in self._assets for key in asset.keys]
        return {key.to_user_string() for key in keys if found.get_num_requested(key)}

    def make(self, *names: str, partition: str | None = None, checks: bool = True, only_checks: bool = False) -> bool:
        """Materialize assets in one run, with their checks or without."""
        keys = [dg.AssetKey(name) for name in names]
        job = self.definitions.resolve_implicit_global_asset_job_def()
        # so that the run says what it is for, as the daemon's do
        selection: dict[str, Any] = {"asset_selection": keys}
        if only_checks:
            found = {key for asset in self._assets for key in asset.check_keys if key.asset_key in keys}
            job, selection = job.get_subset(asset_check_selection=found), {}
        elif not checks:
            job, selection = job.get_subset(asset_selection=set(keys), asset_check_selection=set()), {}
        result = job.execute_in_process(
            instance=self.instance, partition_key=partition, raise_on_error=False, **selection
        )
        return result.success


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
