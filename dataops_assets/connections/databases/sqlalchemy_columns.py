"""The columns of a table or a query that SQLAlchemy reads: the type of each, and the expression that is read.

A driver of Python loses parts of some values: digits of a time, its offset, the months of an interval. So the server
prints every value for which this can happen, and what cannot be printed exactly is refused.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.elements import ColumnElement

from dataops_assets.connections.databases.reading import Bound, CursorKind, Field, Kind, Statement, unfit
from dataops_assets.errors import DataOpsError, InputError

Printed = Callable[[ColumnElement[Any]], ColumnElement[Any]]
"""Returns the expression that prints a column."""

Types = Mapping[str, tuple[Kind, CursorKind, Printed | None]]
"""By the name of a type: how a column of it is read, compared and printed."""


@dataclass(frozen=True)
class Column:
    """A column of a statement.

    `printed` is the expression that is read; None reads the value as the driver gives it. Rows are not sorted by a
    column that `is_large`: servers cannot, or not in a short time.
    """

    name: str
    kind: Kind = "text"
    cursor: CursorKind = ""
    printed: ColumnElement[Any] | None = None
    is_large: bool = False


@dataclass(frozen=True)
class Asked:
    """A statement whose columns are asked for. `table` is empty for a query, `rows` is the statement in parentheses."""

    statement: Statement
    table: str
    rows: sa.TextClause
    attempted: str


@dataclass(frozen=True)
class Traits:
    """How the reader treats one kind of database, where SQLAlchemy does not say it.

    * `dialect`: its name in sqlglot.
    * `isolation`: the level in which several statements see one moment; empty: that of the database.
    * `session`: statements at the beginning of a connection. `begin`: those at the beginning of its transaction.
    * `columns`: returns the columns of a statement. Raises ConfigError and InputError.
    * `given`: returns how a bound value is written, with '{}' in its place, and the value for the driver.
    * `tables`: returns the tables that may be read.
    * `wrong`: numbers of errors that say that the declaration is wrong. `no_table`: the one for an unknown table.
    * `advice`: what to do next, for numbers of errors.
    * `connect`: arguments of the driver that the options can replace.
    * `describes_queries`: `columns` knows those of queries, too. Otherwise a query is sent as it is written, and its
      values are printed here.
    * `cursors`: how values are compared by the type code of a driver, beside what the driver says of its codes.
    """

    dialect: str
    columns: Callable[[sa.Connection, Asked], list[Column]]
    tables: Callable[[sa.Connection], list[str]]
    given: Callable[[Bound], tuple[str, Any]] = lambda value: ("{}", value)
    isolation: str = ""
    session: Sequence[str] = ()
    begin: Sequence[str] = ()
    wrong: frozenset[int | str] = frozenset()
    no_table: int | str = 0
    advice: Mapping[int | str, str] = field(default_factory=dict)
    connect: Mapping[str, Any] = field(default_factory=dict)
    describes_queries: bool = False
    cursors: Mapping[Any, CursorKind] = field(default_factory=dict)


def fields_of(columns: Sequence[Column]) -> list[Field]:
    """Return the columns of the raw file."""
    return [Field(item.name, item.kind, item.cursor) for item in columns]


def named(name: str) -> ColumnElement[Any]:
    """Return a column by its name as it is in the database."""
    return sa.column(sa.quoted_name(name, quote=True))


def selected(rows: sa.TextClause, columns: Sequence[Column], *, is_sorted: bool = True) -> sa.Select[Any]:
    """Return the statement that reads columns, sorted by all that can be sorted by.

    A server gives rows in no order. In one order, a look finds that nothing is new.
    """
    values = [item.printed if item.printed is not None else named(item.name) for item in columns]
    places: list[ColumnElement[Any]] = [
        sa.literal_column(str(place)) for place, item in enumerate(columns, 1) if not item.is_large
    ]
    labelled = [value.label(sa.quoted_name(item.name, quote=True)) for value, item in zip(values, columns, strict=True)]
    return sa.select(*labelled).select_from(rows).order_by(*(places if is_sorted else []))


def none_of(rows: sa.TextClause) -> sa.Select[Any]:
    """Return a statement that has the columns of `rows`, and no row."""
    return sa.select(sa.text("*")).select_from(rows).where(sa.literal_column("1") == sa.literal_column("0"))


def of_driver(result: sa.CursorResult[Any], dbapi: Any, cursors: Mapping[Any, CursorKind]) -> list[Column]:
    """Return the columns of a result from the driver's description: names and, for most, the kind of comparison."""
    number, moment = getattr(dbapi, "NUMBER", None), getattr(dbapi, "DATETIME", None)

    def compared(code: Any) -> CursorKind:
        if code is None or code in cursors:
            return cursors.get(code, "")
        return "number" if number == code else "time" if moment == code else ""

    return [Column(item[0], cursor=compared(item[1])) for item in description_of(result)]


