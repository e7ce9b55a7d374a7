"""Writes into SQLite files: one transaction that no other writer can be beside."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import pyarrow as pa
from sqlglot import exp

from dataops_assets.connections.databases.native_types import INSTANT, native_type
from dataops_assets.connections.databases.reading import Take
from dataops_assets.connections.databases.sqlite import BUSY_SECONDS, Sqlite, told
from dataops_assets.connections.databases.writing import insertion

# SQLite has no exact decimals: as text they keep their digits
_TYPES = {
    "VARCHAR": "TEXT",
    "BIGINT": "BIGINT",
    "DOUBLE": "REAL",
    "BOOLEAN": "BOOLEAN",
    "DATE": "TEXT",
    "TIMESTAMP": "TEXT",
    INSTANT: "TEXT",
    "BLOB": "BLOB",
    "DECIMAL": "TEXT",
}
_NATURAL = ("BIGINT", "DOUBLE", "BLOB")
_ROWS = 10_000


@contextmanager
def writing(database: Sqlite) -> Iterator[SqliteWriter]:
    """Open a connection to write; a file that is missing is made."""
    with told(f"opening {database.place}"):
        connection = sqlite3.connect(database.path, timeout=BUSY_SECONDS, isolation_level=None)
    with closing(connection):
        yield SqliteWriter(connection, database.place)


class SqliteWriter:
    """See `Writer`."""

    dialect = "sqlite"

    def __init__(self, connection: sqlite3.Connection, place: str) -> None:
        """Take an open connection."""
        self.place = place
        self._connection = connection
        with told(f"beginning to write into {place}"):
            # structure is part of the transaction, so it begins now
            connection.execute("BEGIN IMMEDIATE")

    def begin(self) -> None:
        """See `Writer`."""

    def run(self, statement: exp.Expr) -> int:
        """See `Writer`."""
        with told(f"writing into {self.place}"):
            return max(self._connection.execute(statement.sql(self.dialect)).rowcount, 0)

    def fetch(self, statement: exp.Expr) -> list[tuple[Any, ...]]:
        """See `Writer`."""
        with told(f"reading {self.place}"):
            return self._connection.execute(statement.sql(self.dialect)).fetchall()

    def columns(self, table: exp.Table) -> list[str]:
        """See `Writer`."""
        with told(f"looking at {table.name} of {self.place}"):
            found = self._connection.execute("SELECT name FROM pragma_table_xinfo(?)", (table.name,)).fetchall()
        return [row[0] for row in found]

    def native(self, kind: str, *, in_key: bool) -> exp.DataType:  # noqa: ARG002  any type can be in a key
        """See `Writer`."""
        return native_type(self.dialect, _TYPES, kind)

    def wire(self, value: exp.Expr, kind: str) -> exp.Expr:
        """See `Writer`: numbers and bytes as they are, everything else as text."""
        if kind == "BOOLEAN":
            return exp.cast(value, "INTEGER")
        return value if kind in _NATURAL else exp.cast(value, "VARCHAR")

    def load(self, table: exp.Table, names: Sequence[str], rows: Iterable[pa.RecordBatch]) -> None:
        """See `Writer`."""
        places = exp.Values(expressions=[exp.Tuple(expressions=[exp.Placeholder() for _ in names])])
        statement = insertion(table, names, places).sql(self.dialect)
        with told(f"loading rows into {self.place}"):
            for batch in rows:
                values = zip(*(column.to_pylist() for column in batch.columns), strict=True)
                self._connection.executemany(statement, values)

    def read(self, statement: exp.Expr, take: Take) -> None:
        """See `Writer`: all values are texts; bytes are written with hexadecimal digits."""
        with told(f"reading {self.place}"), closing(self._connection.cursor()) as cursor:
            cursor.execute(statement.sql(self.dialect))
            names = [name for name, *_ in cursor.description]
            while rows := cursor.fetchmany(_ROWS):
                columns = [pa.array(map(_text, values), pa.string()) for values in zip(*rows, strict=True)]
                take(pa.Table.from_arrays(columns, names=names))

    def refuse_unsafe(self, table: exp.Table) -> None:
        """See `Writer`: every table takes part in transactions."""

    def commit(self) -> None:
        """See `Writer`."""
        with told(f"committing in {self.place}"):
            self._connection.execute("COMMIT")


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    # the shortest number that is read as this double again
    return value.hex() if isinstance(value, bytes) else repr(value)
