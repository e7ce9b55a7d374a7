"""Records the positions of outputs whose targets store no position themselves."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from dataops_assets.errors import CommitConflict
from dataops_assets.metadata import tables
from dataops_assets.metadata.database import Database
from dataops_assets.metadata.statements import insert_of


@dataclass(frozen=True)
class RecordedPosition:
    """The position of an output, and how often it was recorded."""

    changes: int = 0
    position: Mapping[str, Any] = field(default_factory=dict)


class OutputPositionStore:
    """The positions in the metadata. Its methods raise StorageError if the database cannot be reached."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def last(self, output: str) -> RecordedPosition:
        """Return the position of an output; an empty one if nothing was delivered."""
        table = tables.output_positions
        wanted = sa.select(table.c.changes, table.c.position).where(table.c.output == output)
        with self._database.read(f"reading the position of output {output!r}") as connection:
            found = connection.execute(wanted).one_or_none()
        return RecordedPosition() if found is None else RecordedPosition(*found)

    def record(self, output: str, before: int, position: Mapping[str, Any], now: dt.datetime) -> None:
        """Record a position; `before` is how often it was recorded.

        Raises CommitConflict if another one was recorded meanwhile.
        """
        table = tables.output_positions
        values = {"changes": before + 1, "changed_at": now, "position": dict(position)}
        attempted = f"recording a delivery of output {output!r}"
        with self._database.write(attempted) as connection:
            if before:
                moved = table.update().where(table.c.output == output, table.c.changes == before)
                changed = connection.execute(moved.values(values)).rowcount
            else:
                first = insert_of(self._database.dialect)(table).on_conflict_do_nothing()
                changed = connection.execute(first, {"output": output, **values}).rowcount
            if changed != 1:
                raise CommitConflict(
                    attempted,
                    received="another delivery was recorded meanwhile",
                    next_step="run it again. Make sure that only one daemon runs",
                )
