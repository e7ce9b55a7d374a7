"""Decodes the messages of PostgreSQL's plugin pgoutput into changes of rows.

Source: https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html, version 1 of the protocol.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from dataops_assets.errors import InputError

UNCHANGED = "__debezium_unavailable_value"
"""The value of a large column that an update did not change: the log does not have it. Debezium uses this word."""

Operation = Literal["c", "u", "d", "t"]
Row = Mapping[str, str | None]

# PostgreSQL counts microseconds from 2000-01-01
_EPOCH_MICROSECONDS = 946_684_800_000_000


@dataclass(frozen=True)
class Change:
    """One change of a row, or that the table was emptied (`t`). Values are the texts of the server; nulls are None.

    * `before`: the row before the change, or only its replica identity. `after`: the row after it.
    * `number`: the place of the change in its transaction, from 1.
    """

    operation: Operation
    before: Row | None
    after: Row | None
    number: int


@dataclass(frozen=True)
class Transaction:
    """The changes of one transaction, in order.

    `lsn` is the place of its commit in the log, and `end` the place after it; `at` is its time in microseconds since
    1970-01-01.
    """

    xid: int
    lsn: int
    end: int
    at: int
    changes: list[Change] = field(default_factory=list)


@dataclass(frozen=True)
class _Relation:
    name: str
    columns: tuple[str, ...]


class _Message:
    """Reads the parts of one message, from left to right."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    def number(self, form: str) -> int:
        found: int
        (found,) = struct.unpack_from(f">{form}", self._data, self._place)
        self._place += struct.calcsize(f">{form}")
        return found

    def letter(self) -> str:
        return chr(self.number("B"))

    def text(self) -> str:
        end = self._data.index(b"\0", self._place)
        found = self._data[self._place : end].decode()
        self._place = end + 1
        return found

    def value(self) -> str:
        size = self.number("i")
        found = self._data[self._place : self._place + size].decode()
        self._place += size
        return found

    def row(self, columns: tuple[str, ...]) -> dict[str, str | None]:
        found: dict[str, str | None] = {}
        for name in columns[: self.number("h")]:
            match self.letter():
                case "n":
                    found[name] = None
                case "u":
                    found[name] = UNCHANGED
                case _:
                    found[name] = self.value()
        return found


def transactions(messages: Iterable[bytes], table: str) -> Iterator[Transaction]:
    """Yield the transactions that are complete in `messages`, with their changes of `table` ('schema.name').

    A transaction without a change of the table is yielded, too: the log was read up to its end. Raises InputError for
    bytes that are no messages of pgoutput.
    """
    relations: dict[int, _Relation] = {}
    begun: Transaction | None = None
    for data in messages:
        try:
            begun, done = _decoded(_Message(data), relations, begun, table)
        except (struct.error, ValueError, KeyError) as error:
            raise InputError(
                f"decoding the changes of {table}",
                received=f"a message that is not of pgoutput, version 1: {error!r}",
                next_step="use a publication and a slot with the plugin pgoutput; nothing of this look was taken",
            ) from error
        if done is not None:
            yield done


def _decoded(
    message: _Message, relations: dict[int, _Relation], begun: Transaction | None, table: str
) -> tuple[Transaction | None, Transaction | None]:
    """Return the open transaction after a message, and the transaction that it completes."""
    match message.letter():
        case "B":
            lsn, at, xid = message.number("Q"), message.number("q"), message.number("I")
            return Transaction(xid, lsn, 0, at + _EPOCH_MICROSECONDS), None
        case "C" if begun is not None:
            message.number("B")
            lsn, end = message.number("Q"), message.number("Q")
            return None, Transaction(begun.xid, lsn, end, begun.at, begun.changes)
        case "R":
            number = message.number("I")
            schema, name = message.text(), message.text()
            message.letter()
            relations[number] = _Relation(f"{schema}.{name}", _columns(message))
        case "I" | "U" | "D" as letter if begun is not None:
            relation = relations[message.number("I")]
            if relation.name == table:
                begun.changes.extend(_changes(letter, message, relation.columns, len(begun.changes)))
        case "T" if begun is not None:
            count = message.number("I")
            message.number("B")
            emptied = [relations[message.number("I")].name for _ in range(count)]
            if table in emptied:
                begun.changes.append(Change("t", None, None, len(begun.changes) + 1))
    # other messages tell of types, origins, and what programs wrote into the log
    return begun, None


def _columns(message: _Message) -> tuple[str, ...]:
    names = []
    for _ in range(message.number("h")):
        message.number("B")
        names.append(message.text())
        # type, and its modifier
        message.number("I")
        message.number("i")
    return tuple(names)


def _changes(letter: str, message: _Message, columns: tuple[str, ...], number: int) -> Iterator[Change]:
    if letter == "I":
        message.letter()
        yield Change("c", None, message.row(columns), number + 1)
        return
    kind = message.letter()
    before = message.row(columns) if kind in "KO" else None
    if letter == "D":
        yield Change("d", _known(before, kind), None, number + 1)
        return
    if before is not None:
        message.letter()
    after = message.row(columns)
    # with REPLICA IDENTITY FULL, the row before has the large values
    whole = before if kind == "O" and before is not None else {}
    after = {name: whole.get(name, value) if value == UNCHANGED else value for name, value in after.items()}
    yield Change("u", _known(before, kind), after, number + 1)


def _known(row: dict[str, str | None] | None, kind: str) -> dict[str, str | None] | None:
    """Return the columns of the row before a change that the log has: of a replica identity, those with a value."""
    if row is None or kind == "O":
        return row
    return {name: value for name, value in row.items() if value is not None}
