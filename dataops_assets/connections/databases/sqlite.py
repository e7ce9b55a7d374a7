"""SQLite files: one read transaction, and rows whose values are written as text.

A column of SQLite holds values of any type. So all of them are text, except in columns that are declared as BLOB.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from dataops_assets.config.databases import SqliteDatabase
from dataops_assets.connections.databases.reading import (
    Begin,
    Bound,
    CursorKind,
    Field,
    Snapshot,
    Statement,
    require_file,
    table_of,
    unfit,
)
from dataops_assets.errors import ConfigError, InputError, StorageError

_ROWS = 10_000
BUSY_SECONDS = 30.0
"""How long a connection waits for another one that writes."""

_LARGEST = 2**63 - 1


class Sqlite:
    """An SQLite database file."""

    dialect = "sqlite"

    def __init__(self, declared: SqliteDatabase) -> None:
        """Opens nothing yet."""
        self.place = f"SQLite {declared.path}"
        self.path = Path(declared.path)

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Open a transaction that sees one moment. Raises StorageError and ConfigError."""
        attempted = f"opening {self.place}"
        require_file(self.path, attempted)
        with told(attempted):
            connection = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS, isolation_level=None
            )
        with closing(connection):
            with told(attempted):
                connection.execute("BEGIN")
                # the moment is that of the first read
                connection.execute("PRAGMA schema_version").fetchone()
            yield _SqliteSnapshot(connection, self.place)


class _SqliteSnapshot:
    transactions = None

    def __init__(self, connection: sqlite3.Connection, place: str) -> None:
        self._connection = connection
        self._place = place

    def read(self, statement: Statement, table: str, begin: Begin) -> None:
        attempted = f"reading {table or 'the query'} in {self._place}"
        with told(attempted, self.tables), closing(self._connection.cursor()) as cursor:
            types = self._declared_types(table) if table else {}
            text, values = statement.bound("?")
            cursor.execute(text, [bindable(value) for value in values])
            fields = [
                Field(name, "binary" if "BLOB" in types.get(name, "") else "text", _cursor_of(types.get(name, "")))
                for name, *_ in cursor.description
            ]
            take = begin(fields)
            while rows := cursor.fetchmany(_ROWS):
                take(table_of([_texts(row, fields, attempted) for row in rows], fields, attempted))

    def tables(self) -> list[str]:
        with told(f"listing the tables of {self._place}"):
            found = self._connection.execute(
                "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND substr(name, 1, 7) <> 'sqlite_'"
            )
            return sorted(row[0] for row in found.fetchall())

    def server(self) -> str:
        return f"SQLite {sqlite3.sqlite_version}"

    def _declared_types(self, table: str) -> dict[str, str]:
        found = self._connection.execute("SELECT name, type FROM pragma_table_xinfo(?)", (table,)).fetchall()
        return {name: (kind or "").upper() for name, kind in found}


def _cursor_of(declared: str) -> CursorKind:
    if any(word in declared for word in ("INT", "REAL", "NUM", "DEC", "FLOA", "DOUB")):
        return "number"
    return "iso text"


def bindable(value: Bound) -> Any:
    """Return a value in a form that the library binds."""
    if not isinstance(value, Decimal):
        return value.isoformat(sep=" ") if isinstance(value, dt.datetime) else value
    return int(value) if value == value.to_integral_value() and abs(value) <= _LARGEST else float(value)


def _texts(row: Sequence[Any], fields: Sequence[Field], attempted: str) -> list[Any]:
    """Return the values of a row as text, or as bytes in a column of bytes."""
    found: list[Any] = []
    for value, item in zip(row, fields, strict=True):
        if value is None or (isinstance(value, bytes) and item.kind == "binary"):
            found.append(value)
        elif isinstance(value, bytes) or item.kind == "binary":
            raise unfit(attempted, item, f"a value of type {type(value).__name__} among values of another type")
        else:
            # the shortest number that is read as this double again
            found.append(value if isinstance(value, str) else repr(value))
    return found


@contextmanager
def told(attempted: str, known: Callable[[], list[str]] | None = None) -> Iterator[None]:
    """Turn errors of the library into errors of the platform: only those of a busy or unreadable file may pass."""
    try:
        yield
    except sqlite3.Error as error:
        text = str(error)
        if "Could not decode" in text:
            raise InputError(attempted, received=text, next_step="read the column as hex(column) in a query") from error
        if "no such table" in text and known is not None:
            raise ConfigError(
                attempted, received=text, known=known(), next_step="correct the name; write it as in the database"
            ) from error
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT):
            raise ConfigError(attempted, received=text, next_step="correct the declaration") from error
        raise StorageError(attempted, received=text, next_step="check that the file can be read") from error
