"""What the steps of inputs made, and Dagster was never told: a run that dies after a commit has no time to tell.

The metadata knows it, from before the run would have told. What is below follows only what Dagster knows, and so it is
told now, with the checks as they were found.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
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

# an answer of a sensor is one message
_MOST = 200


def untold(
    assets: SourceAssets, platform: Platform, instance: dg.DagsterInstance, processes: Sequence[StepStatus], known: str
) -> tuple[list[Told], str]:
    """What Dagster must be told of a source that no run is under way for, and what says that it was.

    `known` is what this function gave the last time: where nothing was done since, Dagster is not even asked.
    """
    steps = {node.name: node for node in assets.nodes if node.is_per_input}
    done = [item for item in processes if item.status == "done" and item.step in steps]
    newest = max((item.finished_at for item in done if item.finished_at is not None), default=None)
    now_known = hashlib.sha256(f"{len(done)} {newest}".encode()).hexdigest()[:16] if done else ""
    if now_known == known:
        return [], known
    left = [item for node in steps.values() for item in _not_told(node, instance, done)]
    if not left:
        return [], now_known
    told: list[Told] = []
    for node in steps.values():
        told += _told(assets, platform.metadata, node, [item for item in left[:_MOST] if item.step == node.name])
    return told, known if len(left) > _MOST else now_known


def _not_told(node: StepNode, instance: dg.DagsterInstance, done: Sequence[StepStatus]) -> Iterator[StepStatus]:
    """What a step did that Dagster knows no materialization of: a partition, or a version of the table."""
    mine = [item for item in done if item.step == node.name]
    if not mine:
        return
    key = asset_key(node.key)
    told = instance.get_materialized_partitions(key)
    version = -1
    newest = instance.get_latest_materialization_event(key)
    if newest is not None and newest.asset_materialization is not None:
        value = newest.asset_materialization.metadata.get("table_version")
        version = int(str(value.value)) if value is not None else -1
    for item in mine:
        if item.input_id not in told or (item.table_version or -1) > version:
            yield item


def _told(
    assets: SourceAssets, metadata: MetadataStore, node: StepNode, processes: Sequence[StepStatus]
) -> Iterator[Told]:
    if not processes:
        return
    inputs = {item.input_id: item for item in metadata.inputs(assets.source.name)}
    outcomes = _outcomes(metadata, assets.source.name, node, {item.input_id: item.run_id for item in processes})
    columns = events.column_metadata(assets.source, assets.rules, node, node.columns)
    reports = []
    for item in processes:
        report = InputReport(item.input_id, item.counts, checks=tuple(outcomes.get(item.input_id, ())))
        reports.append(report)
        details: dict[str, Any] = events.input_metadata(report, inputs.get(item.input_id)) | columns
        if item.table_version is not None:
            details["table_version"] = item.table_version
        details["told_late"] = f"run {item.run_id} ended before it told"
        yield dg.AssetMaterialization(asset_key(node.key), partition=item.input_id, metadata=details)
    of_table = tuple(outcomes.get("", ()))
    report_of_all = StepReport(node.name, node.key, tuple(reports), None, None, {}, 0.0, of_table)
    for result in events.check_results(report_of_all, {node.key: dict.fromkeys(node.checks, True)}):
        yield events.evaluation(result)


def _outcomes(
    metadata: MetadataStore, source: str, node: StepNode, runs: Mapping[str, str]
) -> dict[str, list[CheckOutcome]]:
    """The checks of inputs as the runs that made them found them; at '' those of the table, as the last one did."""
    found: dict[str, list[CheckOutcome]] = {}
    table: dict[str, list[CheckOutcome]] = {}
    for result in metadata.check_results(source, node.key):
        input_id = result.outcome.input_id or ""
        if input_id in runs and result.run_id == runs[input_id]:
            found.setdefault(input_id, []).append(result.outcome)
        elif not input_id and result.run_id in runs.values():
            table.setdefault(result.run_id, []).append(result.outcome)
    return found | ({"": list(table.values())[-1]} if table else {})
