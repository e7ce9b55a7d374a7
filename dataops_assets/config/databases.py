"""Declared databases: how to reach them, and which table or query is a source.

A database is declared once, in a `ConnectionsComponent`, and its sources name it. A secret is only referred to: by the
name of an environment variable, or by the path of a file.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from dataops_assets.config.declared import Declared, Duration
from dataops_assets.config.kafka import KafkaCluster
from dataops_assets.config.limits import Limits
from dataops_assets.config.rest import RestApi
from dataops_assets.config.secrets import Secret

_TOKEN = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
_QUOTED_TOKEN = re.compile(r"['\"]\s*\{\{[^{}]*\}\}\s*['\"]")
TOKENS = ("last_cursor", "last_extract")
"""The tokens of a query: the highest cursor value taken so far, and the time of the last look. Both can be null."""

TRANSACTION = "xmin"
"""The name of the cursor that is PostgreSQL's own: the transaction that wrote a row."""

_NAME = re.compile(r"^[a-z][a-z0-9_]{0,62}$")


class PostgresDatabase(Declared):
    """A PostgreSQL database."""

    type: Literal["postgres"]
    host: str = Field(description="Host name, address, or folder of a socket.")
    port: int = Field(5432, ge=1, le=65535, description="Port of the server.")
    database: str = Field(description="Name of the database.")
    user: str = Field(description="Name of the user. Its rights to read are enough.")
    password: Secret | None = Field(None, description="Reference to the password; none if the server needs none.")
    tls: Literal["prefer", "require", "verify-full", "disable"] = Field(
        "prefer", description="Encryption of the connection, with the words of libpq's sslmode."
    )


class MySqlDatabase(Declared):
    """A MariaDB or MySQL database."""

    type: Literal["mysql"]
    host: str = Field(description="Host name or address.")
    port: int = Field(3306, ge=1, le=65535, description="Port of the server.")
    database: str = Field(description="Name of the database.")
    user: str = Field(description="Name of the user. Its rights to read are enough.")
    password: Secret | None = Field(None, description="Reference to the password; none if the server needs none.")
    tls: Literal["disable", "verify-full"] = Field("disable", description="Encryption of the connection.")


class SqliteDatabase(Declared):
    """An SQLite database file."""

    type: Literal["sqlite"]
    path: str = Field(description="Path of the file.")


class DuckDBDatabase(Declared):
    """A DuckDB database file that no other process has open for writing."""

    type: Literal["duckdb"]
    path: str = Field(description="Path of the file.")


class SnowflakeDatabase(Declared):
    """A database of Snowflake. It needs the extra `snowflake`."""

    type: Literal["snowflake"]
    account: str = Field(description="Identifier of the account, such as 'myorg-myaccount'.")
    database: str = Field(description="Name of the database.")
    schema_: str = Field(
        "PUBLIC",
        alias="schema",
        description="Schema of tables that are named without one. Outputs make their temporary tables in it.",
    )
    user: str = Field(description="Name of the user.")
    password: Secret | None = Field(None, description="Reference to the password, or to an access token.")
    private_key: Secret | None = Field(
        None, description="Reference to the private key of the user, in PEM form without a passphrase."
    )
    role: str = Field("", description="Role; default: that of the user.")
    warehouse: str = Field("", description="Virtual warehouse that runs the statements; default: that of the user.")
    host: str = Field("", description="Host name, if it is not the usual one of the account.")
    port: int = Field(443, ge=1, le=65535, description="Port of this host.")
    protocol: Literal["https", "http"] = Field("https", description="Protocol of this host; http is for emulators.")

    @model_validator(mode="after")
    def _one_secret(self) -> SnowflakeDatabase:
        if (self.password is None) == (self.private_key is None):
            raise ValueError("give either password or private_key")
        return self


class SqlAlchemyDatabase(Declared):
    """SQL Server, Oracle, or another database that SQLAlchemy has a dialect for, as a source.

    SQL Server and Oracle were never tried with a server: the same code is tested with PostgreSQL, MariaDB and SQLite.
    """

    type: Literal["sqlalchemy"]
    dialect: str = Field(
        pattern=r"^[a-z][a-z0-9_]*(\+[a-z][a-z0-9_]*)?$",
        description="Dialect and driver of SQLAlchemy: 'mssql+pymssql' (extra `mssql`) and 'oracle+oracledb' (extra "
        "`oracle`) are not tested with a server. For another dialect, install its package.",
    )
    host: str = Field("", description="Host name or address; empty if the database is a file.")
    port: int | None = Field(None, ge=1, le=65535, description="Port of the server; default: that of the driver.")
    database: str = Field("", description="Name of the database. For Oracle, give options.service_name instead.")
    user: str = Field("", description="Name of the user. Its rights to read are enough.")
    password: Secret | None = Field(None, description="Reference to the password; none if the server needs none.")
    options: dict[str, str] = Field(
        default_factory=dict,
        description="Further parameters of the driver, as in the query of a URL of SQLAlchemy. No secrets.",
    )
    isolation: str = Field(
        "",
        description="Isolation level of a look, in the words of SQLAlchemy; default: SNAPSHOT for SQL Server, a "
        "read-only transaction for Oracle, REPEATABLE READ for PostgreSQL and MariaDB, else that of the database.",
    )
    is_sorted: bool = Field(
        True,
        description="Let the server sort the rows by all columns but large ones, so that a look finds that nothing is "
        "new. Without it, the same rows in another order are a new input.",
    )


