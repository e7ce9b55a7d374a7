"""What is known of a point from the calendar: weekday, hour, end of month, public holiday."""

from __future__ import annotations

import datetime as dt
from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np

from dataops_assets.quality.control.scales import Floats

if TYPE_CHECKING:
    from holidays import HolidayBase

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

TREND = 1
"""The number of the effect that grows from point to point."""

# How far an effect may be from zero before a point was seen that has it: its variance, in units of the noise's.
# The level, the days of a week and holidays are free. Most monitors know no end of month, so it begins smaller.
_FREE = 1e4
_LEVEL = 1e8
_HOLIDAY = 1e4
_MONTH_END = 400.0
# the trend over 100 points
_TREND = 4.0
_HOURS_APART = 12
# so many times the usual time between two points is a gap
_GAP = 1.5
# a year's season counts after two years, which only weekly and rarer inputs have within the inputs that are looked at
_YEARS = dt.timedelta(days=730)
# each month has an effect; of inputs less far apart than this some waves of a year smooth the steps between the months
_MONTHLY = dt.timedelta(days=20)
_WAVES = 2
_YEAR = 365.2425
_SEASON = 25.0

Effects = tuple[bool, bool, Literal["", "months", "waves"]]
"""Whether weekdays and hours count, and as what the season of a year counts."""


@dataclass(frozen=True)
class Design:
    """The effects that a point has part in, and how far each may be from zero at the beginning.

    `effects` has one row a point; its first column, the level, is always 1. `after_gaps`: points that come later after
    the one before than usual. How far a trend went in the meantime is not known there.
    """

    effects: Floats
    variances: Floats
    after_gaps: frozenset[int] = frozenset()


def design(times: Sequence[dt.datetime], country: str | None = None, effects: Effects | None = None) -> Design:
    """Return the effects of points at these times, in ascending order. `effects`: see `effects_at`."""
    has_weekdays, has_hours, season = effects or effects_at(times)
    columns = [np.ones(len(times)), np.arange(len(times)) / 100]
    variances = [_LEVEL, _TREND]
    groups = [[time.weekday() for time in times]] if has_weekdays else []
    groups += [[time.hour for time in times]] if has_hours else []
    for group in groups:
        present = sorted(set(group))
        columns += [np.array([member == value for member in group], dtype=float) for value in present]
        variances += [_FREE] * len(present)
    of_year = _of_year(times, season)
    columns += of_year
    variances += [_SEASON] * len(of_year)
    columns.append(np.array([(time + dt.timedelta(days=1)).day == 1 for time in times], dtype=float))
    variances.append(_MONTH_END)
    if country is not None:
        columns.append(np.array([holiday(time.date(), country) is not None for time in times], dtype=float))
        variances.append(_HOLIDAY)
    return Design(np.column_stack(columns), np.array(variances), _after_gaps(times))


def _after_gaps(times: Sequence[dt.datetime]) -> frozenset[int]:
    """Return the points after gaps, each told by the times up to it."""
    found: set[int] = set()
    known: list[dt.timedelta] = []
    for place, (before, time) in enumerate(pairwise(times), start=1):
        gap = time - before
        if known and gap > _GAP * known[len(known) // 2]:
            found.add(place)
        insort(known, gap)
    return frozenset(found)


def _of_year(times: Sequence[dt.datetime], season: str) -> list[Floats]:
    if not season:
        return []
    months = [np.array([time.month == month for time in times], dtype=float) for month in range(1, 13)]
    if season == "months":
        return months
    part = np.array([time.timetuple().tm_yday for time in times]) * (2 * np.pi / _YEAR)
    return [*months, *(wave(part * number) for number in range(1, _WAVES + 1) for wave in (np.sin, np.cos))]


def effects_at(times: Sequence[dt.datetime]) -> Effects:
    """Return what counts: weekdays and hours if there are several of them, and several points a day for hours."""
    return rhythms(times)[-1].effects if times else (False, False, "")


@dataclass(frozen=True)
class Rhythm:
    """The calendar effects and the cadence of the points up to one of them.

    `effects`: what of the calendar counts. `cadence`: the usual time between two points; a day if it is not known.
    """

    effects: Effects
    cadence: dt.timedelta


def rhythms(times: Sequence[dt.datetime]) -> list[Rhythm]:
    """Return for each point the rhythm of the points up to it; times are in ascending order."""
    found: list[Rhythm] = []
    gaps: list[dt.timedelta] = []
    weekdays: set[int] = set()
    hours: set[int] = set()
    before: dt.datetime | None = None
    for time in times:
        if before is not None and time > before:
            insort(gaps, time - before)
        before = time
        weekdays.add(time.weekday())
        hours.add(time.hour)
        cadence = gaps[len(gaps) // 2] if gaps else dt.timedelta(days=1)
        several_a_day = cadence <= dt.timedelta(hours=_HOURS_APART)
        has_years = time - times[0] >= _YEARS
        season: Literal["", "months", "waves"] = ("months" if cadence >= _MONTHLY else "waves") if has_years else ""
        found.append(Rhythm((len(weekdays) > 1, several_a_day and len(hours) > 1, season), cadence))
    return found


def holiday(day: dt.date, country: str) -> str | None:
    """Return the name of the public holiday of a country, such as 'DE', or of a part of it, such as 'DE-BY'."""
    return _calendar(country).get(day)


@lru_cache(maxsize=32)
def _calendar(country: str) -> HolidayBase:
    # imported late: it takes 0.1 s, and most deployments declare no country
    import holidays

    name, _, part = country.partition("-")
    return holidays.country_holidays(name, subdiv=part or None)
