"""How SQLAlchemy's reader treats SQL Server: the types that the server prints, and the isolation level SNAPSHOT.

Not tried with a server: tests read the statements with another parser, and run the reader with other databases.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.elements import ColumnElement

from dataops_assets.connections.databases.reading import Bound
from dataops_assets.connections.databases.sqlalchemy_columns import (
    Asked,
    Column,
    Printed,
    Traits,
    Types,
    column_of,
    moment_of,
)
from dataops_assets.errors import ConfigError

_ODBC_CANONICAL = 121
_NO_TABLE = 208
_IN_PARENTHESES = (
    "correct the query: it is read in parentheses, so it has no WITH at its beginning and no ORDER BY at its end"
)
_ADVICE: Mapping[int | str, str] = {
    3952: "let an administrator run ALTER DATABASE ... SET ALLOW_SNAPSHOT_ISOLATION ON, or declare an isolation",
    # syntax at a keyword, at WITH, ORDER BY where it is not allowed
    **dict.fromkeys((156, 319, 1033), _IN_PARENTHESES),
}


def columns(connection: sa.Connection, asked: Asked) -> list[Column]:
    """Return the columns that the server describes, without running the statement."""
    # a described statement has no values; where a token is, a null can be
    text, _ = asked.statement.bound("NULL")
    found = connection.execute(described(text)).all()
    for *_, number, problem in found:
        if number:
            raise ConfigError(
                asked.attempted,
                received=problem or "",
                known=_tables(connection) if number == _NO_TABLE else (),
                next_step=_ADVICE.get(number, "correct the declaration, or give the user the right to it"),
            )
    return [column_of(asked, name or "", kind or "a type of its own", TYPES) for name, kind, *_ in found]


def described(text: str) -> sa.Select[Any]:
    """Return the statement that asks for the columns of another statement."""
    names = ("name", "system_type_name", "error_number", "error_message")
    found = sa.func.sys.dm_exec_describe_first_result_set(
        sa.bindparam("s_text", text, sa.Unicode), sa.null(), sa.literal_column("0")
    )
    return (
        sa.select(*map(sa.column, names))
        .select_from(found.table_valued(*names, "column_ordinal").alias("s_d"))
        .order_by(sa.column("column_ordinal"))
    )


def given(value: Bound) -> tuple[str, Any]:
    """Return a value as it is bound: a time has all its digits, and its offset. A day alone stays a text."""
    if not (isinstance(value, str) and len(value) == len("2024-01-01")):
        value = moment_of(value)
    if isinstance(value, dt.datetime):
        kind = "datetime2(7)" if value.tzinfo is None else "datetimeoffset(7)"
        return f"CAST({{}} AS {kind})", value.isoformat(sep=" ")
    return "{}", value


def _tables(connection: sa.Connection) -> list[str]:
    found = sa.table("tables", sa.column("table_schema"), sa.column("table_name"), schema="information_schema")
    rows = connection.execute(sa.select(found.c.table_schema, found.c.table_name))
    return sorted(f"{schema}.{name}" for schema, name in rows)


def _converted(kind: str, *style: int) -> Printed:
    def printed(value: ColumnElement[Any]) -> ColumnElement[Any]:
        return sa.func.CONVERT(sa.literal_column(kind), value, *[sa.literal_column(str(item)) for item in style])

    return printed


def _in_utc(value: ColumnElement[Any]) -> ColumnElement[Any]:
    moved = sa.func.SWITCHOFFSET(value, sa.literal_column("'+00:00'"))
    clock = _converted("datetime2(7)")(moved)
    return _converted("varchar(30)", _ODBC_CANONICAL)(clock).op("+")(sa.literal_column("'+00:00'"))


TYPES: Types = {
    **dict.fromkeys(("tinyint", "smallint", "int", "bigint"), ("integer", "number", None)),
    "bit": ("boolean", "", None),
    # a real has its value in a double, too
    **dict.fromkeys(("float", "real"), ("double", "", _converted("float(53)"))),
    **dict.fromkeys(("decimal", "numeric"), ("text", "number", _converted("varchar(50)"))),
    # the style with all four digits
    **dict.fromkeys(("money", "smallmoney"), ("text", "number", _converted("varchar(50)", 2))),
    "date": ("text", "date", _converted("varchar(10)", 23)),
    **dict.fromkeys(
        ("datetime", "smalldatetime", "datetime2"), ("text", "time", _converted("varchar(30)", _ODBC_CANONICAL))
    ),
    "datetimeoffset": ("text", "time", _in_utc),
    "time": ("text", "", _converted("varchar(16)", _ODBC_CANONICAL)),
    **dict.fromkeys(("char", "varchar", "nchar", "nvarchar"), ("text", "", None)),
    # these cannot be sorted by, what they are converted to can
    **dict.fromkeys(("text", "ntext", "xml"), ("text", "", _converted("nvarchar(max)"))),
    "uniqueidentifier": ("text", "", _converted("varchar(36)")),
    **dict.fromkeys(("binary", "varbinary"), ("binary", "", None)),
    "image": ("binary", "", _converted("varbinary(max)")),
    # a rowversion
    "timestamp": ("binary", "", _converted("varbinary(8)")),
}
"""The types, by their names without what is in parentheses."""

SQL_SERVER = Traits(
    dialect="tsql",
    describes_queries=True,
    columns=columns,
    tables=_tables,
    given=given,
    isolation="SNAPSHOT",
    # syntax, columns, tables, rights, conversions, databases, users, the isolation level
    wrong=frozenset({102, 156, 207, 208, 209, 229, 230, 241, 245, 319, 1033, 3952, 4060, 8114, 18452, 18456}),
    no_table=_NO_TABLE,
    advice=_ADVICE,
    connect={"login_timeout": 15},
)
