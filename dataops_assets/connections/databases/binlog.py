"""Decodes the events of MariaDB's log into transactions, statements and changes of rows.

The log must have the names of columns (binlog_row_metadata = FULL) and whole rows (binlog_row_image = FULL).
Source: https://mariadb.com/kb/en/replication-protocol/.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pymysql.constants import FIELD_TYPE

from dataops_assets.connections.databases.binlog_values import (
    BINARY,
    DATETIME2,
    TIME2,
    TIMESTAMP2,
    Column,
    Read,
    Undecodable,
    decoded_text,
    reader_of,
    real_type,
)
from dataops_assets.connections.databases.replication import Operation, Row

_HEADER = struct.Struct("<IBIIIH")
_QUERY, _FORMAT, _XID, _TABLE, _XA_PREPARE, _GTID, _QUERY_COMPRESSED = 2, 15, 16, 19, 38, 162, 165
# the operation of a row event, and whether its rows are compressed
_ROWS: Mapping[int, tuple[Operation, bool]] = {
    23: ("c", False),
    24: ("u", False),
    25: ("d", False),
    166: ("c", True),
    167: ("u", True),
    168: ("d", True),
}
_CHECKSUM = 4
_ALONE, _PREPARED = 1, 64
# how many bytes follow the type of a column in the description of a table
_SIZES = {
    **dict.fromkeys((FIELD_TYPE.FLOAT, FIELD_TYPE.DOUBLE, FIELD_TYPE.BLOB, FIELD_TYPE.GEOMETRY), 1),
    **dict.fromkeys((TIMESTAMP2, DATETIME2, TIME2, 140), 1),
    **dict.fromkeys((FIELD_TYPE.VARCHAR, FIELD_TYPE.VAR_STRING, FIELD_TYPE.STRING, FIELD_TYPE.BIT), 2),
    **dict.fromkeys((FIELD_TYPE.NEWDECIMAL, 141), 2),
}
_NUMBERS = {
    *(FIELD_TYPE.TINY, FIELD_TYPE.SHORT, FIELD_TYPE.INT24, FIELD_TYPE.LONG, FIELD_TYPE.LONGLONG),
    *(FIELD_TYPE.NEWDECIMAL, FIELD_TYPE.FLOAT, FIELD_TYPE.DOUBLE),
}
_TEXTS = {FIELD_TYPE.STRING, FIELD_TYPE.VAR_STRING, FIELD_TYPE.VARCHAR, FIELD_TYPE.BLOB}
_WORDS = {FIELD_TYPE.ENUM, FIELD_TYPE.SET}
# what the description of a table tells beside the types
_SIGNS, _TEXT_CHARSET, _TEXT_CHARSETS, _NAMES, _SET_WORDS, _ENUM_WORDS = 1, 2, 3, 4, 5, 6
_KEY, _KEY_OF_PARTS, _WORD_CHARSET, _WORD_CHARSETS = 8, 9, 10, 11

_Value = TypeVar("_Value")


class Unreadable(ValueError):
    """A change whose exact effect is not in the log. The text says why."""


@dataclass(frozen=True)
class Begun:
    """The beginning of a transaction, or of a statement that is one (`is_alone`).

    `is_prepared`: it is prepared by XA; whether it counts is told by a later one.
    """

    domain: int
    gtid: str
    is_alone: bool
    is_prepared: bool


@dataclass(frozen=True)
class RowChange:
    """A change of a row, with the columns of the table's primary key, and its time in seconds since 1970-01-01."""

    operation: Operation
    before: Row | None
    after: Row | None
    key: Sequence[str]
    at: int


@dataclass(frozen=True)
class Statement:
    """A statement of the log, with the database in which its names are looked up."""

    text: str
    database: str
    at: int


@dataclass(frozen=True)
class Ended:
    """The end of a transaction that counts, or that is prepared."""


Event = Begun | RowChange | Statement | Ended


@dataclass(frozen=True)
class Schema:
    """Facts of the server that the log does not have.

    * `charsets`: the character sets by the number of their collations.
    * `native`: the types of columns that the log writes as bytes, by their names.
    """

    charsets: Mapping[int, str]
    native: Mapping[str, str]


