"""What files in the landing folder become can be opened by every reader of Delta, after a checkpoint as before it."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
from code_location import CodeLocation, failures, loaded, orders
from delta_readers import READERS, bag_of

from dataops_assets.storage import delta
from dataops_assets.storage.delta import Table

# Dagster itself uses them wherever a component is loaded
pytestmark = pytest.mark.filterwarnings(
    "ignore:Class `(LocalFile|)CodeReference(sMetadataValue|)` is currently in beta",
    "ignore:Parameter `owners` of initializer `SensorDefinition.__init__` is currently in beta",
    "ignore:Class `SparkDeclarativePipelineScaffolder` is currently in preview",
    "ignore:Parameter `include_sources` of function `AssetSelection.all`",
)

TABLES = ("lake/orders", "lake/orders_changes", "hub/orders_enriched", "hub/orders")


def test_a_column_that_comes_after_a_checkpoint_shuts_no_reader_out(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delta, "CHECKPOINT_EVERY", 1)
    with loaded(orders(relations={}, rules=[], validations=[], drift={"new_column": "evolve"})) as definitions:
        location = CodeLocation(definitions, instance, tmp_path)
        for day in (1, 2):
            location.land("orders", f"orders_2024-01-0{day}.csv", f"id,customer,amount\n{day},1,{day}.5\n")
            assert [failures(result) for result in location.settle("orders")] == [[]]
        location.land("orders", "orders_2024-01-03.csv", "id,customer,amount,note\n3,1,3.5,new\n1,1,1.5,more\n")
        assert [failures(result) for result in location.settle("orders")] == [[]]
        assert location.rows("hub/orders", "id", "note") == [(1, "more"), (2, None), (3, "new")]
        for name in TABLES:
            table = Table(f"{location.environment.storage}/{name}")
            snapshot = table.snapshot()
            assert snapshot is not None
            assert (tmp_path / "storage" / name / "_delta_log" / "_last_checkpoint").exists()
            with location.platform.engine.session() as session:
                ours = bag_of(session.fetch(session.scan(snapshot).this), list(snapshot.columns))
            for reader, read in READERS.items():
                assert bag_of(read(table.uri), list(snapshot.columns)) == ours, (name, reader)
