"""Reads how many rows the tables of the embedded warehouse have, without reading their rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import duckdb

from dataops_assets.sql import DIALECT, query


def rows_of_tables(warehouse: Path) -> Mapping[str, int]:
    """Return the rows of each table by its name; nothing if there is no warehouse, or while a process writes it."""
    if not warehouse.exists():
        return {}
    found = query("SELECT t.table_name, t.estimated_size FROM duckdb_tables() AS t WHERE NOT t.internal")
    try:
        with duckdb.connect(str(warehouse), read_only=True) as connection:
            return {name: int(rows) for name, rows in connection.execute(found.sql(DIALECT)).fetchall()}
    except duckdb.Error:
        return {}
