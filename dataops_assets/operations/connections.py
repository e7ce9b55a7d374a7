"""Examines declared connections: whether they can be reached, what may be read, and how recently sources read them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from dataops_assets.config.connection import FileConnection
from dataops_assets.config.databases import AnyConnection, DatabaseConnection, MySqlDatabase
from dataops_assets.config.kafka import KafkaCluster, KafkaConnection
from dataops_assets.config.outputs import HttpTarget, Output, TableTarget, TopicTarget
from dataops_assets.config.replication import ReplicationConnection
from dataops_assets.config.rest import RestApi, RestConnection
from dataops_assets.config.source import Source
from dataops_assets.connections.databases.opening import LoggedDatabase, database_of, log_of
from dataops_assets.connections.kafka.extract import KafkaPosition
from dataops_assets.errors import ConfigError, DataOpsError, nearest
from dataops_assets.metadata.position_store import PositionStore


@dataclass(frozen=True)
class SourceUse:
    """A source that reads a connection. `problem` is empty if its table may be read; of a query it is not known.

    `behind` is the number of offsets of a topic that it did not read yet; None if it reads no topic.
    """

    source: str
    reads: str
    last_look: dt.datetime | None
    problem: str
    behind: int | None = None


@dataclass(frozen=True)
class ConnectionReport:
    """The result of examining a connection. `error` is empty if it works; then `server` and `tables` are known."""

    name: str
    type: str
    place: str
    server: str
    tables: Sequence[str]
    sources: Sequence[SourceUse]
    error: str
    next_step: str
    outputs: Sequence[str] = ()

    @property
    def is_well(self) -> bool:
        """Return whether it works, and each of its sources can read its table."""
        return not self.error and not any(use.problem for use in self.sources)


def chosen(
    name: str | None, connections: Mapping[str, AnyConnection], sources: Mapping[str, Source]
) -> tuple[Mapping[str, AnyConnection], Mapping[str, Source]]:
    """Return the connections and the sources of files with this name; without one, all of them.

    Raises ConfigError if neither has the name.
    """
    of_files = {key: source for key, source in sources.items() if isinstance(source.connection, FileConnection)}
    if name is None:
        return connections, of_files
    here = {key: item for key, item in connections.items() if key == name}
    there = {key: item for key, item in of_files.items() if key == name}
    if not here and not there:
        known = sorted({*connections, *of_files})
        raise ConfigError(
            f"looking for the connection {name!r}",
            received="no connection and no source of files of that name",
            known=known,
            next_step=nearest(name, known) or "declare it in a ConnectionsComponent, or as a source of files",
        )
    return here, there


def examine(
    databases: Mapping[str, AnyConnection],
    sources: Mapping[str, Source],
    positions: PositionStore,
    outputs: Mapping[str, Output],
) -> Iterator[ConnectionReport]:
    """Open each connection and yield what was found. An error is part of the report."""
    for name, declared in databases.items():
        of_this = {key: (reads, table) for key, reads, table in _uses(name, declared, sources)}
        looks = {key: positions.last_look(key) for key in of_this}
        readers = {
            key: (table, KafkaPosition.from_json(looks[key].position or {}))
            for key, (_, table) in of_this.items()
            if isinstance(declared, KafkaCluster)
        }
        found = _look(declared, [reads for reads, _ in of_this.values()], readers)
        refused = {} if found.error else dict(_refused(declared, {key: sources[key] for key in of_this}))
        uses = [
            SourceUse(
                key,
                reads,
                looks[key].looked_at,
                refused[key].received if key in refused else "" if found.error else _problem(table, found),
                found.behind.get(key),
            )
            for key, (reads, table) in of_this.items()
        ]
        written = [key for key, output in outputs.items() if _target_of(output) == name]
        next_step = found.next_step
        missing = next((use for use in uses if use.problem), None)
        if missing is not None and missing.source in refused:
            next_step = refused[missing.source].next_step
        elif missing is not None:
            what = "topic" if isinstance(declared, KafkaCluster) else "table"
            next_step = f"correct connection.{what} of {missing.source}, or give the user the right to read it"
        elif not found.error:
            next_step = f"dataops run {uses[0].source}" if uses else _unused(written)
        yield ConnectionReport(
            name, declared.type, found.place, found.server, found.tables, uses, found.error, next_step, written
        )


@dataclass(frozen=True)
class _Found:
    """The answer of a connection. The tables of a Kafka cluster are its topics."""

    place: str = ""
    server: str = ""
    tables: Sequence[str] = ()
    error: str = ""
    next_step: str = ""
    behind: Mapping[str, int] = field(default_factory=dict)
    has_topics: bool = False


def _look(declared: AnyConnection, paths: Sequence[str], readers: Mapping[str, tuple[str, KafkaPosition]]) -> _Found:
    place = ""
    try:
        if isinstance(declared, RestApi):
            from dataops_assets.connections.rest.examine import answered as api_answered

            place = declared.url
            return _Found(place, api_answered(declared, declared.test_path or next(iter(paths), "")))
        if isinstance(declared, KafkaCluster):
            from dataops_assets.connections.kafka.examine import answered

            place = ",".join(declared.bootstrap_servers)
            seen = answered(declared, readers)
            return _Found(place, seen.server, seen.topics, behind=seen.behind, has_topics=True)
        database = database_of(declared)
        place = database.place
        with database.snapshot() as snapshot:
            return _Found(place, snapshot.server(), snapshot.tables())
    except DataOpsError as failed:
        return _Found(place, error=failed.received or str(failed), next_step=failed.next_step)


def _refused(declared: AnyConnection, sources: Mapping[str, Source]) -> Iterator[tuple[str, DataOpsError]]:
    """Yield the sources that read a log which cannot be read, each with the reason."""
    for key, source in sources.items():
        if isinstance(source.connection, ReplicationConnection) and isinstance(declared, LoggedDatabase):
            try:
                log_of(source.connection, declared, key).require_readable()
            except DataOpsError as failed:
                yield key, failed


def _uses(name: str, declared: AnyConnection, sources: Mapping[str, Source]) -> Iterator[tuple[str, str, str]]:
    """Yield the sources of a connection, with what each reads, and its table or topic; '' for a query or an API."""
    for key, source in sources.items():
        connection = source.connection
        if isinstance(connection, DatabaseConnection) and connection.database == name:
            yield key, connection.table or "a query", connection.table
        if isinstance(connection, ReplicationConnection) and connection.database == name:
            # MariaDB lists the tables of its database without the name of it
            within = f"{declared.database}." if isinstance(declared, MySqlDatabase) else ""
            yield key, connection.table, connection.table.removeprefix(within)
        if isinstance(connection, RestConnection) and connection.api == name:
            yield key, connection.path, ""
        if isinstance(connection, KafkaConnection) and connection.cluster == name:
            yield key, connection.topic, connection.topic


def _target_of(output: Output) -> str:
    match output.to:
        case TableTarget():
            return output.to.database
        case TopicTarget():
            return output.to.cluster
        case HttpTarget():
            return output.to.api
        case _:
            return ""


def _unused(outputs: Sequence[str]) -> str:
    return f"dataops run; it delivers output {outputs[0]}" if outputs else "declare a source that names it"


def _problem(table: str, found: _Found) -> str:
    """Return why a table or topic cannot be read; a table's name without a schema is looked up by the server."""
    tables = found.tables
    if found.has_topics:
        return "" if table in tables else f"no topic {table} that may be seen"
    if not table or table in tables or any(name.endswith(f".{table}") for name in tables):
        return ""
    # main is the schema of the tables that DuckDB shows without one
    return "" if table.removeprefix("main.") in tables else f"no table {table} that may be read"
