"""Step 1, ingest: copy every input into the raw area, immutable, with a manifest of its origin.

Grain: one object and one manifest for each input. A second run copies nothing for inputs that are in the area, even if
their origin is gone. Each input fails alone: one that changed, disappeared or does not fit on the disk gets an error,
and the others are copied. Checks report on the bytes as received. They never stop an input; only gates do.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from dataops_assets.config.connection import Connection, FileConnection, ParquetFormat
from dataops_assets.config.kafka import KafkaConnection, MessagesFormat
from dataops_assets.connections.formats.messages import messages_and_lag
from dataops_assets.connections.formats.reader import format_of
from dataops_assets.errors import DataOpsError
from dataops_assets.quality.checks import EarlierInputs, judged
from dataops_assets.quality.raw_checks import raw_outcomes, raw_profile, with_arrival
from dataops_assets.report import CheckOutcome, Input, InputReport, StepReport
from dataops_assets.steps.ingesting.copies import copies
from dataops_assets.steps.inputs_before import saved_and_compared
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.storage.raw import RawArea


def ingest(context: SourceContext, inputs: Sequence[Input]) -> StepReport:
    """Copy `inputs` into the source's raw area; counts are bytes and files.

    An input's error is InputError (its origin changed or is gone: permanent) or StorageError (a retry can help).
    Raises StorageError only if the step fails for all inputs.
    """
    started = time.perf_counter()
    raw = context.raw
    done = [_report(item, result) for item, result in zip(inputs, copies(context, inputs), strict=True)]
    raw.sync()
    if isinstance(context.source.connection, KafkaConnection):
        done = [
            (_with_messages(report, raw, item), is_new) for item, (report, is_new) in zip(inputs, done, strict=True)
        ]
    asset = f"raw/{context.source.name}"
    there = [item for item, (report, _) in zip(inputs, done, strict=True) if report.error is None]
    checks = _checks(context, asset, there) if there else {}
    return StepReport(
        step="ingest",
        asset=asset,
        inputs=tuple(replace(report, checks=checks.get(report.input_id, ())) for report, _ in done),
        rows=None,
        version=None,
        columns={},
        seconds=time.perf_counter() - started,
        notes={
            "copied": sum(is_new for _, is_new in done),
            "already there": sum(report.error is None and not is_new for report, is_new in done),
        },
    )


def _report(item: Input, result: bool | DataOpsError) -> tuple[InputReport, bool]:
    """Return the report of an input, and whether it is new in the raw area."""
    if isinstance(result, DataOpsError):
        return InputReport(item.input_id, error=result), False
    return InputReport(item.input_id, counts={"bytes": item.size, "files": 1}), result


def _with_messages(report: InputReport, raw: RawArea, item: Input) -> InputReport:
    """Add the number of messages, and of those that were there and not read yet."""
    if report.error is not None:
        return report
    messages, lag = messages_and_lag(raw.local_path(item))
    return replace(report, counts={**report.counts, "messages": messages, "lag": lag})


def _checks(context: SourceContext, asset: str, inputs: Sequence[Input]) -> Mapping[str, tuple[CheckOutcome, ...]]:
    """Return, by input, the check results of its bytes against the declaration and the inputs before it."""
    source, raw = context.source, context.raw
    looked_at = {}
    for item in inputs:
        path = raw.local_path(item)
        if (layout := _layout(source.connection, path.name)) is not None:
            profile, kind = raw_profile(asset, item.input_id, path, path.name, layout)
            looked_at[item.input_id] = with_arrival(profile, item.extract_time, item.arrival), kind
    profiles = [profile for profile, _ in looked_at.values()]
    compared = saved_and_compared(context, asset, profiles)
    told = judged(profiles, compared, source.checks)
    earlier = EarlierInputs(compared.known)
    return {
        input_id: raw_outcomes(profile, kind, earlier.before(profile), source.checks, told.get(input_id))
        for input_id, (profile, kind) in looked_at.items()
    }


def _layout(connection: Connection, name: str) -> FileConnection | None:
    """Return the declared format of a file with this name; None if a hook gives a name of unknown format."""
    if isinstance(connection, FileConnection):
        return connection
    # messages are stored as Parquet, whatever is in them
    layout = ParquetFormat(type="parquet") if isinstance(connection, KafkaConnection) else format_of(connection, name)
    if isinstance(layout, MessagesFormat):
        return None
    return FileConnection(type="files", path=name, format=layout) if layout is not None else None
