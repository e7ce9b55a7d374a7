"""A scaffolded model builds as it is: dbt reads the hub table, and the model's tests pass."""

from __future__ import annotations

import datetime as dt
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import yaml
from deltalake import write_deltalake
from warehouse_hub import DBT_PROJECT, environment

from dataops_assets.config.source import Source
from dataops_assets.engines.dbt import DbtProject, invoke
from dataops_assets.operations.warehouse_scaffold import scaffold_model

ORDERS: dict[str, Any] = {
    "name": "orders",
    "area": "shop",
    "connection": {"type": "files", "path": "orders/*.csv"},
    "columns": [
        {"name": "Order ID", "type": "integer"},
        {"name": "amount", "type": "decimal(12,2)"},
        {"name": "day", "type": "date"},
        {"name": "email", "tags": {"pii": "email"}},
    ],
    "refresh": {"type": "key", "key": ["Order ID"]},
}


def test_a_scaffolded_model_is_built_and_tested(tmp_path: Path) -> None:
    folder = tmp_path / "dbt_project"
    shutil.copytree(DBT_PROJECT, folder, ignore=shutil.ignore_patterns("target", "logs", "outputs", "post_process"))
    source = Source.model_validate(ORDERS)
    made = scaffold_model(folder, source, {"orders": source})
    deployment = environment(tmp_path)
    rows = pa.table(
        {
            "Order ID": [1, 2],
            "amount": pa.array([Decimal("1.50"), None], pa.decimal128(12, 2)),
            "day": [dt.date(2024, 1, 1), dt.date(2024, 1, 2)],
            "email": ["a@example.com", None],
            "s_input_id": ["one", "one"],
            "s_row_id": [0, 1],
        }
    )
    write_deltalake(f"{deployment.storage}/hub/orders", rows)
    done = invoke(DbtProject(folder, tmp_path / "artifacts", deployment), ["--quiet", "build", "--select", made.model])
    of_models = [item for item in done.results if not item.unique_id.startswith("operation.")]
    assert {(item.unique_id.split(".")[0], item.status) for item in of_models} == {
        ("model", "success"),
        ("test", "pass"),
    }
    with duckdb.connect(deployment.warehouse, read_only=True) as connection:
        (schema,) = connection.execute(
            "select table_schema from information_schema.tables where table_name = 'fct_orders'"
        ).fetchall()[0]
        found = connection.table(f"{schema}.fct_orders").order("order_id").project("order_id, amount, day").fetchall()
    assert found == [(1, Decimal("1.50"), dt.date(2024, 1, 1)), (2, None, dt.date(2024, 1, 2))]
    assert (
        yaml.safe_load((folder / "models" / "sources.yml").read_text())["sources"][0]["tables"][-1]["name"] == "orders"
    )
