"""Loads of code locations as dataops_assets/definitions.py loads them: without a list of all installed components."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import pytest
from dagster.components.core import load_defs


@contextmanager
def only_own_components() -> Iterator[None]:
    """In this block Dagster's sandboxes do not describe the types of all installed components.

    They would import every Dagster integration, which costs ten times as much as to load two sources.
    """
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(load_defs, "get_library_json_enriched_defs", lambda tree: dg.Definitions(component_tree=tree))
        yield
