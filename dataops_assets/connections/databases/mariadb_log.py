"""Reads the changes of a table since the last look from the log of MariaDB, as a replica reads it.

The position is the last GTID of each domain. It is recorded with the input, and the server keeps nothing for a reader.
So a look that dies is made again from the same position with the same changes. A transaction is numbered by the reader
(`lsn`): that number grows, whatever server has the log.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pymysql
from pymysql.constants import ER
from sqlglot import exp

from dataops_assets.config.replication import ReplicationConnection
from dataops_assets.connections.databases.binlog import (
    Begun,
    Ended,
    Event,
    RowChange,
    Schema,
    Statement,
    Unreadable,
    decoded,
)
from dataops_assets.connections.databases.binlog_statements import effect_of
from dataops_assets.connections.databases.binlog_stream import LogConnection
from dataops_assets.connections.databases.binlog_values import printed
from dataops_assets.connections.databases.mariadb_server import LogServer, columns_of, domains_of, log_server
from dataops_assets.connections.databases.mysql import MySql, StreamCursor, told
from dataops_assets.connections.databases.replication import (
    Change,
    Changes,
    LogPosition,
    begun_again,
    facts_of,
    json_of,
    line,
    lines,
    lost,
    of_file,
)
from dataops_assets.errors import ConfigError, StorageError

_CONNECTOR = "mariadb"
_ROWS = 5_000
_CANNOT_BE_READ = 1236
_SAVEPOINT = re.compile(r"(SAVEPOINT|ROLLBACK TO(?: SAVEPOINT)?)\s+(.+)", re.IGNORECASE)


@dataclass(frozen=True)
class BinlogPosition(LogPosition):
    """How far a log was read.

    * `gtid`: the last transaction of each domain, as the server writes them: '0-1-100,1-1-7'.
    * `order`: the number of the last transaction that changed the table, or of the rows at the beginning.
    * `server`, `file`: the server that had the log, and the number of its file.
    """

    gtid: str = ""
    order: int = 0
    server: int = 0
    file: int = 0


class MariaDbLog:
    """The changes of a table in the log of MariaDB."""

    def __init__(self, connection: ReplicationConnection, database: MySql) -> None:
        """Opens nothing yet."""
        self._connection = connection
        self._database = database
        self._attempted = f"reading the changes of {connection.table} from the log of {database.place}"

    def position(self, stored: Mapping[str, Any]) -> BinlogPosition:
        """See `TableLog`."""
        return BinlogPosition.from_json(stored)

    def beginning(self, since: LogPosition) -> None:
        """See `TableLog`: nothing is made on the server."""

    def read(self, since: LogPosition, folder: Path) -> Changes:
        """See `TableLog`."""
        with self._session() as connection:
            server = log_server(connection, self._connection, self._attempted)
            reading = _Reading(self._connection, self._known(since), server, self._attempted)
            if since.reads != reading.reads:
                self._require_events(server)
                return _first(reading, connection, folder)
            gone = server.gone_since(reading.since.gtid, reading.since.server, reading.since.file)
            if not gone:
                try:
                    return self._following(reading, folder)
                except Unreadable as error:
                    gone = str(error)
            if self._connection.lost == "stop":
                raise lost(self._attempted, gone)
            return _first(reading, connection, folder, gone)

    def require_readable(self) -> None:
        """See `TableLog`: asks for the end of the log."""
        with self._session() as connection:
            self._require_events(log_server(connection, self._connection, self._attempted))

    def _require_events(self, server: LogServer) -> None:
        """Raise ConfigError if the user may not read the log."""
        with self._session(LogConnection) as connection:
            next(connection.events(server.position))

    def _known(self, since: LogPosition) -> BinlogPosition:
        return since if isinstance(since, BinlogPosition) else BinlogPosition(since.reads)

    def _following(self, reading: _Reading, folder: Path) -> Changes:
        """Read the changes after the position, up to where the log ends now. Raises Unreadable."""
        path = folder / "changes.jsonl"
        with path.open("wb") as target:
            taken = _Taken(reading, target)
            if taken.is_open:
                with self._session(LogConnection) as connection:
                    _take_all(taken, _events(connection, reading))
        position = taken.position()
        return of_file(path, position) if path.stat().st_size else Changes(position)

    @contextmanager
    def _session(self, kind: type[Any] = pymysql.Connection) -> Iterator[Any]:
        """Open a connection. Raises ConfigError with the GRANT to run for a missing right, and the errors of `told`."""
        with self._database.connected(kind) as connection, told(self._attempted):
            try:
                yield connection
            except pymysql.OperationalError as error:
                if error.args[0] != ER.SPECIFIC_ACCESS_DENIED_ERROR:
                    raise
                user = self._database.user.replace("'", "''")
                raise ConfigError(
                    self._attempted,
                    received=str(error.args[1]),
                    next_step=f"let its administrator run: GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO '{user}'",
                ) from None


@dataclass(frozen=True)
class _Reading:
    """The arguments of a look: what is declared, the position, and the server."""

    connection: ReplicationConnection
    since: BinlogPosition
    server: LogServer
    attempted: str

    @property
    def reads(self) -> str:
        """Return what the position is of."""
        return f"{self.connection.database}/{self.connection.table}"

    def position(self, gtid: str, order: int, *, is_behind: bool = False) -> BinlogPosition:
        return BinlogPosition(
            self.reads,
            is_behind,
            gtid=gtid,
            order=order,
            server=self.server.number,
            file=self.server.file,
        )

    def facts(self, order: int, gtid: str | None = None, at: int | None = None) -> dict[str, Any]:
        time = None if at is None else at * 1000
        return facts_of(_CONNECTOR, self.connection, lsn=order, txId=gtid, ts_ms=time)


# --- the rows at the beginning ---------------------------------------------------------------------------------------


def _first(reading: _Reading, connection: pymysql.Connection, folder: Path, gone: str = "") -> Changes:
    """Read the rows in a snapshot, and the place of the snapshot in the log: the changes after it follow."""
    order = reading.since.order + 1
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
        cursor.execute("SHOW STATUS LIKE 'binlog_snapshot_%'")
        place = dict(cursor.fetchall())
        cursor.execute(
            "SELECT binlog_gtid_pos(%s, %s)",
            (place.get("Binlog_snapshot_file"), int(place.get("Binlog_snapshot_position") or 0)),
        )
        gtid = cursor.fetchone()[0]
        # read now: if the table changes between this place and its rows, the server refuses to read them
        columns = columns_of(cursor, reading.connection)
    if gtid is None:
        raise StorageError(
            reading.attempted,
            received="the log of the snapshot was removed while it was made",
            next_step="nothing; the next look tries again",
        )
    position = reading.position(gtid, order)
    if not reading.connection.snapshot and not gone:
        return Changes(position)
    path = folder / "rows.jsonl"
    with path.open("wb") as target:
        if gone:
            target.write(line("t", reading.facts(order), None, None))
        rows = _copy(reading, connection, columns, target)
    if not rows and not gone:
        # the look after it reads the changes, and an input without a record says nothing
        return Changes(position)
    return of_file(path, position, begun_again(gone))


def _copy(reading: _Reading, connection: pymysql.Connection, kinds: Mapping[str, str], target: BinaryIO) -> int:
    """Write the rows of the snapshot, and return their number."""
    schema, table = reading.connection.names
    # the server prints six digits of a float, and all of a double
    columns = {name: exp.column(name, quoted=True) for name in kinds}
    values = [exp.cast(columns[name], "double") if kind == "float" else columns[name] for name, kind in kinds.items()]
    query = exp.select(*values).from_(exp.table_(table, db=schema, quoted=True))
    before, after = line("r", reading.facts(reading.since.order + 1), None, {}).decode().rsplit("{}", 1)
    found = 0
    cursor = connection.cursor(StreamCursor)
    try:
        cursor.execute(query.sql("mysql"))
        while rows := cursor.fetchmany(_ROWS):
            found += len(rows)
            for row in rows:
                texts = {name: printed(value, kinds[name]) for name, value in zip(kinds, row, strict=True)}
                target.write(f"{before}{json_of(texts)}{after}".encode())
    finally:
        cursor.abandon()
    return found


# --- the changes after it --------------------------------------------------------------------------------------------


def _events(connection: LogConnection, reading: _Reading) -> Iterator[Event]:
    """Yield what happened after the position. Raises Unreadable, also if the server cannot read its log from there."""
    schema = Schema(reading.server.charsets, reading.server.columns)
    try:
        yield from decoded(connection.events(reading.since.gtid), reading.connection.names, schema)
    except pymysql.OperationalError as error:
        if error.args[0] != _CANNOT_BE_READ:
            raise
        raise Unreadable(f"the server says: {error.args[1]}") from error


def _take_all(taken: _Taken, events: Iterator[Event]) -> None:
    """Take events up to the end. What cannot be read ends the look before it, so that nothing before it is lost."""
    try:
        for event in events:
            taken.take(event)
            if not taken.is_open:
                break
    except Unreadable:
        if not taken.has_moved:
            raise
        taken.is_cut = True
    taken.discard()


class _Taken:
    """Writes the changes of whole transactions. One that does not end, or that is rolled back, is taken out again."""

    def __init__(self, reading: _Reading, target: BinaryIO) -> None:
        self._reading = reading
        self._target = target
        self._gtids = domains_of(reading.since.gtid)
        self._order = reading.since.order
        end = reading.server.end
        self._ahead = {domain: gtid for domain, gtid in end.items() if self._gtids.get(domain) != gtid}
        self._count = 0
        self.has_moved = self.is_cut = False
        # of the transaction that is read
        self._begun: Begun | None = None
        self._number = 0
        self._marks: dict[str, int] = {}
        self._safe = 0

    @property
    def is_open(self) -> bool:
        """Return whether more is to be read."""
        return bool(self._ahead) and self._count < self._reading.connection.most_changes

    def position(self) -> BinlogPosition:
        """Return the position after the last transaction."""
        gtid = ",".join(self._gtids[domain] for domain in sorted(self._gtids))
        is_behind = self.is_cut or (bool(self._ahead) and not self.is_open)
        return self._reading.position(gtid, self._order, is_behind=is_behind)

    def discard(self) -> None:
        """Take out the changes of a transaction that did not end."""
        self._back_to(self._safe)

    def take(self, event: Event) -> None:
        """Take the next event. Raises Unreadable."""
        match event:
            case Begun():
                self.discard()
                self._begun, self._number, self._marks = event, 0, {}
            case RowChange():
                if self._begun is not None and self._begun.is_prepared:
                    raise Unreadable(f"{self._begun.gtid} changed the table in a transaction of XA, which is not read")
                self._write(Change(event.operation, event.before, event.after, self._next()), event)
            case Statement():
                self._take_statement(event)
            case Ended():
                self._end()

    def _take_statement(self, statement: Statement) -> None:
        words = statement.text.strip()
        savepoint = _SAVEPOINT.fullmatch(words)
        match words.upper():
            case "BEGIN":
                return
            case "COMMIT":
                self._end()
            case "ROLLBACK":
                self.discard()
                self._end()
            case _ if savepoint is not None:
                name = savepoint[2].strip("`").casefold()
                if savepoint[1].upper() == "SAVEPOINT":
                    self._marks[name] = self._target.tell()
                else:
                    self._back_to(self._marks.get(name, self._safe))
            case _:
                self._effect(statement)
                if self._begun is not None and self._begun.is_alone:
                    self._end()

    def _effect(self, statement: Statement) -> None:
        effect = effect_of(statement.text, statement.database, self._reading.connection.names)
        if effect == "unknown":
            text = " ".join(statement.text.split())
            raise Unreadable(f"the log has no rows of what {text!r} changed")
        if effect == "emptied":
            self._write(Change("t", None, None, self._next()), statement)

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _write(self, change: Change, of: RowChange | Statement) -> None:
        gtid = None if self._begun is None else self._begun.gtid
        key = of.key if isinstance(of, RowChange) else ()
        self._target.writelines(lines(change, key, self._reading.facts(self._order + 1, gtid, of.at)))

    def _back_to(self, place: int) -> None:
        self._target.seek(place)
        self._target.truncate()

    def _end(self) -> None:
        """Keep what the transaction changed, and move on."""
        if self._begun is None:
            return
        if self._target.tell() > self._safe:
            self._order += 1
            self._safe = self._target.tell()
        self._count += max(self._number, 1)
        self._gtids[self._begun.domain] = self._begun.gtid
        if self._ahead.get(self._begun.domain) == self._begun.gtid:
            del self._ahead[self._begun.domain]
        self.has_moved, self._begun = True, None
