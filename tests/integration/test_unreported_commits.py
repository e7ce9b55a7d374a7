"""The next look reports to Dagster what a run committed before it was killed, as the run would have reported it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from code_location import CodeLocation, loaded, orders

from dataops_assets.components.event_differences import event_findings
from dataops_assets.config.source import Source

HEADER = "id,customer,amount\n"
DECLARED = orders(
    relations={},
    rules=[{"name": "of_customer", "expression": "sum(amount) over (partition by customer)", "mode": "keep_current"}],
)
STEPS = {
    "ingest": "raw/orders",
    "parse": "lake/orders",
    "cdc": "lake/orders_changes",
    "enrich": "hub/orders_enriched",
    "refresh": "hub/orders",
}
# what Dagster uses itself to evaluate conditions
pytestmark = pytest.mark.filterwarnings("ignore:Parameter `include_sources` of function `AssetSelection.all`")


@pytest.fixture(scope="module")
def shop() -> Iterator[dg.Definitions]:
    with loaded(DECLARED) as definitions:
        yield definitions


@pytest.fixture
def elsewhere() -> Iterator[dg.DagsterInstance]:
    """Where runs tell what nobody hears."""
    with dg.instance_for_test() as made:
        yield made


def land(here: CodeLocation, first: int, last: int) -> None:
    for number in range(first, last + 1):
        here.land(
            "orders", f"orders_2024-01-{number:02}.csv", HEADER + f"{number},1,{number}\nx,1,-1\n{number + 40},2,-1\n"
        )


def columns_of(event: dg.AssetMaterialization) -> dict[str, str]:
    schema = event.metadata["dagster/column_schema"].value if "dagster/column_schema" in event.metadata else None
    return {column.name: column.type for column in schema.columns} if isinstance(schema, dg.TableSchema) else {}


def latest_checks(instance: dg.DagsterInstance, here: CodeLocation) -> dict[str, tuple[bool, str]]:
    """The newest result of every check of the source, as far as there is one: whether it passed, and what it says."""
    found = {}
    for key in here.repository.asset_graph.asset_check_keys:
        event = instance.get_latest_asset_check_evaluation_record(key)
        evaluation = event and event.event and event.event.dagster_event
        if evaluation:
            data = evaluation.asset_check_evaluation_data
            found[key.to_user_string()] = (data.passed, data.description or "")
    return found


def test_a_commit_that_no_run_lived_to_tell_is_told_with_counts_columns_and_checks(
    shop: dg.Definitions, instance: dg.DagsterInstance, elsewhere: dg.DagsterInstance, tmp_path: Path
) -> None:
    here, unheard = (CodeLocation(shop, one, tmp_path) for one in (instance, elsewhere))
    land(unheard, 1, 2)
    assert all(result.success for result in unheard.settle("orders"))
    source = Source.model_validate(DECLARED)
    contexts = [here.platform.source_context(source, {source.name: source})]
    differing = event_findings(contexts, instance)
    assert [item.place for item in differing] == list(STEPS.values())
    assert all(item.problem.startswith("done in the metadata, and unknown to Dagster: ") for item in differing)
    assert event_findings(contexts, elsewhere) == []
    answer = here.tick("orders")
    assert not answer.run_requests
    assert event_findings(contexts, instance) == []
    for asset in STEPS.values():
        told, heard = here.materialized(asset), unheard.materialized(asset)
        assert set(told) == set(heard) == set(here.partitions("orders"))
        for partition, event in told.items():
            assert event.metadata["reported_late"].value.startswith("run ")
            known = heard[partition].metadata
            for name in {"new", "origin", "arrival", "rejected", "table_version"} & set(known):
                assert event.metadata[name] == known[name], (asset, name)
            assert columns_of(event) == columns_of(heard[partition]), asset
    assert set(here.materialized("lake/orders_quarantine")) == set(here.partitions("orders"))
    wanted = latest_checks(elsewhere, here)
    assert {name: passed for name, (passed, _) in wanted.items()}["hub/orders_enriched:validation"] is False
    assert latest_checks(instance, here) == wanted
    # once
    assert not here.tick("orders").asset_events
    here.forget_told("orders")
    assert not here.tick("orders").asset_events
    # events of another time: of an input that is not known, and of a version that is not there
    lost = {"table_version": 99}
    instance.report_runless_asset_event(dg.AssetMaterialization(dg.AssetKey(["lake", "orders"]), partition="gone"))
    instance.report_runless_asset_event(dg.AssetMaterialization(dg.AssetKey(["hub", "orders_current"]), metadata=lost))
    unknown, version = event_findings(contexts, instance)
    assert unknown.problem == "materialized in Dagster, and unknown to the metadata: gone"
    assert version.problem.startswith("Dagster knows version 99, and the newest is ")


def test_automation_follows_what_was_told_late(
    shop: dg.Definitions, instance: dg.DagsterInstance, elsewhere: dg.DagsterInstance, tmp_path: Path
) -> None:
    here, unheard = (CodeLocation(shop, one, tmp_path) for one in (instance, elsewhere))
    current = dg.AssetKey(["hub", "orders_current"])

    def requested(cursor: dg.AutomationConditionEvaluation | object | None) -> tuple[int, object]:
        found = dg.evaluate_automation_conditions(here.definitions, instance, cursor=cursor)  # type: ignore[arg-type]
        return found.get_num_requested(current) or 0, found.cursor

    land(here, 1, 1)
    here.settle("orders")
    asked, cursor = requested(None)
    assert asked
    assert here.materialize(["hub/orders_current"], {}).success
    land(unheard, 2, 2)
    unheard.settle("orders")
    asked, cursor = requested(cursor)
    assert not asked, "nothing is known of it"
    here.tick("orders")
    asked, _ = requested(cursor)
    assert asked


def test_more_than_one_answer_holds_is_told_by_several_looks(
    shop: dg.Definitions,
    instance: dg.DagsterInstance,
    elsewhere: dg.DagsterInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dataops_assets.components.unreported_commits._MOST", 4)
    here, unheard = (CodeLocation(shop, one, tmp_path) for one in (instance, elsewhere))
    land(unheard, 1, 3)
    unheard.settle("orders")
    looks = 0
    while here.tick("orders").asset_events:
        looks += 1
    assert looks == 4, "15 commits, 4 a look"
    for asset in STEPS.values():
        assert set(here.materialized(asset)) == set(here.partitions("orders"))


def test_nothing_is_told_for_a_run_that_is_under_way(
    shop: dg.Definitions, instance: dg.DagsterInstance, elsewhere: dg.DagsterInstance, tmp_path: Path
) -> None:
    here, unheard = (CodeLocation(shop, one, tmp_path) for one in (instance, elsewhere))
    land(here, 1, 1)
    (request,) = here.tick("orders").run_requests or ()
    run = instance.create_run_for_job(
        here.repository.get_implicit_global_asset_job_def(), tags=request.tags, status=dg.DagsterRunStatus.STARTED
    )
    unheard.settle("orders")
    assert not here.tick("orders").asset_events
    instance.report_run_failed(run)
    assert here.tick("orders").asset_events
