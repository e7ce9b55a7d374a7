"""Decodes the messages of PostgreSQL's plugin pgoutput into changes of rows.

Source: https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html, version 1 of the protocol.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dataops_assets.connections.databases import replication
from dataops_assets.connections.databases.replication import Operation, Row
from dataops_assets.errors import InputError

UNCHANGED = "__debezium_unavailable_value"
"""The value of a large column that an update did not change: the log does not have it. Debezium uses this word."""

# PostgreSQL counts microseconds from 2000-01-01
_EPOCH_MICROSECONDS = 946_684_800_000_000


@dataclass(frozen=True)
class Transaction:
    """One transaction: the place of its commit in the log, and its time in microseconds since 1970-01-01."""

    xid: int
    lsn: int
    at: int


@dataclass(frozen=True)
class Change(replication.Change):
    """One change of a row, or that the table was emptied (`t`), with its transaction."""

    transaction: Transaction


@dataclass(frozen=True)
class Committed:
    """The end of a transaction: the place in the log after it."""

    end: int


@dataclass(frozen=True)
class _Relation:
    name: str
    columns: tuple[str, ...]


_FORMS = {form: struct.Struct(f">{form}") for form in "BhiIqQ"}
_NULL, _SAME = b"nu"


class _Message:
    """Reads the parts of one message, from left to right."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    def number(self, form: str) -> int:
        layout = _FORMS[form]
        found: int
        (found,) = layout.unpack_from(self._data, self._place)
        self._place += layout.size
        return found

    def letter(self) -> str:
        return chr(self.number("B"))

    def text(self) -> str:
        end = self._data.index(b"\0", self._place)
        found = self._data[self._place : end].decode()
        self._place = end + 1
        return found

    def row(self, columns: tuple[str, ...]) -> dict[str, str | None]:
        found: dict[str, str | None] = {}
        count = self.number("h")
        # each value of each row comes by here, so no function is called for it
        data, place, size_of = self._data, self._place, _FORMS["i"]
        for name in columns[:count]:
            kind = data[place]
            place += 1
            if kind == _NULL:
                found[name] = None
            elif kind == _SAME:
                found[name] = UNCHANGED
            else:
                begin = place + size_of.size
                place = begin + size_of.unpack_from(data, place)[0]
                if not begin <= place <= len(data):
                    raise ValueError(f"a value that ends at {place} in a message of {len(data)} bytes")
                found[name] = data[begin:place].decode()
        self._place = place
        return found


def decoded(messages: Iterable[bytes], table: str) -> Iterator[Change | Committed]:
    """Yield the changes of `table` ('schema.name') one by one, and the end of each transaction, also of one without.

    Raises InputError for bytes that are no messages of pgoutput.
    """
    log = _Log(table)
    for data in messages:
        try:
            # a list, because what goes wrong in the caller is no fault of the message
            found = list(log.take(_Message(data)))
        except (struct.error, ValueError, LookupError) as error:
            raise InputError(
                f"decoding the changes of {table}",
                received=f"a message that is not of pgoutput, version 1: {error!r}",
                next_step="use a publication and a slot with the plugin pgoutput; nothing of this look was taken",
            ) from error
        yield from found


class _Log:
    """Decodes messages in their order, because they refer to tables and a transaction of earlier messages."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._relations: dict[int, _Relation] = {}
        self._transaction: Transaction | None = None
        self._number = 0

    def take(self, message: _Message) -> Iterator[Change | Committed]:
        match message.letter():
            case "B":
                lsn, at, xid = message.number("Q"), message.number("q"), message.number("I")
                self._transaction, self._number = Transaction(xid, lsn, at + _EPOCH_MICROSECONDS), 0
            case "C":
                message.number("B")
                message.number("Q")
                yield Committed(message.number("Q"))
            case "R":
                number = message.number("I")
                schema, name = message.text(), message.text()
                message.letter()
                self._relations[number] = _Relation(f"{schema}.{name}", _columns(message))
            case "I" | "U" | "D" as letter:
                relation = self._relations[message.number("I")]
                if relation.name == self._table:
                    yield self._change(*_row_change(letter, message, relation.columns))
            case "T":
                count = message.number("I")
                message.number("B")
                emptied = [self._relations[message.number("I")].name for _ in range(count)]
                if self._table in emptied:
                    yield self._change("t", None, None)
        # other messages tell of types, origins, and what programs wrote into the log

    def _change(self, operation: Operation, before: Row | None, after: Row | None) -> Change:
        if self._transaction is None:
            raise ValueError("a change outside a transaction")
        self._number += 1
        return Change(operation, before, after, self._number, self._transaction)


def _columns(message: _Message) -> tuple[str, ...]:
    names = []
    for _ in range(message.number("h")):
        message.number("B")
        names.append(message.text())
        # type, and its modifier
        message.number("I")
        message.number("i")
    return tuple(names)


def _row_change(letter: str, message: _Message, columns: tuple[str, ...]) -> tuple[Operation, Row | None, Row | None]:
    """Return what was done with a row, the row before it and the row after it."""
    if letter == "I":
        message.letter()
        return "c", None, message.row(columns)
    kind = message.letter()
    before = message.row(columns) if kind in "KO" else None
    if letter == "D":
        return "d", _known(before, kind), None
    if before is not None:
        message.letter()
    after = message.row(columns)
    # with REPLICA IDENTITY FULL, the row before has the large values
    whole = before if kind == "O" and before is not None else {}
    after = {name: whole.get(name, value) if value == UNCHANGED else value for name, value in after.items()}
    return "u", _known(before, kind), after


def _known(row: dict[str, str | None] | None, kind: str) -> dict[str, str | None] | None:
    """Return the columns of the row before a change that the log has: of a replica identity, those with a value."""
    if row is None or kind == "O":
        return row
    return {name: value for name, value in row.items() if value is not None}
