"""Snowflake: each statement sees one moment, and rows come in an order of their own, so they are sorted by all columns.

The driver is snowflake-connector-python. It is imported here and only when a database is opened.
"""

from __future__ import annotations

import base64
import datetime as dt
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from sqlglot import exp

from dataops_assets.config.databases import SnowflakeDatabase
from dataops_assets.connections.databases.reading import (
    ARROW,
    Begin,
    Bound,
    CursorKind,
    Field,
    Kind,
    Snapshot,
    Statement,
    schema_of,
    unfit,
)
from dataops_assets.errors import ConfigError, StorageError
from dataops_assets.sql import alias, column, identifier, query

if TYPE_CHECKING:
    from snowflake.connector import SnowflakeConnection
    from snowflake.connector.cursor import SnowflakeCursor

PATIENCE_SECONDS = 120
"""How long a request is tried again."""

LOGIN_SECONDS = 30
"""How long a login is tried again."""

# numbers of types in the driver's description of columns
_FIXED, _REAL, _DATE, _TIMESTAMP, _BINARY, _BOOLEAN = 0, 1, 3, 4, 11, 13
_WITH_ZONE = (6, 7)
_SEMI_STRUCTURED = (5, 9, 10)
_CURSORS: dict[int, CursorKind] = {
    _FIXED: "number",
    _DATE: "date",
    **dict.fromkeys((_TIMESTAMP, *_WITH_ZONE, 8), "time"),
}
# the most digits that a whole number of 64 bits has for certain
_DIGITS = 18
_SESSION = {
    "TIMEZONE": "UTC",
    "DATE_OUTPUT_FORMAT": "YYYY-MM-DD",
    "TIME_OUTPUT_FORMAT": "HH24:MI:SS.FF9",
    "TIMESTAMP_NTZ_OUTPUT_FORMAT": "YYYY-MM-DD HH24:MI:SS.FF9",
    "BINARY_OUTPUT_FORMAT": "HEX",
    # a transaction that waits for another one whose client is gone: that one is ended after five minutes
    "LOCK_TIMEOUT": 600,
    "ABORT_DETACHED_QUERY": True,
    # values are sent with their statement: a stage for them would be structure, which ends a transaction
    "CLIENT_STAGE_ARRAY_BINDING_THRESHOLD": 0,
}
_PEM = re.compile(r"-----BEGIN (RSA )?PRIVATE KEY-----(?P<key>[A-Za-z0-9+/=\s]+)-----END")
_NO_TABLE = 2003
# cancelled, too many or too long waits for a lock, too long
_MAY_PASS = (604, 625, 630)


