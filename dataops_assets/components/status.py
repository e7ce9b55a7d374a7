"""The status of a source for people: its inputs by state, the rows that are kept out of its hub, and what to do next.

Grain: one source. All facts are in the metadata and in the tables; Dagster is not asked. Inputs that are done are only
counted, so the cost follows what is unfinished.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from dataops_assets.components.local_runs import killed_runs, lock_of
from dataops_assets.components.requests import Progress
from dataops_assets.components.source_progress import SourceProgress, read_progress, unsettled
from dataops_assets.config.connection import FileConnection
from dataops_assets.errors import split_next_step
from dataops_assets.metadata.store import StepStatus
from dataops_assets.report import PER_INPUT, Input
from dataops_assets.rules.compiler import compile_rules
from dataops_assets.steps import waits
from dataops_assets.steps.merging.refused_inputs import refusal
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.upkeep.quarantine import count_kept_out, kept_out_by_rule

State = Literal["held", "failed", "waiting", "running", "to do"]
"""What is with an input that is not in the hub.

* `held`: it deletes too much, or is odd, and waits for a person.
* `failed`: a step failed. With a permanent error it is tried again only when what refused it changes; otherwise
  `next_step` says when.
* `waiting`: it waits for another source.
* `running`: a run works on it.
* `to do`: the next look requests a run for it.
"""

_SOON = "nothing; it is tried again by itself"


@dataclass(frozen=True)
class UnfinishedInput:
    """An input that is not in the hub: its state, the step, what happened, and what to do next."""

    input: str
    origin: str
    state: State
    step: str
    message: str
    next_step: str
    attempts: int = 0
    last_try: dt.datetime | None = None


@dataclass(frozen=True)
class FailedTable:
    """A table of the source as a whole whose last attempt failed."""

    table: str
    message: str
    next_step: str


@dataclass(frozen=True)
class FailedLook:
    """Why the looks for new inputs fail, since when, and what to do next."""

    message: str
    next_step: str
    since: dt.datetime | None


@dataclass(frozen=True)
class SourceStatus:
    """The status of one source.

    * `taken`: number of inputs in the hub. `inputs` are the others.
    * `rejected`: number of rows that do not fit the contract. `kept_out`: number of rows that fail a validation which
      keeps them out of the hub. `by_rule`: both by rule, if it was asked for.
    * `filtered`: number of rows that `keep_when` does not keep, and of records of other types.
    * `last_arrival`: when the newest input was made.
    * `paused`: who switched the looks off, when and why; empty if they are on. `look`: why they fail, if they do.
    """

    source: str
    area: str
    taken: int
    last_arrival: dt.datetime | None
    rejected: int
    kept_out: int
    inputs: Sequence[UnfinishedInput]
    tables: Sequence[FailedTable]
    next_step: str
    by_rule: Mapping[str, int] = field(default_factory=dict)
    filtered: int = 0
    paused: str = ""
    look: FailedLook | None = None

    def count(self, *states: State) -> int:
        """Return the number of inputs in these states."""
        return sum(item.state in states for item in self.inputs)

    @property
    def needs_attention(self) -> bool:
        """Return whether anything is held or failed."""
        return bool(self.count("held", "failed") or self.tables or self.look)


def source_status(context: SourceContext, *, in_depth: bool = False) -> SourceStatus:
    """Return the status of a source; `in_depth` counts the rows of each rule, too. Raises DataOpsError."""
    name, metadata = context.source.name, context.metadata
    taken, _ = metadata.done_steps(name, PER_INPUT[-1:])
    _, last_arrival = metadata.arrived(name)
    inputs = tuple(_unfinished(context, read_progress(context)))
    tables = tuple(
        FailedTable(f"hub/{name}_current", *_split(item, _SOON))
        for item in metadata.processes(name, "recalculate")
        if item.status == "failed"
    )
    rejected, kept_out = count_kept_out(context)
    looks = metadata.looks.record(name)
    found = SourceStatus(
        name,
        context.source.area,
        taken,
        last_arrival,
        rejected,
        kept_out,
        inputs,
        tables,
        "",
        kept_out_by_rule(context) if in_depth else {},
        metadata.filtered_rows(name) if context.source.filters_rows else 0,
        looks.paused,
        FailedLook(*split_next_step(looks.error), looks.failing_since) if looks.error else None,
    )
    return replace(found, next_step=_next_step(found, context))


def _next_step(status: SourceStatus, context: SourceContext) -> str:
    if status.needs_attention:
        return f"dataops status {status.source}"
    if status.paused:
        return f"dataops resume {status.source}"
    if status.count("to do"):
        return f"dataops run {status.source}"
    if status.count("waiting", "running"):
        return f"nothing; dataops status {status.source} says what it waits for"
    if status.rejected or status.kept_out:
        return f"dataops quarantine list {status.source}"
    if status.taken:
        return ""
    connection = context.source.connection
    if isinstance(connection, FileConnection) and "://" not in connection.path:
        return f"deliver {connection.path} to {context.environment.landing}"
    return f"dataops run {status.source}"


def _unfinished(context: SourceContext, read: SourceProgress) -> Iterator[UnfinishedInput]:
    state = read.state
    is_running = any(process.status == "running" for process in read.processes)
    killed = killed_runs(lock_of(context.environment)) if is_running else ()
    attempts: dict[str, dict[str, StepStatus]] = {}
    for process in read.processes:
        is_killed = process.status == "running" and process.run_id in killed
        attempts.setdefault(process.input_id, {})[process.step] = (
            replace(process, status="killed") if is_killed else process
        )
    waiting = _waiting(context, [item for item in read.inputs if item.input_id in state.todo])
    replaced = _replaced(context, [item for item in read.inputs if item.input_id in state.held])
    for item in read.inputs:
        steps = attempts.get(item.input_id, {})
        if item.input_id in replaced:
            continue
        if item.input_id in state.refused:
            yield _failed(item, state.refused[item.input_id], _again(context, item))
        elif item.input_id in state.held:
            yield _held(context, item, read.guarded[item.input_id].reason, steps)
        elif item.input_id in state.todo:
            yield _to_do(context, item, state, steps, waiting.get(item.input_id, ""))


def _failed(item: Input, process: StepStatus, otherwise: str) -> UnfinishedInput:
    message, next_step = _split(process, otherwise)
    return UnfinishedInput(
        item.input_id,
        item.origin,
        "failed",
        process.step,
        message,
        next_step,
        process.attempts,
        process.finished_at,
    )


def _held(context: SourceContext, item: Input, reason: str, steps: Mapping[str, StepStatus]) -> UnfinishedInput:
    message, next_step = split_next_step(reason)
    last = steps.get("cdc")
    return UnfinishedInput(
        item.input_id,
        item.origin,
        "held",
        "cdc",
        message,
        next_step or f"dataops approve {context.source.name} {item.input_id}",
        last.attempts if last else 0,
        last.finished_at if last else None,
    )


def _to_do(
    context: SourceContext, item: Input, state: Progress, steps: Mapping[str, StepStatus], waits_for: str
) -> UnfinishedInput:
    if item.input_id in state.failed:
        return _failed(item, state.failed[item.input_id], _SOON)
    step = PER_INPUT[state.todo[item.input_id]]
    begun = next((process for process in steps.values() if process.status in ("running", "killed")), None)
    if waits_for:
        message, next_step = split_next_step(waits_for)
        return UnfinishedInput(item.input_id, item.origin, "waiting", step, message, next_step)
    if begun and begun.status == "running":
        since = f"run {begun.run_id} works on it since {begun.started_at:%Y-%m-%d %H:%M} UTC"
        return UnfinishedInput(item.input_id, item.origin, "running", begun.step, since, "")
    again = _why_again(steps) if item.input_id in state.again else ""
    if begun:
        again = f"run {begun.run_id} was killed while it worked on it"
    return UnfinishedInput(item.input_id, item.origin, "to do", step, again, f"dataops run {context.source.name}")


def _why_again(steps: Mapping[str, StepStatus]) -> str:
    refused = refusal(steps.values())
    if refused is None:
        return "it was held and is judged again"
    message, _ = split_next_step(refused.error or "")
    return f"it was refused, and is tried again, since what refused it changed: {refused.step}: {message}"


def _replaced(context: SourceContext, inputs: Sequence[Input]) -> set[str]:
    """Return those of some inputs whose file was sent again under its own name: the newer version counts."""
    if not inputs:
        return set()
    newest: dict[tuple[str, dt.datetime], Input] = {}
    for item in context.metadata.inputs_of_one_time(context.source.name):
        # in their order, so the last one stays
        newest[item.origin, item.extract_time] = item
    return {item.input_id for item in inputs if newest.get((item.origin, item.extract_time), item) != item}


def _waiting(context: SourceContext, inputs: Sequence[Input]) -> Mapping[str, str]:
    """Return by input for what it waits."""
    if not inputs:
        return {}
    others = unsettled(context.metadata, compile_rules(context.source, context.sources).snapshot.related)
    if others:
        return {item.input_id: f"its rules look up {' and '.join(others)}" for item in inputs}
    return {input_id: str(error) for input_id, error in waits.waiting(context, inputs).items()}


def _again(context: SourceContext, item: Input) -> str:
    return f"fix the cause, then run: dataops reset {context.source.name} ingest {item.input_id}"


def _split(process: StepStatus, otherwise: str) -> tuple[str, str]:
    message, next_step = split_next_step(process.error or "")
    return message, next_step or otherwise
