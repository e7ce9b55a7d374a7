"""Copies events of unchanged tables from the parent's Dagster instance to that of a new private environment.

The environment begins with the tables of its parent, and with an instance that knows none of them. Hubs are told from
the metadata by each look. Models, recalculated hubs and outputs are not in the metadata, so the daemon would make each
once more, although nothing changed. So the newest event of each is copied with its checks, if it is declared as is in
force; what is declared otherwise stays unknown, and is made.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from dataops_assets.components.events import evaluation
from dataops_assets.components.platform import Platform
from dataops_assets.components.warehouse_results import newest_evaluation
from dataops_assets.metadata.declaration_store import by_name
from dataops_assets.storage.links import PRIVATE, is_private

_KINDS = {"warehouse": "model", "hub": "source", "output": "output"}
_LATE = "reported_late"


def declared_as_in_force(platform: Platform) -> frozenset[tuple[str, str]]:
    """Return kind and name of each declaration that equals the one in force. Call this before the first look."""
    load = platform.metadata.declarations.in_force()
    if load is None:
        return frozenset()
    before = by_name(load.declarations)
    now = by_name(platform.declared_now())
    return frozenset(name for name, content in now.items() if name in before and before[name] == content)


def inherit(
    definitions: dg.Definitions, instance: dg.DagsterInstance, home: Path, same: Collection[tuple[str, str]]
) -> list[str]:
    """Copy the newest events of tables that are the `same` from the instance of the parent; return their asset keys.

    Does nothing where there is no parent, or where its instance is not in its home. Tables that this instance knows
    stay as they are.
    """
    there = _parent_of(home) / "dagster"
    if not (there / "dagster.yaml").is_file():
        return []
    graph = definitions.get_repository_def().asset_graph
    wanted = [
        key
        for key in graph.toposorted_asset_keys
        if graph.get(key).automation_condition is not None
        and not graph.get(key).is_partitioned
        and _declared(key) in same
    ]
    known = instance.get_latest_materialization_events(wanted) if wanted else {}
    found = []
    with dg.DagsterInstance.from_config(str(there)) as parent:
        for key in wanted:
            events = list(_events(parent, key, graph.get(key).check_keys)) if known.get(key) is None else []
            for event in events:
                instance.report_runless_asset_event(event)
            if events:
                found.append("/".join(key.path))
    return found


def is_new(home: Path, cursor: Path) -> bool:
    """Return whether a home belongs to a new private environment, in which nothing was done yet."""
    return is_private(home) and not cursor.exists()


def _parent_of(home: Path) -> Path:
    return Path(json.loads((home / PRIVATE).read_text())["parent"])


def _declared(key: dg.AssetKey) -> tuple[str, str]:
    """Return the kind and the name of what declares a table."""
    layer, name = key.path[0], key.path[-1]
    return _KINDS.get(layer, layer), name.removesuffix("_current") if layer == "hub" else name


def _events(
    parent: dg.DagsterInstance, key: dg.AssetKey, checks: Collection[dg.AssetCheckKey]
) -> Iterator[dg.AssetMaterialization | dg.AssetCheckEvaluation]:
    made = parent.get_latest_materialization_events([key]).get(key)
    if made is None or made.asset_materialization is None:
        return
    metadata: Mapping[str, Any] = made.asset_materialization.metadata
    yield dg.AssetMaterialization(key, metadata={**metadata, _LATE: "as in the parent of this environment"})
    for check in sorted(checks):
        newest = newest_evaluation(check, parent)
        if newest is None:
            continue
        found, _ = newest
        yield evaluation(
            dg.AssetCheckResult(
                asset_key=check.asset_key,
                check_name=check.name,
                passed=found.passed,
                severity=found.severity,
                description=found.description,
                metadata=found.metadata,
            )
        )
