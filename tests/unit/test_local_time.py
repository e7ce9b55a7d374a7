"""Moments by the clocks of a time zone, compared with clocks that are read minute by minute."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest

from dataops_assets.config.incidents import Hours
from dataops_assets.local_time import first_at
from dataops_assets.reporting.service_levels import open_time

MINUTE = dt.timedelta(minutes=1)
# of each zone a day on which its clocks are changed: forward or back, by an hour, half an hour or a day
CHANGES = [
    ("America/Santiago", dt.date(2024, 4, 6)),
    ("America/Santiago", dt.date(2024, 9, 8)),
    ("America/Havana", dt.date(2024, 11, 3)),
    ("America/St_Johns", dt.date(2009, 11, 1)),
    ("America/Toronto", dt.date(1919, 3, 31)),
    ("Asia/Beirut", dt.date(2024, 10, 26)),
    ("Atlantic/Azores", dt.date(2024, 3, 31)),
    ("Australia/Lord_Howe", dt.date(2024, 4, 7)),
    ("Europe/Berlin", dt.date(2024, 3, 31)),
    ("Europe/Berlin", dt.date(2024, 10, 27)),
    ("Pacific/Apia", dt.date(2011, 12, 30)),
]


def clock(zone: str, day: dt.date) -> list[tuple[dt.datetime, dt.datetime]]:
    """Every minute around a day (UTC), and what the clocks show then."""
    begin = dt.datetime.combine(day - dt.timedelta(days=2), dt.time(), dt.UTC)
    moments = [begin + number * MINUTE for number in range(5 * 24 * 60)]
    return [(moment, moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None, fold=0)) for moment in moments]


@pytest.mark.parametrize(("zone", "day"), CHANGES)
def test_a_time_is_first_shown_at_the_moment_at_which_no_earlier_one_was(zone: str, day: dt.date) -> None:
    read = clock(zone, day)
    for quarter in range(-24 * 4, 2 * 24 * 4):
        local = dt.datetime.combine(day, dt.time()) + quarter * 15 * MINUTE
        assert first_at(local, ZoneInfo(zone)) == next(moment for moment, shown in read if shown >= local)


def test_times_beyond_the_calendar_are_its_ends() -> None:
    earliest = dt.datetime(1, 1, 1, tzinfo=dt.UTC)
    latest = dt.datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=dt.UTC)
    assert first_at(latest.replace(tzinfo=None), ZoneInfo("America/Santiago")) == latest
    assert first_at(earliest.replace(tzinfo=None), ZoneInfo("Asia/Tokyo")) == earliest


@pytest.mark.parametrize(("zone", "day"), CHANGES)
@pytest.mark.parametrize(("begin", "end"), [("00:30", "02:30"), ("02:00", "02:30"), ("22:00", "24:00")])
def test_hours_are_open_from_their_first_to_their_last_minute(zone: str, day: dt.date, begin: str, end: str) -> None:
    hours = Hours.model_validate({"timezone": zone, "begin": begin, "end": end})

    def at(local: dt.date, time: dt.time) -> dt.datetime:
        whole = time == dt.time.max
        wanted = dt.datetime.combine(local + dt.timedelta(days=whole), dt.time() if whole else time)
        return next((moment for moment, shown in read if shown >= wanted), read[-1][0] + MINUTE)

    read = clock(zone, day)
    dates = sorted({shown.date() for _, shown in read} | {day})
    windows = [(at(date, hours.begin), at(date, hours.end)) for date in dates]
    is_open = {moment for moment, _ in read if any(opens <= moment < closes for opens, closes in windows)}
    # from times of the days in the middle
    for start in range(24 * 60, 3 * 24 * 60, 61):
        moments = [moment for moment, _ in read[start : start + 24 * 60]]
        assert open_time(hours, moments[0], moments[-1] + MINUTE) == sum(item in is_open for item in moments) * MINUTE
