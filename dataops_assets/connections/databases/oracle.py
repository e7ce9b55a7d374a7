"""How SQLAlchemy's reader treats Oracle: the types that the server prints, and the read-only transaction of a look.

Not tried with a server: tests read the statements with another parser, and run the reader with other databases.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
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
    description_of,
    moment_of,
    none_of,
)

# the most digits that a whole number of 64 bits has for certain
_DIGITS = 18
# the sign is a blank or a minus: years before 1 have one
_CLOCK = "SYYYY-MM-DD HH24:MI:SS"
# the offset is a part of the format: added to a null, it would be a text
_IN_UTC = f'{_CLOCK}.FF9"+00:00"'
_BOUND_CLOCK = "YYYY-MM-DD HH24:MI:SS.FF6"


def columns(connection: sa.Connection, asked: Asked) -> list[Column]:
    """Return the columns that the server describes for the statement, of which it gives no row."""
    with connection.execute(none_of(asked.rows)) as result:
        return [_described(asked, item[0], item[1].name, item[4], item[5]) for item in description_of(result)]


def _described(asked: Asked, name: str, declared: str, precision: int | None, scale: int | None) -> Column:
    if declared == "DB_TYPE_NUMBER" and scale == 0 and 0 < (precision or 0) <= _DIGITS:
        return Column(name, "integer", "number")
    return replace(column_of(asked, name, declared, TYPES), is_large=declared in LARGE)


def given(value: Bound) -> tuple[str, Any]:
    """Return a value as it is bound: a time is in UTC, as the session is."""
    value = moment_of(value)
    if isinstance(value, dt.datetime):
        clock = (value if value.tzinfo is None else value.astimezone(dt.UTC)).replace(tzinfo=None)
        return f"TO_TIMESTAMP({{}}, '{_BOUND_CLOCK}')", clock.isoformat(sep=" ", timespec="microseconds")
    return "{}", value


def _tables(connection: sa.Connection) -> list[str]:
    users = sa.table("all_users", sa.column("username"), sa.column("oracle_maintained"))
    of_oracle = sa.select(users.c.username).where(users.c.oracle_maintained == sa.literal_column("'Y'"))
    found = []
    for view, column in (("all_tables", "table_name"), ("all_views", "view_name")):
        listed = sa.table(view, sa.column("owner"), sa.column(column))
        rows = connection.execute(sa.select(listed.c.owner, listed.c[column]).where(listed.c.owner.not_in(of_oracle)))
        found += [f"{owner}.{name}" for owner, name in rows]
    return sorted(found)


def _number(value: ColumnElement[Any]) -> ColumnElement[Any]:
    return sa.func.TO_CHAR(value, sa.literal_column("'TM9'"), sa.literal_column("'NLS_NUMERIC_CHARACTERS=''.,'''"))


def _clock(form: str) -> Printed:
    return lambda value: sa.func.LTRIM(sa.func.TO_CHAR(value, sa.literal_column(f"'{form}'")))


def _json(value: ColumnElement[Any]) -> ColumnElement[Any]:
    return sa.func.JSON_SERIALIZE(value.op("RETURNING")(sa.literal_column("CLOB")))


LARGE = ("DB_TYPE_CLOB", "DB_TYPE_NCLOB", "DB_TYPE_BLOB", "DB_TYPE_JSON")
TYPES: Types = {
    "DB_TYPE_NUMBER": ("text", "number", _number),
    **dict.fromkeys(("DB_TYPE_BINARY_DOUBLE", "DB_TYPE_BINARY_FLOAT"), ("double", "", None)),
    "DB_TYPE_BOOLEAN": ("boolean", "", None),
    **dict.fromkeys(
        ("DB_TYPE_VARCHAR", "DB_TYPE_NVARCHAR", "DB_TYPE_CHAR", "DB_TYPE_NCHAR", "DB_TYPE_CLOB", "DB_TYPE_NCLOB"),
        ("text", "", None),
    ),
    **dict.fromkeys(("DB_TYPE_RAW", "DB_TYPE_BLOB"), ("binary", "", None)),
    # it has a time of day, too
    "DB_TYPE_DATE": ("text", "time", _clock(_CLOCK)),
    "DB_TYPE_TIMESTAMP": ("text", "time", _clock(f"{_CLOCK}.FF9")),
    "DB_TYPE_TIMESTAMP_TZ": ("text", "time", lambda value: _clock(_IN_UTC)(sa.func.SYS_EXTRACT_UTC(value))),
    # printed in the zone of the session
    "DB_TYPE_TIMESTAMP_LTZ": ("text", "time", _clock(_IN_UTC)),
    **dict.fromkeys(("DB_TYPE_INTERVAL_DS", "DB_TYPE_INTERVAL_YM"), ("text", "", sa.func.TO_CHAR)),
    "DB_TYPE_ROWID": ("text", "", sa.func.ROWIDTOCHAR),
    "DB_TYPE_JSON": ("text", "", _json),
}
"""The types of the driver."""

ORACLE = Traits(
    dialect="oracle",
    describes_queries=True,
    columns=columns,
    tables=_tables,
    given=given,
    session=("ALTER SESSION SET TIME_ZONE = '+00:00'",),
    # all statements of the transaction see the moment of its beginning
    begin=("SET TRANSACTION READ ONLY",),
    # syntax, columns, tables, rights, conversions, users
    wrong=frozenset({900, 904, 907, 911, 918, 923, 932, 933, 936, 942, 1017, 1031, 1722, 1843, 1861, 28000, 28001}),
    no_table=942,
    advice={942: "write schema and name as in the database, where they mostly have capitals; or give the right to it"},
)
