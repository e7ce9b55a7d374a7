"""The part of an engine's session that the storage needs: it reads a table version, and writes data files.

The engines are above the storage and implement it, so the storage changes tables with any engine.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import pyarrow as pa
from sqlglot import exp

from dataops_assets.storage.delta import DataFile, TableVersion


class TableSession(Protocol):
    """Reads and writes Delta tables."""

    def scan(
        self, snapshot: TableVersion, *, positions: bool = False, only: Collection[str] | None = None
    ) -> exp.Subquery:
        """Return a query of one version of a table, for use in FROM, without deleted rows.

        With `positions`, two columns more give the place of each row: `s_file` (data file) and `s_position` (in it).
        With `only`, only the rows of these data files.
        """
        ...

    def fetch(self, query: exp.Expr) -> pa.Table:
        """Return the rows of a query; for counts, profiles and examples, never for whole tables."""
        ...

    def schema(self, query: exp.Expr) -> Mapping[str, str]:
        """Return the SQL types of a query's result by column name, without running it."""
        ...

    def write(self, query: exp.Expr, uri: str, columns: Mapping[str, str]) -> list[DataFile]:
        """Write a query's rows, of these `columns`, as Parquet files below `uri`; not visible until committed."""
        ...

    def positions(self, snapshot: TableVersion, rows: exp.Expr) -> dict[str, Sequence[int]]:
        """Return row positions by data file path (as in the snapshot), of `rows` (columns `s_file`, `s_position`)."""
        ...
