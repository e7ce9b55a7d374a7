"""Finds lost data: inputs that are done according to the metadata, but are missing in the raw area or in a table.

Only the newest commit of each table is read: it has, by input, the id of the write with the input's rows. So this is
cheap enough for every tick of the sensor. If a table does not have the id of an input's write, a commit was lost, and
the steps of this input must be run again. If a table is missing although it had inputs, its volume is probably not
mounted: then nothing is created in its place until a person decides.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from dataops_assets.errors import StorageError
from dataops_assets.metadata.store import StepStatus
from dataops_assets.report import PER_INPUT
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
        return f"{self.place} has lost the result of {self.step} for {len(self.input_ids)} inputs: {named}"


def lost(context: SourceContext, but: Collection[str] = ()) -> list[Lost]:
    """Return the lost inputs of the source in the order of the steps, each with the first place that lacks it.

    `but` are the inputs that a run works on. Raises StorageError for a table that is missing although it had inputs,
    for a hub that has removed inputs again, and if storage fails.
    """
    # a sensor does this at each look: it reads one row a step and input, with nothing but the id of the write
    first = _compared(context, but)
    if not first:
        return []
    ids = [input_id for item in first for input_id in item.input_ids]
    before = _statuses(context, ids)
    first = _compared(context, but)
    # a run records the start of a step before it changes a table: if a status has changed, a run works on the input
    after = _statuses(context, ids)
    still = [
        Lost(item.step, item.place, tuple(key for key in item.input_ids if before.get(key) == after.get(key)))
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
    others = {input_id for input_id, status in done.items() if status == "done"}.difference(inputs)
    if step == PER_INPUT[-1]:
        others -= context.metadata.decisions.removed(context.source.name)
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
    again = f"dataops rebuild {name}" if step == "refresh" else f"dataops reset {name} {step}"
    return StorageError(
        f"reading {table.uri}",
        received=f"no table, although {step} is done for {inputs:,} inputs; no new table was made in its place",
        next_step=f"mount the volume or restore the folder; if the table is lost, make it again: {again}",
    )


def _statuses(context: SourceContext, ids: Sequence[str]) -> dict[str, list[StepStatus]]:
    found: dict[str, list[StepStatus]] = {}
    for item in context.metadata.processes(context.source.name, input_ids=ids):
        found.setdefault(item.input_id, []).append(item)
    return found


def _compared(context: SourceContext, but: Collection[str]) -> list[Lost]:
    done = _Done.read(context, but)
    hub = _head(context, context.hub, done.of("refresh"), "refresh")
    manifest = HubManifest.read_without_inputs(hub.info if hub else None)
    tables = {"parse": context.lake, "cdc": context.changes, "enrich": context.enriched}
    heads = {step: _head(context, table, done.of(step), step) for step, table in tables.items()}
    settled = Settled.read(heads["parse"].info) if heads["parse"] else None
    limits = [limit for limit in (manifest.horizon, settled.before if settled else None) if limit is not None]
    # of settled inputs, retention keeps only the rows that the hub needs, with another write id
    settled_ids = context.metadata.inputs_before(context.source.name, max(limits)) if limits else frozenset()
    found = [_lost_raw(context, done.of("ingest"), settled_ids)]
    for step, table in tables.items():
        head = heads[step]
        written = publish.written(head.info) if head else {}
        gone = _without_write(done.of(step), written, settled_ids)
        found.append(Lost(step, _place(context, table), gone))
        if step == "parse":
            found.append(_lost_rejects(context, done, settled_ids))
    there = HubManifest.writes(hub.info if hub else None)
    # the manifest has the removals of the commits that are there, the metadata those that were reported
    removals = context.metadata.decisions.removed(context.source.name)
    _require_no_removed(context, removals.intersection(there))
    gone = _without_write(done.of("refresh"), there, manifest.removed | removals)
    found.append(Lost("refresh", _place(context, context.hub), gone))
    seen: set[str] = set()
    result = []
    for item in found:
        fresh = tuple(key for key in item.input_ids if key not in seen)
        seen.update(fresh)
        if fresh:
            result.append(Lost(item.step, item.place, fresh))
    return result


def _require_no_removed(context: SourceContext, there: Collection[str]) -> None:
    """Raise StorageError if removed inputs are `there`, in the hub: the commit of the removal is lost."""
    if there:
        name, back = context.source.name, sorted(there)
        raise StorageError(
            f"comparing hub/{name} with the metadata",
            received=f"{len(back)} inputs that were removed are in the hub again: {', '.join(back[:_SHOWN])}",
            next_step=f"remove them again: dataops remove {name} {' '.join(back)}",
        )


@dataclass(frozen=True)
class _Done:
    """The steps that are done according to the metadata.

    * `writes`: by step and input, the id of the write.
    * `rejecting`: the inputs with rejected rows.
    """

    writes: Mapping[str, Mapping[str, str | None]]
    rejecting: Collection[str]

    @classmethod
    def read(cls, context: SourceContext, but: Collection[str]) -> _Done:
        """Read all of it, without the inputs `but`."""
        writes = context.metadata.done_writes(context.source.name)
        rejecting = context.metadata.rejecting(context.source.name)
        for input_id in but:
            for of_step in writes.values():
                of_step.pop(input_id, None)
        return cls(writes, rejecting.difference(but))

    def of(self, step: str) -> Mapping[str, str | None]:
        """Return the inputs for which a step is done, with the id of the write."""
        return self.writes.get(step, {})


def _without_write(done: Mapping[str, str | None], written: Mapping[str, str], but: Collection[str]) -> tuple[str, ...]:
    """Return the inputs for which a step is `done` and whose write (of the metadata) is not in the table."""
    # what is equal, nearly all, is compared at once
    differ = (key for key, _ in done.items() - written.items())
    # old records have no write id: then it is enough that the table has the input
    return tuple(sorted(key for key in differ if key not in but and (key not in written or done[key] is not None)))


def _lost_raw(context: SourceContext, done: Mapping[str, str | None], settled: Collection[str]) -> Lost:
    gone = done.keys() - set(context.raw.inputs())
    return Lost("ingest", f"raw/{context.source.name}", tuple(sorted(gone.difference(settled))))


def _lost_rejects(context: SourceContext, done: _Done, settled: Collection[str]) -> Lost:
    """Return the inputs that lost their rejected rows, without which a full extract would seem complete."""
    rejecting = [key for key in sorted(done.rejecting) if key not in settled]
    head = context.quarantine.newest() if rejecting else None
    if rejecting and head is None:
        raise absent(context, context.quarantine, "parse", len(rejecting))
    there = publish.written(head.info) if head else {}
    gone = tuple(key for key in rejecting if key not in there)
    return Lost("parse", _place(context, context.quarantine), gone)


def _head(context: SourceContext, table: Table, done: Collection[str], step: str) -> Head | None:
    head = table.newest()
    if head is None and done:
        raise absent(context, table, step, len(done))
    return head


def _place(context: SourceContext, table: Table) -> str:
    return table.uri.removeprefix(f"{context.environment.storage}/")
