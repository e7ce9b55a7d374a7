"""What the command line does to a hub is told to Dagster as if a run had done it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
from code_location import CodeLocation, failures, loaded, orders
from command_line import Ended, dataops

from dataops_assets.config.source import Source

KEPT = {"name": "of_customer", "expression": "sum(amount) over (partition by customer)", "mode": "keep_current"}


def declared(expression: str) -> dict[str, Any]:
    rules = [{"name": "doubled", "expression": expression}, KEPT]
    sane = {"name": "sane", "expression": "doubled < 1000", "severity": "quarantine"}
    return orders(relations={}, rules=rules, validations=[sane])


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CodeLocation]:
    """Two inputs in the hub, and what is kept current made from them."""
    with loaded(declared("amount * 2")) as definitions, dg.instance_for_test() as instance:
        made = CodeLocation(definitions, instance, tmp_path_factory.mktemp("by_hand"))
        made.land("orders", "orders_2024-01-01.csv", "id,customer,amount\n1,7,5\n2,7,400\n")
        made.land("orders", "orders_2024-01-02.csv", "id,customer,amount\n3,7,8\n")
        results = [*made.settle("orders"), made.materialize(["hub/orders_current"], {})]
        assert all(result.success for result in results), [failures(result) for result in results]
        yield made


def does(here: CodeLocation, *words: str, expression: str = "amount * 2") -> Ended:
    """`dataops <words> --json` with this declaration of the source."""
    source = Source.model_validate(declared(expression))
    return dataops([here.platform.source_context(source, {source.name: source})], *words, "--json")


def newest(here: CodeLocation, asset: str, number: int = 1) -> list[dg.AssetMaterialization]:
    """The newest materializations that no run made."""
    found = here.instance.fetch_materializations(dg.AssetKey(asset.split("/")), limit=number)
    assert {record.run_id for record in found.records} == {""}
    return [record.asset_materialization for record in found.records if record.asset_materialization]


def version(here: CodeLocation, asset: str) -> Any:
    snapshot = here.platform.source_context(Source.model_validate(declared("amount * 2")), {}).table(asset).snapshot()
    assert snapshot is not None
    return snapshot.version


def checked_by_hand(here: CodeLocation, asset: str) -> set[str]:
    """Names of the asset's checks that were last evaluated outside of a run."""
    keys = [dg.AssetCheckKey(dg.AssetKey(asset.split("/")), name) for name in ("volume", "schema", "distribution")]
    found = here.instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    return {key.name for key, record in found.items() if record.event is not None and record.event.run_id == ""}


def test_recalculation_tells_of_both_tables(here: CodeLocation) -> None:
    told_by_command = does(here, "recalculate", "orders", expression="amount * 3")
    assert here.rows("hub/orders", "id", "doubled") == [(1, 15.0), (3, 24.0)]
    assert told_by_command.code == 0
    assert [table["asset"] for table in told_by_command.data] == ["hub/orders", "hub/orders_current"]
    (hub,), (current,) = newest(here, "hub/orders"), newest(here, "hub/orders_current")
    # one partition stands for all
    assert (hub.partition, current.partition) == (here.partitions("orders")[-1], None)
    assert hub.metadata["table_version"].value == version(here, "hub/orders")
    assert current.metadata["table_version"].value == version(here, "hub/orders_current")
    receipts = hub.metadata["run: receipts"]
    assert isinstance(receipts, dg.TableMetadataValue)
    assert [record.data["rule"] for record in receipts.records] == ["doubled", "s_status"]
    assert "all 2 rows of the table" in str(hub.metadata["statistics_of"].value)
    assert checked_by_hand(here, "hub/orders_current") == {"volume", "schema", "distribution"}
    assert checked_by_hand(here, "hub/orders")
    (process,) = here.platform.metadata.processes("orders", "recalculate")
    assert (process.run_id, process.status) == ("dataops recalculate", "done")
    kept = here.platform.metadata.receipts("orders", "hub/orders")
    assert [item.receipt.rule for item in kept] == ["doubled", "s_status"]
    # where nothing was changed there is nothing to tell of the hub
    told = len(here.instance.fetch_materializations(dg.AssetKey(["hub", "orders"]), limit=99).records)
    does(here, "recalculate", "orders", expression="amount * 3")
    assert len(here.instance.fetch_materializations(dg.AssetKey(["hub", "orders"]), limit=99).records) == told


def test_a_rebuild_tells_of_every_input(here: CodeLocation) -> None:
    assert does(here, "rebuild", "orders", expression="amount * 2").code == 0
    found = newest(here, "hub/orders", 2)
    assert {item.partition for item in found} == set(here.partitions("orders"))
    assert {item.metadata["table_version"].value for item in found} == {version(here, "hub/orders")}
    assert checked_by_hand(here, "hub/orders")


def test_a_removal_tells_of_the_input_that_is_gone(here: CodeLocation) -> None:
    first, second = here.partitions("orders")
    unknown = does(here, "remove", "orders", "nobody")
    assert (unknown.code, unknown.out) == (2, "")
    assert "not registered" in unknown.err
    removed = does(here, "remove", "orders", second)
    assert (removed.code, removed.data["asset"], removed.data["failed"]) == (0, "hub/orders", [])
    assert here.rows("hub/orders", "id") == [(1,), (2,)]
    (event,) = newest(here, "hub/orders")
    assert (event.partition, event.metadata["removed"].value) == (second, 1)
    assert event.metadata["table_version"].value == version(here, "hub/orders")
    assert first in here.materialized("hub/orders")


def test_a_reset_tells_of_every_step(here: CodeLocation) -> None:
    first, _ = here.partitions("orders")
    assert does(here, "reset", "orders", "cdc", first).code == 0
    for asset in ("lake/orders_changes", "hub/orders_enriched", "hub/orders"):
        (event,) = newest(here, asset)
        assert (event.partition, event.metadata["table_version"].value) == (first, version(here, asset))
    assert {item.run_id for item in here.platform.metadata.processes("orders", "cdc")} >= {"dataops reset"}
