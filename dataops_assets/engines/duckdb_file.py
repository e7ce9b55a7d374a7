"""Finds damage in a DuckDB database file, such as the warehouse."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
from sqlglot import exp

from dataops_assets.sql import DIALECT, query


@dataclass(frozen=True)
class FileDamage:
    """A table that DuckDB cannot read, and the error. If `table` is empty, the whole file cannot be read."""

    table: str
    received: str


def examine_file(path: Path, *, deep: bool) -> list[FileDamage]:
    """Return the damages of a database file; none if there is no file, or while another process writes it.

    DuckDB compares each block with its checksum when it reads the block. Without `deep` only the catalogue is read,
    with it every value of every table.
    """
    if not path.exists():
        return []
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            return list(_unreadable(connection)) if deep else []
    except duckdb.Error as error:
        return [] if "Could not set lock" in str(error) else [FileDamage("", _first_line(error))]


def _unreadable(connection: duckdb.DuckDBPyConnection) -> Iterator[FileDamage]:
    found = query("SELECT t.schema_name, t.table_name FROM duckdb_tables() AS t WHERE NOT t.internal ORDER BY ALL")
    for schema, name in connection.execute(found.sql(DIALECT)).fetchall():
        table = exp.table_(name, db=schema, quoted=True)
        # a hash of each row, so that each value is read
        rows = query("SELECT bit_xor(hash(t)) FROM $table AS t", table=table)
        try:
            connection.execute(rows.sql(DIALECT)).fetchall()
        except duckdb.Error as error:
            yield FileDamage(f"{schema}.{name}", _first_line(error))


def _first_line(error: duckdb.Error) -> str:
    return str(error).partition("\n")[0]
