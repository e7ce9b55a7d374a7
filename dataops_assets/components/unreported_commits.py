"""Report steps of inputs to Dagster that it does not know.

A run was killed after the commit and before its report, or a person wiped the materializations of an asset in the UI.
The metadata has the steps, because it is written before the report. Downstream assets follow only what Dagster knows.
So the steps are reported later, with the results of their checks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from dataops_assets.components import events
from dataops_assets.components.assets import SourceAssets
from dataops_assets.components.events import asset_key
from dataops_assets.components.graph import StepNode
from dataops_assets.components.platform import Platform
from dataops_assets.metadata.store import MetadataStore, StepStatus
from dataops_assets.report import CheckOutcome, InputReport, StepReport

Told = dg.AssetMaterialization | dg.AssetCheckEvaluation

# the result of a sensor tick is one message, so its size is limited
_MOST = 200
# events without a table version are those that a person reported in the UI, a few
_READ = 50


def untold(
    assets: SourceAssets, platform: Platform, instance: dg.DagsterInstance, known: str
) -> tuple[list[Told], str]:
    """Return the events that Dagster lacks for a source without active runs, and a token for the next call.

    `known` is the token of the last call. If no step ended since then, and no asset lost all its materializations, the
    events are not read.
    """
    steps = {node.name: node for node in assets.nodes if node.is_per_input}
    name = assets.source.name
    count, newest = platform.metadata.done_steps(name, list(steps))
    now_known = hashlib.sha256(f"{count} {newest}".encode()).hexdigest()[:16] if count else ""
    if now_known == known and not (count and _is_wiped(instance, platform.metadata, name, steps.values())):
        return [], known
    done = [item for item in platform.metadata.processes(name) if item.status == "done" and item.step in steps]
    left = [item for node in steps.values() for item in not_told(node, instance, done)]
    if not left:
        return [], now_known
    told: list[Told] = []
    for node in steps.values():
        told += _told(assets, platform, node, [item for item in left[:_MOST] if item.step == node.name])
    return told, known if len(left) > _MOST else now_known


def not_told(node: StepNode, instance: dg.DagsterInstance, done: Sequence[StepStatus]) -> Iterator[StepStatus]:
    """Return those `done` steps of inputs whose partition or table version is missing in Dagster."""
    mine = [item for item in done if item.step == node.name]
    if not mine:
        return
    key = asset_key(node.key)
    told = instance.get_materialized_partitions(key)
    version = version_told(instance, key)
    for item in mine:
        if item.input_id not in told or (version is not None and (item.table_version or -1) > version):
            yield item


def version_told(instance: dg.DagsterInstance, key: dg.AssetKey) -> int | None:
    """Return the table version of the newest materialization that names one; None if there is none."""
    # almost always the newest one names it, and events are large
    for limit in (1, _READ):
        for record in instance.fetch_materializations(key, limit=limit).records:
            version = events.told_version(record.asset_materialization)
            if version is not None:
                return version
    return None


def _is_wiped(instance: dg.DagsterInstance, metadata: MetadataStore, source: str, nodes: Collection[StepNode]) -> bool:
    """Return whether an asset has no materialization although its step was done: a person wiped them."""
    records = instance.get_asset_records([asset_key(node.key) for node in nodes])
    made = {record.asset_entry.asset_key for record in records if record.asset_entry.last_materialization is not None}
    return any(asset_key(node.key) not in made and metadata.done_steps(source, [node.name])[0] for node in nodes)


def _told(assets: SourceAssets, platform: Platform, node: StepNode, processes: Sequence[StepStatus]) -> Iterator[Told]:
    if not processes:
        return
    metadata = platform.metadata
    inputs = {item.input_id: item for item in metadata.inputs(assets.source.name)}
    outcomes = _outcomes(metadata, assets.source.name, node, {item.input_id: item.run_id for item in processes})
    # the table also has columns of the platform, and columns that evolved
    table = platform.source_context(assets.source, assets.sources).table(node.key).snapshot()
    columns = events.undeclared_columns(assets.source, assets.rules, node, table.columns if table else {})
    reports = []
    for item in processes:
        report = InputReport(item.input_id, item.counts, checks=tuple(outcomes.get(item.input_id, ())))
        reports.append(report)
        details: dict[str, Any] = events.input_metadata(report, inputs.get(item.input_id)) | columns
        if item.table_version is not None:
            details[events.TABLE_VERSION] = item.table_version
        details["reported_late"] = f"run {item.run_id} ended before its report, or the report was wiped"
        yield dg.AssetMaterialization(asset_key(node.key), partition=item.input_id, metadata=details)
        if node.beside is not None and item.counts.get(events.REJECTED):
            rejected = events.rejected_metadata([report])
            yield dg.AssetMaterialization(asset_key(node.beside), partition=item.input_id, metadata=rejected)
    of_table = tuple(outcomes.get("", ()))
    report_of_all = StepReport(node.name, node.key, tuple(reports), None, None, {}, 0.0, of_table)
    for result in events.check_results(report_of_all, {node.key: dict.fromkeys(node.checks, True)}):
        yield events.evaluation(result)


def _outcomes(
    metadata: MetadataStore, source: str, node: StepNode, runs: Mapping[str, str]
) -> dict[str, list[CheckOutcome]]:
    """Return the check outcomes by input, from the run that made it; at '' those of the table, from the last run."""
    found: dict[str, list[CheckOutcome]] = {}
    table: dict[str, list[CheckOutcome]] = {}
    run_ids = set(runs.values())
    for result in metadata.check_results(source, node.key):
        input_id = result.outcome.input_id or ""
        if input_id in runs and result.run_id == runs[input_id]:
            found.setdefault(input_id, []).append(result.outcome)
        elif not input_id and result.run_id in run_ids:
            table.setdefault(result.run_id, []).append(result.outcome)
    return found | ({"": list(table.values())[-1]} if table else {})
