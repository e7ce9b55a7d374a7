"""Reads the changes of a table since the last look from the log of PostgreSQL, through a slot.

The log is only looked at. The slot moves on at the next look, when the input is safe. So a look that dies is made again
with the same changes, and no change is missed or taken twice.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from dataops_assets.config.replication import ReplicationConnection
from dataops_assets.connections.databases.pgoutput import Committed, Transaction, decoded
from dataops_assets.connections.databases.postgres import Postgres, set_texts, told
from dataops_assets.connections.databases.replication import (
    Changes,
    LogPosition,
    begun_again,
    facts_of,
    line,
    lines,
    lost,
    of_file,
)
from dataops_assets.errors import ConfigError, InputError

if TYPE_CHECKING:
    from psycopg2 import extensions

_AT_ONCE = 2_000
_LONGEST_NAME = 63
_TRIES, _PAUSE_SECONDS = 5, 0.05
_DROP = "SELECT pg_drop_replication_slot(%s)"
# characters that JSON never has unescaped: a COPY quotes nothing then
_SEPARATOR, _QUOTE = "\x02", "\x01"


@dataclass(frozen=True)
class SlotPosition(LogPosition):
    """How far a slot was read: `lsn` is the end of the last transaction that was read, 0 at the beginning."""

    lsn: int = 0


class PostgresLog:
    """The changes of a table in the log of PostgreSQL."""

    def __init__(self, connection: ReplicationConnection, slot: str, database: Postgres) -> None:
        """`slot` is the name of the slot."""
        self._connection = connection
        self._slot = slot
        self._database = database

    def position(self, stored: Mapping[str, Any]) -> SlotPosition:
        """See `TableLog`."""
        return SlotPosition.from_json(stored)

    def beginning(self, since: LogPosition) -> SlotPosition | None:
        """See `TableLog`: that a slot is being made. Raises ConfigError if somebody else has a slot of this name."""
        request = self._request(since)
        if since.reads == request.reads:
            return None
        _require_free(request, self._database)
        return SlotPosition(request.reads, begun=True)

    def read(self, since: LogPosition, folder: Path) -> Changes:
        """See `TableLog`."""
        request = self._request(since)
        with self._database.connected() as connection, told(request.attempted), connection.cursor() as cursor:
            connection.autocommit = True
            _require_log(request, cursor)
            state = _slot(request, cursor)
            gone = "" if request.since.begun else _gone(request, state)
            if gone and request.connection.lost == "stop":
                raise lost(request.attempted, gone)
            if not (gone or request.since.begun):
                return _following(request, connection, folder)
            if state is not None:
                cursor.execute(_DROP, (request.slot,))
            return _first(request, self._database, connection, folder, gone)

    def require_readable(self) -> None:
        """See `TableLog`."""
        request = self._request(SlotPosition())
        with self._database.connected() as connection, told(request.attempted), connection.cursor() as cursor:
            _require_log(request, cursor)

    def _request(self, since: LogPosition) -> _Request:
        position = since if isinstance(since, SlotPosition) else SlotPosition(since.reads)
        return _Request(self._connection, self._slot, position)


@dataclass(frozen=True)
class _Request:
    """The arguments of a look: what is declared, the name of the slot, and the position."""

    connection: ReplicationConnection
    slot: str
    since: SlotPosition

    @property
    def reads(self) -> str:
        """Return what the position is of."""
        return f"{self.connection.database}/{self.connection.table}/{self.slot}"

    @property
    def publication(self) -> str:
        """Return the name of the publication."""
        return self.connection.publication or self.slot

    @property
    def attempted(self) -> str:
        """Return what errors say was attempted."""
        return f"reading the changes of {self.connection.table} from the slot {self.slot!r}"


def slot_of(reader: str) -> str:
    """Return the name of the slot of a reader that declares none."""
    return re.sub(r"[^a-z0-9_]", "_", f"dataops_{reader}".lower())[:_LONGEST_NAME]


def _too_much_kept(request: _Request, kept: int) -> InputError:
    """Return the error that says how much of the log the server keeps."""
    return InputError(
        request.attempted,
        received=f"the server keeps {kept >> 20:,} MB of its log for the slot",
        known=[f"connection.most_kept is {request.connection.most_kept >> 20:,} MB"],
        next_step="look more often, and end transactions that stay open; max_slot_wal_keep_size of the server limits "
        "what a slot keeps",
    )


def _lsn(text: str) -> int:
    """Return a place in the log as a number."""
    high, low = text.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def _text(lsn: int) -> str:
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


# --- the slot --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Slot:
    plugin: str
    is_here: bool
    confirmed: int
    status: str


def _require_log(request: _Request, cursor: extensions.cursor) -> None:
    cursor.execute("SHOW wal_level")
    if (level := cursor.fetchone()[0]) != "logical":
        raise ConfigError(
            request.attempted,
            received=f"a server whose wal_level is {level}",
            known=["wal_level = logical"],
            next_step="let its administrator set wal_level = logical and restart it",
        )


def _slot(request: _Request, cursor: extensions.cursor) -> _Slot | None:
    cursor.execute(
        "SELECT plugin, database = current_database(), coalesce(confirmed_flush_lsn - '0/0', 0)::bigint, "
        "coalesce(wal_status, '') FROM pg_replication_slots WHERE slot_name = %s",
        (request.slot,),
    )
    found = cursor.fetchone()
    if found is None:
        return None
    state = _Slot(found[0] or "", bool(found[1]), found[2], found[3])
    if state.plugin != "pgoutput" or not state.is_here:
        raise ConfigError(
            request.attempted,
            received="a slot of another database or plugin",
            next_step="declare another name as connection.slot",
        )
    return state


def _require_free(request: _Request, database: Postgres) -> None:
    """Raise ConfigError if there is a slot of this name although this deployment has made none."""
    with database.connected() as connection, told(request.attempted), connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_replication_slots WHERE slot_name = %s", (request.slot,))
        if cursor.fetchone() is not None:
            drop = cursor.mogrify(_DROP, (request.slot,)).decode()
            raise ConfigError(
                request.attempted,
                received="a slot of this name that this deployment did not make",
                next_step=f"declare another name as connection.slot; or if nobody reads it: {drop}",
            )


def _gone(request: _Request, state: _Slot | None) -> str:
    """Return why changes are gone that were not read; empty if they are there."""
    if state is None:
        return "the slot is not there any more"
    if state.status == "lost":
        return "the server removed the log that the slot needs (max_slot_wal_keep_size)"
    if state.confirmed > request.since.lsn:
        return f"somebody read the slot up to {_text(state.confirmed)}, after {_text(request.since.lsn)}"
    return ""


def _published(request: _Request, connection: extensions.connection) -> None:
    """Make the publication, if it is not there. Raises ConfigError if it is not allowed, or has not the table."""
    from psycopg2 import errors, sql

    schema, name = request.connection.names
    names = sql.Identifier(request.publication), sql.Identifier(schema, name)
    create = sql.SQL("CREATE PUBLICATION {} FOR TABLE {}").format(*names)
    add = sql.SQL("ALTER PUBLICATION {} ADD TABLE {}").format(*names)
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_publication WHERE pubname = %s", (request.publication,))
        if cursor.fetchone() is None:
            try:
                cursor.execute(create)
            except errors.InsufficientPrivilege as error:
                raise ConfigError(
                    f"making the publication {request.publication!r}",
                    received=" ".join(str(error).split()),
                    next_step=f"let the owner of the table run: {create.as_string(connection)}",
                ) from error
        cursor.execute(
            "SELECT 1 FROM pg_publication_tables WHERE pubname = %s AND schemaname = %s AND tablename = %s",
            (request.publication, schema, name),
        )
        if cursor.fetchone() is None:
            raise ConfigError(
                f"looking for {request.connection.table} in the publication {request.publication!r}",
                received="a publication without this table",
                next_step=f"let its owner run: {add.as_string(connection)}",
            )


# --- the rows at the beginning ---------------------------------------------------------------------------------------


def _first(
    request: _Request, database: Postgres, connection: extensions.connection, folder: Path, gone: str = ""
) -> Changes:
    """Make the slot, and read the rows as they were at its beginning."""
    _published(request, connection)
    with _new_slot(request, database) as (lsn, exported):
        position = SlotPosition(request.reads, lsn=lsn)
        if not request.connection.snapshot and not gone:
            return Changes(position)
        path = folder / "rows.jsonl"
        with path.open("wb") as target:
            if gone:
                target.write(line("t", _facts(request, lsn), None, None))
            rows = _copy(request, connection, exported, lsn, target)
    if not rows and not gone:
        # the look after it reads the changes, and an input without a record says nothing
        return Changes(position)
    return of_file(path, position, begun_again(gone))


@contextmanager
def _new_slot(request: _Request, database: Postgres) -> Iterator[tuple[int, str]]:
    """Make the slot; give its beginning and the name of the snapshot at this place, while the context is open."""
    from psycopg2 import sql

    with database.connected(is_replication=True) as connection, connection.cursor() as cursor:
        made = sql.SQL("CREATE_REPLICATION_SLOT {} LOGICAL pgoutput EXPORT_SNAPSHOT")
        cursor.execute(made.format(sql.Identifier(request.slot)))
        _, lsn, exported, _ = cursor.fetchone()
        yield _lsn(lsn), exported


def _copy(request: _Request, connection: extensions.connection, exported: str, lsn: int, target: BinaryIO) -> int:
    """Write the rows of a snapshot, and return their number. The server makes the lines."""
    from psycopg2 import sql

    connection.autocommit = False
    connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
    schema, table = request.connection.names
    place = sql.Identifier(schema, table)
    with connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION SNAPSHOT %s", (exported,))
        set_texts(cursor)
        cursor.execute(sql.SQL("SELECT * FROM {} LIMIT 0").format(place))
        names = [item.name for item in cursor.description]
        values = sql.SQL(", ").join(
            # the text of a value is that of the log
            sql.SQL("CASE WHEN {0} IS NOT NULL THEN format('%s', {0}) END").format(sql.Identifier(name))
            for name in names
        )
        before, after = line("r", _facts(request, lsn), None, {}).decode().rsplit("{}", 1)
        rows = sql.SQL("SELECT {} || json_object(ARRAY[{}]::text[], ARRAY[{}]::text[])::text || {} FROM {}").format(
            sql.Literal(before),
            sql.SQL(", ").join(map(sql.Literal, names)),
            values,
            sql.Literal(after.rstrip("\n")),
            place,
        )
        copy = sql.SQL("COPY ({}) TO STDOUT (FORMAT csv, DELIMITER {}, QUOTE {})")
        cursor.copy_expert(copy.format(rows, sql.Literal(_SEPARATOR), sql.Literal(_QUOTE)), target)
        found: int = cursor.rowcount
    connection.rollback()
    return found


# --- the changes after it --------------------------------------------------------------------------------------------


def _following(request: _Request, connection: extensions.connection, folder: Path) -> Changes:
    """Read the changes after the position, up to where the log ends now."""
    since = request.since
    with connection.cursor() as cursor:
        end = _end(cursor)
        # what is recorded is safe in the raw area
        cursor.execute(
            "SELECT pg_replication_slot_advance(%s, %s::pg_lsn) FROM pg_replication_slots "
            "WHERE slot_name = %s AND confirmed_flush_lsn < %s::pg_lsn",
            (request.slot, _text(since.lsn), request.slot, _text(since.lsn)),
        )
        cursor.execute(
            "SELECT pg_current_wal_flush_lsn() - restart_lsn FROM pg_replication_slots WHERE slot_name = %s",
            (request.slot,),
        )
        kept = int(cursor.fetchone()[0] or 0)
        key = _primary_key(request, cursor)
    path = folder / "changes.jsonl"
    is_empty, last = True, since.lsn
    counted = _Counted(_messages(request, connection, end))
    with path.open("wb") as target:
        for event in decoded(counted, request.connection.table):
            if isinstance(event, Committed):
                last = max(last, event.end)
            # the slot may be before the position, if the last look died before it moved on
            elif event.transaction.lsn >= since.lsn:
                target.writelines(lines(event, key, _facts(request, event.transaction)))
                is_empty = False
    is_behind = counted.number >= request.connection.most_changes
    # with fewer than asked for, nothing else is there up to the end
    read = last if is_behind or end is None else max(end, last)
    position = SlotPosition(request.reads, lsn=read, is_behind=is_behind)
    found = of_file(path, position) if not is_empty else Changes(position)
    return replace(found, problem=_too_much_kept(request, kept) if kept > request.connection.most_kept else None)


def _end(cursor: extensions.cursor) -> int | None:
    """Return the end of the log, once it is on the disk of the server; None if that takes long.

    A place between two records is needed: what is on the disk may end within a record, and a slot that is moved there
    would leave out the transaction that the record commits.
    """
    cursor.execute("SELECT pg_current_wal_insert_lsn() - '0/0'")
    end = int(cursor.fetchone()[0])
    for _ in range(_TRIES):
        cursor.execute("SELECT pg_current_wal_flush_lsn() - '0/0'")
        if int(cursor.fetchone()[0]) >= end:
            return end
        # a server with much to do writes its log all the time; on a quiet one a later look sees the end
        time.sleep(_PAUSE_SECONDS)
    return None


class _Counted:
    """Counts what it gives."""

    def __init__(self, messages: Iterator[bytes]) -> None:
        self._messages = messages
        self.number = 0

    def __iter__(self) -> Iterator[bytes]:
        for message in self._messages:
            self.number += 1
            yield message


def _messages(request: _Request, connection: extensions.connection, end: int | None) -> Iterator[bytes]:
    """Yield the messages of the log up to `end` (None: all that are there).

    With enough of them it ends earlier, at the end of a transaction.
    """
    connection.autocommit = False
    with connection.cursor() as settings:
        set_texts(settings)
    with connection.cursor(name="dataops_changes") as cursor:
        cursor.itersize = _AT_ONCE
        upto = None if end is None else _text(end)
        cursor.execute(
            "SELECT data FROM pg_logical_slot_peek_binary_changes(%s, %s::pg_lsn, %s, "
            "'proto_version', '1', 'publication_names', %s)",
            (request.slot, upto, request.connection.most_changes, _quoted(request.publication)),
        )
        for (data,) in cursor:
            yield bytes(data)
    connection.rollback()


def _quoted(name: str) -> str:
    """Return a name as an element of the plugin's list of names."""
    return '"' + name.replace('"', '""') + '"'


def _primary_key(request: _Request, cursor: extensions.cursor) -> list[str]:
    """Return the columns of the primary key; none if the table has none."""
    schema, table = request.connection.names
    cursor.execute(
        "SELECT a.attname FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid "
        "JOIN pg_namespace AS n ON n.oid = c.relnamespace "
        "JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey) "
        "WHERE i.indisprimary AND n.nspname = %s AND c.relname = %s",
        (schema, table),
    )
    return [row[0] for row in cursor.fetchall()]


def _facts(request: _Request, of: Transaction | int) -> dict[str, Any]:
    """Return what the log tells of a transaction, or of the rows at this place in the log.

    The order of commits, and the number of a change in its transaction, order all changes of a row.
    """
    if isinstance(of, Transaction):
        return facts_of("postgresql", request.connection, lsn=of.lsn, txId=of.xid, ts_ms=of.at // 1000)
    return facts_of("postgresql", request.connection, lsn=of, txId=None, ts_ms=None)
