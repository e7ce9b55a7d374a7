"""Converts a column of a Python hook's rows to an Arrow array without changing a value.

Arrow would infer the type from the first values: with a `date` before a `datetime`, it cuts the time. pandera sets
PYARROW_IGNORE_TIMEZONE for the whole process when it is imported; then 12:00 in Berlin becomes 12:00 UTC. So this
module chooses the type by all values. Numbers of several types become texts, which are then read exactly as the
declared type.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from dataops_assets.connections.formats.json_text import json_text

_EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001  of wall clocks
_EPOCH_UTC = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
_NUMBERS = {"whole number", "double", "decimal"}
_MOST_DIGITS = 38
_NANOS = 1000


def column_of(values: Sequence[Any]) -> pa.Array:
    """Convert values; None, NaT and NA are null. Raises TypeError or ValueError for values that no column can hold."""
    given = [_plain(value) for value in values]
    kinds = {_kind(value) for value in given if value is not None}
    if not kinds:
        return pa.array(given, pa.string())
    if len(kinds) == 1:
        return _ARRAYS[kinds.pop()](given)
    if kinds <= _NUMBERS:
        return _decimals(given) if "double" not in kinds else _texts(given)
    if kinds == {"date", "time"}:
        return _times([_midnight(value) if _kind(value) == "date" else value for value in given])
    raise TypeError(f"values of several types: {', '.join(sorted(kinds))}")


def _plain(value: Any) -> Any:
    """Return a value of Python's own types; a numpy or pandas scalar is one of them, but for times with nanoseconds."""
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, np.datetime64):
        if np.isnat(value):
            return None
        return value if np.datetime_data(value.dtype)[0] in ("ns", "ps", "fs", "as") else value.item()
    return value.item() if isinstance(value, np.generic) else value


_KINDS: Sequence[tuple[type | tuple[type, ...], str]] = (
    (bool, "boolean"),
    (int, "whole number"),
    (float, "double"),
    (decimal.Decimal, "decimal"),
    ((str, uuid.UUID), "text"),
    ((bytes, bytearray, memoryview), "binary"),
    (dt.time, "time of day"),
    ((dict, list, tuple, np.ndarray), "nested"),
    (np.datetime64, "time"),
)


def _kind(value: Any) -> str:
    if isinstance(value, dt.datetime):
        return "time" if value.tzinfo is None else "time with a zone"
    if isinstance(value, dt.date):
        return "date"
    if not isinstance(value, enum.Enum) or isinstance(value, (str, int)):
        for types, kind in _KINDS:
            if isinstance(value, types):
                return kind
    raise TypeError(f"a value of the type {type(value).__name__}")


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time())


def _integers(values: Sequence[int | None]) -> pa.Array:
    whole = [None if value is None else int(value) for value in values]
    fits = all(value is None or -(2**63) <= value < 2**63 for value in whole)
    return pa.array(whole, pa.int64()) if fits else _decimals(whole)


def _decimals(values: Sequence[Any]) -> pa.Array:
    """Return decimals of one precision and scale for all values; texts if there is none."""
    before = after = 0
    numbers = [None if value is None else decimal.Decimal(value) for value in values]
    for number in numbers:
        if number is None:
            continue
        if not number.is_finite():
            return _texts(values)
        _, digits, exponent = number.as_tuple()
        after = max(after, -int(exponent))
        before = max(before, len(digits) + int(exponent))
    if before + after > _MOST_DIGITS:
        return _texts(values)
    return pa.array(numbers, pa.decimal128(max(before + after, 1), after))


def _texts(values: Sequence[Any]) -> pa.Array:
    return pa.array([None if value is None else _text(value) for value in values], pa.string())


def _text(value: Any) -> str:
    if isinstance(value, enum.Enum):
        return str(value.value)
    return repr(value) if isinstance(value, float) else str(value)


def _times(values: Sequence[Any]) -> pa.Array:
    """Return wall clock times in microseconds, or in nanoseconds if a value has them."""
    nanos = [None if value is None else _nanoseconds(value, _EPOCH) for value in values]
    return _moments(nanos, None)


def _instants(values: Sequence[Any]) -> pa.Array:
    nanos = [None if value is None else _nanoseconds(value, _EPOCH_UTC) for value in values]
    return _moments(nanos, "UTC")


def _moments(nanos: Sequence[int | None], zone: str | None) -> pa.Array:
    if any(value is not None and value % _NANOS for value in nanos):
        return pa.array(nanos, pa.int64()).cast(pa.timestamp("ns", zone))
    micros = [None if value is None else value // _NANOS for value in nanos]
    return pa.array(micros, pa.int64()).cast(pa.timestamp("us", zone))


def _nanoseconds(value: Any, epoch: dt.datetime) -> int:
    if isinstance(value, np.datetime64):
        exact = value.astype("datetime64[ns]")
        if exact != value:
            raise ValueError(f"a time below nanoseconds: {value}")
        return int(exact.astype(np.int64))
    # a time of pandas has nanoseconds of its own, which its difference to another would have, too
    plain = value.to_pydatetime(warn=False) if hasattr(value, "to_pydatetime") else value
    return (plain - epoch) // _MICROSECOND * _NANOS + getattr(value, "nanosecond", 0)


def _nested(values: Sequence[Any]) -> pa.Array:
    lists = [value.tolist() if isinstance(value, np.ndarray) else value for value in values]
    return pa.array([None if value is None else json_text(value) for value in lists], pa.string())


_ARRAYS = {
    "boolean": lambda values: pa.array(values, pa.bool_()),
    "whole number": _integers,
    "double": lambda values: pa.array(values, pa.float64()),
    "decimal": _decimals,
    "text": _texts,
    "binary": lambda values: pa.array([None if value is None else bytes(value) for value in values], pa.binary()),
    "date": lambda values: pa.array(values, pa.date32()),
    "time": _times,
    "time with a zone": _instants,
    "time of day": lambda values: pa.array(values, pa.time64("us")),
    "nested": _nested,
}
