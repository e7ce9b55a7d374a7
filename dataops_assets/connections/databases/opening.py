"""Finds a declared database, and reads the secret that its declaration refers to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from dataops_assets.config.databases import (
    AnyDatabase,
    DuckDBDatabase,
    MySqlDatabase,
    PostgresDatabase,
    Secret,
    SqliteDatabase,
)
from dataops_assets.connections.databases.reading import Database
from dataops_assets.connections.databases.writing import Writer
from dataops_assets.errors import ConfigError, nearest
from dataops_assets.masking import remember


def require_declared(name: str, databases: Mapping[str, AnyDatabase]) -> AnyDatabase:
    """Return the declaration of the database with this name. Raises ConfigError if there is none."""
    if name not in databases:
        raise ConfigError(
            f"looking for the database {name!r}",
            received="no connection of that name",
            known=sorted(databases),
            next_step=nearest(name, list(databases)) or "declare it in a ConnectionsComponent",
        )
    return databases[name]


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


def secret_of(reference: Secret | None, variables: Mapping[str, str]) -> str | None:
    """Return the secret that is referred to, and mask it from now on. Raises ConfigError if it is not there."""
    if reference is None:
        return None
    if reference.env:
        if reference.env not in variables:
            raise ConfigError(
                f"reading the secret in the environment variable {reference.env}",
                received="no such variable",
                next_step=f"set {reference.env} in the environment of the daemon and of the code location",
            )
        found = variables[reference.env]
    else:
        try:
            found = Path(reference.file).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"reading the secret in the file {reference.file}",
                received=type(error).__name__,
                next_step="correct the path, and let this user read the file",
            ) from None
    remember([found])
    return found
