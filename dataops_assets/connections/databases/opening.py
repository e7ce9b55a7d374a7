"""Finds a declared database, and reads the secret that its declaration refers to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager

from dataops_assets.config.databases import (
    AnyConnection,
    AnyDatabase,
    DuckDBDatabase,
    MySqlDatabase,
    PostgresDatabase,
    SnowflakeDatabase,
    SqlAlchemyDatabase,
    SqliteDatabase,
)
from dataops_assets.config.kafka import KafkaCluster
from dataops_assets.config.replication import ReplicationConnection
from dataops_assets.config.rest import RestApi
from dataops_assets.connections.databases.reading import Database
from dataops_assets.connections.databases.replication import TableLog
from dataops_assets.connections.databases.writing import Writer
from dataops_assets.connections.secrets import secret_of
from dataops_assets.errors import ConfigError, nearest

LoggedDatabase = PostgresDatabase | MySqlDatabase
"""The databases whose log can be read."""

_ARTICLES = {"API": "an API", "Kafka cluster": "a Kafka cluster", "database": "a database"}


def require_declared(name: str, connections: Mapping[str, AnyConnection]) -> AnyDatabase:
    """Return the declaration of the database with this name. Raises ConfigError if there is none."""
    found = connections.get(name)
    if found is None or isinstance(found, RestApi | KafkaCluster):
        raise _no_such("database", name, connections)
    return found


def require_logged(connection: ReplicationConnection, connections: Mapping[str, AnyConnection]) -> LoggedDatabase:
    """Return the declaration of the database whose log is read.

    Raises ConfigError if there is none, if its log cannot be read, or if it has no slots but one is declared.
    """
    name = connection.database
    found = require_declared(name, connections)
    if not isinstance(found, LoggedDatabase):
        known = sorted(key for key, item in connections.items() if isinstance(item, LoggedDatabase))
        raise ConfigError(
            f"looking for a database with a log, {name!r}",
            received=f"a database of type {found.type}, whose log cannot be read",
            known=known,
            next_step="read it as type database, with incremental",
        )
    if isinstance(found, MySqlDatabase) and (connection.slot or connection.publication):
        raise ConfigError(
            f"reading the log of the database {name!r}",
            received="connection.slot or connection.publication, which MariaDB does not have",
            next_step="leave them out",
        )
    return found


def require_api(name: str, connections: Mapping[str, AnyConnection]) -> RestApi:
    """Return the declaration of the API with this name. Raises ConfigError if there is none."""
    found = connections.get(name)
    if not isinstance(found, RestApi):
        raise _no_such("API", name, connections)
    return found


def require_cluster(name: str, connections: Mapping[str, AnyConnection]) -> KafkaCluster:
    """Return the declaration of the Kafka cluster with this name. Raises ConfigError if there is none."""
    found = connections.get(name)
    if not isinstance(found, KafkaCluster):
        raise _no_such("Kafka cluster", name, connections)
    return found


def _no_such(kind: str, name: str, connections: Mapping[str, AnyConnection]) -> ConfigError:
    known = sorted(key for key, item in connections.items() if _kind(item) == kind)
    of_another = _ARTICLES[_kind(connections[name])] if name in connections else "no connection of that name"
    return ConfigError(
        f"looking for the {kind} {name!r}",
        received=of_another,
        known=known,
        next_step=nearest(name, known) or "declare it in a ConnectionsComponent",
    )


def _kind(declared: AnyConnection) -> str:
    match declared:
        case RestApi():
            return "API"
        case KafkaCluster():
            return "Kafka cluster"
        case _:
            return "database"


def database_of(declared: AnyDatabase, variables: Mapping[str, str] = os.environ) -> Database:
    """Return a declared database. Its secret is read now, so that a changed one counts from the next look on.

    Raises ConfigError if the secret is not there. Drivers are imported here, where a database is used.
    """
    match declared:
        case PostgresDatabase():
            from dataops_assets.connections.databases.postgres import Postgres

            return Postgres(declared, secret_of(declared.password, variables))
        case MySqlDatabase():
            from dataops_assets.connections.databases.mysql import MySql

            return MySql(declared, secret_of(declared.password, variables))
        case SqliteDatabase():
            from dataops_assets.connections.databases.sqlite import Sqlite

            return Sqlite(declared)
        case DuckDBDatabase():
            from dataops_assets.connections.databases.duckdb_file import DuckDBFile

            return DuckDBFile(declared)
        case SnowflakeDatabase():
            from dataops_assets.connections.databases.snowflake import Snowflake

            return Snowflake(declared, *_secrets_of(declared, variables))
        case SqlAlchemyDatabase():
            from dataops_assets.connections.databases.sqlalchemy_database import SqlAlchemy

            return SqlAlchemy(declared, secret_of(declared.password, variables))


def log_of(
    connection: ReplicationConnection,
    declared: LoggedDatabase,
    reader: str,
    variables: Mapping[str, str] = os.environ,
) -> TableLog:
    """Return the log of a declared database for a table. Its secret is read now, as by `database_of`.

    `reader` is a name that no other deployment and source has.
    """
    secret = secret_of(declared.password, variables)
    if isinstance(declared, MySqlDatabase):
        from dataops_assets.connections.databases.mariadb_log import MariaDbLog
        from dataops_assets.connections.databases.mysql import MySql

        return MariaDbLog(connection, MySql(declared, secret))
    from dataops_assets.connections.databases.postgres import Postgres
    from dataops_assets.connections.databases.postgres_log import PostgresLog, slot_of

    return PostgresLog(connection, connection.slot or slot_of(reader), Postgres(declared, secret))


def written(declared: AnyDatabase, variables: Mapping[str, str] = os.environ) -> AbstractContextManager[Writer]:
    """Open a declared database to write into it. Its secret is read now. Raises ConfigError and StorageError."""
    match declared:
        case PostgresDatabase():
            from dataops_assets.connections.databases import postgres, postgres_writer

            return postgres_writer.writing(postgres.Postgres(declared, secret_of(declared.password, variables)))
        case MySqlDatabase():
            from dataops_assets.connections.databases import mysql, mysql_writer

            return mysql_writer.writing(mysql.MySql(declared, secret_of(declared.password, variables)))
        case SqliteDatabase():
            from dataops_assets.connections.databases import sqlite, sqlite_writer

            return sqlite_writer.writing(sqlite.Sqlite(declared))
        case DuckDBDatabase():
            from dataops_assets.connections.databases import duckdb_file, duckdb_writer

            return duckdb_writer.writing(duckdb_file.DuckDBFile(declared))
        case SnowflakeDatabase():
            from dataops_assets.connections.databases import snowflake, snowflake_writer

            return snowflake_writer.writing(snowflake.Snowflake(declared, *_secrets_of(declared, variables)))
        case SqlAlchemyDatabase():
            raise ConfigError(
                f"writing into a database with the dialect {declared.dialect}",
                received="a connection of type sqlalchemy, which is only read",
                known=["postgres", "mysql", "sqlite", "duckdb", "snowflake"],
                next_step="deliver to a database of one of these types, or to files",
            )


def _secrets_of(declared: SnowflakeDatabase, variables: Mapping[str, str]) -> tuple[str | None, str | None]:
    return secret_of(declared.password, variables), secret_of(declared.private_key, variables)
