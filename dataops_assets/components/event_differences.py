"""Compares the metadata with Dagster's events: which steps of which inputs are done according to each.

Sensors mend most differences at their next look. What is found here and stays means that one of the two was lost or is
of another time, for example restored from a backup.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import dagster as dg

from dataops_assets.components.events import asset_key
from dataops_assets.components.graph import nodes
from dataops_assets.components.unreported_commits import not_told, version_told
from dataops_assets.rules.compiler import compile_rules
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.upkeep.examination import Finding

_SHOWN = 3


def findings_of_instance(contexts: Sequence[SourceContext]) -> list[Finding]:
    """Return the findings for the Dagster instance of DAGSTER_HOME."""
    with dg.DagsterInstance.get() as instance:
        return event_findings(contexts, instance)


def event_findings(contexts: Sequence[SourceContext], instance: dg.DagsterInstance) -> list[Finding]:
    """Return where metadata and events differ, for sources without a step that runs."""
    return [finding for context in contexts for finding in _of_source(context, instance)]


def _of_source(context: SourceContext, instance: dg.DagsterInstance) -> Iterator[Finding]:
    metadata, name = context.metadata, context.source.name
    if metadata.running(name):
        return
    known = set(metadata.input_ids(name))
    done = [item for item in metadata.processes(name) if item.status == "done"]
    for node in nodes(context.source, compile_rules(context.source, context.sources)):
        if not node.is_per_input:
            yield from _of_table(context, node.key, instance)
            continue
        untold = [item.input_id for item in not_told(node, instance, done)]
        if untold:
            yield Finding(
                name,
                node.key,
                f"done in the metadata, and unknown to Dagster: {_some(untold)}",
                "the sensor of the source tells Dagster at its next look; without a daemon: dataops run",
            )
        unknown = sorted(instance.get_materialized_partitions(asset_key(node.key)) - known)
        if unknown:
            yield Finding(
                name,
                node.key,
                f"materialized in Dagster, and unknown to the metadata: {_some(unknown)}",
                "the metadata are of another time than Dagster's storage: restore both from one backup, or wipe these "
                "partitions in the UI",
            )


def _of_table(context: SourceContext, key: str, instance: dg.DagsterInstance) -> Iterator[Finding]:
    told, newest = version_told(instance, asset_key(key)), context.table(key).newest()
    if told is not None and (newest is None or newest.version < told):
        yield Finding(
            context.source.name,
            key,
            f"Dagster knows version {told}, and the newest is {newest.version if newest else None}",
            "its newest commit is lost; automation makes it again; without a daemon: dataops run",
        )


def _some(ids: Sequence[str]) -> str:
    rest = f" and {len(ids) - _SHOWN:,} more" if len(ids) > _SHOWN else ""
    return f"{', '.join(ids[:_SHOWN])}{rest}"
