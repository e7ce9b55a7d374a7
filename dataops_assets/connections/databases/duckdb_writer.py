"""Writes into DuckDB files: one transaction, by the one process that has the file open."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import duckdb
import pyarrow as pa
from sqlglot import exp

from dataops_assets.connections.databases.duckdb_file import DuckDBFile, DuckDBSnapshot, told
from dataops_assets.connections.databases.native_types import INSTANT, native_type
from dataops_assets.connections.databases.reading import Statement, Take
from dataops_assets.connections.databases.writing import insertion
from dataops_assets.sql import query

_KINDS = ("VARCHAR", "BIGINT", "DOUBLE", "BOOLEAN", "DATE", "TIMESTAMP", INSTANT, "BLOB")
_TYPES = {kind: kind for kind in _KINDS}
_BATCH = "s_batch"


@contextmanager
def writing(database: DuckDBFile) -> Iterator[DuckDBWriter]:
    """Open a connection to write; a file that is missing is made."""
    with told(f"opening {database.place}"):
        connection = duckdb.connect(str(database.path))
    with closing(connection):
        yield DuckDBWriter(connection, database.place)


class DuckDBWriter:
    """See `Writer`. New tables have no primary key: DuckDB's index refuses to replace a key within one transaction."""

    dialect = "duckdb"

    def __init__(self, connection: duckdb.DuckDBPyConnection, place: str) -> None:
        """Take an open connection."""
        self.place = place
        self._connection = connection
        with told(f"beginning to write into {place}"):
            connection.execute("SET TimeZone = 'UTC'")
            connection.begin()

    def begin(self) -> None:
        """See `Writer`."""

    def run(self, statement: exp.Expr) -> int:
        """See `Writer`."""
        if isinstance(statement, exp.Create) and isinstance(statement.this, exp.Schema):
            statement = statement.copy()
            for part in list(statement.find_all(exp.PrimaryKey)):
                part.pop()
        with told(f"writing into {self.place}"):
            rows = self._connection.execute(statement.sql(self.dialect)).fetchall()
        return int(rows[0][0]) if rows and isinstance(rows[0][0], int) else 0

    def fetch(self, statement: exp.Expr) -> list[tuple[Any, ...]]:
        """See `Writer`."""
        with told(f"reading {self.place}"):
            return self._connection.execute(statement.sql(self.dialect)).fetchall()

    def columns(self, table: exp.Table) -> list[str]:
        """See `Writer`."""
        with told(f"looking at {table.sql(self.dialect)} of {self.place}"):
            found = self._connection.execute(
                "SELECT column_name FROM duckdb_columns() WHERE table_name = $1 AND schema_name = $2 "
                "AND database_name = current_database() ORDER BY column_index",
                [table.name, table.db or "main"],
            ).fetchall()
        return [row[0] for row in found]

    def native(self, kind: str, *, in_key: bool) -> exp.DataType:  # noqa: ARG002  there are no keys
        """See `Writer`."""
        return native_type(self.dialect, _TYPES, kind)

    def wire(self, value: exp.Expr, kind: str) -> exp.Expr:  # noqa: ARG002  it is DuckDB on both sides
        """See `Writer`."""
        return value

    def load(self, table: exp.Table, names: Sequence[str], rows: Iterable[pa.RecordBatch]) -> None:
        """See `Writer`."""
        with told(f"loading rows into {self.place}"):
            for batch in rows:
                self._connection.register(_BATCH, pa.Table.from_batches([batch]))
                chosen = query("SELECT * FROM $batch", batch=_BATCH)
                self._connection.execute(insertion(table, names, chosen).sql(self.dialect))
                self._connection.unregister(_BATCH)

    def read(self, statement: exp.Expr, take: Take) -> None:
        """See `Writer`."""
        reader = DuckDBSnapshot(self._connection, self.place)
        reader.read(Statement(statement.sql(self.dialect)), "", lambda _: take)

    def refuse_unsafe(self, table: exp.Table) -> None:
        """See `Writer`: every table takes part in transactions."""

    def commit(self) -> None:
        """See `Writer`."""
        with told(f"committing in {self.place}"):
            self._connection.commit()
