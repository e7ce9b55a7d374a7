"""One live Dagster for all tests that only look at it or give it files of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from live_dagster import LiveDagster, live_dagster


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveDagster]:
    with live_dagster(tmp_path_factory.mktemp("home")) as running:
        yield running
