"""Reads times that are written as a number of days, seconds, milliseconds or microseconds since 1970 in UTC.

A `date_format` with one of these words is exact: a number that is no whole microsecond, or no time of the years 1 to
9999, is no time. A date is a time at midnight.
"""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Mapping

from sqlglot import exp

from dataops_assets.sql import DIALECT, computed_once, query

MICROSECONDS: Mapping[str, int] = {
    "epoch_days": 86_400_000_000,
    "epoch_seconds": 1_000_000,
    "epoch_milliseconds": 1_000,
    "epoch_microseconds": 1,
}
"""The words of a `date_format`, with the microseconds of their unit."""

NUMBER = "DECIMAL(24, 6)"
"""The type that `time_of_number` takes."""

_START = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_END = dt.datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
_FIRST, _LAST = ((end - _START) // _MICROSECOND for end in (dt.datetime(1, 1, 1, tzinfo=dt.UTC), _END))


def time_of_number(number: exp.Expr, word: str, target: str) -> exp.Expression:
    """Convert a number of the type NUMBER to a DATE, TIMESTAMP or TIMESTAMPTZ; null if it is no such time."""
    micros = query("$number * CAST($unit AS DECIMAL(12, 0))", number=number, unit=MICROSECONDS[word])
    whole = query(
        "CASE WHEN s_micros BETWEEN $first AND $last AND CAST(CAST(s_micros AS BIGINT) AS DECIMAL(36, 6)) = s_micros "
        "THEN TIMESTAMP '1970-01-01 00:00:00' + to_microseconds(CAST(s_micros AS BIGINT)) END",
        first=exp.cast(exp.Literal.number(_FIRST), "DECIMAL(36, 6)", dialect=DIALECT),
        last=exp.cast(exp.Literal.number(_LAST), "DECIMAL(36, 6)", dialect=DIALECT),
    )
    time = computed_once("s_micros", micros, whole)
    if target == "DATE":
        midnight = query("CASE WHEN date_trunc('day', s_time) = s_time THEN CAST(s_time AS DATE) END")
        return computed_once("s_time", time, midnight)
    return query("$time AT TIME ZONE 'UTC'", time=time) if target == "TIMESTAMPTZ" else time


def time_of_text(text: str, word: str) -> dt.datetime:
    """Return the time that a text is, in UTC and without its zone. Raises ValueError if it is none."""
    try:
        micros = decimal.Decimal(text.strip()) * MICROSECONDS[word]
    except decimal.InvalidOperation as error:
        raise ValueError(f"{text!r} is no number") from error
    if not micros.is_finite() or not _FIRST <= micros <= _LAST or micros != int(micros):
        raise ValueError(f"{text!r} is no time of the years 1 to 9999 in {word}")
    return (_START + int(micros) * _MICROSECOND).replace(tzinfo=None)
