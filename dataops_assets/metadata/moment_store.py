"""Records the moments of publications, so that they can be queried. What is in force is in the storage."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from dataops_assets.metadata import tables
from dataops_assets.metadata.database import Database
from dataops_assets.metadata.statements import insert_of


@dataclass(frozen=True)
class RecordedMoment:
    """One moment of a publication: the version of each table, and the copy of the warehouse ('' without models)."""

    publication: str
    number: int
    published_at: dt.datetime
    tables: Sequence[Mapping[str, Any]]
    warehouse: str


class MomentStore:
    """The moments in the metadata. Its methods raise StorageError if the database cannot be reached."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, moments: Sequence[RecordedMoment]) -> None:
        """Record the moments that are not recorded yet."""
        table = tables.publications
        wanted = sa.select(table.c.publication, table.c.number)
        with self._database.read("reading the recorded moments") as connection:
            known = {(name, number) for name, number in connection.execute(wanted)}
        new = [asdict(moment) for moment in moments if (moment.publication, moment.number) not in known]
        if new:
            with self._database.write("recording the moments of publications") as connection:
                connection.execute(insert_of(self._database.dialect)(table).on_conflict_do_nothing(), new)
