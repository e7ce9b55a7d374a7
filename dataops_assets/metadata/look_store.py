"""Records which looks at sources fail, and which sources a person paused.

Grain: one row a source, written only when something changes. It also tells cheaply whether anything about a source has
changed that a look would read.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import sqlalchemy as sa

from dataops_assets.metadata import tables
from dataops_assets.metadata.database import Database
from dataops_assets.metadata.statements import insert_of, portions


@dataclass(frozen=True)
class LookRecord:
    """The record of the looks at a source. Times are aware, in UTC.

    * `error`, `failing_since`: why the looks fail, and since when; empty and None if the last one did not.
    * `paused_at`, `paused_by`, `paused_because`: who switched the looks off, when and why; None and empty if nobody.
    """

    error: str = ""
    failing_since: dt.datetime | None = None
    paused_at: dt.datetime | None = None
    paused_by: str = ""
    paused_because: str = ""

    @property
    def paused(self) -> str:
        """Return a text that says who paused the source, when and why; empty if it is not paused."""
        if self.paused_at is None:
            return ""
        reason = f": {self.paused_because}" if self.paused_because else ""
        return f"paused by {self.paused_by} since {self.paused_at:%Y-%m-%d %H:%M} UTC{reason}"


_NAMES = tuple(item.name for item in fields(LookRecord))
_NOTHING = LookRecord()


class LookStore:
    """The records of looks in the metadata. Its methods raise StorageError if the database cannot be reached."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._insert = insert_of(database.dialect)

    def records(self, sources: Sequence[str]) -> dict[str, LookRecord]:
        """Return what is recorded of each of some sources."""
        table = tables.looks
        found = dict.fromkeys(sources, _NOTHING)
        with self._database.read("reading the records of looks") as connection:
            for some in portions(sources):
                rows = connection.execute(
                    sa.select(table.c.source, *(table.c[name] for name in _NAMES)).where(table.c.source.in_(some))
                )
                found |= {source: LookRecord(*values) for source, *values in rows}
        return found

    def record(self, source: str) -> LookRecord:
        """Return what is recorded of one source."""
        return self.records([source])[source]

    def succeed(self, source: str) -> None:
        """Record that a look succeeded. Writes only if the last one failed."""
        if self.record(source).error:
            self._change(source, {"error": "", "failing_since": None})

    def fail(self, source: str, error: str, now: dt.datetime) -> None:
        """Record why a look failed. Writes only if the last look did not fail, or for another reason."""
        before = self.record(source)
        if before.error != error:
            self._change(source, {"error": error, "failing_since": before.failing_since or now})

    def pause(self, source: str, by: str, because: str, now: dt.datetime) -> LookRecord:
        """Switch the looks at a source off, unless they are already; return what is recorded then."""
        if self.record(source).paused_at is None:
            self._change(source, {"paused_at": now, "paused_by": by, "paused_because": because})
        return self.record(source)

    def resume(self, source: str) -> LookRecord:
        """Switch the looks at a source on again; return what was recorded before."""
        before = self.record(source)
        if before.paused_at is not None:
            self._change(source, {"paused_at": None, "paused_by": "", "paused_because": ""})
        return before

    def _change(self, source: str, values: Mapping[str, Any]) -> None:
        statement = self._insert(tables.looks).on_conflict_do_update(index_elements=["source"], set_=dict(values))
        empty = {name: getattr(_NOTHING, name) for name in _NAMES}
        with self._database.write(f"recording a look at source {source!r}") as connection:
            connection.execute(statement, {"source": source, **empty, **values})

    def states(self, sources: Sequence[str]) -> dict[str, Hashable]:
        """Return for each source a value that changes with whatever a look reads of it in the metadata.

        That are its inputs, its steps, and what waits for a person or was decided by one.
        """
        found: dict[str, list[Hashable]] = {source: [] for source in sources}
        with self._database.read("looking for news of sources") as connection:
            for some in portions(sources):
                for statement in _news(some):
                    for source, *values in connection.execute(statement):
                        found[source].append(tuple(values))
        return {source: tuple(values) for source, values in found.items()}


def _news(sources: Sequence[str]) -> list[sa.Select[Any]]:
    inputs, processes = tables.inputs, tables.processes
    counted: dict[sa.Table, list[sa.ColumnElement[Any]]] = {
        inputs: [sa.func.max(inputs.c.registered_at), sa.func.max(inputs.c.arrival)],
        # all of it is in one index
        processes: [processes.c.status, sa.func.max(processes.c.finished_at)],
        tables.holds: [sa.func.max(tables.holds.c.held_at)],
        tables.approvals: [],
        tables.removals: [],
    }
    return [
        sa.select(table.c.source, sa.literal(table.name), sa.func.count(), *values)
        .where(table.c.source.in_(sources))
        .group_by(table.c.source, *([table.c.status] if table is processes else []))
        .order_by(table.c.source, *([table.c.status] if table is processes else []))
        for table, values in counted.items()
    ]
