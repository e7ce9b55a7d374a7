"""When the next input is due: weekends, nights and holidays are no gaps, and one day of history is no rhythm."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable

import pytest

from dataops_assets.quality.control.due import Arrival, Due, learn_due

# a Monday
BEGIN = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
ALLOWED = 0.01


def feed(days: int, is_due: Callable[[dt.datetime], bool]) -> list[Arrival]:
    """An input of each hour that is due, some minutes after it."""
    chance = random.Random(7)
    hours = (BEGIN + number * HOUR for number in range(24 * days))
    return [Arrival(hour, hour + chance.uniform(0.05, 0.15) * HOUR) for hour in hours if is_due(hour)]


def daily(hour: dt.datetime) -> bool:
    return hour.hour == 6


def working(hour: dt.datetime) -> bool:
    return hour.hour == 6 and hour.weekday() < 5


def office(hour: dt.datetime) -> bool:
    return 8 <= hour.hour <= 18 and hour.weekday() < 5


def learnt(arrivals: list[Arrival], country: str | None = None) -> Due:
    found = learn_due(arrivals, ALLOWED, country)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("is_due", "hours"),
    [(daily, 24), (working, 24), (office, 1), (lambda hour: hour.weekday() == 0 and daily(hour), 168)],
    ids=["each day", "each working day", "each hour of the office", "each Monday"],
)
def test_the_next_input_is_due_when_it_usually_comes(is_due: Callable[[dt.datetime], bool], hours: float) -> None:
    arrivals = feed(7 * 30, is_due)
    for number in range(max(25, len(arrivals) - 15), len(arrivals)):
        newest, due = arrivals[number - 1], learnt(arrivals[:number])
        late = due.at - arrivals[number].arrived
        assert dt.timedelta(0) < late < max(HOUR, due.gap / 5), newest
        assert abs(due.usual - arrivals[number].arrived) < HOUR / 4, "after a night or a weekend, too"
        assert due.missing - due.at == due.gap
        assert due.gap >= hours * HOUR * 0.9
        # an input that comes again, or late for an old day, is no newer one
        assert learnt([*arrivals[:number], Arrival(arrivals[3].extracted, newest.arrived + HOUR)]).newest == newest


def test_on_a_holiday_no_input_need_come() -> None:
    # the newest input is that of 30 April: 1 May is a holiday in Germany
    arrivals = feed(121, daily)
    assert arrivals[-1].extracted.date() == dt.date(2024, 4, 30)
    assert learnt(arrivals, "DE").at - learnt(arrivals).at == dt.timedelta(days=1)
    assert learnt(arrivals, "US") == learnt(arrivals)


def test_what_arrived_together_or_for_a_short_time_tells_nothing() -> None:
    arrivals = feed(60, daily)
    together = [Arrival(item.extracted, arrivals[-1].arrived) for item in arrivals]
    assert learn_due(together, ALLOWED) is None
    assert learn_due(arrivals[:20], ALLOWED) is None, "20 arrivals are 19 gaps"
    assert learn_due(feed(10, office), ALLOWED) is None, "one weekend may be none"
    # a history that is loaded now is due from now on
    now = arrivals[-1].arrived + dt.timedelta(days=365)
    assert learnt(arrivals).seen(now).at - now == learnt(arrivals).at - arrivals[-1].arrived


def test_a_feed_without_a_rhythm_is_hardly_ever_late() -> None:
    chance, times = random.Random(3), [BEGIN]
    for _ in range(200):
        times.append(times[-1] + chance.expovariate(1 / 20) * HOUR)
    arrivals = [Arrival(time, time) for time in times]
    late = [learnt(arrivals[:number]).at < arrivals[number].arrived for number in range(60, 200)]
    assert sum(late) <= 2
