"""Shared by all kinds of database: fields, statements with bound values, and errors about rows.

Every kind follows one rule for types: the type of a raw column follows from the type of the column in the database
alone, never from its values. Whole numbers of 64 bits, booleans, doubles and bytes have the same type in the raw file.
Everything else is text, exactly as the server prints it: an infinite date, a NaN in a numeric or a zero date has no
other exact form.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import pyarrow as pa
from sqlglot import exp

from dataops_assets.config.databases import parts_of, tokens_of
from dataops_assets.errors import ConfigError, DataOpsError, InputError

Kind = Literal["text", "integer", "double", "boolean", "binary"]
CursorKind = Literal["", "number", "date", "time", "iso text"]
"""How values of a cursor are compared; empty: the column cannot be a cursor."""

ARROW: Mapping[Kind, pa.DataType] = {
    "text": pa.string(),
    "integer": pa.int64(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "binary": pa.binary(),
}

Bound = int | Decimal | str | dt.datetime | None
"""A value that is bound to a statement."""

Take = Callable[[pa.Table], None]
"""Takes the next rows of an extract."""


@dataclass(frozen=True)
class Field:
    """A column of an extract: its name, its type in the raw file, and how its values are compared as a cursor."""

    name: str
    kind: Kind
    cursor: CursorKind = ""


Begin = Callable[[Sequence[Field]], Take]
"""Is told the columns of an extract, and returns what takes its rows."""


@dataclass(frozen=True)
class Statement:
    """A query whose tokens `{{ name }}` stand for bound values."""

    text: str
    values: Mapping[str, Bound] = field(default_factory=dict)

    def bound(self, placeholder: str, escape: Callable[[str], str] = str) -> tuple[str, list[Bound]]:
        """Return the text with a driver's placeholders, and the values in their order.

        `escape` writes text in which the driver would find a placeholder.
        """
        parts = [escape(part) for part in parts_of(self.text)]
        return placeholder.join(parts), [self.values[token] for token in tokens_of(self.text)]


@dataclass(frozen=True)
class Transactions:
    """Transactions of a PostgreSQL snapshot: those below `settled` have ended, those from `next` on have not begun."""

    settled: int
    next: int


class Snapshot(Protocol):
    """One consistent moment of a database, open for reading."""

    @property
    def transactions(self) -> Transactions | None:
        """The transactions at the moment of the snapshot; None if this kind of database does not report them."""

    def read(self, statement: Statement, table: str, begin: Begin) -> None:
        """Read all rows in order, and hand them over in portions, so that few of them are in memory at a time.

        `begin` gets the columns before the first row. `table` is the table that is read, empty for a query.
        """

    def tables(self) -> list[str]:
        """Return the tables and views that may be read, sorted."""

    def server(self) -> str:
        """Return product and version of the server."""


@runtime_checkable
class ParallelSnapshot(Protocol):
    """One consistent moment that several connections can read."""

    def read_parallel(self, rows: exp.Select, table: exp.Table, connections: int, begin: Begin) -> None:
        """Read all rows of a query of one table as `read` does, with the same portions, by several connections.

        Raises ConfigError if the table cannot be divided. If one connection fails, all end.
        """


class Database(Protocol):
    """A database that can be reached."""

    dialect: str
    """The name of its SQL dialect in sqlglot."""
    place: str
    """Where it is, for messages. It has no secrets."""

    def snapshot(self) -> AbstractContextManager[Snapshot]:
        """Open a connection and one consistent moment.

        Raises StorageError if the database cannot be reached, and ConfigError if it refuses user, table or query.
        """


def schema_of(fields: Sequence[Field]) -> pa.Schema:
    """Return the columns of the raw file."""
    return pa.schema([(item.name, ARROW[item.kind]) for item in fields])


def require_file(path: Path, attempted: str) -> None:
    """Raise ConfigError if there is no database file at the path: a library would make an empty one."""
    if not path.is_file():
        raise ConfigError(attempted, received="no such file", next_step="correct the path of the connection")


def require_columns(fields: Sequence[Field], attempted: str) -> None:
    """Raise InputError for columns that no file can have: none at all, or two of one name."""
    names = [item.name for item in fields]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not names or twice or "" in names:
        raise InputError(
            attempted,
            received=f"two columns named {twice[0]!r}"
            if twice
            else "a column without a name"
            if names
            else "no columns",
            known=names,
            next_step="give each column of the query a name of its own",
        )


def table_of(rows: Sequence[Sequence[object]], fields: Sequence[Field], attempted: str) -> pa.Table:
    """Return rows of Python values as a table. Raises InputError for a value that its column cannot hold."""
    columns = []
    for item, values in zip(fields, zip(*rows, strict=True), strict=True):
        try:
            columns.append(pa.array(values, ARROW[item.kind]))
        except (pa.ArrowException, TypeError, OverflowError, UnicodeError) as error:
            raise unfit(attempted, item, error) from error
    return pa.Table.from_arrays(columns, schema=schema_of(fields))


def unfit(attempted: str, item: Field, reason: object) -> DataOpsError:
    """Return the error for a value that its column cannot hold."""
    return InputError(
        attempted,
        received=f"column {item.name!r}: {reason}",
        next_step="let a query convert the column to text, or leave it out; nothing of this extract was taken",
    )
