"""Keeps how far process control has forecast a table, so that a further input costs one step.

Grain: one row a table. A state says itself what it was made of, so a lost or outdated one costs time and no truth.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import sqlalchemy as sa

from dataops_assets.metadata import tables
from dataops_assets.metadata.database import Database
from dataops_assets.metadata.statements import insert_of


class ForecastStore:
    """The states in the metadata. Its methods raise StorageError if the database cannot be reached."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, source: str, asset: str) -> KeptForecast:
        """Return what is kept of one table of a source, by its asset key such as 'lake/sales'; reads nothing yet."""
        return KeptForecast(self._database, source, asset)


@dataclass(frozen=True)
class KeptForecast:
    """The state of one table."""

    database: Database
    source: str
    asset: str

    def read(self) -> bytes | None:
        """Return the state that was written last; None if there is none."""
        table = tables.forecasts
        wanted = sa.select(table.c.state).where(table.c.source == self.source, table.c.asset == self.asset)
        with self.database.read(f"reading the forecasts of {self.asset}") as connection:
            found: bytes | None = connection.execute(wanted).scalar_one_or_none()
        return found

    def write(self, state: bytes) -> None:
        """Keep a state instead of the one before."""
        values = {"state": state, "written_at": dt.datetime.now(dt.UTC)}
        statement = insert_of(self.database.dialect)(tables.forecasts)
        statement = statement.on_conflict_do_update(index_elements=["source", "asset"], set_=values)
        with self.database.write(f"keeping the forecasts of {self.asset}") as connection:
            connection.execute(statement, {"source": self.source, "asset": self.asset, **values})