def decoded(events: Iterable[bytes], table: tuple[str, str], schema: Schema) -> Iterator[Event]:
    """Yield the events in their order. Changes of rows are only those of `table` (database and name).

    Raises Unreadable if a change of the table is not told exactly.
    """
    log = _Log(table, schema)
    for data in events:
        try:
            found = list(log.take(data))
        except Undecodable as error:
            raise Unreadable(str(error)) from error
        except (struct.error, ValueError, LookupError, zlib.error) as error:
            if isinstance(error, Unreadable):
                raise
            raise Unreadable(f"an event that is not of MariaDB's log: {error!r}") from error
        yield from found


class _Bytes:
    """Reads the parts of an event, from left to right."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.place = 0

    @property
    def is_over(self) -> bool:
        return self.place >= len(self.data)

    def take(self, count: int) -> bytes:
        end = self.place + count
        if not self.place <= end <= len(self.data):
            raise ValueError(f"a part that ends at {end} in an event of {len(self.data)} bytes")
        found = self.data[self.place : end]
        self.place = end
        return found

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "little")

    def packed(self) -> int:
        first = self.number(1)
        return first if first < 251 else self.number({252: 2, 253: 3, 254: 8}[first])

    def rest(self) -> bytes:
        return self.take(len(self.data) - self.place)


@dataclass(frozen=True)
class _Table:
    names: Sequence[str]
    reads: Sequence[Read]
    key: Sequence[str]


class _Log:
    """Decodes events in their order, because they refer to earlier ones."""

    def __init__(self, table: tuple[str, str], schema: Schema) -> None:
        self._wanted = tuple(name.encode() for name in table)
        self._name = ".".join(table)
        self._schema = schema
        self._has_checksums = False
        self._tables: dict[int, _Table | None] = {}

    def take(self, data: bytes) -> Iterator[Event]:
        at, kind, server, *_ = _HEADER.unpack_from(data)
        if kind == _FORMAT:
            # the last bytes say how the events after it are checked, and check this one
            self._has_checksums = data[-_CHECKSUM - 1] == 1
            return
        body = _Bytes(data[_HEADER.size : -_CHECKSUM if self._has_checksums else None])
        if kind == _GTID:
            self._tables.clear()
            number, domain, flags = body.number(8), body.number(4), body.number(1)
            gtid = f"{domain}-{server}-{number}"
            yield Begun(domain, gtid, bool(flags & _ALONE), bool(flags & _PREPARED))
        elif kind in (_XID, _XA_PREPARE):
            yield Ended()
        elif kind in (_QUERY, _QUERY_COMPRESSED):
            yield _statement(body, at, is_compressed=kind == _QUERY_COMPRESSED)
        elif kind == _TABLE:
            number = body.number(6)
            self._tables[number] = self._described(body)
        elif kind in _ROWS:
            yield from self._rows(body, at, *_ROWS[kind])

    def _described(self, body: _Bytes) -> _Table | None:
        """Return the description of the table; None for another one."""
        body.number(2)
        names = []
        for _ in range(2):
            names.append(body.take(body.number(1)))
            body.number(1)
        if tuple(names) != self._wanted:
            return None
        kinds = body.take(body.packed())
        sizes = _Bytes(body.take(body.packed()))
        types = [real_type(kind, sizes.take(_SIZES.get(kind, 0))) for kind in kinds]
        body.take((len(kinds) + 7) // 8)
        told: dict[int, bytes] = {}
        while not body.is_over:
            field = body.number(1)
            told[field] = body.take(body.packed())
        if _NAMES not in told:
            raise Unreadable(f"changes of {self._name} were written without binlog_row_metadata = FULL")
        columns = _columns(types, told, self._schema)
        key = [columns[place].name for place in _key(told)]
        return _Table([item.name for item in columns], [reader_of(item) for item in columns], key)

    def _rows(self, body: _Bytes, at: int, operation: Operation, is_compressed: bool) -> Iterator[Event]:
        table = self._tables.get(body.number(6))
        if table is None:
            return
        body.number(2)
        count = body.packed()
        whole = (1 << count) - 1
        images = [body.number((count + 7) // 8) & whole for _ in range(2 if operation == "u" else 1)]
        if set(images) != {whole} or count != len(table.names):
            raise Unreadable(f"changes of {self._name} were written without binlog_row_image = FULL")
        rows = _Bytes(_uncompressed(body.rest()) if is_compressed else body.rest())
        while not rows.is_over:
            first = _row(rows, table)
            second = _row(rows, table) if operation == "u" else None
            before = None if operation == "c" else first
            after = first if operation == "c" else second
            yield RowChange(operation, before, after, table.key, at)


def _row(rows: _Bytes, table: _Table) -> dict[str, str | None]:
    nulls = rows.number((len(table.names) + 7) // 8)
    found: dict[str, str | None] = {}
    # each value of each row comes by here
    data, place = rows.data, rows.place
    for number, (name, read) in enumerate(zip(table.names, table.reads, strict=True)):
        if nulls >> number & 1:
            found[name] = None
        else:
            found[name], place = read(data, place)
    rows.place = place
    return found


def _uncompressed(data: bytes) -> bytes:
    # the first byte says how many bytes have the length, which zlib does not need
    return zlib.decompress(data[1 + (data[0] & 7) :])


def _statement(body: _Bytes, at: int, *, is_compressed: bool) -> Statement:
    body.take(8)
    length = body.number(1)
    body.take(2)
    body.take(body.number(2))
    database = body.take(length).decode()
    body.take(1)
    text = _uncompressed(body.rest()) if is_compressed else body.rest()
    return Statement(text.decode(errors="replace"), database, at)


def _columns(types: Sequence[tuple[int, Sequence[int]]], told: Mapping[int, bytes], schema: Schema) -> list[Column]:
    """Return the columns of a table, each with what the log tells of it."""
    kinds = [kind for kind, _ in types]
    names = _texts(_Bytes(told[_NAMES]))
    signs = _placed(kinds, _NUMBERS, _bits(told.get(_SIGNS, b"")))
    charsets = {
        **_charsets(kinds, _TEXTS, told.get(_TEXT_CHARSET), told.get(_TEXT_CHARSETS), schema),
        **_charsets(kinds, _WORDS, told.get(_WORD_CHARSET), told.get(_WORD_CHARSETS), schema),
    }
    words = {
        **_placed(kinds, {FIELD_TYPE.SET}, _lists(told.get(_SET_WORDS, b""))),
        **_placed(kinds, {FIELD_TYPE.ENUM}, _lists(told.get(_ENUM_WORDS, b""))),
    }
    columns = []
    for place, ((kind, size), name) in enumerate(zip(types, names, strict=True)):
        text, charset = name.decode(), charsets.get(place, "")
        own = [decoded_text(word, charset) if charset != BINARY else word.decode() for word in words.get(place, ())]
        columns.append(Column(text, kind, size, bool(signs.get(place)), charset, own, schema.native.get(text, "")))
    return columns


def _placed(kinds: Sequence[int], of: set[int], values: Sequence[_Value]) -> dict[int, _Value]:
    """Return values that the log has for columns of some types only, by the places of these columns."""
    return dict(zip((place for place, kind in enumerate(kinds) if kind in of), values, strict=False))


def _bits(data: bytes) -> list[bool]:
    return [bool(item >> bit & 1) for item in data for bit in range(7, -1, -1)]


def _texts(part: _Bytes) -> list[bytes]:
    found = []
    while not part.is_over:
        found.append(part.take(part.packed()))
    return found


def _lists(data: bytes) -> list[list[bytes]]:
    part, found = _Bytes(data), []
    while not part.is_over:
        found.append([part.take(part.packed()) for _ in range(part.packed())])
    return found


def _numbers(data: bytes) -> list[int]:
    part, found = _Bytes(data), []
    while not part.is_over:
        found.append(part.packed())
    return found


def _charsets(
    kinds: Sequence[int], of: set[int], usual: bytes | None, each: bytes | None, schema: Schema
) -> dict[int, str]:
    """Return the character sets of columns by their places: one for all with exceptions, or one of each."""
    if each is not None:
        collations = _numbers(each)
    elif usual is not None:
        first, *pairs = _numbers(usual)
        others = dict(zip(pairs[::2], pairs[1::2], strict=True))
        collations = [others.get(place, first) for place in range(sum(kind in of for kind in kinds))]
    else:
        return {}
    return _placed(kinds, of, [schema.charsets.get(number, str(number)) for number in collations])


def _key(told: Mapping[int, bytes]) -> list[int]:
    """Return the places of the columns of the primary key."""
    if _KEY in told:
        return _numbers(told[_KEY])
    return _numbers(told.get(_KEY_OF_PARTS, b""))[::2]
