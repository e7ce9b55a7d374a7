"""The problems of tables that no source makes, dbt models and outputs: what Dagster knows of their runs and checks."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import dagster as dg

from dataops_assets.components.dead_runs import FINISHED
from dataops_assets.components.warehouse_results import newest_results
from dataops_assets.incidents.decisions import Seen
from dataops_assets.incidents.grouping import Lineage
from dataops_assets.incidents.problem import STALE, Problem
from dataops_assets.masking import mask

_MOST = 1000
_LAYERS = ("warehouse", "output")


def newest_ended_run(instance: dg.DagsterInstance) -> str:
    """Return a text that changes whenever a run ends."""
    newest = instance.get_run_records(dg.RunsFilter(statuses=FINISHED), limit=1, order_by="update_timestamp")
    return "".join(f"{record.dagster_run.run_id} {record.update_timestamp.isoformat()}" for record in newest)


def warehouse_problems(graph: Any, instance: dg.DagsterInstance, lineage: Lineage) -> Seen:
    """Return the problems of the tables below the hubs. `graph` is a Dagster repository's asset graph."""
    nodes = {key: graph.get(key) for key in graph.get_all_asset_keys() if key.path[0] in _LAYERS}
    problems = [*_stale(nodes, instance, lineage)]
    passed: dict[str, dt.datetime] = {}
    for result in newest_results((check for node in nodes.values() for check in node.check_keys), instance):
        name = result.asset.to_user_string()
        if result.passed:
            passed[f"{name} {result.check}"] = result.at
            continue
        summary = f"check {result.check} of {name}: {result.description or 'it failed'}"
        problems.append(_problem(nodes[result.asset], result.check, result.severity, result.at, summary, lineage))
    return Seen(problems, passed)


def _stale(nodes: Any, instance: dg.DagsterInstance, lineage: Lineage) -> Iterator[Problem]:
    """Return the tables whose last run failed before it made them."""
    by_run: dict[str, list[dg.AssetKey]] = {}
    for record in instance.get_asset_records(sorted(nodes)) if nodes else ():
        entry = record.asset_entry
        made = entry.last_materialization.run_id if entry.last_materialization else ""
        if entry.last_run_id and entry.last_run_id != made:
            by_run.setdefault(entry.last_run_id, []).append(entry.asset_key)
    if not by_run:
        return
    failed = dg.RunsFilter(run_ids=sorted(by_run)[:_MOST], statuses=[dg.DagsterRunStatus.FAILURE])
    for run in instance.get_run_records(failed):
        run_id = run.dagster_run.run_id
        end = run.end_time or run.update_timestamp.timestamp()
        time = dt.datetime.fromtimestamp(end, dt.UTC)
        why = _why(instance, run_id)
        for key in sorted(by_run[run_id]):
            name = key.to_user_string()
            summary = f"{name} is stale: run {run_id} failed before it made it{f': {why}' if why else ''}"
            yield _problem(nodes[key], STALE, "fail", time, summary, lineage)


def _why(instance: dg.DagsterInstance, run_id: str) -> str:
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        if entry.dagster_event is not None:
            failed = entry.dagster_event.step_failure_data
            described = (
                failed.user_failure_data.description if failed.user_failure_data else failed.error_display_string
            )
            return str(described or "").strip()[:_MOST]
    return ""


def _problem(node: Any, kind: str, severity: Any, time: dt.datetime, summary: str, lineage: Lineage) -> Problem:
    name = node.key.to_user_string()
    return Problem(
        name,
        kind,
        severity,
        time,
        time,
        mask(summary),
        f"fix the cause; then materialize {name}, unless it is made again by itself",
        area=node.group_name or "",
        owners=tuple(node.owners),
        downstream=tuple(sorted(lineage.below(name))),
    )
