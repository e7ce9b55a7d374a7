"""Step 1, ingest: an immutable copy of every input in the raw area, with a manifest of where it came from.

Grain: one object and one manifest an input. Re-run: inputs that are in the area cost a look and copy nothing, even
when their origin is gone. Each input stands alone: one that changed, vanished or does not fit the disk gets its error
and the others are copied.
"""

from __future__ import annotations

import datetime as dt
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from dataops_assets.config.source import FileConnection
from dataops_assets.connections.files import Files
from dataops_assets.errors import DataOpsError, InputError
from dataops_assets.steps.report import Input, InputReport, StepReport
from dataops_assets.steps.workspace import Workspace
from dataops_assets.storage.raw import RawArea

_THREADS = 8


def ingest(workspace: Workspace, inputs: Sequence[Input]) -> StepReport:
    """Copy `inputs` into the source's raw area; counts are bytes and files.

    An input's error is InputError (its origin changed or is gone: permanent) or StorageError (worth another try).
    Raises StorageError only where nothing can be said of any input.
    """
    started = time.perf_counter()
    raw = workspace.raw
    read = _reader(workspace)
    modified = _modification_times(workspace) if inputs else {}

    # threads, because copying waits for disks and networks; digests are computed outside the interpreter's lock
    with ThreadPoolExecutor(_THREADS) as pool:
        done = list(pool.map(lambda item: _copy(raw, read, item, modified.get(item.input_id)), inputs))
    raw.sync()
    return StepReport(
        step="ingest",
        asset=f"raw/{workspace.source.name}",
        inputs=tuple(report for report, _ in done),
        rows=None,
        version=None,
        columns={},
        seconds=time.perf_counter() - started,
        notes={
            "copied": sum(copied for _, copied in done),
            "already there": sum(report.error is None and not copied for report, copied in done),
        },
    )


def _copy(
    raw: RawArea, read: Callable[[str], Iterator[bytes]], item: Input, modified: dt.datetime | None
) -> tuple[InputReport, bool]:
    try:
        copied = raw.add(item, read(item.origin), modified)
    except DataOpsError as error:
        return InputReport(item.input_id, error=error), False
    return InputReport(item.input_id, counts={"bytes": item.size, "files": 1}), copied


def _reader(workspace: Workspace) -> Callable[[str], Iterator[bytes]]:
    connection = workspace.source.connection
    if isinstance(connection, FileConnection):
        return Files(connection, workspace.environment.landing, os.environ).chunks
    return _gone


def _gone(origin: str) -> Iterator[bytes]:
    """Discovery has put the bytes of an extract into the raw area; a hook cannot be asked for them again."""
    yield from ()
    raise InputError(
        f"reading {origin}",
        received="its bytes are not in the raw area, where discovery had put them",
        next_step="let the function yield the extract again, or remove the input",
    )


def _modification_times(workspace: Workspace) -> Mapping[str, dt.datetime]:
    """By input, when its origin was last changed as discovery saw it; duplicates do not count."""
    arrivals = workspace.metadata.arrivals(workspace.source.name)
    first = sorted((item for item in arrivals if item.input_id and not item.note), key=lambda item: item.modified)
    return {item.input_id: item.modified for item in reversed(first) if item.input_id}
