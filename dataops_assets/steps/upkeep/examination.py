"""Find where the stored data differ from the metadata or from their checksums, with advice on each difference.

A shallow look reads only manifests, logs and listings, no data. A deep one compares all stored bytes with their
recorded digests and checksums.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dataops_assets.config.environment import Environment
from dataops_assets.engines.duckdb_file import examine_file
from dataops_assets.errors import DataOpsError, StorageError
from dataops_assets.metadata.store import StepStatus
from dataops_assets.report import Input
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.upkeep import lost_data
from dataops_assets.steps.upkeep.releases import problems_of
from dataops_assets.storage.delta import Table, TableVersion
from dataops_assets.storage.examine import Damage, examine


@dataclass(frozen=True)
class Finding:
    """One problem: its place, a description, and what to do. `source` is empty for the warehouse."""

    source: str
    place: str
    problem: str
    next_step: str


def examine_sources(contexts: Sequence[SourceContext], *, deep: bool, with_warehouse: bool) -> list[Finding]:
    """Return all problems of some sources, and of the embedded warehouse if asked."""
    findings: list[Finding] = []
    for context in contexts:
        context.metadata.contracts.register(context.source)
        findings += diagnose(context, deep=deep)
    if contexts:
        findings += of_releases(contexts, with_warehouse=with_warehouse)
    if contexts and with_warehouse:
        findings += of_warehouse(contexts[0].environment, deep=deep)
    return findings


def diagnose(context: SourceContext, *, deep: bool) -> list[Finding]:
    """Return all problems of one source."""
    inputs = context.metadata.inputs(context.source.name)
    found = [*_of_tables(context, deep=deep), *_of_commits(context), *_of_inputs(context)]
    return [*found, *_of_raw(context, inputs, deep=deep)]


def of_releases(contexts: Sequence[SourceContext], *, with_warehouse: bool) -> Iterator[Finding]:
    """Find releases with tables of these sources that can no longer be read, and a rollback that was interrupted."""
    environment, metadata = contexts[0].environment, contexts[0].metadata
    names = {context.source.name for context in contexts}
    for release in metadata.releases.releases():
        for item in metadata.releases.tables_of(release.release):
            if item.source in names or (item.source is None and with_warehouse):
                for problem in problems_of(environment, item):
                    advice = f"restore the file from a backup, or: dataops releases drop {release.release}"
                    yield Finding(item.source or "", f"release {release.release}", problem, advice)
    unfinished = metadata.releases.unfinished()
    if unfinished is not None and names.intersection(unfinished.sources):
        yield Finding(
            "",
            f"rollback to {unfinished.release}",
            f"it began at {unfinished.begun_at:%Y-%m-%d %H:%M:%S} UTC and has not ended; no step of its sources starts",
            "if its process is gone: dataops rollback --resume",
        )


def of_warehouse(environment: Environment, *, deep: bool) -> list[Finding]:
    """Return the damages of the embedded warehouse's file. Whether its rows follow the hub, each build compares."""
    path = Path(environment.warehouse)
    return [
        Finding(
            "",
            f"{path.name}/{damage.table}" if damage.table else path.name,
            damage.received,
            f"move {path} away, then materialize the warehouse's assets, which make all of it again from the hub",
        )
        for damage in examine_file(path, deep=deep)
    ]


def _of_tables(context: SourceContext, *, deep: bool) -> Iterator[Finding]:
    name = context.source.name
    for table, step in tables(context):
        for damage in examine(table, deep=deep):
            yield Finding(
                name, f"{place_of(context, table)}/{damage.path}", damage.received, _advice(name, step, damage)
            )


def _of_commits(context: SourceContext) -> Iterator[Finding]:
    """Find tables that lack the newest commit that the metadata knows, or have another commit in its place."""
    name = context.source.name
    by_asset: dict[str, list[StepStatus]] = {}
    for item in context.metadata.processes(name):
        if item.asset and item.table_commit and item.table_version is not None:
            by_asset.setdefault(item.asset, []).append(item)
    for asset, items in by_asset.items():
        table = context.table(asset)
        try:
            head = table.snapshot()
            of_this = [item for item in items if head is not None and _is_of(head, item)]
            if head is None or not of_this:
                continue
            item = max(of_this, key=lambda one: one.table_version or 0)
            version = item.table_version or 0
            there = table.commit_id(version)
        except StorageError:
            # `_of_tables` reports this
            continue
        # an older log may have been vacuumed
        if there != item.table_commit and (there is not None or head.version < version):
            problem = f"version {version} was commit {item.table_commit}; the newest version is {head.version}"
            problem += f", and version {version} is commit {there}" if there else ": its newest commits are lost"
            advice = f"dataops recalculate {name}" if item.step == "recalculate" else f"dataops doctor {name} --repair"
            yield Finding(name, asset, problem, advice)


def _is_of(table: TableVersion, item: StepStatus) -> bool:
    """Return whether a step ended after a table was created: an earlier one wrote to a table that was moved away."""
    created = dt.datetime.fromtimestamp(table.metadata.get("createdTime", 0) / 1000, dt.UTC)
    return item.finished_at is None or item.finished_at >= created


def _of_inputs(context: SourceContext) -> Iterator[Finding]:
    name = context.source.name
    try:
        for item in lost_data.lost(context):
            yield Finding(name, item.place, str(item), f"wait for the sensor, or run: dataops doctor {name} --repair")
    except DataOpsError as error:
        yield Finding(name, f"hub/{name}", f"{error.attempted}: {error.received}", error.next_step)


def _of_raw(context: SourceContext, inputs: Sequence[Input], *, deep: bool) -> Iterator[Finding]:
    name, raw = context.source.name, context.raw
    there, gone = set(raw.inputs()), {item.input_id for item in raw.gone(inputs)}
    for item in inputs:
        if not deep and item.input_id not in gone:
            continue
        again = f"copy it again from {item.origin}: dataops reset {name} ingest {item.input_id}"
        if item.input_id in there:
            try:
                raw.manifest(item.input_id)
            except StorageError as error:
                yield Finding(name, f"raw/{name}/inputs/{item.input_id}.json", error.received, again)
        problem = raw.problem_of(item) if item.input_id in there else ""
        if problem:
            yield Finding(name, f"raw/{name}/{raw.object_path(item)}", problem, again)
    if not deep:
        return
    try:
        context.corrections.repairs([item.input_id for item in inputs])
    except StorageError as error:
        yield Finding(name, f"raw/{name}/corrections", f"{error.attempted}: {error.received}", error.next_step)


def tables(context: SourceContext) -> tuple[tuple[Table, str], ...]:
    """Return the tables of a source, each with the step that makes it."""
    return (
        (context.lake, "parse"),
        (context.quarantine, "parse"),
        (context.changes, "cdc"),
        (context.enriched, "enrich"),
        (context.hub, "refresh"),
        (context.current, "recalculate"),
    )


def _advice(name: str, step: str, damage: Damage) -> str:
    if damage.kind == "old":
        return f"only older versions read it: dataops doctor {name} --repair removes it"
    if damage.kind == "checkpoint":
        return f"make it again from the log: dataops doctor {name} --repair"
    again = {"refresh": f"dataops rebuild {name}", "recalculate": f"dataops recalculate {name}"}
    return (
        f"restore the file from a backup, or make the table again: dataops doctor {name} --repair "
        f"(which moves it away first; then as {again.get(step, f'dataops reset {name} {step}')})"
    )


def place_of(context: SourceContext, table: Table) -> str:
    """Return the path of a table below the storage."""
    return table.uri.removeprefix(f"{context.environment.storage}/")
