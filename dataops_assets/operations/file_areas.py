"""Examines where sources read files: whether the place can be reached, which files match, and how fresh they are."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from dataops_assets.config.connection import FileConnection
from dataops_assets.config.environment import Environment
from dataops_assets.config.source import Source
from dataops_assets.connections.extract_time import extract_time
from dataops_assets.connections.files import MOST_OTHERS, Files, FileVersion, Listing, Nearby, file_name
from dataops_assets.connections.queues import Queue
from dataops_assets.connections.stores import options_of
from dataops_assets.errors import DataOpsError, nearest
from dataops_assets.metadata.store import MetadataStore, VersionKey

_SHOWN = 5


@dataclass(frozen=True)
class FilesReport:
    """The result of examining the files of a source. `name` is the source; `error` is empty if they can be read.

    `files` are those that may be taken, `size` is their bytes, `waiting` is the number of those that no look took yet.
    `newest` (a path or URL) was changed at `newest_at`, aware in UTC; '' and None without files. `messages` wait in the
    queue of notifications; None if there is none, or it cannot be read.
    """

    name: str
    place: str
    files: int = 0
    size: int = 0
    waiting: int = 0
    newest: str = ""
    newest_at: dt.datetime | None = None
    error: str = ""
    next_step: str = ""
    type: str = "files"
    messages: int | None = None

    @property
    def is_well(self) -> bool:
        """Return whether each file that is meant can be read."""
        return not self.error


def examine_files(
    sources: Mapping[str, Source], environment: Environment, metadata: MetadataStore
) -> Iterator[FilesReport]:
    """List the files of each source that reads files, and read the begin of the newest. An error is part of the report.

    Nothing is taken or recorded. Raises StorageError if the metadata cannot be read.
    """
    for name, source in sources.items():
        connection = source.connection
        if not isinstance(connection, FileConnection):
            continue
        taken = metadata.taken_versions(name)
        try:
            files = Files(connection, environment.landing, os.environ)
            report = _report(source, connection, files, taken)
            yield _with_queue(report, connection)
        except DataOpsError as failed:
            yield FilesReport(name, connection.path, error=failed.received or str(failed), next_step=failed.next_step)


def _with_queue(report: FilesReport, connection: FileConnection) -> FilesReport:
    """Add how many messages wait in the queue, or why it cannot be read; a source may have none."""
    if connection.notifications is None:
        return report
    try:
        waiting = Queue(connection.notifications.queue, options_of(connection.storage_options, os.environ)).waiting()
    except DataOpsError as failed:
        error = f"{report.error}; {failed.attempted}: {failed.received}".removeprefix("; ")
        return replace(report, error=error, next_step=failed.next_step)
    messages = waiting.messages + waiting.received
    has_more = messages and not report.waiting and not report.error
    return replace(report, messages=messages, next_step=f"dataops run {report.name}" if has_more else report.next_step)


def _report(source: Source, connection: FileConnection, files: Files, taken: Collection[VersionKey]) -> FilesReport:
    listing = files.list()
    found = listing.versions
    if not found:
        error, next_step = _why_none(connection, files, listing, was_read=bool(taken))
        return FilesReport(source.name, connection.path, error=error, next_step=next_step)
    newest = max(found, key=lambda item: (item.modified, item.origin))
    waiting = sum(item.key not in taken for item in found)
    error, next_step = _fault(connection, files, listing, newest)
    usual = f"dataops run {source.name}" if waiting else "nothing: all files are taken"
    return FilesReport(
        source.name,
        connection.path,
        len(found),
        sum(item.size for item in found),
        waiting,
        newest.origin,
        newest.modified,
        error,
        next_step or usual,
    )


def _fault(connection: FileConnection, files: Files, listing: Listing, newest: FileVersion) -> tuple[str, str]:
    """Return what is wrong with files that match, and the next step; empty texts if nothing is."""
    try:
        next(files.chunks(newest.origin), b"")
    except DataOpsError as failed:
        return f"{file_name(newest.origin)} cannot be read: {failed.received}", failed.next_step
    faults: dict[str, DataOpsError] = dict(listing.refused)
    for version in listing.versions:
        try:
            extract_time(connection.extract_time, file_name(version.origin), version.modified, dt.UTC)
        except DataOpsError as failed:
            faults[version.origin] = failed
    if not faults:
        return "", ""
    origin, first = next(iter(sorted(faults.items())))
    more = f" (and {len(faults) - 1:,} more files)" if len(faults) > 1 else ""
    return f"{file_name(origin)} is refused{more}: {first.received}", first.next_step


def _why_none(connection: FileConnection, files: Files, listing: Listing, *, was_read: bool) -> tuple[str, str]:
    """Return why no file can be taken, and the next step. The reason is empty if none has come yet."""
    if listing.alone:
        first = file_name(min(item.origin for item in listing.alone))
        return f"{len(listing.alone):,} files without their manifest, such as {first}", "deliver the manifests, too"
    if listing.left_out:
        origin, left = min(listing.left_out.items())
        return f"no file may be taken: {file_name(origin)}: {left.reason}", "rename it, or correct connection.path"
    near = files.nearby()
    if listing.refused and near.missing:
        return _missing(near)
    if listing.refused:
        origin, error = min(listing.refused.items())
        return f"no file may be taken: {file_name(origin)}: {error.received}", error.next_step
    if was_read:
        return "", "nothing: all files were taken, and are gone"
    if listing.others:
        shown = ", ".join(sorted(listing.others)[:_SHOWN])
        wanted = file_name(connection.path)
        resembles = nearest(wanted, listing.others) or "correct connection.path, or deliver a file of such a name"
        number = f"{len(listing.others):,}{' or more' if len(listing.others) == MOST_OTHERS else ''}"
        return f"{near.folder} has {number} files, and none matches {wanted}: {shown}", resembles
    if near.missing and near.names:
        return _missing(near)
    return "", "deliver a file: none is there yet"


def _missing(near: Nearby) -> tuple[str, str]:
    folder = near.folder.rstrip("/")
    there = f"has {', '.join(near.names[:_SHOWN])}" if near.names else "is empty"
    error = f"there is no {folder}/{near.missing}; {near.folder} {there}"
    return error, nearest(near.missing, near.names) or "create it, or correct connection.path or DATAOPS_LANDING"
