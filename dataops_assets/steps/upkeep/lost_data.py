"""Finds lost data: inputs that are done according to the metadata, but are missing in the raw area or in a table.

Only the newest commit of each table is read: it has, by input, the id of the write with the input's rows. So this is
cheap enough for every tick of the sensor. If a table does not have the id of an input's write, a commit was lost, and
the steps of this input must be run again. If a table is missing although it had inputs, its volume is probably not
mounted: then nothing is created in its place until a person decides.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from dataops_assets.errors import StorageError
from dataops_assets.metadata.store import StepStatus
from dataops_assets.report import PER_INPUT, Input
from dataops_assets.steps.merging.manifest import HubManifest
from dataops_assets.steps.merging.settled_inputs import Settled
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.storage import publish
from dataops_assets.storage.delta import Head, Table, TableVersion

_SHOWN = 3


@dataclass(frozen=True)
class Lost:
    """Inputs for which a step is done according to the metadata, and whose result is missing in `place`."""

    step: str
    place: str
    input_ids: tuple[str, ...]

    def __str__(self) -> str:
        """Return the loss as a text."""
        rest = len(self.input_ids) - _SHOWN
        named = ", ".join(self.input_ids[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
        return f"{self.place} has lost what {self.step} made of {len(self.input_ids)} inputs: {named}"


def lost(context: SourceContext, inputs: Iterable[Input], but: Collection[str] = ()) -> list[Lost]:
    """Return the lost inputs of the source in the order of the steps, each with the first place that lacks it.

    `but` are the inputs that a run works on. Raises StorageError for a table that is missing although it had inputs,
    and if storage fails.
    """
    name = context.source.name
    known = {item.input_id: item for item in inputs if item.input_id not in but}
    before = _done(context.metadata.processes(name), known)
    first = _compared(context, known, before)
    if not first:
        return []
    # a run records the start of a step before it changes a table: if a status has changed, a run works on the input
    after = _done(context.metadata.processes(name), known)
    still = [
        Lost(item.step, item.place, tuple(key for key in item.input_ids if before[key] == after.get(key)))
        for item in first
    ]
    return [item for item in still if item.input_ids]


def forget_lost(context: SourceContext, found: Iterable[Lost]) -> None:
    """Mark the steps with lost results, and the steps after them, as not done, so that they are run again."""
    for item in found:
        # an input in the hub would count as done, so later steps must be forgotten, too
        steps = PER_INPUT[PER_INPUT.index(item.step) :]
        context.metadata.forget(context.source.name, steps, item.input_ids)


def version_of(context: SourceContext, table: Table, step: str, inputs: Iterable[str] = ()) -> TableVersion | None:
    """Return the newest version of a table that `step` writes; None if the step may create it.

    Raises StorageError if the table is missing although the metadata has inputs in it. `inputs`, for which the step
    runs, do not count.
    """
    snapshot = table.snapshot()
    if snapshot is None:
        _require_nothing_lost(context, table, step, set(inputs))
    return snapshot


def _require_nothing_lost(context: SourceContext, table: Table, step: str, inputs: Collection[str]) -> None:
    done = context.metadata.step_status(context.source.name, step)
    others = [input_id for input_id, status in done.items() if status == "done" and input_id not in inputs]
    if others:
        raise absent(context, table, step, len(others))


def require_rows_of(context: SourceContext, manifest: HubManifest, written: Mapping[str, str]) -> None:
    """Raise StorageError if the lake lacks inputs that are in the hub, because a change would delete their rows.

    `written` has the inputs of the lake.
    """
    gone = [item.input_id for item in manifest.inputs.values() if item.written and item.input_id not in written]
    if gone:
        name = context.source.name
        raise StorageError(
            f"changing the hub of {name!r}",
            received=str(Lost("parse", f"lake/{name}", tuple(sorted(gone)))),
            next_step="wait for the sensor, which runs their steps again, or run: "
            f"dataops reset {name} parse {' '.join(sorted(gone)[:_SHOWN])}",
        )


def absent(context: SourceContext, table: Table, step: str, inputs: int) -> StorageError:
    """Return the error for a table that is missing although it had inputs."""
    name = context.source.name
    anew = f"dataops rebuild {name}" if step == "refresh" else f"dataops reset {name} {step}"
    return StorageError(
        f"reading {table.uri}",
        received=f"no table, where {step} is done for {inputs:,} inputs; nothing is made in its place",
        next_step=f"mount the volume or restore the folder; if it is gone for good, make it anew: {anew}",
    )


def _done(processes: Iterable[StepStatus], known: Collection[str]) -> dict[str, dict[str, StepStatus]]:
    """Return the steps that are done, by input and step."""
    found: dict[str, dict[str, StepStatus]] = {input_id: {} for input_id in known}
    for item in processes:
        if item.status == "done" and item.input_id in found:
            found[item.input_id][item.step] = item
    return found


def _compared(
    context: SourceContext, known: Mapping[str, Input], done: Mapping[str, Mapping[str, StepStatus]]
) -> list[Lost]:
    hub = _head(context, context.hub, "refresh", done)
    manifest = HubManifest.read(hub.info if hub else None)
    tables = {"parse": context.lake, "cdc": context.changes, "enrich": context.enriched}
    heads = {step: _head(context, table, step, done) for step, table in tables.items()}
    settled = Settled.read(heads["parse"].info) if heads["parse"] else None
    limits = [limit for limit in (manifest.horizon, settled.before if settled else None) if limit is not None]
    # of settled inputs, retention keeps only the rows that the hub needs, with another write id
    open_ids = {key for key, item in known.items() if not limits or item.extract_time >= max(limits)}
    found = [_lost_raw(context, open_ids, done)]
    for step, table in tables.items():
        head = heads[step]
        written = publish.written(head.info) if head else {}
        found.append(Lost(step, _place(context, table), tuple(_without_write(open_ids, done, step, written))))
        if step == "parse":
            found.append(_lost_rejects(context, open_ids, done))
    there = {key: item.written for key, item in manifest.inputs.items()}
    of_hub = _without_write([key for key in known if key not in manifest.removed], done, "refresh", there)
    found.append(Lost("refresh", _place(context, context.hub), tuple(of_hub)))
    seen: set[str] = set()
    result = []
    for item in found:
        fresh = tuple(key for key in item.input_ids if key not in seen)
        seen.update(fresh)
        if fresh:
            result.append(Lost(item.step, item.place, fresh))
    return result


def _without_write(
    ids: Iterable[str], done: Mapping[str, Mapping[str, StepStatus]], step: str, written: Mapping[str, str]
) -> list[str]:
    """Return the inputs for which a step is done and whose write (of the metadata) is not in the table."""
    found = []
    for key in sorted(ids):
        process = done[key].get(step)
        # old records have no write id: then it is enough that the table has the input
        if process is not None and (key not in written or process.written not in (None, written[key])):
            found.append(key)
    return found


def _lost_raw(context: SourceContext, ids: Collection[str], done: Mapping[str, Mapping[str, StepStatus]]) -> Lost:
    there = set(context.raw.inputs())
    gone = sorted(key for key in ids if "ingest" in done[key] and key not in there)
    return Lost("ingest", f"raw/{context.source.name}", tuple(gone))


def _lost_rejects(context: SourceContext, ids: Collection[str], done: Mapping[str, Mapping[str, StepStatus]]) -> Lost:
    """Return the inputs that lost their rejected rows, without which a full extract would seem complete."""
    rejecting = [key for key in sorted(ids) if "parse" in done[key] and done[key]["parse"].counts.get("rejected")]
    head = context.quarantine.newest() if rejecting else None
    if rejecting and head is None:
        raise absent(context, context.quarantine, "parse", len(rejecting))
    there = publish.written(head.info) if head else {}
    gone = tuple(key for key in rejecting if key not in there)
    return Lost("parse", _place(context, context.quarantine), gone)


def _head(context: SourceContext, table: Table, step: str, done: Mapping[str, Mapping[str, StepStatus]]) -> Head | None:
    head = table.newest()
    of_it = sum(step in steps for steps in done.values())
    if head is None and of_it:
        raise absent(context, table, step, of_it)
    return head


def _place(context: SourceContext, table: Table) -> str:
    return table.uri.removeprefix(f"{context.environment.storage}/")
