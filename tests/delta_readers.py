"""A Delta table as the readers see it that people open it with. None of them is this project's."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder
from sqlglot import exp

from dataops_assets.engines.duckdb import TRUSTING, load_extensions

Reader = Callable[[str], pa.Table]
Row = tuple[Any, ...]


def by_delta_rs(uri: str) -> pa.Table:
    return pa.table(QueryBuilder().register("t", DeltaTable(uri)).execute("SELECT * FROM t").read_all())


@functools.cache
def _duckdb() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config=dict(TRUSTING))
    load_extensions(connection, remote=False)
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def by_duckdb(uri: str) -> pa.Table:
    return _duckdb().execute("SELECT * FROM delta_scan($uri)", {"uri": uri}).to_arrow_table()


def by_polars(uri: str) -> pa.Table:
    return pl.read_delta(uri).to_arrow()


READERS: Mapping[str, Reader] = {"delta-rs": by_delta_rs, "duckdb": by_duckdb, "polars": by_polars}


def found_by_polars(uri: str, column: str, value: Any) -> int:
    """How many rows have this value, read with the help of the files' statistics."""
    return pl.scan_delta(uri).filter(pl.col(column) == value).select(pl.len()).collect().item()


def found_by_duckdb(uri: str, column: str, value: Any) -> int:
    """How many rows have this value, read with the help of the files' statistics."""
    counted = (
        exp.select("count(*)")
        .from_(exp.func("delta_scan", exp.Placeholder()))
        .where(exp.column(column, quoted=True).eq(exp.Placeholder()))
    )
    return _duckdb().execute(counted.sql("duckdb"), [uri, value]).fetchall()[0][0]


def bag(rows: Sequence[Row]) -> Counter[str]:
    """Rows in no order, each as often as it is there, by their exact values."""
    return Counter(map(repr, rows))


def bag_of(table: pa.Table, names: Sequence[str]) -> Counter[str]:
    """The rows of a table, which must have these columns in this order."""
    assert table.column_names == list(names)
    return bag([tuple(plain(value) for value in row.values()) for row in table.to_pylist()])


def plain(value: Any) -> Any:
    """A value that is written the same whichever reader it is from."""
    # readers name the same zone in several ways
    return value.isoformat() if hasattr(value, "isoformat") else value
