r"""Decodes the values of row events of MariaDB's log into the texts that the server prints for them.

Zero dates, sets in their order, enums outside their list and trailing zeros stay as they are. Two kinds of value have
another text than a SELECT prints: a float has all its digits, where the server prints six, and bytes are written as
`\x00ff`.
Source: https://mariadb.com/kb/en/rows_event_v1v2-rows_compressed_event_v1/, and the same formats in MySQL's manual.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import struct
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from pymysql.constants import FIELD_TYPE

TIMESTAMP2, DATETIME2, TIME2 = 17, 18, 19
"""Types of the log that the protocol of queries does not have: times with fractions of seconds."""

Read = Callable[[bytes, int], tuple[str, int]]
"""Takes the bytes of an event and the place of a value; returns its text, and the place after it."""

BINARY = "binary"
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
# the character sets of MariaDB that Python decodes to the same characters as the server does
_CODECS = {
    "utf8mb4": "utf-8",
    "utf8mb3": "utf-8",
    "utf8": "utf-8",
    "ascii": "ascii",
    "latin1": "cp1252",
    "latin2": "iso8859-2",
    "latin5": "iso8859-9",
    "latin7": "iso8859-13",
    "ucs2": "utf-16-be",
    "utf16": "utf-16-be",
    "utf16le": "utf-16-le",
    "utf32": "utf-32-be",
    "koi8r": "koi8-r",
    "macroman": "mac-roman",
    "macce": "mac-latin2",
    "tis620": "tis-620",
    **{name: name for name in ("cp1250", "cp1251", "cp1257", "cp850", "cp852")},
}
# decimal digits of a group, and the bytes that they take
_GROUP = 9
_BYTES = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)


class Undecodable(ValueError):
    """A column whose values cannot be read exactly. Its text says why."""


@dataclass(frozen=True)
class Column:
    """A column as the log describes it, for one event.

    * `type`: the number of its type. `size`: what the log says of the type, which is one or two numbers.
    * `charset`: its character set; 'binary' for bytes, empty for values without one.
    * `words`: the words of an enum or a set.
    * `native`: its type in the schema: the log does not tell 'uuid', 'inet4' and 'inet6' from bytes.
    """

    name: str
    type: int
    size: Sequence[int] = ()
    is_unsigned: bool = False
    charset: str = ""
    words: Sequence[str] = ()
    native: str = ""


def reader_of(column: Column) -> Read:
    """Return what reads the values of a column. Raises Undecodable for a type that is not known."""
    maker = _MAKERS.get(column.type)
    if maker is None:
        raise Undecodable(f"column {column.name!r} has a type that the log writes as {column.type}")
    return maker(column)


def real_type(kind: int, size: Sequence[int]) -> tuple[int, Sequence[int]]:
    """Return the type of a column and its size: the log hides enums and sets in fixed texts."""
    if kind == FIELD_TYPE.STRING and size[0] in (FIELD_TYPE.ENUM, FIELD_TYPE.SET):
        return size[0], size
    return kind, size


def decoded_text(data: bytes, charset: str) -> str:
    """Return bytes of a character set as text. Raises Undecodable."""
    codec = _CODECS.get(charset)
    if codec is None:
        raise Undecodable(f"a text is in the character set {charset}")
    try:
        return data.decode(codec)
    except UnicodeDecodeError as error:
        if charset == "latin1":
            # the server maps the bytes that Windows does not use to control characters
            return "".join(bytes([item]).decode(codec, "ignore") or chr(item) for item in data)
        raise Undecodable(f"a text is no {charset}: {error}") from error


def float_text(value: float, *, is_single: bool = False) -> str:
    """Return the shortest text that gives the same number again."""
    return repr(float(str(np.float32(value))) if is_single else value).removesuffix(".0")


def bytes_text(data: bytes) -> str:
    r"""Return bytes as `\x00ff`, which is how PostgreSQL prints them."""
    return f"\\x{data.hex()}"


def printed(value: str | bytes | None, data_type: str) -> str | None:
    """Return a value that the server printed in the form that a value of the log has; `data_type` as in the schema."""
    match value:
        case None:
            return None
        case bytes():
            return str(int.from_bytes(value)) if data_type == "bit" else bytes_text(value)
        case _ if data_type in ("float", "double"):
            return float_text(float(value), is_single=data_type == "float")
        case _ if data_type == "decimal" or data_type.endswith("int"):
            # ZEROFILL prints zeros that the log does not have
            return f"{Decimal(value):f}"
    return value


# --- numbers ---------------------------------------------------------------------------------------------------------


def _of_bytes(count: int, text: Callable[[bytes], str]) -> Read:
    def read(data: bytes, place: int) -> tuple[str, int]:
        end = place + count
        if end > len(data):
            raise ValueError(f"a value that ends at {end} in an event of {len(data)} bytes")
        return text(data[place:end]), end

    return read


def _integer(count: int) -> Callable[[Column], Read]:
    def made(column: Column) -> Read:
        is_signed = not column.is_unsigned
        return _of_bytes(count, lambda data: str(int.from_bytes(data, "little", signed=is_signed)))

    return made


def _number(form: str, *, is_single: bool) -> Callable[[Column], Read]:
    layout = struct.Struct(form)
    return lambda _column: _of_bytes(layout.size, lambda data: float_text(layout.unpack(data)[0], is_single=is_single))


def _decimal(column: Column) -> Read:
    precision, scale = column.size
    whole = precision - scale
    groups = [
        *([whole % _GROUP] if whole % _GROUP else []),
        *[_GROUP] * (whole // _GROUP),
        *[_GROUP] * (scale // _GROUP),
        *([scale % _GROUP] if scale % _GROUP else []),
    ]
    count = sum(_BYTES[digits] for digits in groups)

    def text(data: bytes) -> str:
        is_negative = not data[0] & 0x80
        value = bytes([data[0] ^ 0x80, *data[1:]])
        if is_negative:
            value = bytes(item ^ 0xFF for item in value)
        place, digits = 0, ""
        for group in groups:
            end = place + _BYTES[group]
            digits += f"{int.from_bytes(value[place:end]):0{group}d}"
            place = end
        found = digits[:whole].lstrip("0") or "0"
        if scale:
            found = f"{found}.{digits[whole:]}"
        return f"-{found}" if is_negative else found

    return _of_bytes(count, text)


# --- times -----------------------------------------------------------------------------------------------------------


def _fraction_bytes(places: int) -> int:
    return (places + 1) // 2


def _fraction(value: int, places: int) -> str:
    """Return the fraction of a second; the log has two digits in each byte."""
    digits = f"{value:0{2 * _fraction_bytes(places)}d}"
    return f".{digits[:places]}" if places else ""


def _timed(count: int, text: Callable[[bytes, int], str]) -> Callable[[Column], Read]:
    def made(column: Column) -> Read:
        places = column.size[0]
        return _of_bytes(count + _fraction_bytes(places), lambda data: text(data, places))

    return made


def _year(data: bytes) -> str:
    return f"{1900 + data[0] if data[0] else 0:04}"


def _date(data: bytes) -> str:
    value = int.from_bytes(data, "little")
    return f"{value >> 9:04}-{value >> 5 & 15:02}-{value & 31:02}"


def _datetime(data: bytes, places: int) -> str:
    value = int.from_bytes(data[:5]) & 0x7FFFFFFFFF
    months, day = value >> 22, value >> 17 & 31
    time = f"{value >> 12 & 31:02}:{value >> 6 & 63:02}:{value & 63:02}"
    return f"{months // 13:04}-{months % 13:02}-{day:02} {time}{_fraction(int.from_bytes(data[5:]), places)}"


def _timestamp(data: bytes, places: int) -> str:
    seconds, rest = int.from_bytes(data[:4]), int.from_bytes(data[4:])
    zero = not (seconds or rest)
    time = "0000-00-00 00:00:00" if zero else f"{_EPOCH + dt.timedelta(seconds=seconds):%Y-%m-%d %H:%M:%S}"
    return f"{time}{_fraction(rest, places)}"


def _time(data: bytes, places: int) -> str:
    bits = 8 * _fraction_bytes(places)
    # a number with its sign, from the middle of the range
    value = int.from_bytes(data) - (0x800000 << bits)
    whole, rest = abs(value) >> bits, abs(value) & ((1 << bits) - 1)
    sign = "-" if value < 0 else ""
    return f"{sign}{whole >> 12 & 1023:02}:{whole >> 6 & 63:02}:{whole & 63:02}{_fraction(rest, places)}"


# --- texts -----------------------------------------------------------------------------------------------------------


def _with_length(count: int, text: Callable[[bytes], str]) -> Read:
    def read(data: bytes, place: int) -> tuple[str, int]:
        begin = place + count
        end = begin + int.from_bytes(data[place:begin], "little")
        if end > len(data):
            raise ValueError(f"a value that ends at {end} in an event of {len(data)} bytes")
        return text(data[begin:end]), end

    return read


def _varying(column: Column) -> Read:
    longest = column.size[0] | column.size[1] << 8
    return _with_length(1 if longest < 256 else 2, _text(column))


def _longest(size: Sequence[int]) -> int:
    """Return the most bytes of a fixed text: two bits of a long one stand in the byte of the type."""
    return size[1] | ((size[0] & 0x30) ^ 0x30) << 4


def _text(column: Column) -> Callable[[bytes], str]:
    return bytes_text if column.charset == BINARY else lambda data: decoded_text(data, column.charset)


def _fixed(column: Column) -> Read:
    """Return what reads a fixed text, or fixed bytes: the log leaves out zeros at their end."""
    longest = _longest(column.size)
    text = _text(column)
    if column.charset == BINARY:
        whole = _NATIVE.get(column.native, bytes_text)
        return _with_length(1 if longest < 256 else 2, lambda data: whole(data.ljust(longest, b"\0")))
    return _with_length(1 if longest < 256 else 2, text)


_NATIVE: Mapping[str, Callable[[bytes], str]] = {
    "uuid": lambda data: str(uuid.UUID(bytes=data)),
    "inet6": lambda data: socket.inet_ntop(socket.AF_INET6, data),
    "inet4": lambda data: str(ipaddress.IPv4Address(data)),
}


def _bits(column: Column) -> Read:
    return _of_bytes((column.size[0] + 8 * column.size[1] + 7) // 8, lambda data: str(int.from_bytes(data)))


def _enum(column: Column) -> Read:
    # 0 is a value outside the list, which the server prints as an empty text
    words = ["", *column.words]
    return _of_bytes(column.size[1], lambda data: words[int.from_bytes(data, "little")])


def _set(column: Column) -> Read:
    def text(data: bytes) -> str:
        bits = int.from_bytes(data, "little")
        return ",".join(word for place, word in enumerate(column.words) if bits >> place & 1)

    return _of_bytes(column.size[1], text)


_MAKERS: Mapping[int, Callable[[Column], Read]] = {
    FIELD_TYPE.TINY: _integer(1),
    FIELD_TYPE.SHORT: _integer(2),
    FIELD_TYPE.INT24: _integer(3),
    FIELD_TYPE.LONG: _integer(4),
    FIELD_TYPE.LONGLONG: _integer(8),
    FIELD_TYPE.FLOAT: _number("<f", is_single=True),
    FIELD_TYPE.DOUBLE: _number("<d", is_single=False),
    FIELD_TYPE.NEWDECIMAL: _decimal,
    FIELD_TYPE.BIT: _bits,
    FIELD_TYPE.YEAR: lambda _column: _of_bytes(1, _year),
    FIELD_TYPE.DATE: lambda _column: _of_bytes(3, _date),
    TIMESTAMP2: _timed(4, _timestamp),
    DATETIME2: _timed(5, _datetime),
    TIME2: _timed(3, _time),
    FIELD_TYPE.ENUM: _enum,
    FIELD_TYPE.SET: _set,
    FIELD_TYPE.VARCHAR: _varying,
    FIELD_TYPE.STRING: _fixed,
    FIELD_TYPE.BLOB: lambda column: _with_length(column.size[0], _text(column)),
    FIELD_TYPE.GEOMETRY: lambda column: _with_length(column.size[0], bytes_text),
}
