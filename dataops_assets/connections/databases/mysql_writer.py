"""Writes into MariaDB or MySQL: rows by long INSERT statements, in one transaction of InnoDB."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pymysql
from sqlglot import exp

from dataops_assets.connections.databases.mysql import MySql, MySqlSnapshot, told
from dataops_assets.connections.databases.native_types import INSTANT, native_type
from dataops_assets.connections.databases.reading import Statement, Take
from dataops_assets.connections.databases.writing import insertion
from dataops_assets.errors import ConfigError
from dataops_assets.sql import query

_TYPES = {
    "VARCHAR": "LONGTEXT",
    "BIGINT": "BIGINT",
    "DOUBLE": "DOUBLE",
    "BOOLEAN": "BOOLEAN",
    "DATE": "DATE",
    "TIMESTAMP": "DATETIME(6)",
    INSTANT: "DATETIME(6)",
    "BLOB": "LONGBLOB",
}
# a key needs a length, and an index has at most 3072 bytes
_IN_KEY = {**_TYPES, "VARCHAR": "VARCHAR(255)", "BLOB": "VARBINARY(255)"}
_ROWS = 2_000


@contextmanager
def writing(database: MySql) -> Iterator[MySqlWriter]:
    """Open a connection to write."""
    with database.connected() as connection:
        yield MySqlWriter(connection, database.place)


class MySqlWriter:
    """See `Writer`. Times with a zone are stored in UTC, without it."""

    dialect = "mysql"

    def __init__(self, connection: pymysql.Connection, place: str) -> None:
        """Take an open connection."""
        self.place = place
        self._connection = connection
        with told(f"beginning to write into {place}"), connection.cursor() as cursor:
            # a value that does not fit is an error; texts are compared letter by letter in new tables
            cursor.execute("SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')")
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
            cursor.execute("SET NAMES utf8mb4 COLLATE utf8mb4_bin")

    def begin(self) -> None:
        """See `Writer`."""
        with told(f"beginning to write into {self.place}"):
            self._connection.begin()

    def run(self, statement: exp.Expr) -> int:
        """See `Writer`."""
        with told(f"writing into {self.place}"), self._connection.cursor() as cursor:
            return int(cursor.execute(self._text(statement)))

    def _text(self, statement: exp.Expr) -> str:
        if isinstance(statement, exp.Create) and isinstance(statement.this, exp.Schema):
            statement = statement.copy()
            # trailing spaces and the case of letters count, as in the lake
            made = [exp.EngineProperty(this=exp.var("InnoDB")), exp.CharacterSetProperty(this=exp.var("utf8mb4"))]
            made.append(exp.CollateProperty(this=exp.var("utf8mb4_bin")))
            statement.set("properties", exp.Properties(expressions=made))
        return statement.sql(self.dialect)

    def fetch(self, statement: exp.Expr) -> list[tuple[Any, ...]]:
        """See `Writer`."""
        with told(f"reading {self.place}"), self._connection.cursor() as cursor:
            cursor.execute(statement.sql(self.dialect))
            return list(cursor.fetchall())

    def columns(self, table: exp.Table) -> list[str]:
        """See `Writer`."""
        with told(f"looking at {table.sql(self.dialect)} of {self.place}"), self._connection.cursor() as cursor:
            cursor.execute(
                "SELECT column_name FROM information_schema.columns WHERE table_name = %s "
                "AND table_schema = coalesce(%s, database()) ORDER BY ordinal_position",
                (table.name, table.db or None),
            )
            return [row[0] for row in cursor.fetchall()]

    def native(self, kind: str, *, in_key: bool) -> exp.DataType:
        """See `Writer`."""
        return native_type(self.dialect, _IN_KEY if in_key else _TYPES, kind)

    def wire(self, value: exp.Expr, kind: str) -> exp.Expr:
        """See `Writer`: the text of each value, and bytes as they are."""
        if kind == "BLOB":
            return value
        if kind == "BOOLEAN":
            return exp.cast(exp.cast(value, "INTEGER"), "VARCHAR")
        if kind == INSTANT:
            found: exp.Expr = query("CAST($value AT TIME ZONE 'UTC' AS VARCHAR)", value=value)
            return found
        return exp.cast(value, "VARCHAR")

    def load(self, table: exp.Table, names: Sequence[str], rows: Iterable[pa.RecordBatch]) -> None:
        """See `Writer`."""
        places = exp.Values(expressions=[exp.Tuple(expressions=[exp.var("%s") for _ in names])])
        statement = insertion(table, names, places).sql(self.dialect)
        with told(f"loading rows into {self.place}"), self._connection.cursor() as cursor:
            for batch in rows:
                values = list(zip(*(column.to_pylist() for column in batch.columns), strict=True))
                for first in range(0, len(values), _ROWS):
                    cursor.executemany(statement, values[first : first + _ROWS])

    def read(self, statement: exp.Expr, take: Take) -> None:
        """See `Writer`."""
        reader = MySqlSnapshot(self._connection, self.place)
        reader.read(Statement(statement.sql(self.dialect)), "", lambda _: take)

    def refuse_unsafe(self, table: exp.Table) -> None:
        """See `Writer`."""
        with told(f"looking at {table.sql(self.dialect)} of {self.place}"), self._connection.cursor() as cursor:
            cursor.execute(
                "SELECT engine FROM information_schema.tables WHERE table_name = %s "
                "AND table_schema = coalesce(%s, database())",
                (table.name, table.db or None),
            )
            engines = [row[0] for row in cursor.fetchall()]
        if engines and engines[0] != "InnoDB":
            raise ConfigError(
                f"writing into {table.sql(self.dialect)} of {self.place}",
                received=f"a table of engine {engines[0]}, which has no transactions",
                next_step="let the database convert the table to InnoDB",
            )

    def commit(self) -> None:
        """See `Writer`."""
        with told(f"committing in {self.place}"):
            self._connection.commit()
