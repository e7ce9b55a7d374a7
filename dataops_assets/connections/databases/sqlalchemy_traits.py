"""The traits of each kind of database that SQLAlchemy reads, by the name of its dialect there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.types import NullType, TypeEngine
from sqlglot.dialects.dialect import Dialects

from dataops_assets.connections.databases.oracle import ORACLE
from dataops_assets.connections.databases.postgres import SETTINGS
from dataops_assets.connections.databases.reading import CursorKind, Kind
from dataops_assets.connections.databases.sql_server import SQL_SERVER
from dataops_assets.connections.databases.sqlalchemy_columns import (
    Asked,
    Column,
    Traits,
    named,
    none_of,
    of_driver,
    unprintable,
)
from dataops_assets.connections.databases.sqlite import bindable

_Typed = Callable[[Asked, str, TypeEngine[Any]], Column]


def traits_of(dialect: str) -> Traits:
    """Return the traits for a dialect of SQLAlchemy. One without traits of its own has the traits of standard SQL."""
    if dialect in _TRAITS:
        return _TRAITS[dialect]
    return replace(_STANDARD, dialect=dialect if dialect in {item.value for item in Dialects} else "")


def _columns(typed: _Typed) -> Callable[[sa.Connection, Asked], list[Column]]:
    """Return what finds the columns of a table, by the types that SQLAlchemy finds."""

    def columns(connection: sa.Connection, asked: Asked) -> list[Column]:
        schema, _, name = asked.table.rpartition(".")
        found = sa.inspect(connection).get_columns(name, schema or None)
        return [typed(asked, item["name"], item["type"]) for item in found]

    return columns


def _postgres_columns(connection: sa.Connection, asked: Asked) -> list[Column]:
    """Return the columns of a table or of a query. Every type has a text, so a query can be read as texts."""
    if asked.table:
        return _columns(_of_postgres)(connection, asked)
    with connection.execute(none_of(asked.rows)) as result:
        found = of_driver(result, connection.dialect.dbapi, {})
    return [replace(item, printed=_shown(item.name)) for item in found]


def _of_postgres(asked: Asked, name: str, declared: TypeEngine[Any]) -> Column:
    found = _printed(name, declared) if isinstance(declared, NullType) else _standard(asked, name, declared)
    # texts and bytes can be sorted by, whatever their size
    return replace(found, is_large=False, printed=None if found.printed is None else _shown(name))


def _shown(name: str) -> ColumnElement[Any]:
    # a cast is not always what the server prints: it adds a mask to an address
    shown = sa.func.format(sa.literal_column("'%s'"), named(name))
    return sa.case((named(name).is_not(None), shown))


def _standard(asked: Asked, name: str, declared: TypeEngine[Any]) -> Column:
    """Return a column whose value the server prints where a driver can lose a part of it."""
    plain: list[tuple[type[TypeEngine[Any]], Column]] = [
        (sa.Boolean, Column(name, "boolean")),
        (sa.Integer, Column(name, "integer", "number")),
        (sa.Float, Column(name, "double")),
        (sa.LargeBinary, Column(name, "binary", is_large=True)),
        (sa.BINARY, Column(name, "binary")),
        (sa.VARBINARY, Column(name, "binary")),
        (sa.Text, Column(name, is_large=True)),
        (sa.String, Column(name)),
    ]
    for kind, column in plain:
        if isinstance(declared, kind):
            return column
    if isinstance(declared, NullType):
        raise unprintable(asked, name, "that SQLAlchemy does not know")
    return _printed(name, declared)


def _printed(name: str, declared: TypeEngine[Any]) -> Column:
    """Return a column that the server prints."""
    cursors: list[tuple[type[TypeEngine[Any]], CursorKind]] = [
        (sa.Numeric, "number"),
        (sa.DateTime, "time"),
        (sa.Date, "date"),
    ]
    cursor: CursorKind = next((cursor for kind, cursor in cursors if isinstance(declared, kind)), "")
    return Column(name, "text", cursor, sa.cast(named(name), sa.Text))


def _of_mysql(asked: Asked, name: str, declared: TypeEngine[Any]) -> Column:
    if isinstance(declared, mysql.TINYBLOB | mysql.MEDIUMBLOB | mysql.LONGBLOB):
        return Column(name, "binary")
    if isinstance(declared, mysql.BIT):
        return Column(name, "text", "", sa.cast(named(name).op("+")(sa.literal_column("0")), sa.Text))
    if getattr(declared, "unsigned", False) and isinstance(declared, sa.BigInteger):
        return replace(_printed(name, declared), cursor="number")
    # texts and bytes can be sorted by, whatever their size
    return replace(_standard(asked, name, declared), is_large=False)


def _of_sqlite(_asked: Asked, name: str, declared: TypeEngine[Any]) -> Column:
    # a column of SQLite holds values of any type, so they are printed here
    kind: Kind = "binary" if isinstance(declared, sa.LargeBinary) else "text"
    return Column(name, kind, "number" if isinstance(declared, sa.Integer | sa.Numeric) else "iso text")


def _tables(connection: sa.Connection) -> list[str]:
    found = sa.inspect(connection)
    return sorted([*found.get_table_names(), *found.get_view_names()])


_STANDARD = Traits(dialect="", columns=_columns(_standard), tables=_tables)
_MYSQL = Traits(
    dialect="mysql",
    columns=_columns(_of_mysql),
    tables=_tables,
    isolation="REPEATABLE READ",
    # the server may wait long for a reader that writes files meanwhile
    session=("SET SESSION time_zone = '+00:00', net_write_timeout = 3600",),
    begin=("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",),
    wrong=frozenset({1044, 1045, 1049, 1054, 1064, 1142, 1143, 1146}),
    no_table=1146,
    # a decimal
    cursors={246: "number"},
)
_TRAITS: Mapping[str, Traits] = {
    "mssql": SQL_SERVER,
    "oracle": ORACLE,
    "mysql": _MYSQL,
    "mariadb": _MYSQL,
    "postgresql": Traits(
        dialect="postgres",
        describes_queries=True,
        columns=_postgres_columns,
        tables=_tables,
        isolation="REPEATABLE READ",
        session=[f"SET {name} = '{value}'" for name, value in SETTINGS.items()],
        begin=("SET TRANSACTION READ ONLY",),
        no_table="42P01",
    ),
    "sqlite": Traits(
        dialect="sqlite",
        columns=_columns(_of_sqlite),
        tables=_tables,
        given=lambda value: ("{}", bindable(value)),
        # its driver begins none for a query
        begin=("BEGIN",),
        # an error of the statement
        wrong=frozenset({1}),
    ),
}
