"""Delivers one output: the entry point for an asset, a command and a test."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

from dataops_assets.config.outputs import FilesTarget, HttpTarget, TopicTarget
from dataops_assets.errors import DataOpsError, GateFailed
from dataops_assets.outputs.after_delivery import follow
from dataops_assets.outputs.context import OutputContext
from dataops_assets.outputs.delivery import Delivered, Target, VolumeRefused, judged_volume
from dataops_assets.outputs.file_target import deliver_to_files
from dataops_assets.outputs.readiness import require_ready
from dataops_assets.outputs.table_target import deliver_to_table
from dataops_assets.report import CheckOutcome, InputReport, StepReport
from dataops_assets.storage.links import is_private

STEP = "deliver"


def deliver(context: OutputContext) -> StepReport:
    """Bring the target of an output up to date with its table.

    Doing it again changes nothing. From a private environment nothing is delivered. The report has one input report
    (id ''): its counts, and an error if the comparison of the target or the declared volume stopped the delivery. Then
    the target is as it was. Raises GateFailed while the table is not ready, ConfigError, InputError and StorageError.
    """
    started = time.perf_counter()
    require_ready(context)
    opened = Target.of(context)
    if is_private(context.environment.home):
        skipped = {"skipped": "this is a private environment, which no rows leave"}
        return replace(_report(context, opened, None, (), started), notes=skipped)
    try:
        done = _delivered(context, opened)
    except VolumeRefused as refused:
        return _report(context, opened, None, (refused.outcome,), started)
    checks = done.checks
    rows = done.counts.get("rows")
    if context.output.checks.volume.enabled and isinstance(rows, int):
        checks += (judged_volume(context, rows),)
    report = _report(context, opened, done, checks, started)
    declared = context.output.after
    if declared is None or report.inputs[0].error is not None:
        return report
    try:
        told = follow(context, declared, done, opened.compiled.columns)
    except DataOpsError as error:
        # the delivery stays, and its checks are told
        return replace(report, inputs=(replace(report.inputs[0], error=error),))
    return replace(report, notes={**report.notes, **{f"after: {name}": value for name, value in told.items()}})


def _delivered(context: OutputContext, opened: Target) -> Delivered:
    target = context.output.to
    if isinstance(target, FilesTarget):
        return deliver_to_files(context, target, opened)
    if isinstance(target, TopicTarget):
        # the library of its client is imported only where a topic is delivered to
        from dataops_assets.outputs.topic_target import deliver_to_topic

        return deliver_to_topic(context, target, opened)
    if isinstance(target, HttpTarget):
        # the library of requests is imported only where an API is delivered to
        from dataops_assets.outputs.http_target import deliver_to_api

        return deliver_to_api(context, target, opened)
    return deliver_to_table(context, target, opened)


def _report(
    context: OutputContext,
    opened: Target,
    done: Delivered | None,
    checks: tuple[CheckOutcome, ...],
    started: float,
) -> StepReport:
    error: DataOpsError | None = None
    state = "the target has the new rows" if done is not None and done.is_new else "the target is as it was"
    for item in checks:
        if not item.passed and item.severity == "fail":
            error = GateFailed(
                f"delivering output {context.output.name!r}",
                received=f"{item.check}: {item.explanation}",
                next_step=f"correct the rows, the declaration or the target, then run again; {state}",
            )
    counts: Mapping[str, int | str] = done.counts if done is not None else {}
    numbers = {name: value for name, value in counts.items() if isinstance(value, int)}
    report = StepReport(
        STEP,
        context.asset,
        (InputReport("", numbers, error),),
        numbers.get("rows"),
        None,
        opened.compiled.columns,
        time.perf_counter() - started,
        checks,
    )
    if done is None:
        return report
    notes: dict[str, str | int | float] = {"delivery": done.position.delivery, **done.notes}
    if not done.is_new and error is None:
        notes["skipped"] = "the target has this version already"
    return replace(report, notes=notes, read=done.read if error is None else {})
