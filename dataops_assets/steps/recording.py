"""Runs a step, records its start and end in the metadata, and fails the inputs that strict checks stop.

It also logs one line for each step and input with the standard `logging`, so a log can be searched by input or run.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from dataops_assets.errors import DataOpsError, GateFailed, StorageError, split_next_step
from dataops_assets.metadata.store import StepStatus
from dataops_assets.quality.gates import stopped
from dataops_assets.report import PER_INPUT, Input, InputReport, StepReport
from dataops_assets.steps.merging.refused_inputs import judged_against
from dataops_assets.steps.parsing.declared_as import declared_as
from dataops_assets.steps.source_context import SourceContext

_log = logging.getLogger(__name__)
# these steps run after the hub: there the check itself blocks the assets downstream
_AFTER_THE_HUB = ("refresh", "recalculate")


@dataclass(frozen=True)
class Step:
    """One step: its name, the asset key of its table, and the function."""

    name: str
    asset: str
    run: Callable[[SourceContext, Sequence[Input]], StepReport]


def run_recorded(
    context: SourceContext, step: Step, inputs: Sequence[Input], ids: Sequence[str], run_id: str
) -> StepReport:
    """Run the step and return its report. Its start and end are always recorded, also if it fails.

    `ids` are the ids of the inputs, or '' for a step over the whole table. An input that failed a strict check has an
    error, so that nothing of it reaches the hub. So has an input that has not passed the steps before; the step is not
    run for it. Raises the error of the step.
    """
    with context.metadata.kept_open():
        return _run_recorded(context, step, inputs, ids, run_id)


def _run_recorded(
    context: SourceContext, step: Step, inputs: Sequence[Input], ids: Sequence[str], run_id: str
) -> StepReport:
    name = context.source.name
    refused = _not_startable(context, step, ids)
    barred = tuple(InputReport(input_id, error=error) for input_id, error in refused.items())
    if barred and len(barred) == len(ids):
        # nothing of it is recorded: the step before says what is wrong, and this step has not begun
        return StepReport(step.name, step.asset, barred, None, None, {}, 0.0)
    ids = [input_id for input_id in ids if input_id not in refused]
    inputs = [item for item in inputs if item.input_id not in refused]
    context.metadata.start(name, step.name, ids, run_id, declared_as(context.source, step.name))
    started = time.perf_counter()
    report: StepReport | None = None
    against: Mapping[str, str] = {}
    try:
        # before the step, which changes tables itself
        against = judged_against(context, step.name, inputs)
        report = _with_failed_checks(step.run(context, inputs))
    finally:
        if report is None:
            error = sys.exc_info()[1]
            if not isinstance(error, DataOpsError):
                # an unexpected error or an interruption: a retry may help
                error = StorageError(f"{step.name} of {name}", received=f"{type(error).__name__}: {error}")
            lost = tuple(InputReport(input_id, error=error) for input_id in ids)
            seconds = time.perf_counter() - started
            _finish(context, StepReport(step.name, step.asset, lost, None, None, {}, seconds), run_id, against)
    _finish(context, report, run_id, against)
    return replace(report, inputs=(*report.inputs, *barred))


def _finish(context: SourceContext, report: StepReport, run_id: str, against: Mapping[str, str]) -> None:
    _log_inputs(report, run_id)
    context.metadata.finish(context.source.name, report, run_id, against)


def _log_inputs(report: StepReport, run_id: str) -> None:
    """Log what became of each input, or of the whole table if the step is not about inputs."""
    whole = InputReport("", {} if report.rows is None else {"rows": report.rows})
    for item in report.inputs or (whole,):
        what = f"input {item.input_id}" if item.input_id else "the whole table"
        if item.error is not None:
            told = " ".join(str(item.error).split())
            _log.warning(
                "%s %s: %s failed in run %s: %s: %s",
                *(report.step, report.asset, what, run_id, type(item.error).__name__, told),
            )
            continue
        counts = ", ".join(f"{name} {count}" for name, count in item.counts.items()) or "no counts"
        _log.info("%s %s: %s done in run %s: %s", report.step, report.asset, what, run_id, counts)


def _with_failed_checks(report: StepReport) -> StepReport:
    """Return the report with an error for every input that failed a strict check."""
    if report.step in _AFTER_THE_HUB:
        return report
    found = stopped(report.asset, {item.input_id: item.checks for item in report.inputs if item.error is None})
    inputs = [replace(item, error=found[item.input_id]) if item.input_id in found else item for item in report.inputs]
    return replace(report, inputs=tuple(inputs))


def _not_startable(context: SourceContext, step: Step, ids: Sequence[str]) -> dict[str, DataOpsError]:
    """Return an error for each input that has not passed the step before.

    Otherwise a run of one step alone would publish what a gate, a check or a guard stopped in an earlier step.
    """
    place = PER_INPUT.index(step.name) if step.name in PER_INPUT else 0
    if place == 0:
        return {}
    earlier = PER_INPUT[:place]
    passed: dict[str, set[str]] = {}
    last: dict[str, StepStatus] = {}
    for process in context.metadata.processes(context.source.name, input_ids=ids):
        if process.step not in earlier:
            continue
        if process.status == "done":
            passed.setdefault(process.input_id, set()).add(process.step)
        elif process.input_id not in last or earlier.index(process.step) < earlier.index(last[process.input_id].step):
            last[process.input_id] = process
    return {
        input_id: _not_passed(context, step, input_id, last.get(input_id), earlier)
        for input_id in ids
        if input_id and len(passed.get(input_id, ())) < len(earlier)
    }


def _not_passed(
    context: SourceContext, step: Step, input_id: str, process: StepStatus | None, earlier: Sequence[str]
) -> DataOpsError:
    name = context.source.name
    if process is None:
        received, next_step = f"it has not passed {' and '.join(earlier)} yet", f"run them first: dataops run {name}"
    elif process.status == "running":
        received, next_step = f"its step {process.step} is not finished", "nothing; it goes on when that step is done"
    else:
        what, then = split_next_step(process.error or "")
        received = f"its step {process.step} failed: {process.error_type}: {what}"
        next_step = then or f"dataops status {name}"
    return GateFailed(f"running {step.name} for input {input_id} of {name!r}", received=received, next_step=next_step)
