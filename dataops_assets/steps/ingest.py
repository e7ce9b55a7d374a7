"""Step 1, ingest: copy every input into the raw area, immutable, with a manifest of its origin.

Grain: one object and one manifest for each input. A second run copies nothing for inputs that are in the area, even if
their origin is gone. Each input fails alone: one that changed, disappeared or does not fit on the disk gets an error,
and the others are copied. Checks report on the bytes as received. They never stop an input; only gates do.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from dataops_assets.config.connection import Connection, FileConnection, ParquetFormat
from dataops_assets.config.kafka import KafkaConnection, MessagesFormat
from dataops_assets.connections.files import Files
from dataops_assets.connections.formats.messages import messages_and_lag
from dataops_assets.connections.formats.reader import format_of
from dataops_assets.errors import DataOpsError, InputError
from dataops_assets.metadata.store import Arrival
from dataops_assets.quality.checks import EarlierInputs, judged
from dataops_assets.quality.raw_checks import raw_outcomes, raw_profile, with_arrival
from dataops_assets.report import CheckOutcome, Input, InputReport, StepReport
from dataops_assets.steps.inputs_before import saved_and_compared
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.storage.raw import RawArea

_THREADS = 8


def ingest(context: SourceContext, inputs: Sequence[Input]) -> StepReport:
    """Copy `inputs` into the source's raw area; counts are bytes and files.

    An input's error is InputError (its origin changed or is gone: permanent) or StorageError (a retry can help).
    Raises StorageError only if the step fails for all inputs.
    """
    started = time.perf_counter()
    raw = context.raw
    read = _reader(context)
    versions = _versions(context, inputs)

    # threads, because copying waits for disks and networks: 365 synced files take a third of what one thread takes
    with ThreadPoolExecutor(_THREADS) as pool:
        done = list(pool.map(lambda item: _copy(raw, read, item, versions.get(item.input_id, ())), inputs))
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


def _copy(
    raw: RawArea, read: Callable[[str], Iterator[bytes]], item: Input, versions: Sequence[Arrival]
) -> tuple[InputReport, bool]:
    """Copy an input from its origin, or else from another file with the same bytes."""
    modified = versions[0].modified if versions else None
    again = [version.origin for version in reversed(versions) if version.digest == item.digest]
    failed: DataOpsError | None = None
    for origin in dict.fromkeys((item.origin, *again)):
        try:
            copied = raw.add(item, read(origin), modified)
        except DataOpsError as error:
            failed = failed or error
            continue
        return InputReport(item.input_id, counts={"bytes": item.size, "files": 1}), copied
    return InputReport(item.input_id, error=failed), False


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


def _reader(context: SourceContext) -> Callable[[str], Iterator[bytes]]:
    connection = context.source.connection
    if isinstance(connection, FileConnection):
        return Files(connection, context.environment.landing, os.environ).chunks
    return _gone


def _gone(origin: str) -> Iterator[bytes]:
    """Raise InputError: discovery had put the bytes of the extract into the raw area, and they cannot be read again."""
    yield from ()
    raise InputError(
        f"reading {origin}",
        received="its bytes are not in the raw area, where discovery had put them",
        next_step="restore them from a backup, let the function yield the extract again, or remove the input",
    )


def _versions(context: SourceContext, inputs: Sequence[Input]) -> Mapping[str, Sequence[Arrival]]:
    """Return, by input, the file versions with its content that discovery found, the earliest first."""
    found: dict[str, list[Arrival]] = {}
    arrivals = context.metadata.arrivals(context.source.name, input_ids=[item.input_id for item in inputs])
    for arrival in sorted(arrivals, key=lambda item: item.modified):
        if arrival.input_id:
            found.setdefault(arrival.input_id, []).append(arrival)
    return found
