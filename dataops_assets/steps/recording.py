"""Runs a step, records its start and end in the metadata, and fails the inputs that strict checks stop.

It also logs one line for each step and input with the standard `logging`, so a log can be searched by input or run.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from dataops_assets.errors import DataOpsError, GateFailed, StorageError
from dataops_assets.report import Input, InputReport, StepReport
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
    error, so that nothing of it reaches the hub. Raises the error of the step.
    """
    with context.metadata.kept_open():
        return _run_recorded(context, step, inputs, ids, run_id)


def _run_recorded(
    context: SourceContext, step: Step, inputs: Sequence[Input], ids: Sequence[str], run_id: str
) -> StepReport:
    name = context.source.name
    context.metadata.start(name, step.name, ids, run_id)
    started = time.perf_counter()
    report: StepReport | None = None
    try:
        report = _with_failed_checks(step.run(context, inputs))
    finally:
        if report is None:
            error = sys.exc_info()[1]
            if not isinstance(error, DataOpsError):
                # an unexpected error or an interruption: a retry may help
                error = StorageError(f"{step.name} of {name}", received=f"{type(error).__name__}: {error}")
            lost = tuple(InputReport(input_id, error=error) for input_id in ids)
            seconds = time.perf_counter() - started
            _finish(context, StepReport(step.name, step.asset, lost, None, None, {}, seconds), run_id)
    _finish(context, report, run_id)
    return report


def _finish(context: SourceContext, report: StepReport, run_id: str) -> None:
    _log_inputs(report, run_id)
    context.metadata.finish(context.source.name, report, run_id)


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
    inputs = []
    for item in report.inputs:
        broken = [outcome for outcome in item.checks if not outcome.passed and outcome.severity == "fail"]
        if item.error is None and broken:
            error = GateFailed(
                f"letting input {item.input_id} go on from {report.asset}",
                received="; ".join(f"{outcome.check}: {outcome.explanation}" for outcome in broken),
                next_step="correct the data or the limits, then run the step again",
            )
            item = replace(item, error=error)
        inputs.append(item)
    return replace(report, inputs=tuple(inputs))
