"""What an engine must do: run queries over tables, and write query results as data files.

Steps write their logic once as sqlglot expressions; an engine only renders and runs them. A `Session` is one unit of
work (one step over some inputs) with temporary tables of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import pyarrow as pa
from sqlglot import exp

from dataops_assets.sql import DIALECT, alias, query
from dataops_assets.storage.delta import DataFile, TableVersion

FILE = "s_file"
POSITION = "s_position"


class Session(Protocol):
    """One unit of work on an engine."""

    def scan(
        self, snapshot: TableVersion, *, positions: bool = False, only: Collection[str] | None = None
    ) -> exp.Subquery:
        """The rows of one version of a table, for use in FROM (deleted rows already left out).

        With `positions`, two columns more say where each row lies: `s_file` (data file) and `s_position` (row in it).
        With `only`, just the rows of these data files.
        """
        ...

    def create(self, name: str, query: exp.Expr) -> None:
        """A temporary table from a query, replacing one of that name."""
        ...

    def define(self, name: str, query: exp.Expr) -> None:
        """A temporary view of a query, replacing one of that name: its rows are computed wherever it is used."""
        ...

    def register(self, name: str, rows: pa.Table) -> None:
        """A small Arrow table as a temporary table."""
        ...

    def fetch(self, query: exp.Expr) -> pa.Table:
        """The rows of a query; for counts, profiles and examples, never for whole tables."""
        ...

    def schema(self, query: exp.Expr) -> Mapping[str, str]:
        """Column name to SQL type of a query's result, without running it."""
        ...

    def write(self, query: exp.Expr, uri: str, columns: Mapping[str, str]) -> list[DataFile]:
        """Write a query's rows, of these `columns`, as Parquet files below `uri`; not visible until committed."""
        ...

    def positions(self, snapshot: TableVersion, rows: exp.Expr) -> dict[str, Sequence[int]]:
        """Data file path, as in the snapshot, to row positions, of `rows` (columns `s_file`, `s_position`)."""
        ...

    def reading(self) -> AbstractContextManager[Session]:
        """The session that reads raw files for this one: itself, or an embedded one where the engine reads none."""
        ...

    def taken(self, reader: Session, rows: exp.Query) -> exp.Query:
        """Rows of the session `reading()` gave, for use in this one."""
        ...


class Engine(Protocol):
    """Opens sessions."""

    name: str

    def session(self) -> AbstractContextManager[Session]:
        """A fresh session; its temporary tables vanish when it closes."""
        ...


def empty(columns: Mapping[str, str]) -> exp.Query:
    """A query without rows, of the given columns and SQL types."""
    nothing = [alias(exp.cast(exp.null(), kind, dialect=DIALECT), name) for name, kind in columns.items()]
    return exp.select(*nothing).where(exp.false())


def places_by_file(session: Session, rows: exp.Expr) -> Iterator[tuple[str, Sequence[int]]]:
    """Each data file as the engine names it, with the row positions, of `rows` (columns `s_file`, `s_position`)."""
    grouped = session.fetch(
        query(
            "SELECT s_file, list(s_position) AS s_positions FROM $rows AS r GROUP BY s_file",
            rows=exp.Subquery(this=rows) if isinstance(rows, exp.Query) else rows,
        )
    )
    lists = grouped.column("s_positions").combine_chunks()
    for number, file in enumerate(grouped.column("s_file").to_pylist()):
        yield file, lists[number].values.to_numpy()
