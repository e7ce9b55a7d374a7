"""Writes into PostgreSQL: rows by COPY, and structure in the same transaction as the rows."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv as pacsv
from sqlglot import exp

from dataops_assets.connections.databases.native_types import INSTANT, native_type
from dataops_assets.connections.databases.postgres import Postgres, PostgresSnapshot, set_texts, told
from dataops_assets.connections.databases.reading import Statement, Take
from dataops_assets.sql import query

if TYPE_CHECKING:
    from psycopg2 import extensions

_TYPES = {
    "VARCHAR": "TEXT",
    "BIGINT": "BIGINT",
    "DOUBLE": "DOUBLE PRECISION",
    "BOOLEAN": "BOOLEAN",
    "DATE": "DATE",
    "TIMESTAMP": "TIMESTAMP",
    INSTANT: "TIMESTAMPTZ",
    "BLOB": "BYTEA",
}


@contextmanager
def writing(database: Postgres) -> Iterator[PostgresWriter]:
    """Open a connection to write."""
    with database.connected() as connection:
        yield PostgresWriter(connection, database.place)


class PostgresWriter:
    """See `Writer`."""

    dialect = "postgres"

    def __init__(self, connection: extensions.connection, place: str) -> None:
        """Take an open connection."""
        self.place = place
        self._connection = connection
        with told(f"beginning to write into {place}"), connection.cursor() as cursor:
            set_texts(cursor)

    def begin(self) -> None:
        """See `Writer`. The transaction began with the first statement, so structure is part of it."""

    def run(self, statement: exp.Expr) -> int:
        """See `Writer`."""
        with told(f"writing into {self.place}"), self._connection.cursor() as cursor:
            cursor.execute(statement.sql(self.dialect))
            return max(int(cursor.rowcount), 0)

    def fetch(self, statement: exp.Expr) -> list[tuple[Any, ...]]:
        """See `Writer`."""
        with told(f"reading {self.place}"), self._connection.cursor() as cursor:
            cursor.execute(statement.sql(self.dialect))
            return list(cursor.fetchall())

    def columns(self, table: exp.Table) -> list[str]:
        """See `Writer`."""
        with told(f"looking at {table.sql(self.dialect)} of {self.place}"), self._connection.cursor() as cursor:
            cursor.execute(
                "SELECT a.attname FROM pg_attribute AS a WHERE a.attrelid = to_regclass(%s) "
                "AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
                (table.sql(self.dialect),),
            )
            return [row[0] for row in cursor.fetchall()]

    def native(self, kind: str, *, in_key: bool) -> exp.DataType:  # noqa: ARG002  any type can be in a key
        """See `Writer`."""
        return native_type(self.dialect, _TYPES, kind)

    def wire(self, value: exp.Expr, kind: str) -> exp.Expr:
        """See `Writer`: the text of each value."""
        if kind == "BLOB":
            found: exp.Expr = query("'\\x' || hex($value)", value=value)
            return found
        return exp.cast(value, "VARCHAR")

    def load(self, table: exp.Table, names: Sequence[str], rows: Iterable[pa.RecordBatch]) -> None:
        """See `Writer`."""
        from psycopg2 import sql

        statement = sql.SQL("COPY {table} ({names}) FROM STDIN (FORMAT csv)").format(
            table=sql.Identifier(table.name), names=sql.SQL(", ").join(map(sql.Identifier, names))
        )
        with told(f"loading rows into {self.place}"), self._connection.cursor() as cursor:
            for batch in rows:
                text = io.BytesIO()
                # each text is in quotes, and a null is not
                pacsv.write_csv(batch, text, pacsv.WriteOptions(include_header=False, quoting_style="needed"))
                text.seek(0)
                cursor.copy_expert(statement, text)
            # without statistics the planner takes a new table for an empty one
            cursor.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(table.name)))

    def read(self, statement: exp.Expr, take: Take) -> None:
        """See `Writer`."""
        reader = PostgresSnapshot(self._connection, self.place)
        reader.read(Statement(statement.sql(self.dialect)), "", lambda _: take)

    def refuse_unsafe(self, table: exp.Table) -> None:
        """See `Writer`: every table takes part in transactions."""

    def commit(self) -> None:
        """See `Writer`."""
        with told(f"committing in {self.place}"):
            self._connection.commit()
