"""The position of a database source: the state that the next look needs from earlier looks.

It is recorded in one transaction with the input of the look, and only then. So a look that dies changes nothing, and
the next one does it again.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation

from dataops_assets.config.databases import DatabaseConnection, Incremental
from dataops_assets.config.rest import RestIncremental
from dataops_assets.connections.databases.reading import Bound, CursorKind
from dataops_assets.connections.stored_position import StoredPosition

_DIGEST_BYTES = 16
Comparable = int | Decimal | dt.date | dt.datetime
_DEFAULT_OVERLAP: Mapping[str, dt.timedelta | int] = {
    "number": 1000,
    "date": dt.timedelta(days=1),
    "time": dt.timedelta(hours=1),
    "iso text": dt.timedelta(hours=1),
}


@dataclass(frozen=True)
class Position(StoredPosition):
    """How far a source was read: the state from which the next look continues.

    * `reads`: digest of the part of the declaration that decides which rows are read. If it differs, all is read again.
    * `content`: sha256 of the rows of the whole table, as they were read last.
    * `full_at`: when the whole table was read last.
    * `settled`: the transaction from which on PostgreSQL's rows were not taken yet (cursor xmin).
    * `highest`, `low`, `kind`: the highest cursor value taken, the value from which the next look reads, and how they
      are compared.
    * `taken`: digests of rows at or above `low` that were taken; a row occurs as often as it was taken.
    * `since_full`: the inputs from the last extract of the whole table on.
    """

    reads: str = ""
    content: str = ""
    full_at: str = ""
    settled: int | None = None
    highest: str = ""
    low: str = ""
    kind: CursorKind = ""
    taken: str = ""
    since_full: Sequence[str] = field(default_factory=tuple)

    def after(self, input_id: str, incremental: Incremental | RestIncremental | None) -> Position:
        """Return the position after an extract became this input."""
        is_followed = incremental is not None and incremental.full_every is not None
        return replace(self, since_full=(*self.since_full, input_id)) if is_followed else self

    def last_cursor(self) -> Bound:
        """Return the value that is bound to the token last_cursor."""
        if not self.low:
            return None
        if self.kind == "number":
            number = Decimal(self.low)
            return int(number) if number == number.to_integral_value() else number
        return self.low

    def taken_rows(self) -> Counter[bytes]:
        """Return the digests of the rows that were taken."""
        packed = base64.b64decode(self.taken)
        return Counter(packed[place : place + _DIGEST_BYTES] for place in range(0, len(packed), _DIGEST_BYTES))


def fingerprint(connection: DatabaseConnection) -> str:
    """Return a digest of what decides which rows a look reads."""
    cursor = connection.incremental.cursor if connection.incremental is not None else ""
    deleted = connection.incremental.deleted if connection.incremental is not None else ""
    text = repr((connection.database, connection.table, connection.query, cursor, deleted))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def digest_of_row(row: Sequence[object]) -> bytes:
    """Return a digest of the values of a row."""
    return hashlib.blake2b(repr(tuple(row)).encode(), digest_size=_DIGEST_BYTES).digest()


def packed(digests: Iterable[bytes]) -> str:
    """Return digests of rows as they are stored."""
    return base64.b64encode(b"".join(sorted(digests))).decode()


def comparable(value: object, kind: CursorKind) -> Comparable | None:
    """Return a cursor value of a raw file in a form to compare.

    None for a null, and for a value without a place in the order: infinite, NaN, a zero date, a year before 1.
    """
    if value is None or kind == "":
        return None
    text = str(value)
    try:
        if kind == "number":
            number = Decimal(text)
            return number if number.is_finite() else None
        if kind == "date":
            return dt.date.fromisoformat(text)
        found = dt.datetime.fromisoformat(text)
    except (ValueError, InvalidOperation):
        return None
    if kind == "iso text":
        # texts with and without a zone are compared by their clocks: the lower bound is a whole day before them
        return found.replace(tzinfo=None)
    return found


def lowered(highest: Comparable, kind: CursorKind, incremental: Incremental | RestIncremental) -> str:
    """Return the value from which the next look reads: `overlap` below the highest one."""
    overlap = incremental.overlap if incremental.overlap is not None else _DEFAULT_OVERLAP[kind]
    if isinstance(highest, int | Decimal):
        return str(highest - (overlap if isinstance(overlap, int) else 0))
    back = overlap if isinstance(overlap, dt.timedelta) else dt.timedelta(0)
    # not before the first year
    least = dt.datetime.min.replace(tzinfo=highest.tzinfo) if isinstance(highest, dt.datetime) else dt.date.min
    low = highest - min(back, highest - least)
    if kind == "iso text" and isinstance(low, dt.datetime):
        # a day is a prefix of all its times, whatever stands between date and time
        return low.date().isoformat()
    return low.isoformat(sep=" ") if isinstance(low, dt.datetime) else low.isoformat()
