"""Compare the metadata with the stored data, advise on each difference, and repair what can be repaired.

A shallow look reads only manifests, logs and listings, no data. A deep one compares all stored bytes with their
recorded digests and checksums. A repair makes lost and damaged data again, where possible.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dataops_assets.config.environment import Environment
from dataops_assets.engines.duckdb_file import examine_file
from dataops_assets.errors import DataOpsError, StorageError
from dataops_assets.metadata.store import StepStatus
from dataops_assets.operations.rerun import Begin, run_again
from dataops_assets.report import PER_INPUT, Input, StepReport
from dataops_assets.steps.merging.manifest import HubManifest
from dataops_assets.steps.merging.settled_inputs import Settled
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.upkeep import lost_data
from dataops_assets.steps.upkeep.reset import forget
from dataops_assets.storage.delta import Table
from dataops_assets.storage.examine import Damage, examine
from dataops_assets.storage.objects import is_remote

_RUN = "dataops doctor"


@dataclass(frozen=True)
class Finding:
    """One problem: its place, a description, and what to do. `source` is empty for the warehouse."""

    source: str
    place: str
    problem: str
    next_step: str


@dataclass(frozen=True)
class Repair:
    """One thing that a repair did: its place, and what was done."""

    place: str
    what: str


def examine_sources(contexts: Sequence[SourceContext], *, deep: bool, with_warehouse: bool) -> list[Finding]:
    """Return all problems of some sources, and of the embedded warehouse if asked."""
    findings: list[Finding] = []
    for context in contexts:
        context.metadata.register_source(context.source)
        findings += diagnose(context, deep=deep)
    if contexts and with_warehouse:
        findings += of_warehouse(contexts[0].environment, deep=deep)
    return findings


def diagnose(context: SourceContext, *, deep: bool) -> list[Finding]:
    """Return all problems of one source."""
    inputs = context.metadata.inputs(context.source.name)
    found = [*_of_tables(context, deep=deep), *_of_commits(context), *_of_inputs(context)]
    return [*found, *_of_raw(context, inputs)] if deep else found


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


def repair(context: SourceContext, begin: Begin) -> list[Repair]:
    """Make lost or damaged data again, where possible: from the log, from raw data, or from their origins.

    Other damage stays, and `diagnose` finds it again. Returns what was done. Raises DataOpsError if a step fails.
    """
    context.metadata.register_source(context.source)
    done: list[Repair] = []
    inputs = context.metadata.inputs(context.source.name)
    steps: dict[str, str] = {}
    is_settled = _is_settled(context)
    hub_anew = current_anew = False
    for table, step in _tables(context):
        damages = examine(table, deep=True)
        for damage in damages:
            if damage.kind == "checkpoint":
                done.append(Repair(_place(context, table), f"{damage.path} is made again from the log"))
                _without_checkpoint(table, damage.path)
            elif damage.kind == "old":
                done.append(
                    Repair(_place(context, table), f"{damage.path}, which only older versions read, is removed")
                )
                table.folder.delete([damage.path])
        if not any(damage.kind in ("data", "log") for damage in damages) or is_remote(table.uri):
            continue
        if is_settled and step != "recalculate":
            done.append(Repair(_place(context, table), "settled inputs cannot be made again; restore it from a backup"))
            continue
        done.append(Repair(_place(context, table), f"moved to {_move_away(table)}, and made again"))
        hub_anew |= step == "refresh"
        current_anew |= step == "recalculate"
        if step not in ("refresh", "recalculate"):
            steps |= {item.input_id: _first(step, steps.get(item.input_id)) for item in inputs}
    for item in inputs:
        if context.raw.is_spoiled(item):
            steps[item.input_id] = "ingest"
    steps |= _steps_of_lost(context, steps)
    done += _run_steps(context, inputs, steps, begin)
    done += _make_anew(context, hub=hub_anew, current=current_anew)
    return done


def _of_tables(context: SourceContext, *, deep: bool) -> Iterator[Finding]:
    name = context.source.name
    for table, step in _tables(context):
        for damage in examine(table, deep=deep):
            yield Finding(name, f"{_place(context, table)}/{damage.path}", damage.received, _advice(name, step, damage))


def _of_commits(context: SourceContext) -> Iterator[Finding]:
    """Find tables that lack the newest commit that the metadata knows, or have another commit in its place."""
    name = context.source.name
    newest: dict[str, StepStatus] = {}
    for item in context.metadata.processes(name):
        if item.asset and item.table_commit and item.table_version is not None:
            known = newest.get(item.asset)
            if known is None or (known.table_version or 0) < item.table_version:
                newest[item.asset] = item
    for asset, item in newest.items():
        table, version = context.table(asset), item.table_version or 0
        try:
            head = table.newest()
            there = table.commit_id(version)
        except StorageError:
            # `_of_tables` reports this
            continue
        # an older log may have been vacuumed
        if head is not None and there != item.table_commit and (there is not None or head.version < version):
            problem = f"version {version} was commit {item.table_commit}; the newest version is {head.version}"
            problem += f", and version {version} is commit {there}" if there else ": its newest commits are lost"
            advice = f"dataops recalculate {name}" if item.step == "recalculate" else f"dataops doctor {name} --repair"
            yield Finding(name, asset, problem, advice)


def _of_inputs(context: SourceContext) -> Iterator[Finding]:
    name = context.source.name
    try:
        for item in lost_data.lost(context):
            yield Finding(name, item.place, str(item), f"wait for the sensor, or run: dataops doctor {name} --repair")
    except DataOpsError as error:
        yield Finding(name, f"hub/{name}", f"{error.attempted}: {error.received}", error.next_step)


def _of_raw(context: SourceContext, inputs: Sequence[Input]) -> Iterator[Finding]:
    name, raw = context.source.name, context.raw
    there = set(raw.inputs())
    for item in inputs:
        again = f"copy it again from {item.origin}: dataops reset {name} ingest {item.input_id}"
        if item.input_id in there:
            try:
                raw.manifest(item.input_id)
            except StorageError as error:
                yield Finding(name, f"raw/{name}/inputs/{item.input_id}.json", error.received, again)
        if raw.is_spoiled(item):
            problem = "its bytes differ from the received bytes: the copy is damaged"
            yield Finding(name, f"raw/{name}/{raw.object_path(item)}", problem, again)
    try:
        context.corrections.repairs([item.input_id for item in inputs])
    except StorageError as error:
        yield Finding(name, f"raw/{name}/corrections", f"{error.attempted}: {error.received}", error.next_step)


def _tables(context: SourceContext) -> tuple[tuple[Table, str], ...]:
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


def _place(context: SourceContext, table: Table) -> str:
    return table.uri.removeprefix(f"{context.environment.storage}/")


def _is_settled(context: SourceContext) -> bool:
    """Return whether retention removed data that is needed to make tables again."""
    try:
        lake, hub = context.lake.newest(), context.hub.newest()
    except StorageError:
        return context.source.retention.superseded_inputs is not None
    horizon = HubManifest.read(hub.info if hub else None).horizon
    return horizon is not None or (lake is not None and Settled.read(lake.info) is not None)


def _without_checkpoint(table: Table, path: str) -> None:
    version = path.rpartition("/")[2].partition(".")[0]
    names = table.folder.names("_delta_log")
    gone = [name for name in names if version.isdigit() and f"/{version}.checkpoint." in name]
    table.folder.delete([*gone, "_delta_log/_last_checkpoint"])
    table.checkpoint()


def _move_away(table: Table) -> str:
    folder = Path(table.uri)
    aside = folder.with_name(f"{folder.name}.damaged-{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S}")
    folder.rename(aside)
    return str(aside)


def _first(step: str, other: str | None) -> str:
    return min((step, other or step), key=PER_INPUT.index)


def _steps_of_lost(context: SourceContext, steps: Mapping[str, str]) -> Mapping[str, str]:
    try:
        found = lost_data.lost(context, steps)
    except StorageError:
        # a table that is missing as a whole is made again only if a person requests it by name
        return {}
    return {input_id: item.step for item in found for input_id in item.input_ids}


def _run_steps(
    context: SourceContext, inputs: Sequence[Input], steps: Mapping[str, str], begin: Begin
) -> Iterator[Repair]:
    """Run steps of inputs again that were done before: the inputs with the same first step together."""
    done = context.metadata.step_status(context.source.name, "parse")
    for step in PER_INPUT:
        some = [item for item in inputs if steps.get(item.input_id) == step and item.input_id in done]
        if some:
            forget(context, step, some)
            result = run_again(context, some, step, _RUN, begin)
            yield from (Repair(f"input {input_id}", str(error)) for input_id, error in result.errors.items())
            if result.report is not None and result.report.step == "refresh":
                yield _made(result.report)


def _make_anew(context: SourceContext, *, hub: bool, current: bool) -> Iterator[Repair]:
    # the import of Dagster, which gets the report, takes seconds
    from dataops_assets.components.by_hand import rebuild, recalculate

    if hub and context.hub.newest() is None:
        yield _made(rebuild(context))
    if current:
        yield _made(recalculate(context))


def _made(report: StepReport) -> Repair:
    return Repair(report.asset, f"{report.rows:,} rows in version {report.version}")