class Snowflake:
    """A database of Snowflake, read with its driver."""

    dialect = "snowflake"

    def __init__(self, declared: SnowflakeDatabase, password: str | None, private_key: str | None) -> None:
        """Opens nothing yet."""
        self.place = f"Snowflake {declared.database} of {declared.account}"
        self._declared = declared
        self._password = password
        self._private_key = private_key

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Open a connection. Raises StorageError and ConfigError."""
        with self.connected() as connection:
            yield SnowflakeSnapshot(connection, self.place)

    @contextmanager
    def connected(self) -> Iterator[SnowflakeConnection]:
        """Open a connection whose times are in UTC. Raises StorageError and ConfigError."""
        declared = self._declared
        try:
            import snowflake.connector
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"opening {self.place}",
                received="no package snowflake-connector-python",
                next_step="install the extra 'snowflake' of this project",
            ) from error
        server = {"host": declared.host, "port": declared.port, "protocol": declared.protocol} if declared.host else {}
        secret: dict[str, Any] = (
            {"password": self._password} if self._private_key is None else {"private_key": self._key()}
        )
        given = {"role": declared.role, "warehouse": declared.warehouse, "schema": declared.schema_}
        with told(f"connecting to {self.place}"):
            connection = snowflake.connector.connect(
                account=declared.account,
                user=declared.user,
                database=declared.database,
                **{name: value for name, value in given.items() if value},
                **secret,
                **server,
                login_timeout=LOGIN_SECONDS,
                network_timeout=PATIENCE_SECONDS,
                paramstyle="qmark",
                application="dataops",
                session_parameters=dict(_SESSION),
            )
        try:
            yield connection
        finally:
            connection.close()

    def _key(self) -> bytes:
        """Return the private key in the form that the driver takes."""
        found = _PEM.search(self._private_key or "")
        if found is None:
            raise ConfigError(
                f"reading the private key of {self.place}",
                received="a text that is no key, or a key with a passphrase",
                next_step="give a key in PEM form without a passphrase",
            )
        return base64.b64decode(found["key"])


class SnowflakeSnapshot:
    """Reads by single statements of a connection. Each sees what was committed when it began."""

    transactions = None

    def __init__(self, connection: SnowflakeConnection, place: str, *, is_sorted: bool = True) -> None:
        """Take an open connection. Rows are sorted by all columns, or come as they come."""
        self._connection = connection
        self._place = place
        self._is_sorted = is_sorted

    def read(self, statement: Statement, table: str, begin: Begin) -> None:
        """See `Snapshot`."""
        attempted = f"reading {table or 'the query'} in {self._place}"
        with told(attempted, self.tables), self._connection.cursor() as cursor:
            text, bound = statement.bound("?")
            values = [_given(value) for value in bound] or None
            described = cursor.describe(text, values) or []
            fields = [Field(item.name, _kind_of(item), _CURSORS.get(item.type_code, "")) for item in described]
            take = begin(fields)
            places = [exp.Literal.number(place) for place in range(1, len(fields) + 1)]
            rows: exp.Select = query(
                "SELECT $values FROM $rows",
                values=[alias(_printed(item), item.name) for item in described],
                # as it is written: another parser must not change it
                rows=exp.Table(this=exp.Var(this=f"({text}\n)"), alias=exp.TableAlias(this=identifier("s_r"))),
            )
            cursor.execute((rows.order_by(*places) if self._is_sorted else rows).sql("snowflake"), values)
            for batch in _batches(cursor):
                take(_table_of(batch, fields, attempted))

    def tables(self) -> list[str]:
        """See `Snapshot`."""
        with told(f"listing the tables of {self._place}"), self._connection.cursor() as cursor:
            # the server shows only those that the role may see
            cursor.execute(
                "SELECT table_schema || '.' || table_name FROM information_schema.tables "
                "WHERE table_schema <> 'INFORMATION_SCHEMA'"
            )
            return sorted(row[0] for row in cursor.fetchall())

    def server(self) -> str:
        """See `Snapshot`."""
        with told(f"asking {self._place} for its version"), self._connection.cursor() as cursor:
            cursor.execute("SELECT current_version()")
            return f"Snowflake {cursor.fetchall()[0][0]}"


def _batches(cursor: SnowflakeCursor) -> Iterator[pa.Table]:
    yield from (batch for batch in cursor.fetch_arrow_batches() if batch.num_rows)


def _kind_of(item: Any) -> Kind:
    if item.type_code == _FIXED and not item.scale and (item.precision or _DIGITS + 1) <= _DIGITS:
        return "integer"
    kinds: dict[int, Kind] = {_REAL: "double", _BOOLEAN: "boolean", _BINARY: "binary"}
    return kinds.get(item.type_code, "text")


def _printed(item: Any) -> exp.Expr:
    """Return the value of a column as it is read: in its own type, or as the text that the server prints."""
    value = column(item.name)
    if _kind_of(item) != "text":
        return value
    if item.type_code in _SEMI_STRUCTURED:
        return exp.func("TO_JSON", value)
    if item.type_code in _WITH_ZONE:
        in_utc = exp.Anonymous(this="CONVERT_TIMEZONE", expressions=[exp.Literal.string("UTC"), value])
        clock = exp.cast(exp.cast(in_utc, "TIMESTAMP_NTZ", dialect="snowflake"), "VARCHAR")
        return exp.DPipe(this=clock, expression=exp.Literal.string("+00:00"))
    return exp.cast(value, "VARCHAR")


def _given(value: Bound) -> Bound:
    # the driver takes every time for one without a zone
    return value.isoformat(sep=" ") if isinstance(value, dt.datetime) else value


def _table_of(batch: pa.Table, fields: Sequence[Field], attempted: str) -> pa.Table:
    columns = []
    for item, values in zip(fields, batch.columns, strict=True):
        try:
            columns.append(values.cast(ARROW[item.kind]))
        except pa.ArrowException as error:
            raise unfit(attempted, item, error) from error
    return pa.Table.from_arrays(columns, schema=schema_of(fields))


@contextmanager
def told(attempted: str, known: Callable[[], list[str]] | None = None) -> Iterator[None]:
    """Turn errors of the driver into ConfigError, if the declaration is wrong, and into StorageError otherwise."""
    from snowflake.connector import errors

    try:
        yield
    except errors.Error as error:
        text = " ".join(str(error.msg or error).split())
        of_statement = errors.ProgrammingError | errors.DataError | errors.IntegrityError | errors.NotSupportedError
        if not isinstance(error, of_statement) or error.errno in _MAY_PASS:
            raise StorageError(
                attempted,
                received=text,
                next_step="check that the account can be reached, and the connection's user, secret and role",
            ) from None
        raise ConfigError(
            attempted,
            received=text,
            known=known() if error.errno == _NO_TABLE and known is not None else (),
            next_step="correct the declaration, or give the role the right to it",
        ) from None
