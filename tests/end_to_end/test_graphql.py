"""Through the webserver alone, as the UI does: files land, the daemon's sensors see them, and the graph follows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from first_delivery import DAYS, INPUTS, history_file, landing_files
from live_dagster import LiveDagster, wait_until

from dataops_assets.demo.bad_inputs import png

STEPS = ("raw/{}", "lake/{}", "lake/{}_changes", "hub/{}_enriched", "hub/{}")


def number(event: Mapping[str, Any], label: str) -> int:
    return int(event["metadata"][label]["intValue"])


def test_every_source_is_a_chain_of_assets(server: LiveDagster) -> None:
    assets = server.assets()
    for source in INPUTS:
        chain = [step.format(source) for step in STEPS]
        for above, below in pairwise(chain):
            upstream = {"/".join(key["path"]) for key in assets[below]["dependencyKeys"]}
            assert above in upstream, (below, upstream)
        for key in chain:
            assert assets[key]["partitionDefinition"]["type"] == "DYNAMIC"
            assert assets[key]["owners"] == [{"__typename": "TeamAssetOwner", "team": "flights"}]
            assert assets[key]["description"]
            assert assets[key]["kinds"]
    assert not assets["hub/flights_current"]["isPartitioned"]


def test_rules_and_the_warehouse_join_the_graph(server: LiveDagster) -> None:
    assets = server.assets()
    looked_up = {"/".join(key["path"]) for key in assets["hub/flights_enriched"]["dependencyKeys"]}
    assert {"hub/airlines", "hub/airports"} <= looked_up
    current = {"/".join(key["path"]) for key in assets["hub/flights_current"]["dependencyKeys"]}
    assert {"hub/flights", "hub/planes", "hub/weather"} <= current
    facts = {"/".join(key["path"]) for key in assets["warehouse/fct_flights"]["dependencyKeys"]}
    assert facts & {"hub/flights", "hub/flights_current"}


def test_a_sensor_a_source_is_switched_on(server: LiveDagster) -> None:
    sensors = server.sensors()
    standard = [name for name, sensor in sensors.items() if sensor["sensorType"] == "STANDARD"]
    assert all(any(source in name for name in standard) for source in INPUTS), standard
    assert {sensor["sensorState"]["status"] for sensor in sensors.values()} == {"RUNNING"}


def test_inputs_are_the_partitions(delivered: LiveDagster) -> None:
    for asset in ("raw/flights", "hub/flights"):
        partitions = delivered.partitions(asset)
        assert sorted(partition[:8] for partition in partitions) == [day.replace("-", "") for day in DAYS]
    assert {event["partition"] for event in delivered.materializations("hub/flights")} == set(
        delivered.partitions("hub/flights")
    )


def test_the_rows_of_the_files_are_in_the_hub(delivered: LiveDagster) -> None:
    files = landing_files()
    rows = sum(content.count(b"\n") - 1 for path, content in files.items() if path.startswith("flights/flights/"))
    newest = delivered.materializations("hub/flights")[0]
    assert number(newest, "dagster/row_count") == rows
    columns = {
        column["name"]: column["type"] for column in newest["metadata"]["dagster/column_schema"]["schema"]["columns"]
    }
    assert columns["flight"] == "BIGINT"
    assert {"s_key", "s_input_id", "s_status", "carrier_name"} <= set(columns)


def test_a_looked_up_column_names_where_it_comes_from(delivered: LiveDagster) -> None:
    lineage = delivered.materializations("hub/flights_enriched")[0]["metadata"]["dagster/column_lineage"]["lineage"]
    sources = {
        entry["columnName"]: {("/".join(dep["assetKey"]["path"]), dep["columnName"]) for dep in entry["columnDeps"]}
        for entry in lineage
    }
    assert ("hub/airlines", "name") in sources["carrier_name"]
    assert ("lake/flights_changes", "dep_time") in sources["is_cancelled"]


def test_checks_of_every_kind_passed(delivered: LiveDagster) -> None:
    for asset in ("lake/flights", "hub/flights"):
        checks = delivered.checks(asset)
        assert {"volume", "schema", "distribution"} <= set(checks), asset
        for name, check in checks.items():
            assert check["latest"] is not None, f"{asset}: {name} has no result"
            assert check["latest"]["status"] == "SUCCEEDED", (asset, name, check["latest"])


def test_every_run_succeeded_and_nothing_was_taken_twice(delivered: LiveDagster) -> None:
    runs = delivered.runs()
    assert {run["status"] for run in runs} == {"SUCCESS"}
    partitions = [event["partition"] for event in delivered.materializations("raw/flights")]
    assert sorted(partitions) == sorted(set(partitions))


def test_one_input_materialized_again_changes_nothing(delivered: LiveDagster) -> None:
    partition = delivered.partitions("hub/airlines")[0]
    before = number(delivered.materializations("hub/airlines")[0], "dagster/row_count")
    run = delivered.launch([step.format("airlines") for step in STEPS], partition)
    assert delivered.finished(run) == "SUCCESS"
    again = delivered.materializations("hub/airlines")[0]
    assert again["runId"] == run
    assert number(again, "dagster/row_count") == before


def test_a_file_of_the_wrong_type_fails_alone_and_says_why(delivered: LiveDagster) -> None:
    rows = number(delivered.materializations("hub/weather")[0], "dagster/row_count")
    delivered.land("flights/weather/weather_2013-01-08.csv", png())
    good = "flights/weather/weather_2013-01-15.csv"
    delivered.land(good, history_file(good))

    def in_hub() -> set[str]:
        return {event["partition"][:8] for event in delivered.materializations("hub/weather")}

    wait_until(lambda: "20130115" in in_hub(), "the good file reaches the hub", 600)
    failed = wait_until(lambda: delivered.runs(["FAILURE"]), "the wrong file is told", 300)
    wait_until(delivered.is_quiet, "the last run ends", 300)
    assert in_hub() == {"20130101", "20130115"}
    assert number(delivered.materializations("hub/weather")[0], "dagster/row_count") > rows
    messages = json.dumps([delivered.events(run["runId"]) for run in failed])
    assert "weather_2013-01-08.csv" in messages
