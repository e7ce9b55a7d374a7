"""Removes files that no version within the retention period needs: replaced files and files of killed writers.

All versions that were the newest one within the retention period stay readable, with their deletion vectors, and so do
the versions that a release pins. The log is kept from the last checkpoint before the oldest of them. A young file is
always kept, because a running writer may not have committed it yet. Readers and writers need not stop, and several
vacuums may run at once.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection
from dataclasses import dataclass

from dataops_assets.storage import records
from dataops_assets.storage.delta import Table

RETENTION = dt.timedelta(days=7)
"""The time for which a version stays readable after a newer one replaced it."""

YOUNG = dt.timedelta(days=1)
"""The minimum age of a file that is removed. No step takes this long from its first file to its commit."""

# data files, deletion vectors and records, and temporary files of killed local writes
_DATA = re.compile(rf"(?!_delta_log/).*\.(parquet|bin)|{records.PATTERN}|.*#\d+", re.DOTALL)


@dataclass(frozen=True)
class Vacuumed:
    """The numbers of removed files, of their bytes, and of needed files."""

    removed: int
    bytes: int
    kept: int


def vacuum(
    table: Table,
    *,
    retention: dt.timedelta = RETENTION,
    young: dt.timedelta = YOUNG,
    now: dt.datetime | None = None,
    pinned: Collection[int] = (),
) -> Vacuumed:
    """Remove the files of `table` that no version needs. If it is killed, run it again.

    The versions `pinned` stay readable, however old they are. A folder without a log is not changed, because it is
    unknown which files are needed.
    `now` is aware; times are compared with the
    store's and the writers' clocks. Raises StorageError when the store fails.
    """
    moment = now or dt.datetime.now(dt.UTC)
    # listed before the log is read: a file that is committed in between is in the log or young
    there = table.folder.objects()
    kept = table.kept_since(moment - retention, pinned)
    if kept is None:
        return Vacuumed(0, 0, 0)
    unneeded = [
        item
        for item in there
        if item.modified <= moment - young
        and (item.path in kept.log_before or (item.path not in kept.paths and _DATA.fullmatch(item.path)))
    ]
    # oldest first: a log without its beginning is readable, a log with a gap is not
    table.folder.delete(sorted(item.path for item in unneeded))
    return Vacuumed(len(unneeded), sum(item.size for item in unneeded), len(kept.paths))
