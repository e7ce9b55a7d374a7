"""Looks at the files of a source: which are complete, which are new, and which the next look reads.

Known limits: if a writer pauses for longer than `settle_seconds`, its file seems finished; later additions make a new
version of the file, and so a new input. If a file with a manifest is written again with the same size and a
modification time before that of its manifest, this is seen when the manifest is written, too. The first files of a look
(40, or 64 MiB of them) are hashed even if the time is over, so that each look makes progress on a busy machine. If one
file takes longer than the caller can wait, the caller needs a higher limit.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from dataops_assets.config.connection import FileConnection
from dataops_assets.connections.archive_readings import Reading
from dataops_assets.connections.content import Digests, digests_of
from dataops_assets.connections.extract_time import extract_time
from dataops_assets.connections.files import Files, FileVersion, Listing, file_name
from dataops_assets.connections.formats.compression import Compression, compression_of
from dataops_assets.connections.listing_start import ListingStart
from dataops_assets.connections.look import Clock, Look, ReadingTime
from dataops_assets.connections.notified_names import NotifiedNames
from dataops_assets.connections.queues import Queue
from dataops_assets.connections.stores import options_of
from dataops_assets.errors import ConfigError, DataOpsError, InputError, StorageError
from dataops_assets.metadata.store import Arrival, VersionKey

_THREADS = 8
_LEAST_BYTES = 64 << 20


def look_at_files(look: Look, connection: FileConnection, files: Files, limit: ReadingTime) -> None:
    """Take the files that are new and complete, the oldest first, and record them. Raises StorageError."""
    start = ListingStart(look, connection, files.place)
    notified = _notified(look, connection, files.place, limit)
    listing, still_there = _found(look, connection, files, start, notified)
    fresh = listing.versions
    for item in listing.left_out.values():
        # an object that a message names is there as a whole, and no other message may name it
        look.leave_out(item.version, item.reason, connection.settle_seconds if notified is None else 0)
    dated = _complete(look, connection, fresh)
    # oldest first: if the budget ends a look, the history before that point is complete. The files of a tar are read in
    # the order in which they lie, because it is a stream
    dated.sort(key=lambda each: each[:2])
    look.dates_from({extracted.astimezone(dt.UTC) for extracted, _, _ in dated})
    # listing many files, or waiting for a store, takes nothing from the time there is for reading them
    deadline = limit.clock() + limit.budget_seconds
    least = _least([version for _, _, version in dated], max(limit.least_files, 1))
    versions = {origin: version for _, origin, version in dated}
    states = _states(files, versions, connection, set(list(versions)[:least]), deadline, limit.clock)
    for extracted, origin, version in dated:
        state = states.get(origin, _LATE)
        if isinstance(state, DataOpsError):
            look.refuse(origin, state)
        elif isinstance(state, _Examined):
            look.take(version, look.input_of(version, extracted, version.modified, state.digests, state.manifest))
        elif state == _CHANGED:
            look.wait(version, remember=False)
        else:
            look.found.left.append(origin)
    look.record()
    to_try_again = [problem.origin for problem in look.found.problems if not problem.error.permanent]
    unfinished = [*look.found.settling, *look.found.left, *to_try_again]
    start.record([item.origin for item in (*fresh, *still_there)], unfinished)
    if connection.after_pickup is not None:
        _take_away(look, files, still_there, deadline, limit.clock)
        unfinished += [item.origin for item in (*fresh, *still_there)]
    if notified is not None:
        # also what is refused is told until it is gone
        notified.record({*unfinished, *look.found.left, *(problem.origin for problem in look.found.problems)})


def _found(
    look: Look, connection: FileConnection, files: Files, start: ListingStart, notified: NotifiedNames | None
) -> tuple[Listing, list[FileVersion]]:
    """Return the listing without the versions that were taken, and these, if the look has to do with them.

    The look knows from now on which files it is about, what is refused, and what waits. Raises StorageError.
    """
    told: list[str] = []
    if notified is not None:
        told = notified.told
    has_to_do = connection.after_pickup is not None or connection.sorted_names is not None
    if notified is not None and notified.names is not None:
        look.concerns([*notified.names, *told])
        taken = look.taken()
        listing = files.named(notified.names)
    else:
        taken = look.metadata.taken_versions(look.source.name, after=start.after)
        listing = files.list(() if has_to_do else taken, start.after)
    still_there = [item for item in listing.versions if item.key in taken]
    listing.versions[:] = [item for item in listing.versions if item.key not in taken]
    if not has_to_do:
        still_there.clear()
    for origin, error in listing.refused.items():
        look.refuse(origin, error)
    look.found.alone[:] = _waiting_for_manifests(listing.alone, taken)
    left_out = [item.version.origin for item in listing.left_out.values()]
    look.concerns([*(item.origin for item in (*listing.versions, *still_there)), *left_out, *told])
    if notified is not None:
        notified.tell()
    return listing, still_there


def _complete(
    look: Look, connection: FileConnection, fresh: Sequence[FileVersion]
) -> list[tuple[dt.datetime, str, FileVersion]]:
    """Return the files that nobody writes any more, with extract time and origin; the others wait or are refused."""
    dated: list[tuple[dt.datetime, str, FileVersion]] = []
    for version in fresh:
        seen = look.seen(version)
        try:
            name = file_name(version.origin)
            extracted = extract_time(connection.extract_time, name, version.modified, look.zone)
        except InputError as error:
            look.refuse(version.origin, error)
            continue
        if _is_settled(version, seen, look.now, connection.settle_seconds):
            dated.append((extracted, version.origin, version))
        else:
            # A file from the future never reaches an age: it is taken when two looks see it unchanged. Only such
            # files are remembered, so that an ordinary growing file leaves no trail of states.
            look.wait(version, remember=seen is None and version.modified > look.now)
    return dated


def _notified(look: Look, connection: FileConnection, place: str, limit: ReadingTime) -> NotifiedNames | None:
    """Receive the messages of the queue of a bucket; None if it has none. Raises StorageError."""
    if connection.notifications is None:
        return None
    queue = Queue(connection.notifications.queue, options_of(connection.storage_options, os.environ))
    until = limit.clock() + limit.budget_seconds / 2
    return NotifiedNames(look, connection.notifications, place, queue, until, limit.clock)


def _take_away(look: Look, files: Files, taken: Sequence[FileVersion], deadline: float, clock: Clock) -> None:
    """Move or delete the files whose input is stored and recorded as ingested, the oldest first."""
    arrivals = {item.origin: item for version in taken if (item := look.seen(version)) is not None}
    ids = sorted({item.input_id for item in arrivals.values() if item.input_id})
    if not ids:
        return
    steps = look.metadata.processes(look.source.name, "ingest", ids)
    stored = {step.input_id for step in steps if step.status == "done"}
    for version in sorted(taken, key=lambda item: (item.modified, item.origin)):
        if version.origin not in arrivals or arrivals[version.origin].input_id not in stored:
            continue
        if clock() >= deadline:
            look.found.left.append(version.origin)
            continue
        try:
            if done := files.take_away(version, arrivals[version.origin].digest):
                look.found.taken_away.append(f"{version.origin} {done}")
        except DataOpsError as error:
            look.refuse(version.origin, error)
            if isinstance(error, ConfigError):
                # it is about the place, so it is that of all other files
                return


def _waiting_for_manifests(alone: Sequence[FileVersion], taken: Collection[VersionKey]) -> list[str]:
    """Return the files that wait for their manifest: not those that were taken, and whose manifest is gone since."""
    if not alone:
        return []
    newest: dict[str, str] = {}
    for origin, _, modified in taken:
        newest[origin] = max(modified, newest.get(origin, ""))
    return sorted(item.origin for item in alone if item.key[2] > newest.get(item.origin, ""))


def _least(versions: Sequence[FileVersion], files: int) -> int:
    """Return how many files are read even without time left: one, and more if they are small together."""
    size = 0
    for number, version in enumerate(versions[:files]):
        size += version.size
        if number and size > _LEAST_BYTES:
            return number
    return min(files, len(versions))


_CHANGED = "changed"
_LATE = "late"


def _is_settled(version: FileVersion, seen: Arrival | None, now: dt.datetime, wait_seconds: float) -> bool:
    """Return whether the file is complete: nobody writes it any more.

    It is complete if its last change is old enough. Then (size, modified) also identifies a version: a later write gets
    a later time, even in a store with whole seconds. It is also complete if an earlier look, long enough ago, saw the
    same version; this helps if the clock was changed.
    """
    if wait_seconds == 0 or (now - version.modified).total_seconds() >= wait_seconds:
        return True
    return seen is not None and abs((now - seen.seen_at).total_seconds()) >= wait_seconds


class _Examined(NamedTuple):
    """The digests of a file, and the text of its manifest."""

    digests: Digests
    manifest: str


_State = _Examined | str | DataOpsError


class _Stopped(Exception):
    """A file was not read to its end: `_LATE` if the time ran out, `_CHANGED` if the file was written meanwhile."""


def _states(
    files: Files,
    versions: Mapping[str, FileVersion],
    connection: FileConnection,
    must_be_read: Collection[str],
    deadline: float,
    clock: Clock,
) -> Mapping[str, _State]:
    """Return what was found of files, by origin, those in `must_be_read` even if the time is over.

    Files for which there was no time may be missing.
    """

    def examine(reading: Reading) -> Mapping[str, _State]:
        found: dict[str, _State] = {}
        waiting = {origin for origin in reading.origins if origin in must_be_read}
        for origin, chunks in reading.contents():
            until = None if origin in must_be_read else deadline
            compression = compression_of(file_name(origin), connection.compression)
            found[origin] = _examine(files, versions[origin], chunks, compression, until, clock)
            waiting.discard(origin)
            if not waiting and clock() >= deadline:
                break
        return found

    states: dict[str, _State] = {}
    with ThreadPoolExecutor(_THREADS) as pool:
        for found in pool.map(examine, files.readings(list(versions))):
            states |= found
    # one look at each archive, after all of it was read
    examined = {origin: state for origin, state in states.items() if isinstance(state, _Examined)}
    for origin, now in files.versions_in_archives(examined).items():
        states[origin] = now if isinstance(now, DataOpsError) else _judged(examined[origin], versions[origin], now)
    return states


def _examine(
    files: Files,
    version: FileVersion,
    chunks: Iterator[bytes],
    compression: Compression,
    deadline: float | None,
    clock: Clock,
) -> _State:
    """Return digests and manifest of a file; `_LATE` if the time ran out, `_CHANGED` if it was written meanwhile.

    A file in an archive is not judged here: the state of the archive is asked for once, and not for each file in it.
    """

    def watched() -> Iterator[bytes]:
        size = 0
        for chunk in chunks:
            size += len(chunk)
            if size > version.own_size:
                # the file grows, perhaps as fast as it is read
                raise _Stopped(_CHANGED)
            if deadline is not None and clock() >= deadline:
                raise _Stopped(_LATE)
            yield chunk

    if deadline is not None and clock() >= deadline:
        return _LATE
    try:
        found = _Examined(digests_of(watched(), version.own_size, compression), files.manifest(version))
        return found if files.is_in_archive(version.origin) else _judged(found, version, files.version(version.origin))
    except _Stopped as stopped:
        return str(stopped)
    except DataOpsError as error:
        return error


def _judged(found: _Examined, version: FileVersion, now: FileVersion) -> _State:
    """Return what was found of a version, if the file is `now` still that version and was read as a whole."""
    if now != version:
        return _CHANGED
    if found.digests.size != version.own_size:
        return StorageError(
            f"reading {version.origin}",
            received=f"{found.digests.size:,} of {version.own_size:,} bytes, without an error",
            next_step="check the store and the network; the next look tries again",
        )
    return found
