"""Spark reads the tables as of a release, by its name, in the way that the page on releases shows."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
from code_location import CodeLocation, loaded, orders
from command_line import dataops

from dataops_assets.config.source import Source
from dataops_assets.engines.spark import SparkEngine
from dataops_assets.operations import code_version, project

SEEN = ("id", "amount", "of_customer")


def test_spark_reads_tables_as_of_a_release(
    spark: SparkEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = {"name": "of_customer", "expression": "sum(amount) over (partition by customer)", "mode": "keep_current"}
    declared = orders(relations={}, rules=[rule])
    monkeypatch.setenv(code_version.VARIABLE, "abc")
    # no git repository
    monkeypatch.setattr(project, "PROJECT", tmp_path)
    with loaded(declared) as definitions, dg.instance_for_test() as instance:
        here = CodeLocation(definitions, instance, tmp_path / "home")
        source = Source.model_validate(declared)
        contexts = [here.platform.source_context(source, {source.name: source})]
        seen = []
        for day in (1, 2):
            here.land("orders", f"orders_2024-01-0{day}.csv", f"id,customer,amount\n1,7,{day}\n{day + 1},7,400\n")
            here.settle("orders")
            assert here.materialize(["hub/orders_current"], {}).success
            seen.append(here.rows("hub/orders_current", *SEEN))
            assert dataops(contexts, "release", f"v{day}").code == 0
        assert seen[0] != seen[1]
        for day in (1, 2):
            versions = dataops(contexts, "releases", "versions", f"v{day}").data["table_versions"]
            with spark.session() as session:
                reader = session.spark.read.option("versionAsOf", versions["hub/orders_current"]).format("delta")
                found = reader.load(f"{here.environment.storage}/hub/orders_current")
                assert sorted(tuple(row) for row in found.select(*SEEN).collect()) == seen[day - 1]
