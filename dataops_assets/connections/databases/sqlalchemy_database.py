"""Any database that SQLAlchemy has a dialect for, as a source: one reader, and traits for what differs.

The dialect of SQLAlchemy writes names, functions and placeholders. What the platform adds is in `Traits`: a consistent
moment, and values as exact text. Dialects and drivers are imported only when a database is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.pool import NullPool

from dataops_assets.config.databases import SqlAlchemyDatabase, parts_of, tokens_of
from dataops_assets.connections.databases.reading import Begin, Snapshot, Statement, Take, require_file, table_of
from dataops_assets.connections.databases.sqlalchemy_columns import (
    Asked,
    Column,
    Traits,
    converted,
    fields_of,
    of_driver,
    selected,
)
from dataops_assets.connections.databases.sqlalchemy_traits import traits_of
from dataops_assets.errors import ConfigError, DataOpsError, InputError, StorageError

_ROWS = 5_000
_EXTRAS = {"pymssql": "mssql", "oracledb": "oracle"}
# what a driver says of a statement, whatever the database is
_OF_STATEMENT = exc.ProgrammingError | exc.DataError | exc.IntegrityError | exc.NotSupportedError


class SqlAlchemy:
    """A database, read with a dialect of SQLAlchemy and its driver."""

    def __init__(self, declared: SqlAlchemyDatabase, password: str | None) -> None:
        """Opens nothing yet."""
        where = f" at {declared.host}" + (f":{declared.port}" if declared.port else "") if declared.host else ""
        name = declared.database or declared.options.get("service_name", "")
        self.place = " ".join(part for part in (declared.dialect, name) if part) + where
        self._declared = declared
        self._password = password
        self._traits = traits_of(declared.dialect.partition("+")[0])
        self.dialect = self._traits.dialect

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Open a transaction that sees one moment, as far as the database has one. Raises StorageError, ConfigError."""
        attempted = f"connecting to {self.place}"
        if not self._declared.host and self._declared.dialect.startswith("sqlite"):
            require_file(Path(self._declared.database), attempted)
        engine = self._engine(attempted)
        with told(attempted, self._traits):
            try:
                connection = engine.connect()
            except (TypeError, ValueError) as error:
                # an argument that the driver does not have, or not with this value
                raise self._wrong_options(attempted, error) from None
        try:
            with told(f"beginning a snapshot of {self.place}", self._traits):
                self._begin(connection)
            yield SqlAlchemySnapshot(connection, self.place, self._traits, is_sorted=self._declared.is_sorted)
        finally:
            connection.close()

    def _engine(self, attempted: str) -> sa.Engine:
        declared = self._declared
        url = sa.URL.create(
            declared.dialect,
            username=declared.user or None,
            password=self._password,
            host=declared.host or None,
            port=declared.port,
            database=declared.database or None,
            query=declared.options,
        )
        further = {name: value for name, value in self._traits.connect.items() if name not in declared.options}
        level = declared.isolation or self._traits.isolation
        # of the engine: for a connection alone, SQLAlchemy would have to find out the level to go back to
        isolation = {"isolation_level": level} if level else {}
        try:
            return sa.create_engine(url, poolclass=NullPool, connect_args=further, **isolation)
        except exc.NoSuchModuleError as error:
            raise ConfigError(
                attempted,
                received=str(error),
                next_step="correct the dialect, or install the package that brings it",
            ) from None
        except ModuleNotFoundError as error:
            extra = _EXTRAS.get(error.name or "")
            raise ConfigError(
                attempted,
                received=f"no package {error.name}",
                next_step=f"install the extra {extra!r} of this project" if extra else "install this package",
            ) from error
        except exc.ArgumentError as error:
            raise self._wrong_options(attempted, error) from None

    def _wrong_options(self, attempted: str, error: Exception) -> ConfigError:
        return ConfigError(attempted, received=str(error), next_step="correct dialect and options of the connection")

    def _begin(self, connection: sa.Connection) -> None:
        """Begin the transaction. A declared level takes the place of what the traits begin it with."""
        for statement in self._traits.session:
            connection.exec_driver_sql(statement)
        # what is set ends no transaction, and the moment is that of a new one
        connection.commit()
        for statement in () if self._declared.isolation else self._traits.begin:
            connection.exec_driver_sql(statement)


