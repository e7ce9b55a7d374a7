"""Examines declared databases: whether they can be reached, what may be read, and how recently sources read them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dataops_assets.config.databases import AnyDatabase, DatabaseConnection
from dataops_assets.config.source import Source
from dataops_assets.connections.databases.opening import database_of
from dataops_assets.errors import DataOpsError
from dataops_assets.metadata.position_store import PositionStore


@dataclass(frozen=True)
class SourceUse:
    """A source that reads a database. `problem` is empty if its table may be read; of a query it is not known."""

    source: str
    reads: str
    last_look: dt.datetime | None
    problem: str


@dataclass(frozen=True)
class ConnectionReport:
    """What is known of a connection. `error` is empty if it works; then `server` and `tables` say what is there."""

    name: str
    type: str
    place: str
    server: str
    tables: Sequence[str]
    sources: Sequence[SourceUse]
    error: str
    next_step: str

    @property
    def is_well(self) -> bool:
        """Return whether it works, and each of its sources can read its table."""
        return not self.error and not any(use.problem for use in self.sources)


def examine(
    databases: Mapping[str, AnyDatabase], sources: Mapping[str, Source], positions: PositionStore
) -> Iterator[ConnectionReport]:
    """Open each database and yield what was found. An error is part of the report."""
    for name, declared in databases.items():
        of_this = {
            key: source.connection
            for key, source in sources.items()
            if isinstance(source.connection, DatabaseConnection) and source.connection.database == name
        }
        looks = {key: positions.last_look(key).looked_at for key in of_this}
        place, server, tables, error, next_step = "", "", list[str](), "", ""
        try:
            database = database_of(declared)
            place = database.place
            with database.snapshot() as snapshot:
                server, tables = snapshot.server(), snapshot.tables()
        except DataOpsError as failed:
            error, next_step = failed.received or str(failed), failed.next_step
        uses = [
            SourceUse(key, used.table or "a query", looks[key], "" if error else _problem(used.table, tables))
            for key, used in of_this.items()
        ]
        missing = next((use for use in uses if use.problem), None)
        if missing is not None:
            next_step = f"correct connection.table of {missing.source}, or give the user the right to read it"
        elif not error:
            next_step = f"dataops run {uses[0].source}" if uses else "declare a source that names it"
        yield ConnectionReport(name, declared.type, place, server, tables, uses, error, next_step)


def _problem(table: str, tables: Sequence[str]) -> str:
    """Return why a table cannot be read; a name without a schema is looked up by the server."""
    if not table or table in tables or any(name.endswith(f".{table}") for name in tables):
        return ""
    # main is the schema of the tables that DuckDB shows without one
    return "" if table.removeprefix("main.") in tables else f"no table {table} that may be read"
