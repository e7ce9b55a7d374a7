"""Finds the SQL type of an expression with DuckDB, because rules are written in its dialect.

It uses an empty in-memory database without access to files or network. No data are read.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import duckdb
from sqlglot import exp

from dataops_assets.config.source import Source
from dataops_assets.config.types import sql_type
from dataops_assets.sql import DIALECT, alias, query

INSTANT = "TIMESTAMP WITH TIME ZONE"
INTEGERS = frozenset(("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"))
_STORED = frozenset(("VARCHAR", "BOOLEAN", "BIGINT", "DOUBLE", "DATE", "TIMESTAMP", INSTANT, "BLOB"))
_KEPT_AS = {
    **dict.fromkeys((*INTEGERS, "UBIGINT", "HUGEINT", "UHUGEINT"), "BIGINT"),
    "FLOAT": "DOUBLE",
    **dict.fromkeys(("TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"), "TIMESTAMP"),
}


class UntypedError(Exception):
    """DuckDB cannot give an expression a type; the message says why in one line."""


class Types:
    """Finds the type of an expression over typed names."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def of(self, expression: exp.Expr, names: Mapping[str, str]) -> str:
        """Return the SQL type of `expression`; `names` has the types of its columns. Raises UntypedError."""
        used = sorted({column.name for column in expression.find_all(exp.Column)})
        nulls: list[exp.Expr] = [alias(exp.cast(exp.null(), names[name], dialect=DIALECT), name) for name in used]
        rows = exp.select(*nulls or [exp.null()])
        described = exp.Describe(this=query("SELECT $e FROM $rows AS r", e=expression, rows=rows))
        try:
            return _type_of(described.sql(DIALECT))
        except duckdb.Error as error:
            raise UntypedError(_reason(error)) from error

    def is_null(self, constant: exp.Expr) -> bool:
        """Whether an expression without columns is null. Raises UntypedError when it cannot be computed."""
        try:
            row = self._connection.execute(exp.select(constant.is_(exp.null())).sql(DIALECT)).fetchall()[0]
        except duckdb.Error as error:
            raise UntypedError(_reason(error)) from error
        return bool(row[0])


@contextmanager
def types() -> Iterator[Types]:
    """Open a `Types` for a `with` block."""
    with _database().cursor() as connection:
        yield Types(connection)


@functools.lru_cache(maxsize=4096)
def _type_of(described: str) -> str:
    """Return the type of the one column that a statement describes. Sources that are alike ask the same again."""
    with _database().cursor() as connection:
        return str(connection.execute(described).fetchall()[0][1])


@functools.cache
def _database() -> duckdb.DuckDBPyConnection:
    """Return the database of this process. There is one, because opening takes longer than a query."""
    config: dict[str, Any] = {
        "threads": "1",
        "enable_external_access": "false",
        "autoinstall_known_extensions": "false",
    }
    return duckdb.connect(":memory:", config=config)


def _reason(error: duckdb.Error) -> str:
    first = str(error).strip().splitlines()[0]
    # the prefix "Binder Error: ..." does not help the reader
    return first.partition("Error: ")[2] or first


def stored(inferred: str) -> str | None:
    """Return the type in which a table stores values of type `inferred`; None for an interval, a list, ..."""
    if inferred in _STORED or inferred.startswith("DECIMAL("):
        return inferred
    return _KEPT_AS.get(inferred)


def described(declared: str) -> str:
    """Return DuckDB's name of a declared column type."""
    name = sql_type(declared)
    if name == "TIMESTAMPTZ":
        return INSTANT
    return name.replace(" ", "")


def always_fits(inferred: str, target: str) -> bool:
    """Whether every value of one SQL type fits the other type."""
    if target in (inferred, "VARCHAR"):
        return True
    if inferred == "BOOLEAN" or inferred in INTEGERS:
        return target in ("BIGINT", "DOUBLE")
    if target == "DOUBLE":
        return inferred == "FLOAT" or inferred.startswith("DECIMAL(")
    return (inferred, target) == ("DATE", "TIMESTAMP")


def system_columns(source: Source) -> dict[str, str]:
    """Return the system columns of the source's hub and their SQL types."""
    order = INSTANT
    if source.refresh.order_by is not None:
        order = described(next(column.type for column in source.columns if column.name == source.refresh.order_by))
    validity = {"s_valid_from": order, "s_valid_to": order, "s_is_current": "BOOLEAN", "s_is_deleted": "BOOLEAN"}
    return {
        "s_key": "VARCHAR",
        "s_input_id": "VARCHAR",
        "s_row_id": "BIGINT",
        "s_order": order,
        "s_row_hash": "BIGINT",
        "s_created_at": INSTANT,
        "s_updated_at": INSTANT,
        **(validity if source.refresh.history else {}),
        "s_status": "VARCHAR",
    }
