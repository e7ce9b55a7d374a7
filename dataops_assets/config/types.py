"""The closed set of column types and what each is called in SQL."""

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
    """The SQL type of a declared column type; `decimal(p,s)` keeps its precision and scale."""
    return _SQL.get(declared) or declared.upper()


def stored_type(declared: str) -> str:
    """The SQL type of a declared column type as a stored table tells it."""
    return "TIMESTAMP WITH TIME ZONE" if declared == "timestamptz" else sql_type(declared)
