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


def test_asset_graph(page: Page) -> None:
    page.goto("/asset-groups")
    for text in ("raw", "lake", "hub"):
        expect(page.get_by_text(text).first).to_be_visible()
