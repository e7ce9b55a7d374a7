"""What tests of whole code locations share."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster instance of the test alone."""
    with dg.instance_for_test() as made:
        yield made
