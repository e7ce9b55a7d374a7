"""Pages of the Dagster UI in a browser, and pictures of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, expect

# a busy machine takes minutes where an idle one takes seconds
_MILLISECONDS = 300_000


@contextmanager
def page_of(browser: Browser, url: str) -> Iterator[Page]:
    """A page that talks to the server at `url` alone."""
    page = browser.new_page(viewport={"width": 1600, "height": 1000}, base_url=url)
    page.route("**/*", lambda route: route.continue_() if route.request.url.startswith(url) else route.abort())
    page.set_default_timeout(_MILLISECONDS)
    # what is expected has a limit of its own, of five seconds
    expect.set_options(timeout=_MILLISECONDS)
    try:
        yield page
    finally:
        page.close()


def keep_picture(page: Page, name: str) -> None:
    """Write a picture of the page to the folder DATAOPS_SCREENSHOTS, if that is set."""
    if folder := os.environ.get("DATAOPS_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name}.png")
