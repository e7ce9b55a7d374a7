"""Gives DuckDB clients tables at given versions: views of lake and hub, and the warehouse as an attached file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
from sqlglot import exp

from dataops_assets.engines.base import empty
from dataops_assets.engines.duckdb import TRUSTING, load_extensions
from dataops_assets.sql import DIALECT, identifier, literal, query
from dataops_assets.storage.delta import Table
from dataops_assets.storage.objects import is_remote


@dataclass(frozen=True)
class TableAt:
    """A Delta table at a version, by asset key such as 'hub/orders'. Without `rows` it is empty."""

    asset: str
    version: int | None
    rows: int | None


def connect(storage: str, tables: Sequence[TableAt], warehouse: Path | None) -> duckdb.DuckDBPyConnection:
    """Return a connection with the tables as views such as `hub.orders`, and `warehouse` attached, read-only.

    Raises StorageError if the log of an empty table cannot be read.
    """
    connection = duckdb.connect(config={**TRUSTING})
    load_extensions(connection, remote=is_remote(storage))
    for statement in statements(storage, tables, warehouse):
        connection.execute(statement)
    return connection


def statements(storage: str, tables: Sequence[TableAt], warehouse: Path | None) -> Iterator[str]:
    """Return the SQL that makes the views and attaches the warehouse, one statement each.

    Raises StorageError if the log of an empty table cannot be read.
    """
    if warehouse is not None:
        yield query("ATTACH $copy AS warehouse (READ_ONLY)", copy=str(warehouse)).sql(DIALECT)
    for schema in sorted({item.asset.partition("/")[0] for item in tables}):
        yield exp.Create(this=identifier(schema), kind="SCHEMA", exists=True).sql(DIALECT)
    for item in tables:
        schema, _, name = item.asset.partition("/")
        view = exp.Table(this=identifier(name), db=identifier(schema))
        yield exp.Create(this=view, kind="VIEW", replace=True, expression=_rows(storage, item)).sql(DIALECT)


def _rows(storage: str, item: TableAt) -> exp.Query:
    uri = f"{storage}/{item.asset}"
    if item.rows and item.version is not None:
        version = exp.EQ(this=exp.to_identifier("version"), expression=literal(item.version))
        found: exp.Query = exp.select("*").from_(exp.Anonymous(this="delta_scan", expressions=[literal(uri), version]))
        return found
    # DuckDB refuses a table without files
    snapshot = Table(uri).snapshot(item.version)
    return empty(snapshot.columns if snapshot else {"s_input_id": "VARCHAR"})
