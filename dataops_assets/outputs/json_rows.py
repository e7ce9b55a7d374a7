"""Converts rows to JSON for files and topics. Decimals that a double cannot hold become texts."""

from __future__ import annotations

from collections.abc import Mapping

from sqlglot import exp

from dataops_assets.engines.duckdb import DuckDBSession
from dataops_assets.errors import InputError
from dataops_assets.outputs.long_decimals import is_long
from dataops_assets.sql import alias, column, query


def as_json(types: Mapping[str, str]) -> list[exp.Expr]:
    """Return the values of rows `t` under their names, as a writer of JSON takes them."""
    return [alias(_value(name, kind, "t"), name) for name, kind in types.items()]


def json_row(types: Mapping[str, str], table: str) -> exp.Expr:
    """Return the JSON object of these columns of a row; bytes are in base64."""
    members = [
        exp.PropertyEQ(
            this=exp.to_identifier(name, quoted=True),
            expression=exp.func("to_base64", column(name, table)) if kind == "BLOB" else _value(name, kind, table),
        )
        for name, kind in types.items()
    ]
    return exp.func("to_json", exp.Struct(expressions=members))


def refuse_not_finite(session: DuckDBSession, rows: exp.Query, types: Mapping[str, str]) -> None:
    """Raise InputError for a column with numbers that JSON does not have."""
    for name in (name for name, kind in types.items() if kind == "DOUBLE"):
        asked = query("SELECT count_if(NOT isfinite($value)) AS n FROM $rows AS t", value=column(name, "t"), rows=rows)
        if count := session.fetch(asked).column("n")[0].as_py():
            raise InputError(
                f"writing column {name!r} as JSON",
                received=f"{count:,} values that are infinite or not a number",
                next_step="give the column the type text, or an expression; nothing was delivered",
            )


def _value(name: str, kind: str, table: str) -> exp.Expr:
    return exp.cast(column(name, table), "VARCHAR") if is_long(kind) else column(name, table)
