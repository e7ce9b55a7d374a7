"""One live Dagster for all tests that look at it or give it files of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from first_delivery import INPUTS, landing_files
from live_dagster import LiveDagster, live_dagster, wait_until


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveDagster]:
    with live_dagster(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture(scope="session")
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
