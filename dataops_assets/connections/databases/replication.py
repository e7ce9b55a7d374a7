"""The log of a database as a source: the parts that all kinds of database share.

Grain: one look gives one raw file, which is the rows of the table at the beginning, or the changes of whole
transactions in the order of their commits. Each line is a change in the form of Debezium's envelope. A reader records
nothing: the caller records input and position together, so a look that dies is made again with the same changes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from dataops_assets.config.replication import ReplicationConnection
from dataops_assets.connections.content import digest_of_file
from dataops_assets.connections.stored_position import StoredPosition
from dataops_assets.errors import InputError

Operation = Literal["r", "c", "u", "d", "t"]
"""A row at the beginning, an insertion, an update, a deletion; or that the table was emptied."""

Row = Mapping[str, str | None]
"""The texts of a row by the names of its columns; nulls are None."""


@dataclass(frozen=True)
class LogPosition(StoredPosition):
    """How far a log was read: the state from which the next look continues.

    * `reads`: which table, by which way. If it differs, the reading begins again.
    * `is_behind`: whether more was there than the last look took.
    * `begun`: what the reading needs on the server, such as a slot, is being made. Then it is ours and was never read.
    """

    reads: str = ""
    is_behind: bool = False
    begun: bool = False

    @property
    def cannot_wait(self) -> bool:
        """Return whether the next look is due at once."""
        return self.is_behind or self.begun


@dataclass(frozen=True)
class Changes:
    """The result of a look: a file of changes, and the position after them. Without a `path` nothing is new.

    `note` is what to say of the input. `problem` is what a person should know although the look went well.
    """

    position: LogPosition
    path: Path | None = None
    digest: str = ""
    size: int = 0
    note: str = ""
    problem: InputError | None = None


class TableLog(Protocol):
    """The changes of one table in the log of its database."""

    def position(self, stored: Mapping[str, Any]) -> LogPosition:
        """Return a position as it was recorded."""

    def beginning(self, since: LogPosition) -> LogPosition | None:
        """Return the position to record before the first look; None if there is nothing to record."""

    def read(self, since: LogPosition, folder: Path) -> Changes:
        """Read what is new into a file in `folder`. `since` is a position that was recorded.

        Raises InputError if changes that were not read are gone, StorageError or ConfigError; then nothing is new.
        """

    def require_readable(self) -> None:
        """Raise ConfigError if a setting or a right is missing that reading the log needs."""


@dataclass(frozen=True)
class Change:
    """One change of a row, or that the table was emptied.

    * `before`: the row before the change, or only what identifies it. `after`: the row after it.
    * `number`: the place of the change in its transaction, from 1.
    """

    operation: Operation
    before: Row | None
    after: Row | None
    number: int

    def by_key(self, key: Sequence[str]) -> Iterator[Change]:
        """Yield the change; if it gives a row another key, that is a deletion and an insertion.

        `key` are the columns of the primary key. Without one, any column that the log has of the row before counts.
        """
        before, after = self.before, self.after
        if before is None or after is None:
            yield self
        elif any(name in before and before[name] != after.get(name) for name in key or before):
            yield Change("d", before, None, self.number)
            yield Change("c", None, after, self.number)
        else:
            yield self


def lines(change: Change, key: Sequence[str], facts: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield the lines of a change. `facts` are the metadata of its transaction in the log."""
    for part, item in enumerate(change.by_key(key)):
        known = {**facts, "number": change.number}
        yield line(item.operation, {**known, "part": part} if part else known, item.before, item.after)


def facts_of(connector: str, connection: ReplicationConnection, **known: Any) -> dict[str, Any]:
    """Return the `source` of a line: `lsn` (place of the commit, orders transactions), `txId` and `ts_ms`.

    `number`, which orders the changes of a transaction, is 0 for a row at the beginning.
    """
    schema, table = connection.names
    return {"connector": connector, "schema": schema, "table": table, "number": 0, **known}


_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def json_of(row: Row) -> str:
    """Return a row as the JSON text in a line."""
    return _JSON.encode(row)


def line(operation: Operation, source: Mapping[str, Any], before: Row | None, after: Row | None) -> bytes:
    """Return a change as a line of the raw file."""
    record = {"op": operation, "source": source, "before": before, "after": after}
    return _JSON.encode(record).encode() + b"\n"


def of_file(path: Path, position: LogPosition, note: str = "") -> Changes:
    """Return the changes that a file has."""
    return Changes(position, path, digest_of_file(path), path.stat().st_size, note)


def lost(attempted: str, gone: str) -> InputError:
    """Return the error for changes that cannot be read any more."""
    return InputError(
        attempted,
        received=f"{gone}: changes that were not read are gone",
        next_step="set connection.lost to snapshot, and the next look begins again with all rows of the "
        "table; then set it to stop again",
    )


def begun_again(gone: str) -> str:
    """Return the note of an input that has all rows again."""
    return f"begun again with all rows, because {gone}" if gone else ""
