"""The UI in a browser: what the asset graph, an asset and its checks show to a person."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_dagster import LiveDagster
from playwright.sync_api import Browser, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium here (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, server: LiveDagster, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page of the UI that talks to the server alone. Its last picture goes to DATAOPS_SCREENSHOTS, if that is set."""
    page = browser.new_page(viewport={"width": 1600, "height": 1000}, base_url=server.url)
    page.route("**/*", lambda route: route.continue_() if route.request.url.startswith(server.url) else route.abort())
    page.set_default_timeout(30_000)
    yield page
    folder = Path(os.environ.get("DATAOPS_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / f"{request.node.name.removeprefix('test_')}.png")
    page.close()


def test_the_graph_of_a_subject_area(page: Page, delivered: LiveDagster) -> None:
    page.goto("/locations/dataops_assets/asset-groups/flights/lineage")
    for name in ("flights_changes", "flights_enriched", "flights_current", "fct_flights"):
        expect(page.get_by_text(name, exact=True).first).to_be_visible()
    # raw, lake and hub of one source have one name
    assert page.get_by_text("weather", exact=True).count() >= 3


def test_an_asset_says_what_it_is_and_how_it_is(page: Page, delivered: LiveDagster) -> None:
    page.goto("/assets/hub/flights")
    expect(page.get_by_text("One row a scheduled departure from New York")).to_be_visible()
    expect(page.get_by_text("Latest materialization", exact=True)).to_be_visible()
    expect(page.get_by_text("2,699", exact=True)).to_be_visible()
    expect(page.get_by_text("Delta Lake", exact=True)).to_be_visible()
    expect(page.get_by_text("Two-letter carrier code.").first).to_be_visible()
    # the daemon's freshness evaluation
    expect(page.get_by_text("Passing").first).to_be_visible(timeout=90_000)


def test_checks_tell_their_results(page: Page, delivered: LiveDagster) -> None:
    page.goto("/assets/hub/flights?view=checks")
    for name in ("distribution", "schema", "volume"):
        expect(page.get_by_text(name, exact=True).first).to_be_visible()
    expect(page.get_by_text("Succeeded", exact=True)).to_have_count(3)


def test_partitions_are_the_inputs(page: Page, delivered: LiveDagster) -> None:
    page.goto("/assets/raw/flights?view=partitions")
    for partition in delivered.partitions("raw/flights"):
        expect(page.get_by_text(partition).first).to_be_visible()


def test_sensors_are_on(page: Page, server: LiveDagster) -> None:
    page.goto("/automation")
    for sensor in ("flights_inputs", "sales_inputs"):
        expect(page.get_by_text(sensor, exact=True)).to_be_visible()
