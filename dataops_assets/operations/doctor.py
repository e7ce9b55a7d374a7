"""Make lost and damaged data again, where possible."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dataops_assets.errors import DataOpsError, StorageError
from dataops_assets.operations.rerun import Begin, run_again
from dataops_assets.report import PER_INPUT, Input, StepReport
from dataops_assets.steps.merging.manifest import HubManifest
from dataops_assets.steps.merging.settled_inputs import Settled
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.upkeep import lost_data
from dataops_assets.steps.upkeep.examination import place_of, tables
from dataops_assets.steps.upkeep.reset import forget
from dataops_assets.storage.delta import Table
from dataops_assets.storage.examine import Damage, examine
from dataops_assets.storage.objects import is_remote

_RUN = "dataops doctor"


@dataclass(frozen=True)
class Repair:
    """One thing that a repair did: its place, and what was done."""

    place: str
    what: str


def repair(context: SourceContext, begin: Begin) -> list[Repair]:
    """Make lost or damaged data again, where possible: from the log, from raw data, or from their origins.

    Other damage stays, and an examination finds it again. Returns what was done, and the error of a step that failed.
    """
    context.metadata.contracts.register(context.source)
    done: list[Repair] = []
    inputs = context.metadata.inputs(context.source.name)
    steps: dict[str, str] = {}
    is_settled = _is_settled(context)
    hub_anew = current_anew = False
    for table, step in tables(context):
        damages = examine(table, deep=True)
        done += _without_old(context, table, damages)
        if not any(damage.kind in ("data", "log") for damage in damages) or is_remote(table.uri):
            continue
        if is_settled and step != "recalculate":
            done.append(
                Repair(place_of(context, table), "settled inputs cannot be made again; restore it from a backup")
            )
            continue
        done.append(Repair(place_of(context, table), f"moved to {_move_away(table)}, and made again"))
        hub_anew |= step == "refresh"
        current_anew |= step == "recalculate"
        if step not in ("refresh", "recalculate"):
            steps |= {item.input_id: _first(step, steps.get(item.input_id)) for item in inputs}
    ingested = set(context.raw.inputs())
    for item in inputs:
        if item.input_id in ingested and context.raw.problem_of(item):
            steps[item.input_id] = "ingest"
    steps |= _steps_of_lost(context, steps)
    try:
        for repaired in _run_steps(context, inputs, steps, begin):
            done.append(repaired)
        for repaired in _make_anew(context, hub=hub_anew, current=current_anew):
            done.append(repaired)
    except DataOpsError as error:
        done.append(Repair(context.source.name, str(error)))
    return done


def _without_old(context: SourceContext, table: Table, damages: Iterable[Damage]) -> Iterator[Repair]:
    """Repair what the newest version does not need: checkpoints, and files that only older versions read."""
    for damage in damages:
        if damage.kind == "checkpoint":
            _without_checkpoint(table, damage.path)
            yield Repair(place_of(context, table), f"{damage.path} is made again from the log")
        elif damage.kind == "old":
            table.folder.delete([damage.path])
            yield Repair(place_of(context, table), f"{damage.path}, which only older versions read, is removed")


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
    """Run steps of inputs again that were done before, each for all inputs that need it.

    A step reads the rows of other inputs, so the steps before it must be done again for all of them.
    """
    done = context.metadata.step_status(context.source.name, "parse")
    # an earlier repair may have forgotten the steps of a raw copy, and then failed to copy it
    left = [item for item in inputs if item.input_id in done or steps.get(item.input_id) == "ingest"]
    left = [item for item in left if item.input_id in steps]
    for step in PER_INPUT:
        forget(context, step, [item for item in left if steps[item.input_id] == step])
    for place, step in enumerate(PER_INPUT):
        some = [item for item in left if PER_INPUT.index(steps[item.input_id]) <= place]
        if not some:
            continue
        result = run_again(context, some, step, _RUN, begin, last=step)
        yield from (Repair(f"input {input_id}", str(error)) for input_id, error in result.errors.items())
        left = [item for item in left if item.input_id not in result.errors]
        if result.report is not None and step == "refresh":
            yield _made(result.report)


def _make_anew(context: SourceContext, *, hub: bool, current: bool) -> Iterator[Repair]:
    # the import of Dagster, which gets the report, takes seconds
    from dataops_assets.components.by_hand import rebuild, recalculate

    if hub and context.hub.newest() is None:
        yield _made(rebuild(context))
    if current:
        yield _made(recalculate(context))


def _made(report: StepReport) -> Repair:
    return Repair(report.asset, report.result)
