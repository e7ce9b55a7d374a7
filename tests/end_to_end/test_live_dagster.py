"""A live Dagster, asked as the UI does and looked at in a browser: files land, sensors see them, the graph follows.

All tests of one delivery are in this file, because the delivery takes minutes.
"""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import pytest
from first_delivery import DAYS, INPUTS, history_file, landing_files
from live_dagster import LOCATION, UNFINISHED, LiveDagster, live_dagster, wait_until
from pages import keep_picture, page_of
from playwright.sync_api import Browser, Page, expect

from dataops_assets.demo.bad_inputs import png

STEPS = ("raw/{}", "lake/{}", "lake/{}_changes", "hub/{}_enriched", "hub/{}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveDagster]:
    # `make dev` starts it as `dagster dev`, which the test of the README does
    with live_dagster(tmp_path_factory.mktemp("home"), ("dg", "dev")) as running:
        yield running


@pytest.fixture(scope="module")
def delivered(server: LiveDagster) -> LiveDagster:
    """The server after a first delivery, when the daemon has done all that follows from it."""
    for path, content in landing_files().items():
        server.land(path, content)

    def reached(source: str, inputs: int) -> bool:
        return len({event["partition"] for event in server.materializations(f"hub/{source}")}) == inputs

    for source, inputs in INPUTS.items():
        wait_until(lambda source=source, inputs=inputs: reached(source, inputs), f"{source} reaches its hub", 600)
    # the last of the graph, which reads all others
    wait_until(lambda: server.materializations("warehouse/flight_delays_daily"), "the warehouse follows the hub", 600)
    wait_until(server.is_quiet, "the last run ends", 300)
    return server


@pytest.fixture
def page(browser: Browser, server: LiveDagster, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page of the UI that talks to the server alone. Its last picture is kept."""
    with page_of(browser, server.url) as page:
        yield page
        keep_picture(page, request.node.name.removeprefix("test_"))


def number(event: Mapping[str, Any], label: str) -> int:
    return int(event["metadata"][label]["intValue"])


def test_the_code_location_loads(server: LiveDagster) -> None:
    server.assert_loaded()


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


def test_the_sensors_of_all_areas_are_switched_on(server: LiveDagster) -> None:
    sensors = server.sensors()
    standard = {name for name, sensor in sensors.items() if sensor["sensorType"] == "STANDARD"}
    assert standard >= {"looks_at_flights", "looks_at_rossmann"}
    assert {sensor["sensorState"]["status"] for sensor in sensors.values()} == {"RUNNING"}


def test_inputs_are_the_partitions(delivered: LiveDagster) -> None:
    for asset in ("raw/flights", "hub/flights"):
        partitions = delivered.partitions(asset)
        assert sorted(partition[:10] for partition in partitions) == list(DAYS)
    assert {event["partition"] for event in delivered.materializations("hub/flights")} == set(
        delivered.partitions("hub/flights")
    )


def test_the_rows_of_the_files_are_in_the_hub(delivered: LiveDagster) -> None:
    files = landing_files()
    rows = sum(content.count(b"\n") - 1 for path, content in files.items() if path.startswith("flights/flights/"))
    newest = delivered.materializations("hub/flights")[0]
    assert number(newest, "dagster/row_count") == rows
    schema = delivered.declared("hub/flights")["dagster/column_schema"]["schema"]
    columns = {column["name"]: column["type"] for column in schema["columns"]}
    assert columns["flight"] == "BIGINT"
    assert {"s_key", "s_input_id", "s_status", "carrier_name"} <= set(columns)


def test_a_looked_up_column_names_where_it_comes_from(delivered: LiveDagster) -> None:
    lineage = delivered.declared("hub/flights_enriched")["dagster/column_lineage"]["lineage"]
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
    assert delivered.failures() == {}
    # on a slow machine automation may still rebuild a model for the last of the files
    assert {run["status"] for run in delivered.runs()} - set(UNFINISHED) == {"SUCCESS"}
    # a run of several inputs tells of the newest once more
    taken = {(event["partition"], event["runId"]) for event in delivered.materializations("raw/flights")}
    assert sorted(partition for partition, _ in taken) == sorted(delivered.partitions("raw/flights"))


def test_one_input_materialized_again_changes_nothing(delivered: LiveDagster) -> None:
    partition = delivered.partitions("hub/airlines")[0]
    before = number(delivered.materializations("hub/airlines")[0], "dagster/row_count")
    run = delivered.launch([step.format("airlines") for step in STEPS], partition)
    assert delivered.finished(run) == "SUCCESS"
    again = delivered.materializations("hub/airlines")[0]
    assert again["runId"] == run
    assert number(again, "dagster/row_count") == before


@pytest.mark.browser
def test_the_graph_of_a_subject_area(page: Page, delivered: LiveDagster) -> None:
    page.goto("/locations/dataops_assets/asset-groups/flights/lineage")
    for name in ("flights_changes", "flights_enriched", "flights_current", "fct_flights"):
        expect(page.get_by_text(name, exact=True).first).to_be_visible()
    # raw, lake and hub of one source have one name
    assert page.get_by_text("weather", exact=True).count() >= 3


@pytest.mark.browser
def test_an_asset_says_what_it_is_and_how_it_is(page: Page, delivered: LiveDagster) -> None:
    page.goto("/assets/hub/flights")
    expect(page.get_by_text("One row for each scheduled departure from New York")).to_be_visible()
    expect(page.get_by_text("Latest materialization", exact=True)).to_be_visible()
    expect(page.get_by_text("2,699", exact=True)).to_be_visible()
    expect(page.get_by_text("Delta Lake", exact=True)).to_be_visible()
    expect(page.get_by_text("Two-letter carrier code.").first).to_be_visible()
    # the daemon's freshness evaluation
    expect(page.get_by_text("Passing").first).to_be_visible(timeout=900_000)


@pytest.mark.browser
def test_checks_tell_their_results(page: Page, delivered: LiveDagster) -> None:
    page.goto("/assets/hub/flights?view=checks")
    for name in ("distribution", "schema", "volume"):
        expect(page.get_by_text(name, exact=True).first).to_be_visible()
    expect(page.get_by_text("Succeeded", exact=True)).to_have_count(3)


@pytest.mark.browser
def test_partitions_are_the_inputs(page: Page, delivered: LiveDagster) -> None:
    page.goto("/assets/raw/flights?view=partitions")
    for partition in delivered.partitions("raw/flights"):
        # the page also has a hidden copy, with which it measures the text
        expect(page.get_by_text(partition).filter(visible=True).first).to_be_visible()


@pytest.mark.browser
def test_sensors_are_on(page: Page, server: LiveDagster) -> None:
    page.goto("/automation")
    for sensor in ("looks_at_flights", "looks_at_rossmann"):
        expect(page.get_by_text(sensor, exact=True)).to_be_visible()


@pytest.mark.browser
def test_the_buttons_that_start_runs_do_what_they_say(page: Page, delivered: LiveDagster) -> None:
    """Execute all, Materialize all, and a launchpad that is filled in; other buttons are in test_ui_buttons.py."""
    before = {run["runId"] for run in delivered.runs()}
    # a contract, the checks of a lake table, a dbt test, the checks of a warehouse table
    checked = {"lake/flights": {"contract"}, "warehouse/dim_airlines": {"dim_airlines_grain"}}
    for asset in checked:
        page.goto(f"/assets/{asset}?view=checks")
        page.get_by_role("button", name="Execute all").click()
        expect(page.get_by_text("Launched run").first).to_be_visible()
    # no table follows the raw files by itself
    page.goto("/assets/raw/flights")
    page.get_by_role("button", name="Materialize…").click()
    page.get_by_role("button", name="All", exact=True).click()
    page.get_by_role("button", name="Launch").last.click()
    filled = urllib.parse.quote("ops: {approve: {config: {source: '*', inputs: []}}}", safe="")
    page.goto(f"/locations/{LOCATION}/jobs/approve_inputs/playground/setup?config={filled}")
    page.get_by_role("button", name="Launch Run").click()
    page.wait_for_url("**/runs/**")

    def ended() -> list[Any]:
        found = [run for run in delivered.runs() if run["runId"] not in before]
        asked = [run for run in found if "dagster/from_ui" in run["tags"]]
        # one answer tells both: a second one could tell of an end that the first did not know
        return asked if len(asked) == 4 and not any(run["status"] in UNFINISHED for run in asked) else []

    runs = wait_until(ended, "the runs of the buttons end", 300)
    assert {run["status"] for run in runs} == {"SUCCESS"}, runs
    for asset, some in checked.items():
        checks = delivered.checks(asset)
        assert some | {"volume", "schema", "distribution"} == set(checks)
        assert {check["latest"]["status"] for check in checks.values()} == {"SUCCEEDED"}, checks
        assert {check["latest"]["runId"] for check in checks.values()} <= {run["runId"] for run in runs}
    (backfill,) = [run["runId"] for run in runs if "dagster/backfill" in run["tags"]]
    again = {event["partition"] for event in delivered.materializations("raw/flights") if event["runId"] == backfill}
    assert again == set(delivered.partitions("raw/flights"))


def test_a_file_of_the_wrong_type_fails_alone_and_says_why(delivered: LiveDagster) -> None:
    rows = number(delivered.materializations("hub/weather")[0], "dagster/row_count")
    delivered.land("flights/weather/weather_2013-01-08.csv", png())
    good = "flights/weather/weather_2013-01-15.csv"
    delivered.land(good, history_file(good))

    def in_hub() -> set[str]:
        return {event["partition"][:10] for event in delivered.materializations("hub/weather")}

    wait_until(lambda: "2013-01-15" in in_hub(), "the good file reaches the hub", 600)
    failed = wait_until(lambda: delivered.runs(["FAILURE"]), "the wrong file is told", 300)
    wait_until(delivered.is_quiet, "the last run ends", 300)
    assert in_hub() == {"2013-01-01", "2013-01-15"}
    assert number(delivered.materializations("hub/weather")[0], "dagster/row_count") > rows
    messages = json.dumps([delivered.events(run["runId"]) for run in failed])
    assert "weather_2013-01-08.csv" in messages