class SqlAlchemySnapshot:
    """Reads in a transaction of a connection."""

    transactions = None

    def __init__(self, connection: sa.Connection, place: str, traits: Traits, *, is_sorted: bool) -> None:
        """Take an open connection. Rows are sorted by all columns, or come as they come."""
        self._connection = connection
        self._place = place
        self._traits = traits
        self._is_sorted = is_sorted

    def read(self, statement: Statement, table: str, begin: Begin) -> None:
        """See `Snapshot`."""
        attempted = f"reading {table or 'the query'} in {self._place}"
        with told(attempted, self._traits, self._known):
            text, values = written(statement, self._traits)
            if not table and not self._traits.describes_queries:
                with self._stream(sa.text(text).bindparams(**values)) as result:
                    columns = of_driver(result, self._connection.dialect.dbapi, self._traits.cursors)
                    _hand_over(result, columns, begin(fields_of(columns)), attempted)
                return
            rows = sa.text(f"({text}\n) s_r").bindparams(**values)
            columns = self._traits.columns(self._connection, Asked(statement, table, rows, attempted))
            # told of two columns of one name before the server is
            take = begin(fields_of(columns))
            with self._stream(selected(rows, columns, is_sorted=self._is_sorted)) as result:
                _hand_over(result, columns, take, attempted)

    def _stream(self, statement: sa.Executable) -> sa.CursorResult[Any]:
        return self._connection.execute(statement, execution_options={"yield_per": _ROWS})

    def tables(self) -> list[str]:
        """See `Snapshot`."""
        with told(f"listing the tables of {self._place}", self._traits):
            return self._traits.tables(self._connection)

    def server(self) -> str:
        """See `Snapshot`."""
        dialect = self._connection.dialect
        version = ".".join(str(part) for part in dialect.server_version_info or ())
        return f"{dialect.name} {version}".strip()

    def _known(self) -> list[str]:
        # some servers answer nothing more in a transaction with an error
        self._connection.rollback()
        return self.tables()


def _hand_over(result: sa.CursorResult[Any], columns: Sequence[Column], take: Take, attempted: str) -> None:
    fields = fields_of(columns)
    for portion in result.partitions(_ROWS):
        take(table_of(converted(portion, fields, attempted), fields, attempted))


def written(statement: Statement, traits: Traits) -> tuple[str, dict[str, Any]]:
    """Return a statement with names in place of its tokens, as SQLAlchemy reads it, and the values of the names."""
    values: dict[str, Any] = {}
    parts = [_escaped(part) for part in parts_of(statement.text)]
    text = parts[0]
    for place, (token, part) in enumerate(zip(tokens_of(statement.text), parts[1:], strict=True)):
        form, value = traits.given(statement.values[token])
        name = f"s_{place}"
        values[name] = value
        text += _escaped(form).replace("{}", f":{name}") + part
    return text, values


def _escaped(part: str) -> str:
    # a colon would be taken for the beginning of a name
    return part.replace(":", "\\:")


@contextmanager
def told(attempted: str, traits: Traits, known: Callable[[], list[str]] | None = None) -> Iterator[None]:
    """Turn errors of SQLAlchemy into ConfigError, if the declaration is wrong, and into StorageError otherwise."""
    try:
        yield
    except exc.DBAPIError as error:
        raise _of_driver(error, attempted, traits, known) from None
    except exc.NoSuchTableError as error:
        raise ConfigError(
            attempted,
            received=f"no table {error}",
            known=known() if known is not None else (),
            next_step="correct the name; write it as in the database",
        ) from None
    except exc.SQLAlchemyError as error:
        raise ConfigError(
            attempted, received=str(error), next_step="correct dialect, options and isolation of the connection"
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(
            attempted, received=str(error), next_step="let a query convert the column, or leave it out"
        ) from error


def _of_driver(
    error: exc.DBAPIError, attempted: str, traits: Traits, known: Callable[[], list[str]] | None
) -> DataOpsError:
    code, text = _told_by(error.orig)
    if not isinstance(error, _OF_STATEMENT) and code not in traits.wrong:
        return StorageError(
            attempted,
            received=text,
            next_step=traits.advice.get(code, "check that the server runs, and the connection's host and port"),
        )
    return ConfigError(
        attempted,
        received=text,
        known=known() if code == traits.no_table and known is not None else (),
        next_step=traits.advice.get(code, "correct the declaration, or give the user the right to it"),
    )


def _told_by(error: BaseException | None) -> tuple[int | str, str]:
    """Return the number of an error, as far as its driver tells one, and its text."""
    if error is None:
        return 0, ""
    parts = list(error.args)
    while len(parts) == 1 and isinstance(parts[0], tuple):
        parts = list(parts[0])
    first = parts[0] if parts else ""
    # SQLite and PostgreSQL tell it beside the text, Oracle in an object, others before the text
    told = getattr(error, "sqlite_errorcode", None) or getattr(error, "pgcode", None) or getattr(first, "code", first)
    texts = [item.decode(errors="replace") if isinstance(item, bytes) else str(item) for item in parts]
    return (told if isinstance(told, int | str) else 0), " ".join(" ".join(texts).split())
