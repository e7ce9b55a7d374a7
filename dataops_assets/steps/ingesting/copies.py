"""Copies inputs into the raw area, from their origins or from other files with the same bytes.

An archive is opened once for all inputs that are read of it, however many they are.
"""

from __future__ import annotations

import datetime as dt
import functools
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from dataops_assets.config.connection import FileConnection
from dataops_assets.connections.archive_readings import Reading, failing
from dataops_assets.connections.files import Files
from dataops_assets.errors import DataOpsError, InputError, StorageError
from dataops_assets.metadata.store import Arrival
from dataops_assets.report import Input
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.storage.raw import RawArea

_THREADS = 8


def copies(context: SourceContext, inputs: Sequence[Input]) -> list[bool | DataOpsError]:
    """Copy inputs into the raw area; return for each whether it is new there, or the error with its first origin.

    All inputs are tried with their first origin, then those that failed with their next one.
    """
    readings = _readings(context)
    waiting = _waiting(context, inputs)
    done: dict[str, bool | DataOpsError] = {}
    # threads, because copying waits for disks and networks: 365 synced files take a third of what one thread takes
    with ThreadPoolExecutor(_THREADS) as pool:
        while waiting:
            copied = pool.map(lambda task: _copied(context, *task), _tasks(readings, waiting))
            found = {input_id: result for results in copied for input_id, result in results}
            for input_id, result in found.items():
                if not isinstance(result, DataOpsError) or input_id not in done:
                    done[input_id] = result
            waiting = [
                _Waiting(each.item, each.modified, each.origins[1:])
                for each in waiting
                if isinstance(found[each.item.input_id], DataOpsError) and len(each.origins) > 1
            ]
    return [done[item.input_id] for item in inputs]


@dataclass(frozen=True)
class _Waiting:
    """An input that is not copied yet, with the origins to try, and the modification time of its first file."""

    item: Input
    modified: dt.datetime | None
    origins: Sequence[str]


def _waiting(context: SourceContext, inputs: Sequence[Input]) -> list[_Waiting]:
    """Return the inputs with their own origin first, then those of files with the same bytes, the newest first."""
    versions: dict[str, list[Arrival]] = {}
    arrivals = context.metadata.arrivals(context.source.name, input_ids=[item.input_id for item in inputs])
    for arrival in sorted(arrivals, key=lambda item: item.modified):
        if arrival.input_id:
            versions.setdefault(arrival.input_id, []).append(arrival)
    found = []
    for item in inputs:
        mine = versions.get(item.input_id, [])
        again = [version.origin for version in reversed(mine) if version.digest == item.digest]
        modified = mine[0].modified if mine else None
        found.append(_Waiting(item, modified, list(dict.fromkeys((item.origin, *again)))))
    return found


_Readings = Callable[[Sequence[str]], Sequence[Reading]]
_Task = tuple[Mapping[str, _Waiting], Reading]


def _tasks(readings: _Readings, waiting: Sequence[_Waiting]) -> Iterator[_Task]:
    """Yield readings, each with the inputs to copy, by origin.

    Several inputs may have one origin, as versions of a file: a reading has only one of them.
    """
    times: Counter[str] = Counter()
    by_time: dict[int, dict[str, _Waiting]] = {}
    for each in waiting:
        origin = each.origins[0]
        by_time.setdefault(times[origin], {})[origin] = each
        times[origin] += 1
    for by_origin in by_time.values():
        for reading in readings(list(by_origin)):
            yield by_origin, reading


def _copied(
    context: SourceContext, by_origin: Mapping[str, _Waiting], reading: Reading
) -> list[tuple[str, bool | DataOpsError]]:
    """Copy the inputs of a reading; return, by id, whether each is new, or its error."""
    raw = context.raw
    concerned = [by_origin[origin].item for origin in reading.origins]
    if len(concerned) > 1 and all(_is_there(raw, item) for item in concerned):
        # a stream is not read through for nothing
        return [(item.input_id, False) for item in concerned]
    found: list[tuple[str, bool | DataOpsError]] = []
    for origin, chunks in reading.contents():
        each = by_origin[origin]
        try:
            found.append((each.item.input_id, raw.add(each.item, chunks, each.modified)))
        except DataOpsError as error:
            found.append((each.item.input_id, error))
    return found


def _is_there(raw: RawArea, item: Input) -> bool:
    try:
        return raw.holds(item)
    except StorageError:
        # told when the input is added
        return False


def _readings(context: SourceContext) -> _Readings:
    connection = context.source.connection
    if isinstance(connection, FileConnection):
        return Files(connection, context.environment.landing, os.environ).readings
    return _of_extracts


def _of_extracts(origins: Sequence[str]) -> list[Reading]:
    """Return readings that fail: discovery had put the bytes into the raw area, and they cannot be read again."""

    def contents(origin: str) -> Iterator[tuple[str, Iterator[bytes]]]:
        yield origin, failing(_gone(origin))

    return [Reading([origin], functools.partial(contents, origin)) for origin in origins]


def _gone(origin: str) -> InputError:
    return InputError(
        f"reading {origin}",
        received="its bytes are not in the raw area, where discovery had put them",
        next_step="restore them from a backup, let the function yield the extract again, or remove the input",
    )
