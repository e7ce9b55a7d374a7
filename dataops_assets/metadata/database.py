"""The database of the metadata: connections, transactions, schema version, and clear errors.

Connections are not pooled: the number of connections of PostgreSQL is limited while there are many run processes, and
without a pool forks, threads and server restarts do no harm. Whatever has many transactions in a row, as a step or a
sensor, keeps one connection open for that time.
"""

from __future__ import annotations

import os
import sqlite3
import threading
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
from dataops_assets.metadata import tables

HEAD = "0024"
"""The schema version that this code needs: the newest migration."""

# Not Alembic's own name: Dagster's storage may live in the same database and has an `alembic_version`
VERSION_TABLE = "dataops_schema_version"
_VERSIONS = sa.Table(
    VERSION_TABLE, sa.MetaData(), sa.Column("version_num", sa.String(32), primary_key=True, nullable=False)
)
_MIGRATION_LOCK = 0x44_61_74_61_4F_70_73
_BUSY_SECONDS = 30.0
_UNDEFINED_TABLE = "42P01"
_ATTEMPTED = "reading DATAOPS_METADATA_URL"
_EXAMPLES = ("sqlite:////path/metadata.db", "postgresql://user:password@host:5432/database")


class Database:
    """A database at one URL, with its kinds of transaction. The constructor does no I/O.

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
        self._kept = threading.local()

    @property
    def where(self) -> str:
        """Return a description of the database without user and password."""
        if self.dialect == "sqlite":
            return f"SQLite database {self._url.database}"
        return (
            f"PostgreSQL database {self._url.database!r} at {self._url.host or 'local socket'}:{self._url.port or 5432}"
        )

    def state_of_file(self) -> tuple[int, ...] | None:
        """Return numbers that change with each write, read without a connection; None if the database is no file.

        A write changes the log beside the file, and the file when the log is copied into it.
        """
        if self.dialect != "sqlite":
            return None
        found: list[int] = []
        for name in (str(self._url.database), f"{self._url.database}-wal"):
            try:
                status = os.stat(name)
            except OSError:
                # the log is there only while a connection is open
                continue
            # an empty log says only that somebody reads
            found += [status.st_ino, status.st_mtime_ns, status.st_size] if status.st_size else []
        return tuple(found)

    def copy_to(self, target: Path) -> None:
        """Copy an SQLite database to another file, as it is at one moment.

        Raises ConfigError for another database, StorageError if it cannot be read or written.
        """
        attempted = f"copying the metadata to {target}"
        if self.dialect != "sqlite":
            raise ConfigError(
                attempted,
                received=f"the {self.where}",
                next_step="copy the database with its own tools, and set DATAOPS_METADATA_URL to the copy",
            )
        with self._clear_errors(attempted):
            origin, copy = sqlite3.connect(str(self._url.database)), sqlite3.connect(target)
            try:
                origin.backup(copy)
            finally:
                origin.close()
                copy.close()

    @property
    def _secrets(self) -> list[str]:
        in_query = [str(value) for name, value in self._url.query.items() if "password" in name]
        return [secret for secret in (str(self._url.password or ""), *in_query) if secret]

    @contextmanager
    def read(self, attempted: str) -> Iterator[sa.Connection]:
        """Open a transaction for reading. Raises StorageError with the text `attempted`."""
        with self._clear_errors(attempted):
            kept = self._free_connection()
            if kept is None:
                with self._engine.connect() as connection:
                    yield connection
            else:
                # a transaction of its own, so that it reads what was written since the last one
                with kept.begin():
                    yield kept

    @contextmanager
    def kept_open(self, attempted: str) -> Iterator[None]:
        """Keep one connection open for all transactions of this thread in the block.

        To open a connection takes longer than most transactions, and SQLite copies its log into the database when the
        last connection closes. Raises StorageError with `attempted`.
        """
        if getattr(self._kept, "connection", None) is not None:
            yield
            return
        with self._clear_errors(attempted):
            connection = self._engine.connect()
        self._kept.connection = connection
        try:
            yield
        finally:
            self._kept.connection = None
            with self._clear_errors(attempted):
                connection.close()

    def _free_connection(self) -> sa.Connection | None:
        """Return the connection that is kept open, if there is one and no transaction of it is open."""
        kept: sa.Connection | None = getattr(self._kept, "connection", None)
        if kept is None or kept.in_transaction():
            return None
        if self.dialect != "sqlite":
            # a step can take hours, and the server may have been restarted meanwhile
            try:
                with kept.begin():
                    kept.exec_driver_sql("SELECT 1")
            except exc.DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                # SQLAlchemy connects again at the next transaction
        return kept

    @contextmanager
    def write_alone(self, attempted: str, lock: int) -> Iterator[sa.Connection]:
        """Open a transaction for writing as `write` does. No other one with this lock is open at the same time."""
        with self.write(attempted) as connection:
            # SQLite has one writer
            if self.dialect == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(lock)))
            yield connection

    @contextmanager
    def write(self, attempted: str) -> Iterator[sa.Connection]:
        """Open a transaction for writing and commit it at the end. Raises StorageError with the text `attempted`."""
        with self._clear_errors(attempted):
            kept = self._free_connection()
            if kept is None:
                with self._engine.execution_options(dataops_writes=True).begin() as connection:
                    yield connection
            else:
                kept.execution_options(dataops_writes=True)
                try:
                    with kept.begin():
                        yield kept
                finally:
                    kept.execution_options(dataops_writes=False)

    def migrate(self) -> None:
        """Create the tables, or upgrade their schema to `HEAD`; one query if it is there already.

        Several processes may do so at once. New tables are made as the code declares them, because the migrations take
        longer; tests compare the two.
        Raises ConfigError if the schema is newer than this code.
        """
        attempted = "upgrading the metadata tables"
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
            version = self._version(connection)
            if version is None:
                _create_tables(connection)
            elif version != HEAD:
                # imported late: Alembic takes longer to import than most metadata work, and is rarely needed
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
        return connection.execute(sa.select(_VERSIONS.c.version_num)).scalar_one_or_none()

    def _use_wal(self) -> None:
        # WAL lets processes read while one writes. It is a permanent property of the file. The switch needs exclusive
        # access to the file, and the busy timeout of SQLite does not wait for that
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
            # PostgreSQL gives a code; its text is in the language of the server
            missing = getattr(cause, "pgcode", "") == _UNDEFINED_TABLE or "no such table" in text
            next_step = "check DATAOPS_METADATA_URL and the database"
            # raised without the cause, because its text may contain the password
            raise StorageError(
                f"{attempted} in the {self.where}",
                received=text,
                next_step="migrate the metadata structure first" if missing else next_step,
            ) from None


def _parsed(url: str) -> sa.URL:
    # some hosting providers use this short name
    spelled = url.replace("postgres://", "postgresql://", 1) if url.startswith("postgres://") else url
    try:
        parsed = make_url(spelled)
    except (exc.ArgumentError, ValueError):
        # the text is not shown, because it may contain a password
        raise ConfigError(_ATTEMPTED, received="text that is no database URL", known=_EXAMPLES) from None
    backend = parsed.get_backend_name()
    if backend not in ("sqlite", "postgresql"):
        raise ConfigError(_ATTEMPTED, received=f"a URL for {backend!r}", known=_EXAMPLES)
    if backend == "sqlite" and parsed.database in (None, "", ":memory:"):
        received = "an SQLite database in memory, which other processes cannot see"
        raise ConfigError(_ATTEMPTED, received=received, known=_EXAMPLES)
    if backend == "postgresql" and url.count("@") > 1:
        # the rest of the password would become part of the host, and would be shown
        raise ConfigError(_ATTEMPTED, received="a password with an unescaped '@'", next_step="write it as %40")
    return parsed


def _configure_sqlite(connection: Any, _record: Any) -> None:
    # the transaction handling of the driver begins too late for BEGIN IMMEDIATE and DDL; the documentation of
    # SQLAlchemy recommends this setting
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys=ON")
    # with WAL a power cut can lose the last commits but never corrupts the file; lost steps run again, as they are
    # idempotent
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _create_tables(connection: sa.Connection) -> None:
    tables.metadata.create_all(connection, checkfirst=False)
    _VERSIONS.create(connection, checkfirst=False)
    connection.execute(_VERSIONS.insert().values(version_num=HEAD))


def _begin_sqlite(connection: sa.Connection) -> None:
    # a transaction that reads and then writes fails if another one wrote in between, so writers take the lock at begin
    writes = connection.get_execution_options().get("dataops_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
