"""One database of the metadata structure: connections, transactions, its schema version, and errors in clear words.

Connections are not kept: a step needs a few transactions a minute, a pool in each of many run processes would hold
connections that PostgreSQL counts, and what is not kept survives forks, threads and server restarts.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from dataops_assets.errors import ConfigError, StorageError

HEAD = "0006"
"""The schema version this code works with: the newest migration."""

# Not Alembic's own name: Dagster's storage may live in the same database and has an `alembic_version`
VERSION_TABLE = "dataops_schema_version"
_MIGRATION_LOCK = 0x44_61_74_61_4F_70_73
_BUSY_SECONDS = 30.0
_UNDEFINED_TABLE = "42P01"
_ATTEMPTED = "reading DATAOPS_METADATA_URL"
_EXAMPLES = ("sqlite:////path/metadata.db", "postgresql://user:password@host:5432/database")


class Database:
    """An engine for one URL, and how its transactions behave. Creating it does no I/O.

    Raises ConfigError for a URL that cannot be used; the message never shows the URL's password.
    """

    def __init__(self, url: str) -> None:
        self._url = _parsed(url)
        self.dialect = self._url.get_backend_name()
        sqlite = self.dialect == "sqlite"
        arguments = {"timeout": _BUSY_SECONDS} if sqlite else {"connect_timeout": 10}
        try:
            self._engine = sa.create_engine(self._url, poolclass=NullPool, connect_args=arguments)
        except (exc.ArgumentError, ModuleNotFoundError):
            raise ConfigError(_ATTEMPTED, received=f"driver {self._url.drivername!r}", known=_EXAMPLES) from None
        if sqlite:
            event.listen(self._engine, "connect", _configure_sqlite)
            event.listen(self._engine, "begin", _begin_sqlite)

    @property
    def where(self) -> str:
        """The database in words, without user and password."""
        if self.dialect == "sqlite":
            return f"SQLite database {self._url.database}"
        return (
            f"PostgreSQL database {self._url.database!r} at {self._url.host or 'local socket'}:{self._url.port or 5432}"
        )

    @property
    def _secrets(self) -> list[str]:
        in_query = [str(value) for name, value in self._url.query.items() if "password" in name]
        return [secret for secret in (str(self._url.password or ""), *in_query) if secret]

    @contextmanager
    def read(self, attempted: str) -> Iterator[sa.Connection]:
        """A transaction for reading. Raises StorageError, saying what was attempted."""
        with self._clear_errors(attempted), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self, attempted: str) -> Iterator[sa.Connection]:
        """A transaction for writing, committed at the end. Raises StorageError, saying what was attempted."""
        engine = self._engine.execution_options(dataops_writes=True)
        with self._clear_errors(attempted), engine.begin() as connection:
            yield connection

    def migrate(self) -> None:
        """Bring the schema to `HEAD`; one query where it is there. Several processes may do it at once.

        Raises ConfigError if the schema is newer than this code knows.
        """
        attempted = "bringing the metadata structure up to date"
        if self.dialect == "sqlite":
            self._make_folder(attempted)
        with self.read(attempted) as connection:
            if self._version(connection) == HEAD:
                return
        if self.dialect == "sqlite":
            with self._clear_errors(attempted):
                self._use_wal()
        with self.write(attempted) as connection:
            if self.dialect == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
            # Another process may have migrated while this one waited for the lock
            if self._version(connection) != HEAD:
                # Importing Alembic takes longer than most steps' metadata work, and it is rarely needed
                from dataops_assets.metadata import upgrade

                upgrade.upgrade(connection, HEAD)

    def _make_folder(self, attempted: str) -> None:
        try:
            Path(str(self._url.database)).absolute().parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{attempted} in the {self.where}", received=str(error)) from error

    def _version(self, connection: sa.Connection) -> str | None:
        if not sa.inspect(connection).has_table(VERSION_TABLE):
            return None
        table = sa.table(VERSION_TABLE, sa.column("version_num"))
        return connection.execute(sa.select(table.c.version_num)).scalar_one_or_none()

    def _use_wal(self) -> None:
        # WAL lets readers read while one writes. It is a lasting property of the file. The switch needs the file for
        # itself, and SQLite does not wait for that by its busy timeout
        deadline = time.monotonic() + _BUSY_SECONDS
        while True:
            connection = self._engine.raw_connection()
            try:
                connection.cursor().execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not busy or time.monotonic() > deadline:
                    raise
            finally:
                connection.close()
            time.sleep(0.05)

    @contextmanager
    def _clear_errors(self, attempted: str) -> Iterator[None]:
        try:
            yield
        except (exc.DBAPIError, sqlite3.Error) as error:
            cause = error.orig if isinstance(error, exc.DBAPIError) and error.orig is not None else error
            text = " ".join(str(cause).split())
            for secret in self._secrets:
                text = text.replace(secret, "***")
            # By code on PostgreSQL, which speaks the server's language
            missing = getattr(cause, "pgcode", "") == _UNDEFINED_TABLE or "no such table" in text
            next_step = "check DATAOPS_METADATA_URL and the database"
            # Without the cause: its text may hold what is left out here
            raise StorageError(
                f"{attempted} in the {self.where}",
                received=text,
                next_step="migrate the metadata structure first" if missing else next_step,
            ) from None


def _parsed(url: str) -> sa.URL:
    # The short name that hosting providers give
    spelled = url.replace("postgres://", "postgresql://", 1) if url.startswith("postgres://") else url
    try:
        parsed = make_url(spelled)
    except (exc.ArgumentError, ValueError):
        # The text is not shown: it may hold a password
        raise ConfigError(_ATTEMPTED, received="what is no database URL", known=_EXAMPLES) from None
    backend = parsed.get_backend_name()
    if backend not in ("sqlite", "postgresql"):
        raise ConfigError(_ATTEMPTED, received=f"a URL for {backend!r}", known=_EXAMPLES)
    if backend == "sqlite" and parsed.database in (None, "", ":memory:"):
        received = "an SQLite database in memory, which other processes cannot see"
        raise ConfigError(_ATTEMPTED, received=received, known=_EXAMPLES)
    if backend == "postgresql" and url.count("@") > 1:
        # The password's rest would be taken for the host, and shown
        raise ConfigError(_ATTEMPTED, received="a password with an unescaped '@'", next_step="write it as %40")
    return parsed


def _configure_sqlite(connection: Any, _record: Any) -> None:
    # The driver's own transaction handling begins too late for BEGIN IMMEDIATE and DDL; SQLAlchemy's documentation
    # gives this way
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys=ON")
    # With WAL a power cut can lose the last commits but never corrupts; steps are idempotent, so what is lost is redone
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    # A transaction that reads first and then writes fails if another wrote in between: a writer queues at its start
    writes = connection.get_execution_options().get("dataops_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
