"""Records how far databases, APIs and topics were read: input, arrival and position in one transaction."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from dataops_assets.errors import CommitConflict
from dataops_assets.metadata import tables
from dataops_assets.metadata.database import Database
from dataops_assets.metadata.statements import insert_of, row_of_input
from dataops_assets.report import Input


@dataclass(frozen=True)
class RecordedLook:
    """The last recorded look: the number of looks so far, its time, and the position after it."""

    looks: int = 0
    looked_at: dt.datetime | None = None
    position: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class FinishedLook:
    """A look to record. `before` is the number of looks that were recorded when it began; `note` is of its input."""

    source: str
    before: int
    looked_at: dt.datetime
    position: Mapping[str, Any]
    item: Input | None = None
    note: str = ""


class PositionStore:
    """The positions in the metadata. Its methods raise StorageError if the database cannot be reached."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def last_look(self, source: str) -> RecordedLook:
        """Return the last recorded look; of a source without one, a look without position."""
        table = tables.positions
        wanted = sa.select(table.c.looks, table.c.looked_at, table.c.position).where(table.c.source == source)
        with self._database.read(f"reading the position of source {source!r}") as connection:
            found = connection.execute(wanted).one_or_none()
        return RecordedLook() if found is None else RecordedLook(*found)

    def record(self, done: FinishedLook) -> None:
        """Record a look with its input, all or nothing. The source is registered.

        Raises CommitConflict if another look was recorded since this one began: then this one counts for nothing.
        """
        table = tables.positions
        item = done.item
        values = {
            "looks": done.before + 1,
            "looked_at": done.looked_at,
            "position": dict(done.position),
        }
        attempted = f"recording a look at the database of source {done.source!r}"
        with self._database.write(attempted) as connection:
            if done.before:
                moved = table.update().where(table.c.source == done.source, table.c.looks == done.before)
                changed = connection.execute(moved.values(values)).rowcount
            else:
                first = insert_of(self._database.dialect)(table).on_conflict_do_nothing()
                changed = connection.execute(first, {"source": done.source, **values}).rowcount
            if changed != 1:
                raise CommitConflict(
                    attempted,
                    received="another look was recorded meanwhile",
                    next_step="nothing: the other look took the rows. Make sure that only one daemon runs",
                )
            if item is not None:
                self._add(connection, done, item)

    def _add(self, connection: sa.Connection, done: FinishedLook, item: Input) -> None:
        connection.execute(tables.inputs.insert(), row_of_input(done.source, item, done.looked_at))
        connection.execute(
            tables.arrivals.insert(),
            {
                "source": done.source,
                "origin": item.origin,
                "size": item.size,
                "modified": item.extract_time,
                "digest": item.digest,
                "input_id": item.input_id,
                "seen_at": done.looked_at,
                "note": done.note,
            },
        )
