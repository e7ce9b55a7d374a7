"""Computes the period of an input, where the source declares one: the whole hour, day, … of its extract time.

A period is half-open, in the time zone of the source. Its bounds are computed here, and not by an engine, so that each
engine has the same. A range column has at most microseconds, so the last moment of a period is its end minus one.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import TypeAlias
from zoneinfo import ZoneInfo

import pyarrow as pa
from sqlglot import exp

from dataops_assets.config.refresh import Grain, TimestampRefresh
from dataops_assets.config.source import Source
from dataops_assets.engines.base import Session
from dataops_assets.sql import Relation, query
from dataops_assets.steps.merging import replace_scope
from dataops_assets.storage.publish import rows_of

Moment: TypeAlias = dt.date | dt.datetime

_ARROW = {
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", tz="UTC"),
}
_LAST_MOMENT = dt.timedelta(microseconds=1)


def declared_period(source: Source) -> Grain | None:
    """Return the grain of the periods of a source's inputs; None if an input covers the range of its rows."""
    return source.refresh.period if isinstance(source.refresh, TimestampRefresh) else None


def period_of(source: Source, extract_time: dt.datetime) -> tuple[Moment, Moment]:
    """Return the first and the last moment of the period of an input, in the type of the range column.

    The source declares a period.
    """
    grain = declared_period(source)
    if grain is None:
        raise ValueError(f"source {source.name!r} declares no period")
    zone = ZoneInfo(source.discovery.timezone)
    local = extract_time.astimezone(zone)
    first = _floor(grain, local.replace(tzinfo=None))
    kind = next(item.type for item in source.columns if item.name == source.refresh.range_by)
    if kind == "date":
        return first.date(), (_next(grain, first) - _LAST_MOMENT).date()
    if kind == "timestamp":
        return first.replace(fold=0), _next(grain, first.replace(fold=0)) - _LAST_MOMENT
    start = first.replace(tzinfo=zone).astimezone(dt.UTC)
    if grain == "hour":
        # an hour that the clock shows twice is two periods
        return start, _next(grain, start) - _LAST_MOMENT
    end = _next(grain, first.replace(fold=0)).replace(tzinfo=zone).astimezone(dt.UTC)
    return start, end - _LAST_MOMENT


def periods(session: Session, source: Source, times: Mapping[str, dt.datetime]) -> Relation:
    """Make a small table of the periods of inputs, from their extract times: s_input_id, s_low, s_high."""
    found = [period_of(source, time) for time in times.values()]
    kind = next(item.type for item in source.columns if item.name == source.refresh.range_by)
    return session.register(
        pa.table(
            {
                "s_input_id": pa.array(times, pa.string()),
                replace_scope.LOW: pa.array([low for low, _ in found], _ARROW[kind]),
                replace_scope.HIGH: pa.array([high for _, high in found], _ARROW[kind]),
            }
        )
    )


def covers_of(session: Session, source: Source, lake: exp.Expr, times: Mapping[str, dt.datetime]) -> exp.Expr:
    """Return what these inputs cover: their declared periods, or what follows from their rows.

    `times` has the extract time of each input. See `replace_scope.covers`, with the column s_input_id.
    """
    if declared_period(source) is not None:
        return query("SELECT p.* FROM $periods AS p", periods=periods(session, source, times))
    return replace_scope.covers(source, rows_of(lake, list(times)), ("s_input_id",))


def _floor(grain: Grain, time: dt.datetime) -> dt.datetime:
    """Return the first moment of the period that has this local time."""
    if grain == "hour":
        return time.replace(minute=0, second=0, microsecond=0)
    day = time.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if grain == "day":
        return day
    if grain == "week":
        return day - dt.timedelta(days=day.weekday())
    months = {"month": 1, "quarter": 3, "year": 12}[grain]
    return day.replace(day=1, month=day.month - (day.month - 1) % months)


def _next(grain: Grain, first: dt.datetime) -> dt.datetime:
    """Return the first moment of the following period; the latest time that there is, if it comes later."""
    steps: Mapping[str, Callable[[], dt.datetime]] = {
        "hour": lambda: first + dt.timedelta(hours=1),
        "day": lambda: first + dt.timedelta(days=1),
        "week": lambda: first + dt.timedelta(weeks=1),
        "month": lambda: _months_later(first, 1),
        "quarter": lambda: _months_later(first, 3),
        "year": lambda: _months_later(first, 12),
    }
    try:
        return steps[grain]()
    except (OverflowError, ValueError):
        return dt.datetime.max.replace(tzinfo=first.tzinfo)


def _months_later(first: dt.datetime, months: int) -> dt.datetime:
    month = first.month - 1 + months
    return first.replace(year=first.year + month // 12, month=month % 12 + 1)
