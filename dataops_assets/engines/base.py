"""The protocols of an engine: run queries over tables, and write query results as data files.

Steps write their logic once as sqlglot expressions; an engine translates and runs them. A `Session` is one unit of
work (one step over some inputs) with its own temporary tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import pyarrow as pa
from sqlglot import exp

from dataops_assets.sql import DIALECT, Relation, alias, query
from dataops_assets.storage.session import TableSession

FILE = "s_file"
POSITION = "s_position"


class Session(TableSession, Protocol):
    """One unit of work on an engine: reads and writes tables, and keeps temporary ones."""

    def create(self, query: exp.Expr) -> Relation:
        """Create a temporary table from a query, and return it."""
        ...

    def define(self, query: exp.Expr) -> Relation:
        """Create a temporary view of a query, and return it. Its rows are computed at each use."""
        ...

    def register(self, rows: pa.Table) -> Relation:
        """Make a temporary table from a small Arrow table, and return it."""
        ...

    def reading(self) -> AbstractContextManager[Session]:
        """Yield the session that reads raw files for this one: itself, or DuckDB if the engine reads none."""
        ...

    def taken(self, reader: Session, rows: exp.Query) -> exp.Query:
        """Transfer rows of the session from `reading()` to this one."""
        ...


class Engine(Protocol):
    """Opens sessions."""

    name: str

    def session(self) -> AbstractContextManager[Session]:
        """Open a new session; its temporary tables are removed when it closes."""
        ...


def empty(columns: Mapping[str, str]) -> exp.Query:
    """Make a query without rows, with the given columns and SQL types."""
    nothing = [alias(exp.cast(exp.null(), kind, dialect=DIALECT), name) for name, kind in columns.items()]
    return exp.select(*nothing).where(exp.false())


def places_by_file(session: Session, rows: exp.Expr) -> Iterator[tuple[str, Sequence[int]]]:
    """Group the row positions of `rows` (columns `s_file`, `s_position`) by data file, as the engine names it."""
    grouped = session.fetch(
        query(
            "SELECT s_file, list(s_position) AS s_positions FROM $rows AS r GROUP BY s_file",
            rows=exp.Subquery(this=rows) if isinstance(rows, exp.Query) else rows,
        )
    )
    lists = grouped.column("s_positions").combine_chunks()
    for number, file in enumerate(grouped.column("s_file").to_pylist()):
        yield file, lists[number].values.to_numpy()
