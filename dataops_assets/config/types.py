"""The column types that a contract may use, and their names in SQL."""

from __future__ import annotations

_SQL = {
    "text": "VARCHAR",
    "boolean": "BOOLEAN",
    "integer": "BIGINT",
    "double": "DOUBLE",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
    "timestamptz": "TIMESTAMPTZ",
    "binary": "BLOB",
}


def sql_type(declared: str) -> str:
    """Return the SQL type of a declared column type; `decimal(p,s)` keeps its precision and scale."""
    return _SQL.get(declared) or declared.upper()


def stored_type(declared: str) -> str:
    """Return the SQL type of a declared column type as a stored table reports it."""
    return "TIMESTAMP WITH TIME ZONE" if declared == "timestamptz" else sql_type(declared)
