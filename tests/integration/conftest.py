"""What tests of whole code locations share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from functools import cache
from typing import Any

import dagster as dg
import pytest
from dagster.components.core import load_defs

from dataops_assets.components.migrations_once import read_migrations_once

# as each process of a deployment does
read_migrations_once()


@pytest.fixture(scope="session", autouse=True)
def _component_types_once() -> Iterator[None]:
    """At each load, Dagster describes the types of all installed components: ten times the work of loading two sources.

    The types are the same for all tests.
    """
    describe = load_defs.get_library_json_enriched_defs
    described = cache(lambda: describe(None).metadata)

    def described_once(tree: Any) -> dg.Definitions:
        return dg.Definitions(metadata=described(), component_tree=tree)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(load_defs, describe.__name__, described_once)
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