def description_of(result: sa.CursorResult[Any]) -> Sequence[Any]:
    """Return the driver's description of the columns of a result; nothing if there are none."""
    return result.cursor.description if result.cursor is not None else ()


def moment_of(value: Bound) -> Bound:
    """Return the time in a text; any other value or text is returned unchanged."""
    if not isinstance(value, str):
        return value
    try:
        return dt.datetime.fromisoformat(value)
    except ValueError:
        return value


def column_of(asked: Asked, name: str, declared: str, types: Types) -> Column:
    """Return the column for a type by its name. Raises InputError for one without an exact form."""
    found = types.get(declared.partition("(")[0])
    if found is None:
        raise unprintable(asked, name, declared)
    kind, cursor, printed = found
    return Column(name, kind, cursor, printed(named(name)) if printed is not None else None)


def unprintable(asked: Asked, name: str, kind: str) -> DataOpsError:
    """Return the error for a column of a type that has no exact form."""
    return InputError(
        asked.attempted,
        received=f"column {name!r} of type {kind}, which has no exact form here",
        next_step="let a query convert the column to text, or leave it out",
    )


def converted(rows: Sequence[Sequence[Any]], fields: Sequence[Field], attempted: str) -> list[list[Any]]:
    """Return rows of a driver's values in the types of the raw file. Raises InputError for a value without a form."""
    ways = [_WAYS.get(item.kind) for item in fields]
    return [
        [
            value if value is None or way is None else way(value, item, attempted)
            for value, item, way in zip(row, fields, ways, strict=True)
        ]
        for row in rows
    ]


def _text(value: Any, item: Field, attempted: str) -> str:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | uuid.UUID():
            return str(value)
        case float():
            # the shortest number that is read as this double again
            return repr(value)
        case Decimal():
            return format(value, "f")
        case dt.datetime():
            return _in_utc(value).isoformat(sep=" ")
        case dt.date() | dt.time():
            return value.isoformat()
    raise unfit(attempted, item, f"a value of type {type(value).__name__}, which has no exact text here")


def _in_utc(value: dt.datetime) -> dt.datetime:
    if value.tzinfo is None:
        return value
    try:
        return value.astimezone(dt.UTC)
    except OverflowError:
        # on the first or the last day, which is in a year that is none in UTC
        return value


def _bytes(value: Any, item: Field, attempted: str) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise unfit(attempted, item, f"a value of type {type(value).__name__} among bytes")


def _integer(value: Any, item: Field, attempted: str) -> int:
    if isinstance(value, int) or (isinstance(value, Decimal) and value == value.to_integral_value()):
        return int(value)
    raise unfit(attempted, item, f"a value of type {type(value).__name__} among whole numbers")


def _double(value: Any, item: Field, attempted: str) -> float:
    if isinstance(value, float):
        return value
    raise unfit(attempted, item, f"a value of type {type(value).__name__} among doubles")


_WAYS: Mapping[Kind, Callable[[Any, Field, str], Any]] = {
    "text": _text,
    "binary": _bytes,
    "integer": _integer,
    "double": _double,
}
