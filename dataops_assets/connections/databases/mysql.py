"""MariaDB and MySQL: one read-only snapshot of the transactional tables, and rows in the text of the server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pyarrow as pa
import pymysql
from pymysql.constants import FIELD_TYPE
from pymysql.converters import encoders
from pymysql.cursors import SSCursor

from dataops_assets.config.databases import MySqlDatabase
from dataops_assets.connections.databases.reading import (
    ARROW,
    Begin,
    CursorKind,
    Field,
    Kind,
    Snapshot,
    Statement,
    schema_of,
    unfit,
)
from dataops_assets.errors import ConfigError, InputError, StorageError

_ROWS = 5_000
_SECONDS = 15
_UNSIGNED = 32
_BINARY_CHARSET = 63
_INTEGERS = {FIELD_TYPE.TINY, FIELD_TYPE.SHORT, FIELD_TYPE.INT24, FIELD_TYPE.LONG, FIELD_TYPE.YEAR}
_STRINGS = {
    FIELD_TYPE.BLOB,
    FIELD_TYPE.LONG_BLOB,
    FIELD_TYPE.MEDIUM_BLOB,
    FIELD_TYPE.TINY_BLOB,
    FIELD_TYPE.STRING,
    FIELD_TYPE.VAR_STRING,
    FIELD_TYPE.VARCHAR,
}
_CURSORS: dict[int, CursorKind] = {
    **dict.fromkeys((*_INTEGERS, FIELD_TYPE.LONGLONG, FIELD_TYPE.NEWDECIMAL, FIELD_TYPE.DECIMAL), "number"),
    FIELD_TYPE.DATE: "date",
    **dict.fromkeys((FIELD_TYPE.DATETIME, FIELD_TYPE.TIMESTAMP), "time"),
}
# what the server says of a declaration that is wrong: no right, no such database, table or column, wrong syntax; of
# values that its columns do not take: null, twice, out of range, too long, of another type
_WRONG = {1044, 1045, 1049, 1054, 1064, 1142, 1143, 1146, *(1048, 1062, 1264, 1265, 1292, 1364, 1366, 1406)}
_NO_TABLE = 1146


class MySql:
    """A MariaDB or MySQL database, read with PyMySQL."""

    dialect = "mysql"

    def __init__(self, declared: MySqlDatabase, password: str | None) -> None:
        """Opens nothing yet."""
        self.place = f"MySQL {declared.database} at {declared.host}:{declared.port}"
        self.user = declared.user
        self._declared = declared
        self._password = password

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Open a read-only transaction that sees one moment. Raises StorageError and ConfigError."""
        with self.connected() as connection:
            with told(f"beginning a snapshot of {self.place}"), connection.cursor() as cursor:
                cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
            yield MySqlSnapshot(connection, self.place)

    @contextmanager
    def connected(self, kind: type[Any] = pymysql.Connection) -> Iterator[Any]:
        """Open a connection of this class whose times are in UTC. Raises StorageError and ConfigError."""
        declared = self._declared
        with told(f"connecting to {self.place}"):
            connection = kind(
                host=declared.host,
                port=declared.port,
                database=declared.database,
                user=declared.user,
                password=self._password or "",
                charset="utf8mb4",
                connect_timeout=_SECONDS,
                # values stay in the text of the server
                conv=dict(encoders),
                ssl_disabled=declared.tls == "disable",
                ssl_verify_cert=True if declared.tls == "verify-full" else None,
                ssl_verify_identity=True if declared.tls == "verify-full" else None,
            )
        try:
            with told(f"opening a session of {self.place}"), connection.cursor() as cursor:
                # the server may wait long for a reader that writes files meanwhile
                cursor.execute("SET SESSION time_zone = '+00:00', net_write_timeout = 3600")
            yield connection
        finally:
            connection.close()


