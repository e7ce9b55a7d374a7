"""DuckDB files: one read transaction, and rows with whole numbers, booleans, doubles and bytes as they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
from duckdb import ColumnExpression, DuckDBPyConnection, DuckDBPyRelation

from dataops_assets.config.databases import DuckDBDatabase
from dataops_assets.connections.databases.reading import (
    Begin,
    CursorKind,
    Field,
    Kind,
    Snapshot,
    Statement,
    require_file,
    schema_of,
)
from dataops_assets.errors import ConfigError, StorageError

_ROWS = 50_000
_KINDS: dict[str, Kind] = {
    "BOOLEAN": "boolean",
    **dict.fromkeys(("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"), "integer"),
    "DOUBLE": "double",
    "BLOB": "binary",
}
_CURSORS: dict[str, CursorKind] = {
    **{name: "number" for name, kind in _KINDS.items() if kind == "integer"},
    **dict.fromkeys(("UBIGINT", "HUGEINT", "UHUGEINT"), "number"),
    "DATE": "date",
    **dict.fromkeys(("TIMESTAMP", "TIMESTAMP WITH TIME ZONE"), "time"),
}


class DuckDBFile:
    """A DuckDB database file."""

    dialect = "duckdb"

    def __init__(self, declared: DuckDBDatabase) -> None:
        """Opens nothing yet."""
        self.place = f"DuckDB {declared.path}"
        self.path = Path(declared.path)

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Open a transaction that sees one moment. Raises StorageError and ConfigError."""
        attempted = f"opening {self.place}"
        require_file(self.path, attempted)
        with told(attempted):
            connection = duckdb.connect(str(self.path), read_only=True)
        with closing(connection):
            with told(attempted):
                connection.execute("SET TimeZone = 'UTC'")
                connection.begin()
            yield DuckDBSnapshot(connection, self.place)


class DuckDBSnapshot:
    """Reads in a transaction of a connection."""

    transactions = None

    def __init__(self, connection: DuckDBPyConnection, place: str) -> None:
        """Take an open connection."""
        self._connection = connection
        self._place = place

    def read(self, statement: Statement, table: str, begin: Begin) -> None:
        """See `Snapshot`."""
        with told(f"reading {table or 'the query'} in {self._place}"):
            text, values = statement.bound("?")
            given = [format(value, "f") if isinstance(value, Decimal) else value for value in values]
            rows = self._connection.sql(text, params=given) if given else self._connection.sql(text)
            fields = [
                Field(name, _KINDS.get(str(kind), "text"), _cursor_of(str(kind)))
                for name, kind in zip(rows.columns, rows.types, strict=True)
            ]
            take = begin(fields)
            schema = schema_of(fields)
            for batch in _as_read(rows, fields).to_arrow_reader(_ROWS):
                take(pa.Table.from_batches([batch]).rename_columns(schema.names).cast(schema))

    def tables(self) -> list[str]:
        """See `Snapshot`."""
        with told(f"listing the tables of {self._place}"):
            found = self._connection.execute(
                "SELECT schema_name || '.' || table_name FROM duckdb_tables() WHERE NOT internal AND NOT temporary "
                "UNION ALL SELECT schema_name || '.' || view_name FROM duckdb_views() WHERE NOT internal"
            )
            return sorted(row[0].removeprefix("main.") for row in found.fetchall())

    def server(self) -> str:
        """See `Snapshot`."""
        return f"DuckDB {duckdb.__version__}"


def _cursor_of(kind: str) -> CursorKind:
    return "number" if kind.startswith("DECIMAL") else _CURSORS.get(kind, "")


def _as_read(rows: DuckDBPyRelation, fields: list[Field]) -> DuckDBPyRelation:
    """Return the rows with every value as text that has no type of its own in the raw file."""
    return rows.select(
        *(
            ColumnExpression(item.name).cast("VARCHAR").alias(item.name)
            if item.kind == "text"
            else ColumnExpression(item.name)
            for item in fields
        )
    )


@contextmanager
def told(attempted: str) -> Iterator[None]:
    """Turn errors of the library into errors of the platform. DuckDB itself names the tables that are there."""
    try:
        yield
    except duckdb.IOException as error:
        raise StorageError(
            attempted, received=str(error), next_step="close the process that has the file open for writing"
        ) from error
    except duckdb.Error as error:
        raise ConfigError(attempted, received=str(error), next_step="correct the declaration") from error
