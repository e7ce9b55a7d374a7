"""The lines that steps log are events of their run, with the settings that docs/deploy.md shows."""

from __future__ import annotations

import re
from pathlib import Path

import dagster as dg
import yaml
from code_location import CodeLocation, loaded, standalone

PAGE = Path(__file__).resolve().parents[2] / "docs" / "deploy.md"


def test_a_run_has_a_line_for_each_step_and_input(tmp_path: Path) -> None:
    settings = re.search(r"```yaml\n(python_logs:.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert settings is not None
    with dg.instance_for_test(overrides=yaml.safe_load(settings[1])) as instance, loaded(standalone()) as definitions:
        here = CodeLocation(definitions, instance, tmp_path)
        here.land("orders", "orders_2024-01-01.csv", "id,customer,amount\n1,1,5\n")
        (run,) = here.settle("orders")
        (input_id,) = here.partitions("orders")
        lines = [event.user_message for event in instance.all_logs(run.run_id)]
    logged = [line for line in lines if f"input {input_id} done in run {run.run_id}" in line]
    assert [line.partition(":")[0] for line in logged] == [
        "ingest raw/orders",
        "parse lake/orders",
        "cdc lake/orders_changes",
        "enrich hub/orders_enriched",
        "refresh hub/orders",
    ]
