"""Removes what no version within the retention period needs: superseded files, and what killed writers left behind.

Reading any version that was the newest one within the retention period stays possible, deletion vectors included. Of
older versions nothing stays but what the log says after the last checkpoint before them. A file that is young may be a
running writer's, whose commit is still to come, and is kept whatever the log says. Readers and writers need not stop,
and several vacuums may run at once.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass

from dataops_assets.storage.delta import Table

RETENTION = dt.timedelta(days=7)
"""How long a version can be read after a newer one took its place."""

YOUNG = dt.timedelta(days=1)
"""How old a file that no version needs must be; no step takes as long from its first file to its commit."""

# Data files and deletion vectors; and what a local put was killed with, wherever it was writing
_DATA = re.compile(r"(?!_delta_log/).*\.(parquet|bin)|.*#\d+", re.DOTALL)


@dataclass(frozen=True)
class Vacuumed:
    """How many files were removed, with how many bytes, and how many are needed."""

    removed: int
    bytes: int
    kept: int


def vacuum(
    table: Table, *, retention: dt.timedelta = RETENTION, young: dt.timedelta = YOUNG, now: dt.datetime | None = None
) -> Vacuumed:
    """Remove the files of `table` that nobody needs. Killed halfway, it is simply run again.

    A folder without a log is left alone: nothing says what in it is needed. `now` is aware; times are compared with the
    store's and the writers' clocks. Raises StorageError when the store fails.
    """
    moment = now or dt.datetime.now(dt.UTC)
    # listed before the log is read: what is committed in between is in the log or young
    there = table.folder.objects()
    kept = table.kept_since(moment - retention)
    if kept is None:
        return Vacuumed(0, 0, 0)
    unneeded = [
        item
        for item in there
        if item.modified <= moment - young
        and (item.path in kept.log_before or (item.path not in kept.paths and _DATA.fullmatch(item.path)))
    ]
    # the oldest first: a log that lacks its beginning can be read, one with a hole cannot
    table.folder.delete(sorted(item.path for item in unneeded))
    return Vacuumed(len(unneeded), sum(item.size for item in unneeded), len(kept.paths))
