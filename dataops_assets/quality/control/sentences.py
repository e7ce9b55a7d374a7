"""A verdict in one sentence with numbers."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from dataops_assets.quality.control.calendar import WEEKDAYS, holiday
from dataops_assets.quality.control.scales import Floats, Scale

# with fewer points a record means little
_RECORD = 10


@dataclass(frozen=True)
class Calendar:
    """The times of a monitor's points, and the country whose holidays count."""

    times: Sequence[dt.datetime]
    country: str | None

    def day(self, point: int) -> str:
        """Return ' on a Monday', or the name of a holiday; '' if all points are on one weekday."""
        time = self.times[point]
        name = holiday(time.date(), self.country) if self.country is not None else None
        if name is not None:
            return f" on {name}"
        several = any(item.weekday() != time.weekday() for item in islice(self.times, point))
        return f" on a {WEEKDAYS[time.weekday()]}" if several else ""


@dataclass(frozen=True)
class Told:
    """A monitor up to the judged point, with its limits there and how often its value came in a row."""

    scale: Scale
    values: Floats
    limits: tuple[float, float]
    repeats: int


def sentence(told: Told, kind: str, calendar: Calendar) -> str:
    """Return a sentence about the last value and its limits, without the name. `kind`: 'sudden', 'drift', 'frozen'."""
    point = len(told.values) - 1
    value = float(told.values[-1])
    low, high = told.limits
    expected = f"expected {expectation(told.scale, low, high)}{calendar.day(point)}"
    beginning = f"{shown(told.scale, value)}, {expected}"
    if low <= value <= high and kind == "frozen":
        return f"{beginning}; the same value for {told.repeats} inputs in a row"
    if low <= value <= high and kind == "drift":
        earlier = told.values[:-1][np.isfinite(told.values[:-1])]
        side = "upwards" if value > np.median(earlier) else "downwards"
        lately = shown(told.scale, float(np.median(told.values[-7:])))
        usual = shown(told.scale, float(np.median(earlier)))
        return f"{beginning}; drifts {side}: median of the last 7 inputs {lately}, of all {usual}"
    return f"{beginning}{_record(told.values, calendar.times)}"


def expectation(scale: Scale, low: float, high: float) -> str:
    """Return the limits in words; counts are whole numbers."""
    if scale == "count":
        return f"{math.ceil(low):,} to {math.floor(high):,}" if math.isfinite(high) else f"at least {math.ceil(low):,}"
    return f"{shown(scale, low)} to {shown(scale, high)}"


def shown(scale: Scale, value: float) -> str:
    """Return a value as it is shown."""
    if scale == "count":
        return f"{value:,.0f}"
    return f"{value:.1%}" if scale == "share" else f"{value:,.4g}"


def _record(values: Floats, times: Sequence[dt.datetime]) -> str:
    """Return '; lowest in 14 months' if no value before for at least ten points was as low (or as high)."""
    value, point = values[-1], len(values) - 1
    for word, beyond in (("lowest", values[:-1] <= value), ("highest", values[:-1] >= value)):
        places = np.flatnonzero(beyond)
        last = int(places[-1]) if len(places) else -1
        if point - last > _RECORD:
            return f"; {word} in {_span(times[point] - times[max(last, 0)])}"
    return ""


def _span(time: dt.timedelta) -> str:
    days = time / dt.timedelta(days=1)
    for unit, length in (("year", 730.0), ("month", 60.0), ("week", 21.0), ("day", 2.0)):
        if days >= length:
            single = {"year": 365.25, "month": 30.44, "week": 7.0, "day": 1.0}[unit]
            return f"{days / single:.0f} {unit}s"
    return f"{days * 24:.0f} hours"
