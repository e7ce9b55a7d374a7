"""One code location whose sources run on different engines, driven as the daemon drives it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from code_location import CUSTOMERS, CodeLocation, loaded, orders

from dataops_assets.components import platform
from dataops_assets.engines.spark import SparkEngine, SparkSqlSession

pytestmark = pytest.mark.filterwarnings(
    "ignore:Class `(LocalFile|)CodeReference(sMetadataValue|)` is currently in beta",
    "ignore:Parameter `owners` of initializer `SensorDefinition.__init__` is currently in beta",
    "ignore:Class `SparkDeclarativePipelineScaffolder` is currently in preview",
)


def rows_of(home: Path, orders_source: dict[str, Any]) -> list[list[tuple[Any, ...]]]:
    with loaded(CUSTOMERS, orders_source) as definitions, dg.instance_for_test() as instance:
        location = CodeLocation(definitions, instance, home)
        location.platform.metadata.migrate()
        location.land("customers", "customers_2024-01-01.csv", "id,name\n1,Ada\n2,\u00c5sa\n")
        assert all(result.success for result in location.settle("customers"))
        location.land("orders", "orders_2024-01-01.csv", "id,customer,amount\n1,1,2.5\n2,2,-1\n3,3,0.1\nx,1,1\n")
        location.land("orders", "orders_2024-01-02.csv", "id,customer,amount\n1,1,3.5\n4,2,1e-5\n")
        assert all(result.success for result in location.settle("orders"))
        result = location.materialize(["hub/orders_current"], {})
        assert result.success
        return [
            location.rows("hub/orders", "id", "amount", "customer_name", "s_row_hash", "s_status"),
            location.rows("hub/orders_current", "id", "of_customer"),
            location.rows("lake/orders_quarantine", "s_row_id", "s_reason", "s_value", "s_record"),
        ]


def test_a_source_on_spark_looks_up_one_that_is_embedded(
    spark: SparkEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    embedded = rows_of(tmp_path / "embedded", orders())
    written: list[str] = []
    write = SparkSqlSession.write

    def recorded(session, query, uri):
        written.append(uri.rpartition("/storage/")[2])
        return write(session, query, uri)

    monkeypatch.setattr(SparkSqlSession, "write", recorded)
    # the one that runs already
    monkeypatch.setitem(platform._ENGINES, "spark", lambda _: spark)
    assert rows_of(tmp_path / "mixed", orders(engine="spark")) == embedded
    assert embedded[0]
    assert set(written) == {
        *("lake/orders", "lake/orders_quarantine", "lake/orders_changes"),
        *("hub/orders_enriched", "hub/orders", "hub/orders_current"),
    }
