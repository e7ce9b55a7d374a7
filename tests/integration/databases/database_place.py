"""A deployment whose source is read from a database: look, and see what the raw files have."""

from __future__ import annotations

import datetime as dt
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import psycopg2
import pyarrow as pa
import pyarrow.parquet as pq
import pymysql

from dataops_assets.config.databases import AnyConnection, Connections
from dataops_assets.config.environment import Environment, environment_from
from dataops_assets.config.source import Source
from dataops_assets.connections.discovery import discover
from dataops_assets.connections.look import FoundInputs
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.report import Input
from dataops_assets.storage.raw import RawArea

NOON = dt.datetime(2024, 6, 1, 12, tzinfo=dt.UTC)


@cache
def _migrated() -> Path:
    """A migrated SQLite file to copy: migrating takes longer than most tests."""
    path = Path(tempfile.mkdtemp(prefix="dataops-metadata-")) / "metadata.db"
    MetadataStore(f"sqlite:///{path}").migrate()
    return path


@dataclass(frozen=True)
class Server:
    """An empty database: how the platform reaches it, and how a test does, if it is another way (`direct`)."""

    declared: dict[str, Any]
    password: str
    direct: dict[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return (self.direct or self.declared)["type"]

    def connect(self) -> Any:
        """A connection that commits each statement."""
        if self.kind == "snowflake":
            # its driver is needed by few tests
            import snowflake.connector

            names = ("account", "user", "database", "schema", "host", "port", "protocol")
            given = {name: self.declared[name] for name in names}
            return snowflake.connector.connect(**given, password=self.password, network_timeout=20)
        common = {key: self.declared[key] for key in ("host", "port", "user")} | {"password": self.password}
        if self.kind == "mysql":
            return pymysql.connect(**common, database=self.declared["database"], charset="utf8mb4", autocommit=True)
        connection = psycopg2.connect(**common, dbname=self.declared["database"])
        connection.autocommit = True
        return connection

    def run(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements, and return the rows of the last one."""
        connection = self.connect()
        try:
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
                return list(cursor.fetchall()) if cursor.description else []
        finally:
            connection.close()


DRIVERS = {"postgres": "postgresql+psycopg2", "mysql": "mysql+pymysql"}
"""How SQLAlchemy reaches a kind of database."""


def by_sqlalchemy(server: Server) -> Server:
    """The same database, which the platform reaches by SQLAlchemy."""
    common = {name: value for name, value in server.declared.items() if name != "type"}
    declared = {"type": "sqlalchemy", "dialect": DRIVERS[server.kind], **common}
    return Server(declared, server.password, server.declared)


class SideBySide:
    """Transactions that run side by side, one of each client."""

    def __init__(self, server: Server, clients: int) -> None:
        self.connections = [server.connect() for _ in range(clients)]
        for connection in self.connections:
            if server.kind == "mysql":
                connection.autocommit(False)
            else:
                connection.autocommit = False
        self.serial = 0

    def end(self) -> None:
        for connection in self.connections:
            connection.commit()

    def close(self) -> None:
        for connection in self.connections:
            connection.close()


@dataclass
class DatabasePlace:
    """One source in one deployment, with a wall clock that moves as told."""

    environment: Environment
    metadata: MetadataStore
    source: Source
    databases: Mapping[str, AnyConnection]
    now: dt.datetime = NOON
    inputs: list[Input] = field(default_factory=list)

    def look(self, after: dt.timedelta = dt.timedelta(hours=1), **changes: Any) -> list[Input]:
        """Look one hour later (or `after`) and return the new inputs."""
        self.now += after
        found = self.found(**changes).new
        self.inputs += found
        return found

    def found(self, **changes: Any) -> FoundInputs:
        given = {"source": self.source, "metadata": self.metadata, "databases": self.databases, **changes}
        return discover(
            given["source"], self.environment, given["metadata"], now=self.now, databases=given["databases"]
        )

    @property
    def raw(self) -> RawArea:
        return RawArea.of(self.environment.storage, self.source.name)

    def path(self, item: Input) -> Path:
        return self.raw.sound_path(item)

    def table(self, item: Input) -> pa.Table:
        return pq.read_table(self.path(item))

    def rows(self, item: Input) -> list[tuple[Any, ...]]:
        table = self.table(item)
        return list(zip(*(column.to_pylist() for column in table.columns), strict=True)) if len(table) else []

    def by_key(self, deleted: str = "") -> dict[Any, tuple[Any, ...]]:
        """What a hub with the first column as key has after all inputs: the newest row of each key counts."""
        state: dict[Any, tuple[Any, ...]] = {}
        for item in sorted(self.inputs):
            names = self.table(item).column_names
            for row in self.rows(item):
                if deleted and row[names.index(deleted)]:
                    state.pop(row[0], None)
                else:
                    state[row[0]] = row[: len(row) - bool(deleted)]
        return state


def place_of(
    home: Path, database: Mapping[str, Any], refresh: Mapping[str, Any] | None = None, **connection: Any
) -> DatabasePlace:
    """A source over `database`; keywords are fields of its connection."""
    home.mkdir(exist_ok=True, parents=True)
    environment = environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home)
    shutil.copy(_migrated(), home / "metadata.db")
    metadata = MetadataStore(environment.metadata_url)
    source = Source.model_validate(
        {
            "name": "orders",
            "area": "shop",
            "connection": {"type": "database", "database": "shop", **connection},
            "columns": [{"name": "id", "type": "integer"}, {"name": "note"}],
            "refresh": refresh or {"type": "key", "key": ["id"]},
        }
    )
    databases = Connections.model_validate({"connections": {"shop": database}}).connections
    return DatabasePlace(environment, metadata, source, databases)