_Database = PostgresDatabase | MySqlDatabase | SqliteDatabase | DuckDBDatabase | SnowflakeDatabase | SqlAlchemyDatabase
AnyDatabase = Annotated[_Database, Field(discriminator="type")]
AnyConnection = Annotated[_Database | RestApi | KafkaCluster, Field(discriminator="type")]


class Connections(Declared):
    """Databases, APIs and Kafka clusters that sources and outputs share, by name."""

    connections: dict[str, AnyConnection] = Field(description="Databases, APIs and Kafka clusters by name.")

    @field_validator("connections")
    @classmethod
    def _plain_names(cls, value: dict[str, AnyConnection]) -> dict[str, AnyConnection]:
        for name in value:
            if not _NAME.match(name):
                raise ValueError(f"the name of a connection, {name!r}, must match {_NAME.pattern}")
        return value


class Incremental(Declared):
    """Takes only rows that are new or changed since the last look."""

    cursor: str = Field(
        description="Column whose value grows with each change: a number, a date or a time. For a table of PostgreSQL "
        "also 'xmin', the transaction that wrote the row; it needs no column and misses no change."
    )
    overlap: Duration | int | None = Field(
        None,
        description="How far a look goes back behind the highest cursor value, for rows that were committed late. Rows "
        "that were taken before are not taken again. A duration for times and dates, a number for numbers; default: "
        "1 hour, 1 day or 1000.",
    )
    full_every: Duration | None = Field(
        None,
        description="Read the whole table again after this time. It finds changed rows whose cursor did not grow.",
    )
    deleted: str = Field(
        "",
        description="Name of a boolean column that is added to the rows. It is true for rows that the whole table no "
        "longer has. Use it in refresh.delete_when. It needs full_every.",
    )

    @field_validator("overlap")
    @classmethod
    def _not_negative(cls, value: timedelta | int | None) -> timedelta | int | None:
        if (value < timedelta(0)) if isinstance(value, timedelta) else (value is not None and value < 0):
            raise ValueError("overlap goes back, so it is not negative")
        return value

    @model_validator(mode="after")
    def _parts_fit(self) -> Incremental:
        if self.deleted and self.full_every is None:
            raise ValueError("deleted needs full_every: only a look at the whole table finds deleted rows")
        if self.cursor == TRANSACTION and self.overlap is not None:
            raise ValueError("the cursor xmin needs no overlap")
        return self


class DatabaseConnection(Declared):
    """A table or a query of a declared database. Each look that finds something new makes one input."""

    type: Literal["database"]
    database: str = Field(description="Name of the database in a ConnectionsComponent.")
    table: str = Field("", description="Table or view, as 'name' or 'schema.name', written as in the database.")
    query: str = Field(
        "",
        description="A query instead of a table. '{{ last_cursor }}' and '{{ last_extract }}' are bound values: the "
        "highest value of incremental.cursor taken so far, and the time of the last look; null at the first look.",
    )
    every: Duration | None = Field(
        None,
        description="Time between two looks at the database; default: 1 hour, or each tick of discovery.schedule.",
    )
    incremental: Incremental | None = Field(None, description="Read only new and changed rows; default: all rows.")
    parallel: int = Field(
        1,
        ge=1,
        le=16,
        description="Number of connections that read a plain table of PostgreSQL 14 or later side by side, under one "
        "snapshot. The rows and their order are the same. It helps where one connection is slow.",
    )
    limits: Limits = Field(Limits(), description="Limits for reading one extract.")

    @model_validator(mode="after")
    def _one_origin(self) -> DatabaseConnection:
        if bool(self.table) == bool(self.query):
            raise ValueError("give either table or query")
        if self.table and not all(part.strip() == part != "" for part in self.table.split(".")):
            raise ValueError(f"table is {self.table!r}; write it as 'name' or 'schema.name'")
        if self.query and self.parallel > 1:
            raise ValueError("parallel is for a table, because the rows of a query have no ranges")
        unknown = [token for token in tokens_of(self.query) if token not in TOKENS]
        if unknown:
            raise ValueError(f"unknown token {{{{ {unknown[0]} }}}}; known: {', '.join(TOKENS)}")
        if quoted := _QUOTED_TOKEN.search(self.query):
            raise ValueError(f"{quoted[0]} is in quotes: a token stands for a whole value, so write it without them")
        if "last_cursor" in tokens_of(self.query) and self.incremental is None:
            raise ValueError("{{ last_cursor }} needs incremental.cursor, the column that it is the highest value of")
        if self.query and self.incremental is not None:
            if self.incremental.cursor == TRANSACTION:
                raise ValueError("the cursor xmin is for a table, because the rows of a query have no transaction")
            if "last_cursor" not in tokens_of(self.query):
                raise ValueError("incremental needs {{ last_cursor }} in the query, which says which rows are read")
        return self


def tokens_of(text: str) -> list[str]:
    """Return the tokens of a query, in order."""
    return [match[1] for match in _TOKEN.finditer(text)]


def parts_of(text: str) -> list[str]:
    """Return the text of a query around its tokens: one part more than there are tokens."""
    return _TOKEN.split(text)[::2]
