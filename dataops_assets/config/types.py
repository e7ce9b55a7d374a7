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

# the names that other tools have for these types
_OTHER_NAMES = {
    **dict.fromkeys(("string", "str", "varchar", "char", "character varying", "nvarchar", "uuid", "json"), "text"),
    **dict.fromkeys(("bool",), "boolean"),
    **dict.fromkeys(("int", "int32", "int64", "bigint", "smallint", "tinyint", "long", "serial"), "integer"),
    **dict.fromkeys(("float", "float64", "real", "double precision"), "double"),
    **dict.fromkeys(("decimal", "numeric", "number", "money"), "decimal(18,2)"),
    **dict.fromkeys(("datetime", "timestamp_ntz", "timestamp without time zone"), "timestamp"),
    **dict.fromkeys(("timestamp_tz", "timestamp with time zone", "instant"), "timestamptz"),
    **dict.fromkeys(("bytes", "bytea", "blob", "varbinary"), "binary"),
}


def base_type(declared: str) -> str:
    """Return a column type without precision and scale: of decimal(12,2) it is decimal."""
    return declared.split("(")[0]


def suggested_type(name: str) -> str:
    """Return the column type that other tools call `name`; empty if there is none."""
    kind, opened, rest = name.strip().lower().partition("(")
    found = "" if kind in _SQL else _OTHER_NAMES.get(kind.strip(), "")
    return f"decimal({rest}" if opened and found.startswith("decimal") else found


def sql_type(declared: str) -> str:
    """Return the SQL type of a declared column type; `decimal(p,s)` keeps its precision and scale."""
    return _SQL.get(declared) or declared.upper()


def stored_type(declared: str) -> str:
    """Return the SQL type of a declared column type as a stored table reports it."""
    return "TIMESTAMP WITH TIME ZONE" if declared == "timestamptz" else sql_type(declared)
