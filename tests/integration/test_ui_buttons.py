"""What the buttons of the Dagster UI start, started in process: it does what the button says, and breaks nothing.

A button of the UI starts a run with a selection and partition tags, or reports or wipes events. The browser itself is
in tests/end_to_end/test_live_dagster.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import dagster as dg
import pandera.pandas as pa
import pytest
from code_location import CUSTOMERS, CodeLocation, failures, loaded, orders

from dataops_assets.report import CheckKind

CONTRACT = pa.DataFrameSchema({"id": pa.Column(int, pa.Check.ge(0))})
HEADER = "id,customer,amount\n"
STEPS = ("raw/orders", "lake/orders", "lake/orders_changes", "hub/orders_enriched", "hub/orders")
TABLES = ("lake/orders", "hub/orders_enriched", "hub/orders", "hub/orders_current")
GATE = {"contract": f"{__name__}:CONTRACT"}
# with a check of every kind that a source has
DECLARED = orders(
    refresh={"type": "full", "key": ["id"]},
    waits_for=[{"source": "customers", "within": "30 days"}],
    gates={"lake": GATE, "hub": GATE, "current": GATE},
)
pytestmark = pytest.mark.filterwarnings("ignore:Parameter `include_sources` of function `AssetSelection.all`")


@pytest.fixture(scope="module")
def shop() -> Iterator[dg.Definitions]:
    with loaded(CUSTOMERS, DECLARED) as definitions:
        yield definitions


@pytest.fixture(scope="module")
def here(shop: dg.Definitions, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CodeLocation]:
    """Two inputs of orders in the hub, and what is kept current. Each button leaves it as it was."""
    with dg.instance_for_test() as instance:
        made = CodeLocation(shop, instance, tmp_path_factory.mktemp("buttons"))
        made.land("customers", "customers_2024-01-01.csv", "id,name\n1,Ann\n2,Bo\n")
        for number in (1, 2):
            rows = "".join(f"{row},1,{row + 1}\n" for row in range(number * 5))
            made.land("orders", f"orders_2024-01-0{number}.csv", HEADER + rows + "99,x,1\n")
        results = [*made.settle("customers", "orders"), made.materialize(["hub/orders_current"], {})]
        assert all(result.success for result in results), [failures(result) for result in results]
        yield made


def executes(here: CodeLocation, asset: str, *names: str) -> dg.ExecuteInProcessResult:
    """ "Execute all" on the page of an asset's checks, or "Execute" on some of them: a run without a partition."""
    graph = here.repository.asset_graph
    keys = {key for key in graph.get(asset_key(asset)).check_keys if not names or key.name in names}
    job = here.repository.get_implicit_global_asset_job_def().get_subset(asset_check_selection=keys)
    return job.execute_in_process(instance=here.instance, raise_on_error=False)


def asset_key(asset: str) -> dg.AssetKey:
    return dg.AssetKey(asset.split("/"))


def content(here: CodeLocation) -> dict[str, Any]:
    return {table: here.rows(table, "id", "s_input_id") for table in TABLES}


def events(here: CodeLocation, asset: str) -> int:
    return len(here.instance.fetch_materializations(asset_key(asset), limit=1000).records)


def test_every_check_can_be_executed_and_changes_no_row(here: CodeLocation) -> None:
    before, newest = content(here), here.partitions("orders")[-1]
    kinds: set[str] = set()
    for asset in (*STEPS, "hub/orders_current"):
        graph = here.repository.asset_graph
        wanted = {key.name for key in graph.get(asset_key(asset)).check_keys}
        result = executes(here, asset)
        assert result.success, failures(result)
        found = {item.check_name: item for item in result.get_asset_check_evaluations()}
        assert set(found) == wanted, asset
        assert all(item.passed for item in found.values() if item.check_name != "deletes"), found
        # the newest input is checked, and the step has published it again
        told = {
            event.step_materialization_data.materialization.partition
            for event in result.filter_events(lambda event: event.is_step_materialization)
        }
        assert told == {None if asset == "hub/orders_current" else newest}
        kinds |= wanted
    # the check of an output is executed in test_outputs_in_the_graph.py
    assert kinds == set(get_args(CheckKind)) - {"delivery"}
    assert content(here) == before
    again = here.tick("orders")
    assert (again.run_requests, again.asset_events) == ([], []), "nothing is told late or taken again"
    assert here.platform.metadata.unfinished("orders") == []


def test_one_check_of_many_is_executed_alone(here: CodeLocation) -> None:
    result = executes(here, "lake/orders", "volume")
    assert result.success, failures(result)
    assert {item.check_name for item in result.get_asset_check_evaluations()} == {"volume"}


def test_a_check_of_an_asset_without_inputs_says_what_to_do(
    shop: dg.Definitions, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    result = executes(CodeLocation(shop, instance, tmp_path), "lake/orders")
    assert not result.success
    assert "no input has passed it yet; next: materialize it for an input first" in failures(result)[0]


def test_a_deleted_partition_comes_back_and_nothing_runs_again(here: CodeLocation) -> None:
    before, inputs = content(here), set(here.partitions("orders"))
    here.instance.delete_dynamic_partition("orders_inputs", sorted(inputs)[0])
    answer = here.tick("orders")
    assert not answer.run_requests
    assert set(here.partitions("orders")) == inputs
    assert not here.tick("orders").run_requests
    assert content(here) == before


def test_wiped_materializations_are_reported_again(here: CodeLocation) -> None:
    before, inputs = content(here), set(here.partitions("orders"))
    here.tick("orders")
    assert not here.tick("orders").asset_events
    assets = [*STEPS, "hub/orders_current", "lake/orders_quarantine"]
    here.instance.wipe_assets([asset_key(asset) for asset in assets])
    answer = here.tick("orders", seen_late=True)
    assert not answer.run_requests, "no input is processed again"
    for asset in STEPS:
        assert set(here.materialized(asset)) == inputs, asset
    assert set(here.materialized("lake/orders_quarantine")) == inputs
    assert not here.tick("orders").asset_events, "once"
    # what follows the hub is requested by its condition, as if it was never made
    found = dg.evaluate_automation_conditions(here.definitions, here.instance)
    assert found.get_num_requested(asset_key("hub/orders_current")) == 1
    assert here.materialize(["hub/orders_current"], {}).success
    assert content(here) == before


def test_a_reported_materialization_is_taken_for_no_lost_one(here: CodeLocation) -> None:
    newest = here.partitions("orders")[-1]
    for asset in STEPS:
        here.instance.report_runless_asset_event(dg.AssetMaterialization(asset_key(asset), partition=newest))
    told = {asset: events(here, asset) for asset in STEPS}
    here.forget_told("orders")
    here.tick("orders")
    assert {asset: events(here, asset) for asset in STEPS} == told
    here.land("orders", "orders_2024-01-03.csv", HEADER + "".join(f"{row},1,1\n" for row in range(12)))
    assert all(result.success for result in here.settle("orders"))
    assert {asset: events(here, asset) for asset in STEPS} == {asset: count + 1 for asset, count in told.items()}
    assert len(here.rows("hub/orders", "id")) == 12
