"""Finds moments by what the clocks of a time zone show.

Clocks skip times, and show times twice. So an end of a day or an hour is found as a moment (UTC) first; whoever wants
the last moment before it subtracts afterwards. The other way round, the hour that is shown twice is lost.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

_SECOND = dt.timedelta(seconds=1)
_EARLIEST = dt.datetime.min.replace(tzinfo=dt.UTC)
_LATEST = dt.datetime.max.replace(tzinfo=dt.UTC)


def first_at(local: dt.datetime, zone: dt.tzinfo) -> dt.datetime:
    """Return the first moment (UTC) at which clocks of a zone show the time `local` (without a zone) or a later one.

    That is the first of the two moments of a time that they show twice, and the moment of the change for a time that
    they skip. A moment that no datetime can tell is the earliest or the latest one.
    """
    try:
        found = local.replace(tzinfo=zone, fold=0).astimezone(dt.UTC)
        if found.astimezone(zone).replace(tzinfo=None) == local:
            return found
        # a skipped time: read with the offset after the change, it is before the change
        before = local.replace(tzinfo=zone, fold=1).astimezone(dt.UTC)
    except OverflowError:
        return _EARLIEST if local.year == dt.MINYEAR else _LATEST
    return _first(before, found, lambda moment: moment.astimezone(zone).replace(tzinfo=None) >= local)


def hour_of(moment: dt.datetime, zone: dt.tzinfo) -> tuple[dt.datetime, dt.datetime]:
    """Return begin and end (UTC, half-open) of the hour that the clocks of a zone show at a moment.

    An hour that they show twice is two hours. One in which they are changed has less than 60 minutes.
    """
    local = moment.astimezone(zone)
    offset = local.utcoffset()

    def is_same(other: dt.datetime) -> bool:
        return other.astimezone(zone).utcoffset() == offset

    begin = moment - (local - local.replace(minute=0, second=0, microsecond=0))
    try:
        end = begin + dt.timedelta(hours=1)
    except OverflowError:
        return begin, _LATEST
    if not is_same(begin):
        begin = _first(begin, moment, is_same)
    if not is_same(end):
        end = _first(moment, end, lambda other: not is_same(other))
    return begin, end


def _first(before: dt.datetime, after: dt.datetime, holds: Callable[[dt.datetime], bool]) -> dt.datetime:
    """Return the first whole second at which a condition holds that does not hold `before` and holds `after`."""
    low = before.replace(microsecond=0)
    steps = -((low - after) // _SECOND)
    first, last = 0, steps
    while last - first > 1:
        middle = (first + last) // 2
        if holds(low + middle * _SECOND):
            last = middle
        else:
            first = middle
    return low + last * _SECOND
