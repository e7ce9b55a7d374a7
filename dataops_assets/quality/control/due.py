"""When the next input of a source is due, learnt from when inputs arrived.

An input that is missing is no point of any series, so nothing can be judged before another one arrives. But the time
between two arrivals is usual for the time of the week at which the first of them came: 24 hours after a Monday
morning, 72 after a Friday morning, 14 after the last hour of a working day.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from dataops_assets.quality.control.calendar import WEEKDAYS, holiday
from dataops_assets.quality.control.pvalues import calibrate, threshold
from dataops_assets.quality.control.scales import Floats

FEWEST_GAPS = 20
"""With fewer times between arrivals, nothing is said."""
LEAST_TIME = dt.timedelta(days=14)
"""Nothing is said before arrivals were seen for so long: weekends and nights are among them."""
MOST_INPUTS = 350
"""How many of the newest inputs are looked at: more than fourteen days of hourly ones."""

# fewer are enough if they tell of so long a time, in which each hour of the week comes five times
_ENOUGH_INPUTS, _ENOUGH_TIME = 120, dt.timedelta(days=35)
_WEEK, _DAY = 168.0, 24.0
# arrivals at so nearly the same time are alike: this many hours, but no more than this part of a usual gap
_ALIKE, _PART_ALIKE = 2.0, 0.5
_FEWEST_ALIKE = 3
_LEAST_LEVEL, _MOST_LEVEL = 1e-5, 0.01
# of the logarithms of the gaps
_LEAST_DEVIATION, _TO_DEVIATION = 0.01, 1.4826
# an input may be late by so many hours at least, and by this part of the usual gap
_LEAST_DELAY, _PART_OF_GAP = 0.25, 0.05
_MOST_LOG = 5.0


@dataclass(frozen=True)
class Arrival:
    """The extract time of an input, and when it arrived; both aware."""

    extracted: dt.datetime
    arrived: dt.datetime


@dataclass(frozen=True)
class Due:
    """When the input after the newest one usually comes, and when it is late: `at` as a warning, later `missing`.

    `newest` is the last input, `gap` the usual time until the next one; `number` of gaps between arrivals tell it.
    """

    newest: Arrival
    usual: dt.datetime
    at: dt.datetime
    gap: dt.timedelta
    number: int

    @property
    def missing(self) -> dt.datetime:
        """Return when a second input should have come, too."""
        return self.at + self.gap

    def seen(self, at: dt.datetime) -> Due:
        """Return when the next input is due if the newest one was seen only at some time, such as with a history."""
        later = max(at - self.newest.arrived, dt.timedelta(0))
        return replace(self, usual=self.usual + later, at=self.at + later)

    @property
    def sentence(self) -> str:
        """Return a sentence about the missing input, with its expected and its latest time."""
        after, hours = self.newest, self.gap / dt.timedelta(hours=1)
        return (
            f"the input after the one of {after.extracted:%Y-%m-%d %H:%M} is missing; it was expected at "
            f"{self.usual:%Y-%m-%d %H:%M} UTC. The last input arrived on {WEEKDAYS[after.arrived.weekday()]}, "
            f"{after.arrived:%Y-%m-%d %H:%M}, and after an arrival at this time of the week the next one usually takes "
            f"{hours:.3g} hours (learnt from {self.number} arrivals)"
        )


def learn_due(arrivals: Sequence[Arrival], alarms_a_day: float, country: str | None = None) -> Due | None:
    """Return when the next input is due; None if too little is known.

    `alarms_a_day`: how many false alarms are allowed. `country`: on its public holidays no input need come. Inputs that
    arrive together say nothing of when inputs arrive, so only the first of them counts.
    """
    ordered = _newest(arrivals)
    starts, gaps = _gaps(ordered)
    if len(gaps) < FEWEST_GAPS or ordered[-1].arrived - ordered[0].arrived < LEAST_TIME:
        return None
    newest = ordered[-1]
    usual, expected = _usual(starts, gaps, _hour_of_week(newest.arrived))
    apart = np.log(gaps / usual)
    apart = apart[np.isfinite(apart)]
    if len(apart) < FEWEST_GAPS:
        return None
    scale = max(_TO_DEVIATION * float(np.median(np.abs(apart))), _LEAST_DEVIATION)
    level = float(np.clip(alarms_a_day * expected / 24, _LEAST_LEVEL, _MOST_LEVEL))
    beyond = scale * float(threshold(calibrate(apart[None, :] / scale), level)[0])
    most = max(expected * float(np.exp(min(beyond, _MOST_LOG))), expected + max(_LEAST_DELAY, _PART_OF_GAP * expected))
    free = _free_days(newest.arrived, expected, country)
    return Due(
        newest,
        newest.arrived + dt.timedelta(hours=expected) + free,
        newest.arrived + dt.timedelta(hours=most) + free,
        dt.timedelta(hours=expected),
        len(gaps),
    )


def _newest(arrivals: Sequence[Arrival]) -> list[Arrival]:
    """Return the newest arrivals that tell enough, in the order of the extracts."""
    ordered = sorted(arrivals, key=lambda item: (item.extracted, item.arrived))[-MOST_INPUTS:]
    number = min(_ENOUGH_INPUTS, len(ordered))
    while number < len(ordered) and ordered[-1].arrived - ordered[-number].arrived < _ENOUGH_TIME:
        number += 1
    return ordered[-number:]


def _gaps(ordered: Sequence[Arrival]) -> tuple[list[float], Floats]:
    """Return the hour of the week at which each arrival came, and the hours until the next one.

    An input arrives alone if at least half of the time between the extracts lies between the two arrivals.
    """
    starts, gaps = [], []
    before: Arrival | None = None
    for item in ordered:
        if before is not None and item.extracted > before.extracted:
            between = item.arrived - before.arrived
            if between >= (item.extracted - before.extracted) / 2 and between > dt.timedelta(0):
                starts.append(_hour_of_week(before.arrived))
                gaps.append(between / dt.timedelta(hours=1))
        before = item
    return starts, np.array(gaps)


def _usual(starts: Sequence[float], gaps: Floats, start: float) -> tuple[Floats, float]:
    """Return the usual gap after each arrival, which no gap tells for itself, and the one expected after `start`.

    Usual is the median after arrivals at that time of the week. If these are too few, it is the median after those at
    that time of the day, and the longest of these is expected. If those are too few, too, no gap is usual, and the
    longest of all is expected.
    """
    at = np.array([*starts, start])
    apart = np.abs(at[:, None] - at[None, :-1])
    in_week = np.minimum(apart, _WEEK - apart)
    in_day = np.minimum(apart % _DAY, _DAY - apart % _DAY)
    near = min(_ALIKE, _PART_ALIKE * float(np.median(gaps)))
    (weekly, of_week), (daily, of_day) = (_medians(gaps, distance <= near) for distance in (in_week, in_day))
    usual = np.where(of_week, weekly, np.where(of_day, daily, np.nan))
    if of_week[-1]:
        return usual[:-1], float(weekly[-1])
    return usual[:-1], float(np.max(gaps[in_day[-1] <= near] if of_day[-1] else gaps))


def _medians(gaps: Floats, alike: npt.NDArray[np.bool_]) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return for each row the median of its alike gaps without its own, and whether they are enough to tell one."""
    itself = np.arange(len(gaps))
    alike[itself, itself] = False
    # the gap, in their order, up to which half of the alike ones come
    order = np.argsort(gaps, kind="stable")
    counted = np.cumsum(alike[:, order], axis=1)
    middle = np.argmax(counted >= (counted[:, -1:] + 1) // 2, axis=1)
    return gaps[order][middle], counted[:, -1] >= _FEWEST_ALIKE


def _hour_of_week(time: dt.datetime) -> float:
    utc = time.astimezone(dt.UTC)
    return utc.weekday() * 24 + utc.hour + utc.minute / 60


def _free_days(since: dt.datetime, hours: float, country: str | None) -> dt.timedelta:
    """Return how many days later an input may come because of public holidays, also of several in a row."""
    free = dt.timedelta(0)
    while country is not None and holiday((since + dt.timedelta(hours=hours) + free).date(), country):
        free += dt.timedelta(days=1)
    return free
