"""What tests of whole code locations share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import dagster as dg
import pytest
from own_components import only_own_components

from dataops_assets.components.migrations_once import read_migrations_once

# as each process of a deployment does
read_migrations_once()


@pytest.fixture(scope="session", autouse=True)
def _no_other_components() -> Iterator[None]:
    with only_own_components():
        yield


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster instance of the test alone, in memory: Dagster's files take half of a test's time."""
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def instance_of_commands(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> dg.DagsterInstance:
    """The instance in memory, which commands of this process find; test_instance_by_hand tests how they find theirs."""
    monkeypatch.setenv("DAGSTER_HOME", "in memory")
    monkeypatch.setattr(dg.DagsterInstance, "get", lambda: nullcontext(instance))
    return instance
