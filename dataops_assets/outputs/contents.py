"""Compares what is in a target with what should be there: the number of rows, and a checksum of their values.

The checksum is the sum of a hash of each row, so the order of rows does not count, and rows that are there twice do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import duckdb
import pyarrow as pa
from sqlglot import exp

from dataops_assets.engines.duckdb import DuckDBSession
from dataops_assets.sql import DIALECT, alias, column, columns, query

_PORTION = "s_portion"


@dataclass(frozen=True)
class Content:
    """The number of rows, and the checksum of their values."""

    rows: int = 0
    checksum: int = 0

    def __add__(self, other: Content) -> Content:
        """Return the content of the rows of both."""
        return Content(self.rows + other.rows, self.checksum + other.checksum)


def content_of(session: DuckDBSession, rows: exp.Expr, types: Mapping[str, str]) -> Content:
    """Return the content of rows in a session, which have these columns in these SQL types."""
    found = session.fetch(_summed(rows, types)).to_pylist()[0]
    return Content(int(found["n"]), int(found["c"]))


class Reading:
    """Adds up the content of rows that are read from a target, in portions. Use it in a `with` block."""

    def __init__(self, types: Mapping[str, str]) -> None:
        """Take the columns that are read with the SQL types that they should have."""
        self.content = Content()
        self._types = types
        self._connection = duckdb.connect(":memory:", config={"threads": "1"})
        self._connection.execute("SET TimeZone = 'UTC'")

    def __enter__(self) -> Reading:
        """Return itself."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Close it."""
        self._connection.close()

    def take(self, portion: pa.Table) -> None:
        """Add the rows of a portion: texts, or values that the reader gave a type."""
        if not portion.num_rows:
            return
        places = [f"c{place}" for place in range(portion.num_columns)]
        self._connection.register(_PORTION, portion.rename_columns(places))
        given = dict(zip(places, portion.schema.types, strict=True))
        typed = [
            alias(_typed(column(place), given[place], kind), name)
            for place, (name, kind) in zip(places, self._types.items(), strict=True)
        ]
        rows = query("SELECT $typed FROM $portion", typed=typed, portion=_PORTION)
        count, checksum = self._connection.execute(_summed(rows, self._types).sql(DIALECT)).fetchall()[0]
        self._connection.unregister(_PORTION)
        self.content += Content(int(count), int(checksum))


def content_read(portions: Iterable[pa.Table], types: Mapping[str, str]) -> Content:
    """Return the content of rows that are read in portions."""
    with Reading(types) as reading:
        for portion in portions:
            reading.take(portion)
        return reading.content


def _summed(rows: exp.Expr, types: Mapping[str, str]) -> exp.Query:
    hashed = exp.func("hash", *columns(types, "t"))
    found: exp.Query = query(
        "SELECT count(*) AS n, CAST(coalesce(sum(CAST($hashed AS HUGEINT)), 0) AS VARCHAR) AS c FROM $rows AS t",
        hashed=hashed,
        rows=rows,
    )
    return found


def _typed(value: exp.Expr, given: pa.DataType, kind: str) -> exp.Expr:
    if kind == "BLOB":
        return value if pa.types.is_binary(given) or pa.types.is_large_binary(given) else exp.func("unhex", value)
    return exp.TryCast(this=value, to=exp.DataType.build(kind, dialect=DIALECT))
