"""The types of new columns in each kind of database, for the SQL types of DuckDB."""

from __future__ import annotations

from collections.abc import Mapping

from sqlglot import exp

from dataops_assets.errors import ConfigError

INSTANT = "TIMESTAMP WITH TIME ZONE"
_DECIMAL = "DECIMAL"


def native_type(dialect: str, names: Mapping[str, str], kind: str) -> exp.DataType:
    """Return the type that a new column has. `names` are the types of the dialect; a decimal keeps its digits.

    Raises ConfigError for a type that no column can have.
    """
    if kind.startswith(f"{_DECIMAL}("):
        wanted = names.get(_DECIMAL, kind)
    elif kind in names:
        wanted = names[kind]
    else:
        raise ConfigError(
            f"making a column of {dialect}",
            received=f"type {kind}",
            known=sorted(names),
            next_step="give the column of the output a type, such as text",
        )
    return exp.DataType.build(wanted, dialect=dialect)
