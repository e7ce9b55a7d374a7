"""What tests of whole code locations share."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster instance of the test alone, in memory: Dagster's files take half of a test's time."""
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def instance_on_disk() -> Iterator[dg.DagsterInstance]:
    """A Dagster instance of the test alone, which commands find by DAGSTER_HOME."""
    with dg.instance_for_test() as made:
        yield made
