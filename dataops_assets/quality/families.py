"""SQL types by family: what a value is, whatever its width."""

from __future__ import annotations

from typing import Literal

Family = Literal[
    "text", "integer", "double", "decimal", "boolean", "date", "timestamp", "timestamptz", "binary", "other"
]

FAMILIES: dict[str, Family] = {
    "VARCHAR": "text",
    **dict.fromkeys(("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"), "integer"),
    **dict.fromkeys(("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"), "integer"),
    "FLOAT": "double",
    "DOUBLE": "double",
    "BOOLEAN": "boolean",
    "DATE": "date",
    **dict.fromkeys(("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"), "timestamp"),
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
    "TIMESTAMPTZ": "timestamptz",
    "BLOB": "binary",
}


def family_of(sql_type: str) -> Family:
    """Return the family of a SQL type as the engine names it."""
    return "decimal" if sql_type.startswith("DECIMAL") else FAMILIES.get(sql_type, "other")
