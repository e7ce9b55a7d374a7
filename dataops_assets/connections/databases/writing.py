"""The interface of a database that is written to: one transaction, statements, and rows in bulk.

Statements are expressions; each writer renders them in its dialect. Nothing is visible to others before `commit`, but
for structure in MariaDB, where a statement such as CREATE TABLE commits by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import pyarrow as pa
from sqlglot import exp

from dataops_assets.connections.databases.reading import Take
from dataops_assets.sql import identifier, query


class Writer(Protocol):
    """A connection that writes. Closing it without a commit leaves everything as it was."""

    dialect: str
    place: str

    def begin(self) -> None:
        """Begin the transaction. What was run before it is structure, or is of temporary tables."""

    def run(self, statement: exp.Expr) -> int:
        """Run a statement, and return how many rows it changed. Raises ConfigError and StorageError."""

    def fetch(self, statement: exp.Expr) -> list[tuple[Any, ...]]:
        """Return the rows of a small query, as the driver gives them; texts and numbers may be texts."""

    def columns(self, table: exp.Table) -> list[str]:
        """Return the columns of a table in order; none if there is no such table."""

    def native(self, kind: str, *, in_key: bool) -> exp.DataType:
        """Return the type of a new column for values of an SQL type of DuckDB. Raises ConfigError if there is none."""

    def wire(self, value: exp.Expr, kind: str) -> exp.Expr:
        """Return a value of DuckDB, of this SQL type, in the form in which `load` takes it."""

    def load(self, table: exp.Table, names: Sequence[str], rows: Iterable[pa.RecordBatch]) -> None:
        """Add rows in the form of `wire` to a table."""

    def read(self, statement: exp.Expr, take: Take) -> None:
        """Hand over the rows of a query in portions: values as texts, whole numbers, doubles, booleans or bytes."""

    def refuse_unsafe(self, table: exp.Table) -> None:
        """Raise ConfigError if a table takes no part in transactions."""

    def commit(self) -> None:
        """Make everything visible at once."""


def table_named(text: str) -> exp.Table:
    """Return a table that is declared as 'name' or 'schema.name'."""
    schema, _, name = text.rpartition(".")
    return exp.table_(name, db=schema or None, quoted=True)


def insertion(table: exp.Table, names: Sequence[str], rows: exp.Expr) -> exp.Insert:
    """Return the statement that adds rows to a table."""
    return exp.Insert(this=exp.Schema(this=table.copy(), expressions=[*map(identifier, names)]), expression=rows)


def temporary(name: str, names: Sequence[str], like: exp.Table) -> exp.Create:
    """Return the statement that makes an empty temporary table with some columns of another table."""
    rows = query("SELECT $names FROM $like LIMIT 0", names=[exp.column(item, quoted=True) for item in names], like=like)
    made = exp.Properties(expressions=[exp.TemporaryProperty()])
    return exp.Create(this=exp.table_(name, quoted=True), kind="TABLE", expression=rows, properties=made)


def new_table(table: exp.Table, columns: Mapping[str, exp.DataType], key: Sequence[str]) -> exp.Create:
    """Return the statement that makes a table with a primary key, if it is not there."""
    parts: list[exp.Expr] = [
        exp.ColumnDef(
            this=identifier(name),
            kind=kind,
            constraints=[exp.ColumnConstraint(kind=exp.NotNullColumnConstraint())] if name in key else [],
        )
        for name, kind in columns.items()
    ]
    if key:
        parts.append(exp.PrimaryKey(expressions=[identifier(name) for name in key]))
    return exp.Create(this=exp.Schema(this=table.copy(), expressions=parts), kind="TABLE", exists=True)


def new_column(table: exp.Table, name: str, kind: exp.DataType) -> exp.Alter:
    """Return the statement that adds a column to a table."""
    return exp.Alter(this=table.copy(), kind="TABLE", actions=[exp.ColumnDef(this=identifier(name), kind=kind)])
