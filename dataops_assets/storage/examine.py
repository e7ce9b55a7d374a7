"""Finds missing and damaged files of a table, without reading its rows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dataops_assets.errors import StorageError
from dataops_assets.storage import checksums, records
from dataops_assets.storage.delta import (
    HINT,
    DataFile,
    Table,
    TableVersion,
    checkpoint_path,
    files_added,
    parts_of,
    records_named,
)
from dataops_assets.storage.objects import is_remote


@dataclass(frozen=True)
class Damage:
    """One file of a table that is not as it was written.

    `kind` is one of: `log`, which all later versions need; `checkpoint`, which can be made again from the log; `data`,
    rows and deletion vectors of the newest version; `old`, rows and deletion vectors of older versions only.
    """

    path: str
    received: str
    kind: Literal["log", "checkpoint", "data", "old"]


def examine(table: Table, *, deep: bool) -> list[Damage]:
    """Return the damages of a table; none if the table does not exist.

    Without `deep`, it reads the newest version from the log, and checks that the files of this version exist. With
    `deep`, it compares every commit, checkpoint, data file and deletion vector of all versions with its checksum. On an
    object store it does so only for the log, because the store checks its objects itself.
    """
    found = [*_log_damages(table)] if deep else []
    try:
        newest = table.snapshot()
    except StorageError as error:
        place = error.attempted.partition("reading ")[2].removesuffix(f" of {table.uri}")
        known = {item.path for item in found}
        return found if known else [Damage(place, error.received, "log")]
    if newest is None:
        return found
    return [*found, *missing(table, newest), *(_data_damages(table, newest) if deep else ())]


def _log_damages(table: Table) -> Iterator[Damage]:
    versions, checkpoints = table.logged()
    for version in versions:
        try:
            table.commit_id(version)
        except StorageError as error:
            yield Damage(f"_delta_log/{version:020d}.json", error.received, "log")
    gone = sorted(set(range(min(versions, default=0), max(versions, default=0))) - set(versions))
    if gone:
        yield Damage(f"_delta_log/{gone[0]:020d}.json", "no such file", "log")
    yield from _record_damages(table, versions)
    for version in checkpoints:
        yield from _checkpoint_damages(table, version, is_newest=version == checkpoints[-1])


def _record_damages(table: Table, versions: Sequence[int]) -> Iterator[Damage]:
    """Find damaged files with large mappings; those of the newest version are part of what must be read."""
    now: set[str] = set()
    ever: set[str] = set()
    for version in versions:
        with contextlib.suppress(StorageError):
            # its damage is reported with the log; a commit of another tool names none, and what was before it counts
            now = set(records_named(table, version)) or now
            ever |= now
    for path in sorted(ever):
        received = records.difference(table.folder, path)
        # files of old versions may have been removed since; those of the newest version are reported already
        if received and table.folder.read(path) is not None:
            yield Damage(path, received, "log" if path in now else "old")


def _checkpoint_damages(table: Table, version: int, *, is_newest: bool) -> Iterator[Damage]:
    try:
        sums = table.checkpoint_sums(version)
    except StorageError as error:
        yield Damage(checkpoint_path(version), error.received, "checkpoint")
        return
    for path, expected in sums.items():
        # the hint is of the newest checkpoint
        if path == HINT and not is_newest:
            continue
        content = table.folder.read(path)
        if content is None or checksums.crc32(content) != expected:
            received = "no such file" if content is None else "its checksum is wrong: the file is damaged"
            yield Damage(path, received, "checkpoint")


def missing(table: Table, newest: TableVersion) -> Iterator[Damage]:
    """Find the files of one version that are not there, or have another size."""
    there = {item.path: item.size for item in table.folder.objects()}
    for path in records.paths(newest.records):
        if path not in there:
            yield Damage(path, "no such file", "log")
    for file in newest.files:
        for path in parts_of([file]):
            if path not in there:
                yield Damage(path, "no such file", "data")
        if there.get(file.path, file.size) != file.size:
            yield Damage(file.path, f"{there[file.path]:,} bytes, where {file.size:,} were written", "data")


def _data_damages(table: Table, newest: TableVersion) -> Iterator[Damage]:
    if is_remote(table.uri):
        return
    now = parts_of(newest.files)
    ever: dict[str, str] = {}
    for file in _ever(table):
        ever.update(parts_of([file]))
    for path, expected in sorted({**ever, **now}.items()):
        place = Path(table.uri, path)
        # files of old versions may have been removed since; those of the newest version are reported already
        if not expected or not place.is_file():
            continue
        received = checksums.difference(place, expected)
        if received:
            yield Damage(path, received, "data" if path in now else "old")


def _ever(table: Table) -> Iterator[DataFile]:
    """Return all data files that the log names."""
    versions, checkpoints = table.logged()
    for version in versions:
        with contextlib.suppress(StorageError):
            # its damage is reported with the log
            yield from files_added(table, version)
    for version in checkpoints:
        with contextlib.suppress(StorageError):
            snapshot = table.snapshot(version)
            yield from snapshot.files if snapshot else ()
