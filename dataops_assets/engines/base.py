"""What an engine must do: run queries over tables, and write query results as data files.

Steps write their logic once as sqlglot expressions; an engine only renders and runs them. A `Session` is one unit of
work (one step over some inputs) with temporary tables of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import pyarrow as pa
from sqlglot import exp

from dataops_assets.storage.delta import DataFile, Snapshot


class Session(Protocol):
    """One unit of work on an engine."""

    def scan(self, snapshot: Snapshot) -> exp.Expression:
        """The rows of one version of a table, for use in FROM (deleted rows already left out)."""
        ...

    def create(self, name: str, query: exp.Query) -> None:
        """A temporary table from a query, replacing one of that name."""
        ...

    def register(self, name: str, rows: pa.Table) -> None:
        """A small Arrow table as a temporary table."""
        ...

    def fetch(self, query: exp.Query) -> pa.Table:
        """The rows of a query; for counts, profiles and examples, never for whole tables."""
        ...

    def schema(self, query: exp.Query) -> Mapping[str, str]:
        """Column name to SQL type of a query's result, without running it."""
        ...

    def write(self, query: exp.Query, uri: str, partition_by: Sequence[str] = ()) -> list[DataFile]:
        """Write a query's rows as Parquet files below `uri`; not visible until committed."""
        ...

    def row_positions(self, snapshot: Snapshot, rows: exp.Query) -> dict[str, list[int]]:
        """File path (as in the snapshot) to positions of the rows in `rows` (columns s_input_id, s_row_id)."""
        ...


class Engine(Protocol):
    """Opens sessions."""

    name: str

    def session(self) -> AbstractContextManager[Session]:
        """A fresh session; its temporary tables vanish when it closes."""
        ...
