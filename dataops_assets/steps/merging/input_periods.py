"""Computes the period of an input, where the source declares one.

It is the whole hour, day, … of its extract time, or the period that the name of its file or its manifest tells.

A period is half-open, in the time zone of the source. Its bounds are computed here, and not by an engine, so that each
engine has the same. A range column has at most microseconds, so the last moment of a period is its end minus one. If
the clocks of the zone skip the whole period, its last moment is before its first one: no row can be in it.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias
from zoneinfo import ZoneInfo

import pyarrow as pa
from sqlglot import exp

from dataops_assets.config.refresh import Grain, NamedPeriod, TimestampRefresh
from dataops_assets.config.source import Source
from dataops_assets.connections.file_manifests import values_in
from dataops_assets.engines.base import Session
from dataops_assets.errors import InputError
from dataops_assets.local_time import first_at, hour_of
from dataops_assets.report import Input
from dataops_assets.sql import Relation, query
from dataops_assets.steps.merging import replace_scope
from dataops_assets.storage.publish import rows_of

Moment: TypeAlias = dt.date | dt.datetime

_ARROW = {
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", tz="UTC"),
}
_A_DAY = dt.timedelta(days=1)
_LAST_MOMENT = dt.timedelta(microseconds=1)


class Told(NamedTuple):
    """The value that the period of an input is read from: its extract time or, if declared, a text.

    `name` is the name of its file, or JSON with what its manifest tells of the period; '' where neither tells anything.
    """

    extract_time: dt.datetime
    name: str = ""


def told_by(source: Source, item: Input) -> Told:
    """Return the value that the period of an input is read from."""
    declared = declared_period(source)
    if not isinstance(declared, NamedPeriod):
        return Told(item.extract_time)
    if not declared.ends:
        return Told(item.extract_time, item.origin.rpartition("/")[2])
    try:
        found = values_in(item.manifest, declared.ends.values())
    except ValueError:
        found = {}
    return Told(item.extract_time, json.dumps(found, sort_keys=True, separators=(",", ":")))


def declared_period(source: Source) -> Grain | NamedPeriod | None:
    """Return the declared period of a source's inputs; None if an input covers the range of its rows."""
    return source.refresh.period if isinstance(source.refresh, TimestampRefresh) else None


def period_of(source: Source, told: Told) -> tuple[Moment, Moment]:
    """Return the first and the last moment of the period of an input, in the type of the range column.

    The source declares a period. Raises InputError for a file whose name tells none.
    """
    declared = declared_period(source)
    if declared is None:
        raise ValueError(f"source {source.name!r} declares no period")
    zone = ZoneInfo(source.discovery.timezone)
    kind = next(item.type for item in source.columns if item.name == source.refresh.range_by)
    if declared == "hour" and kind == "timestamptz":
        # an hour that the clock shows twice is two periods
        begin, end = hour_of(told.extract_time, zone)
        return begin, end - _LAST_MOMENT
    if isinstance(declared, NamedPeriod):
        first, following = _named(declared, told.name)
    else:
        first = _floor(declared, told.extract_time.astimezone(zone).replace(tzinfo=None, fold=0))
        following = _next(declared, first)
    if kind == "timestamptz":
        return _in_utc(first, zone), _in_utc(following, zone) - _LAST_MOMENT
    first, last = _as_local(first, zone), _as_local(following, zone) - _LAST_MOMENT
    return (first.date(), last.date()) if kind == "date" else (first, last)


def _in_utc(time: dt.datetime, zone: ZoneInfo) -> dt.datetime:
    return first_at(time, zone) if time.tzinfo is None else time.astimezone(dt.UTC)


def _as_local(time: dt.datetime, zone: ZoneInfo) -> dt.datetime:
    return time if time.tzinfo is None else time.astimezone(zone).replace(tzinfo=None)


def _named(declared: NamedPeriod, name: str) -> tuple[dt.datetime, dt.datetime]:
    """Return begin and end of the period that a name or a manifest tells: local times, or aware ones with an offset."""

    def refused(received: str) -> InputError:
        where = f"manifests with {', '.join(declared.ends.values())}" if declared.ends else declared.pattern
        return InputError(
            f"reading the period of {name}",
            received=received,
            known=[where if declared.ends else f"names that match {where}", f"times as {declared.format}"],
            next_step="correct refresh.period, or deliver the file again with another "
            + ("manifest" if declared.ends else "name"),
        )

    groups = _told_in_manifest(declared, name) if declared.ends else _told_in_name(declared, name)
    if not groups:
        raise refused("a manifest that does not tell it" if declared.ends else "a name that does not match the pattern")
    try:
        times = {
            group: dt.datetime.strptime(text, declared.format)  # noqa: DTZ007  the zone follows
            for group, text in groups.items()
        }
        first = times["from"]
        end = times["to"] if "to" in times else times["through"] + _A_DAY
    except (TypeError, ValueError, OverflowError) as error:
        raise refused(str(error)) from error
    if end <= first:
        raise refused(f"a period from {first} that ends at {end}")
    return first, end


def _told_in_name(declared: NamedPeriod, name: str) -> Mapping[str, str]:
    found = re.fullmatch(declared.pattern, name)
    return found.groupdict() if found else {}


def _told_in_manifest(declared: NamedPeriod, told: str) -> Mapping[str, str]:
    found = json.loads(told)
    if not set(declared.ends.values()) <= set(found):
        return {}
    return {end: found[name] for end, name in declared.ends.items()}


def periods(session: Session, source: Source, told: Mapping[str, Told]) -> Relation:
    """Make a small table of the periods of inputs: s_input_id, s_low, s_high."""
    found = [period_of(source, item) for item in told.values()]
    kind = next(item.type for item in source.columns if item.name == source.refresh.range_by)
    return session.register(
        pa.table(
            {
                "s_input_id": pa.array(told, pa.string()),
                replace_scope.LOW: pa.array([low for low, _ in found], _ARROW[kind]),
                replace_scope.HIGH: pa.array([high for _, high in found], _ARROW[kind]),
            }
        )
    )


def covers_of(session: Session, source: Source, lake: exp.Expr, told: Mapping[str, Told]) -> exp.Expr:
    """Return what these inputs cover: their declared periods, or what follows from their rows.

    `told` has what tells the period of each input. See `replace_scope.covers`, with the column s_input_id.
    """
    if declared_period(source) is not None:
        return query("SELECT p.* FROM $periods AS p", periods=periods(session, source, told))
    return replace_scope.covers(source, rows_of(lake, list(told)), ("s_input_id",))


def _floor(grain: Grain, time: dt.datetime) -> dt.datetime:
    """Return the first moment of the period that has this local time."""
    if grain == "hour":
        return time.replace(minute=0, second=0, microsecond=0)
    day = time.replace(hour=0, minute=0, second=0, microsecond=0)
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
        return dt.datetime.max  # noqa: DTZ901  a local time


def _months_later(first: dt.datetime, months: int) -> dt.datetime:
    month = first.month - 1 + months
    return first.replace(year=first.year + month // 12, month=month % 12 + 1)
