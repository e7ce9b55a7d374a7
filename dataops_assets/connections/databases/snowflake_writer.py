"""Writes into Snowflake: rows by INSERT statements that carry many of them, in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from sqlglot import exp

from dataops_assets.connections.databases.native_types import INSTANT, native_type
from dataops_assets.connections.databases.reading import Statement, Take
from dataops_assets.connections.databases.snowflake import Snowflake, SnowflakeSnapshot, told
from dataops_assets.connections.databases.writing import insertion
from dataops_assets.errors import DataOpsError
from dataops_assets.sql import query

if TYPE_CHECKING:
    from snowflake.connector import SnowflakeConnection

_TYPES = {
    "VARCHAR": "VARCHAR",
    "BIGINT": "BIGINT",
    "DOUBLE": "DOUBLE",
    "BOOLEAN": "BOOLEAN",
    "DATE": "DATE",
    "TIMESTAMP": "TIMESTAMP_NTZ(6)",
    INSTANT: "TIMESTAMP_TZ(6)",
    "BLOB": "BINARY",
}
_NATURAL = ("DOUBLE", "BLOB")
# of one statement
_VALUES = 60_000


@contextmanager
def writing(database: Snowflake) -> Iterator[SnowflakeWriter]:
    """Open a connection to write."""
    with database.connected() as connection:
        writer = SnowflakeWriter(connection, database.place)
        try:
            yield writer
        finally:
            # if it was committed, there is nothing to undo; if the server is gone, it does so itself
            with suppress(DataOpsError):
                writer.undo()


class SnowflakeWriter:
    """See `Writer`. A statement of structure commits by itself, so it is run before the transaction begins."""

    dialect = "snowflake"

    def __init__(self, connection: SnowflakeConnection, place: str) -> None:
        """Take an open connection."""
        self.place = place
        self._connection = connection

    def begin(self) -> None:
        """See `Writer`."""
        with told(f"beginning to write into {self.place}"), self._connection.cursor() as cursor:
            cursor.execute("BEGIN")

    def run(self, statement: exp.Expr) -> int:
        """See `Writer`."""
        with told(f"writing into {self.place}"), self._connection.cursor() as cursor:
            cursor.execute(_text(statement))
            return max(int(cursor.rowcount or 0), 0)

    def fetch(self, statement: exp.Expr) -> list[tuple[Any, ...]]:
        """See `Writer`."""
        with told(f"reading {self.place}"), self._connection.cursor() as cursor:
            cursor.execute(_text(statement))
            return [tuple(row) for row in cursor.fetchall()]

    def columns(self, table: exp.Table) -> list[str]:
        """See `Writer`."""
        with told(f"looking at {table.sql(self.dialect)} of {self.place}"), self._connection.cursor() as cursor:
            cursor.execute(
                "SELECT column_name FROM information_schema.columns WHERE table_name = ? "
                "AND table_schema = coalesce(?, current_schema()) ORDER BY ordinal_position",
                (table.name, table.db or None),
            )
            return [row[0] for row in cursor.fetchall()]

    def native(self, kind: str, *, in_key: bool) -> exp.DataType:  # noqa: ARG002  any type can be in a key
        """See `Writer`."""
        return native_type(self.dialect, _TYPES, kind)

    def wire(self, value: exp.Expr, kind: str) -> exp.Expr:
        """See `Writer`: the text of each value, doubles and bytes as they are."""
        if kind == INSTANT:
            found: exp.Expr = query("CAST($value AT TIME ZONE 'UTC' AS VARCHAR) || '+00:00'", value=value)
            return found
        return value if kind in _NATURAL else exp.cast(value, "VARCHAR")

    def load(self, table: exp.Table, names: Sequence[str], rows: Iterable[pa.RecordBatch]) -> None:
        """See `Writer`."""
        with told(f"loading rows into {self.place}"), self._connection.cursor() as cursor:
            for batch in rows:
                places = exp.Tuple(expressions=[_place_of(kind) for kind in batch.schema.types])
                statement = _text(insertion(table, names, exp.Values(expressions=[places])))
                values = list(zip(*map(_sent, batch.columns), strict=True))
                most = max(_VALUES // len(names), 1)
                for first in range(0, len(values), most):
                    cursor.executemany(statement, values[first : first + most])

    def read(self, statement: exp.Expr, take: Take) -> None:
        """See `Writer`."""
        reader = SnowflakeSnapshot(self._connection, self.place, is_sorted=False)
        reader.read(Statement(_text(statement)), "", lambda _: take)

    def refuse_unsafe(self, table: exp.Table) -> None:
        """See `Writer`: every table takes part in transactions."""

    def commit(self) -> None:
        """See `Writer`."""
        with told(f"committing in {self.place}"), self._connection.cursor() as cursor:
            cursor.execute("COMMIT")

    def undo(self) -> None:
        """Undo what is not committed."""
        with told(f"undoing a delivery in {self.place}"), self._connection.cursor() as cursor:
            cursor.execute("ROLLBACK")


def _text(statement: exp.Expr) -> str:
    """Return a statement in which each name has quotes: without them it would be a name in capitals."""
    return statement.sql("snowflake", identify=True)


def _place_of(kind: pa.DataType) -> exp.Expr:
    """Return where a value stands in a statement. Bytes are sent with hexadecimal digits."""
    place = exp.Placeholder()
    if not pa.types.is_binary(kind):
        return place
    return exp.Anonymous(this="TO_BINARY", expressions=[place, exp.Literal.string("HEX")])


def _sent(values: pa.Array) -> list[Any]:
    if not pa.types.is_binary(values.type):
        return values.to_pylist()
    return [None if value is None else value.hex() for value in values.to_pylist()]