class StreamCursor(SSCursor):  # type: ignore[misc]
    """A cursor that does not hold the rows, and that tells flags and character sets of its columns."""

    _result: Any

    def described(self) -> list[Field]:
        """Return the columns of the statement that was executed."""
        return [Field(item.name, _kind_of(item), _CURSORS.get(item.type_code, "")) for item in self._result.fields]

    def abandon(self, *_error: object) -> None:
        """Let the rows go that were not read: closing a cursor would ask for all of them."""
        if self._result is not None:
            self._result.unbuffered_active = False
            self._result.connection = None
        self._result = self.connection = None

    def is_bit(self) -> list[bool]:
        """Return which columns have bits."""
        return [item.type_code == FIELD_TYPE.BIT for item in self._result.fields]


def _kind_of(item: Any) -> Kind:
    if item.type_code in _INTEGERS or (item.type_code == FIELD_TYPE.LONGLONG and not item.flags & _UNSIGNED):
        return "integer"
    if item.type_code == FIELD_TYPE.DOUBLE:
        return "double"
    is_bytes = item.type_code in _STRINGS and item.charsetnr == _BINARY_CHARSET
    return "binary" if is_bytes or item.type_code == FIELD_TYPE.GEOMETRY else "text"


class MySqlSnapshot:
    """Reads in a transaction of a connection."""

    transactions = None

    def __init__(self, connection: pymysql.Connection, place: str) -> None:
        """Take an open connection."""
        self._connection = connection
        self._place = place

    def read(self, statement: Statement, table: str, begin: Begin) -> None:
        """See `Snapshot`."""
        attempted = f"reading {table or 'the query'} in {self._place}"
        with told(attempted, self.tables), ExitStack() as cursors:
            cursor = self._connection.cursor(StreamCursor)
            cursors.push(cursor.abandon)
            text, values = statement.bound("%s", lambda part: part.replace("%", "%%") if statement.values else part)
            cursor.execute(text, values or None)
            fields = cursor.described()
            take = begin(fields)
            bits = [place for place, is_bit in enumerate(cursor.is_bit()) if is_bit]
            while rows := cursor.fetchmany(_ROWS):
                take(_table_of(rows, fields, bits, attempted))

    def tables(self) -> list[str]:
        """See `Snapshot`."""
        with told(f"listing the tables of {self._place}"), self._connection.cursor() as cursor:
            # the server shows only those that the user may see
            cursor.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = database()")
            return sorted(row[0] for row in cursor.fetchall())

    def server(self) -> str:
        """See `Snapshot`."""
        return str(self._connection.get_server_info())


def _table_of(rows: Sequence[Sequence[Any]], fields: Sequence[Field], bits: Sequence[int], attempted: str) -> pa.Table:
    """Return rows of texts and bytes as a table; bits become the number that they are."""
    columns: list[pa.Array] = []
    for place, values in enumerate(zip(*rows, strict=True)):
        item = fields[place]
        given = [None if value is None else str(int.from_bytes(value)) for value in values] if place in bits else values
        try:
            if item.kind in ("integer", "double"):
                columns.append(pa.array(given, pa.string()).cast(ARROW[item.kind]))
            else:
                columns.append(pa.array(given, ARROW[item.kind]))
        except (pa.ArrowException, TypeError, UnicodeError) as error:
            raise unfit(attempted, item, error) from error
    return pa.Table.from_arrays(columns, schema=schema_of(fields))


@contextmanager
def told(attempted: str, known: Callable[[], list[str]] | None = None) -> Iterator[None]:
    """Turn errors of the driver into ConfigError, if the declaration is wrong, and into StorageError otherwise."""
    try:
        yield
    except (pymysql.MySQLError, OSError) as error:
        code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
        text = " ".join(str(item) for item in error.args[1:]) or str(error)
        if code not in _WRONG:
            raise StorageError(
                attempted, received=text, next_step="check that the server runs, and the connection's host and port"
            ) from None
        raise ConfigError(
            attempted,
            received=text,
            known=known() if code == _NO_TABLE and known is not None else (),
            next_step="correct the declaration, or give the user the right to it",
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(
            attempted, received=str(error), next_step="read the column with a query that converts it to utf8mb4"
        ) from error
