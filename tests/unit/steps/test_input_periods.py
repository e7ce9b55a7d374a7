"""A moment is in the period of an input if the calendar of the source shows the same hour, day, … for both."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from declared import source
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dataops_assets.config.source import Source
from dataops_assets.errors import ConfigError, InputError
from dataops_assets.steps.merging.input_periods import Told, period_of
from dataops_assets.steps.merging.manifest import settings_of

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/Sao_Paulo",
    "America/Santiago",
    "America/Havana",
    "Asia/Beirut",
    "Asia/Kolkata",
    "Atlantic/Azores",
    "Australia/Lord_Howe",
    "Pacific/Apia",
)
UTC_TIMES = st.integers(631_152_000, 2_208_988_800).map(lambda second: dt.datetime.fromtimestamp(second, dt.UTC))


def same(grain: str, one: dt.datetime, other: dt.datetime) -> bool:
    """Whether two local times are in one period."""
    shown = {
        "hour": lambda time: (time.date(), time.hour),
        "day": lambda time: time.date(),
        "week": lambda time: time.isocalendar()[:2],
        "month": lambda time: (time.year, time.month),
        "quarter": lambda time: (time.year, (time.month - 1) // 3),
        "year": lambda time: time.year,
    }[grain]
    return bool(shown(one) == shown(other))


def sales(kind: str, grain: str | None, zone: str) -> Source:
    refresh = {"type": "timestamp", "range_by": "sold", "period": grain}
    return source("sales", {"sold": kind}, refresh=refresh, discovery={"timezone": zone})


def period(kind: str, grain: str, zone: str, time: dt.datetime) -> tuple[dt.date, dt.date]:
    return period_of(sales(kind, grain, zone), Told(time))


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["hour", "day", "week", "month", "quarter", "year"]),
    st.sampled_from(ZONES),
    UTC_TIMES,
    st.timedeltas(-dt.timedelta(days=400), dt.timedelta(days=400)) | st.timedeltas(-dt.timedelta(1), dt.timedelta(1)),
)
# the hour that the clock shows twice, the half hour that it skips or shows twice, the last hour of the day that it
# shows twice, the midnight that does not exist, the day that does not exist
@example("hour", "Australia/Lord_Howe", dt.datetime(2024, 10, 5, 15, 45, tzinfo=dt.UTC), dt.timedelta(minutes=20))
@example("hour", "Australia/Lord_Howe", dt.datetime(2024, 4, 6, 15, 15, tzinfo=dt.UTC), dt.timedelta(minutes=-20))
@example("day", "America/Santiago", dt.datetime(2024, 4, 6, 12, tzinfo=dt.UTC), dt.timedelta(hours=15.5))
@example("hour", "Europe/Berlin", dt.datetime(2023, 10, 29, 0, 30, tzinfo=dt.UTC), dt.timedelta(minutes=20))
@example("day", "America/Sao_Paulo", dt.datetime(2018, 11, 4, 12, tzinfo=dt.UTC), dt.timedelta(hours=-9))
@example("day", "Pacific/Apia", dt.datetime(2011, 12, 31, 12, tzinfo=dt.UTC), dt.timedelta(hours=-3))
def test_a_moment_is_in_the_period_that_the_calendar_shows(
    grain: str, zone: str, time: dt.datetime, further: dt.timedelta
) -> None:
    other = time + further
    local, local_other = time.astimezone(ZoneInfo(zone)), other.astimezone(ZoneInfo(zone))
    low, high = period("timestamptz", grain, zone, time)
    expected = same(grain, local, local_other)
    if grain == "hour":
        expected = expected and local.utcoffset() == local_other.utcoffset()
    assert (low <= other <= high) == expected
    low, high = period("timestamp", grain, zone, time)
    assert (low <= local_other.replace(tzinfo=None) <= high) == same(grain, local, local_other)
    if grain != "hour":
        low, high = period("date", grain, zone, time)
        assert (low <= local_other.date() <= high) == same(grain, local, local_other)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(ZONES), UTC_TIMES, st.integers(1, 3), st.timedeltas(-dt.timedelta(days=3), dt.timedelta(days=4)))
# the last hour of the day is shown twice; the day begins at 1 o'clock; the day has 25 hours; the day does not exist
@example("America/Santiago", dt.datetime(2024, 4, 6, 12, tzinfo=dt.UTC), 1, dt.timedelta(hours=15.5))
@example("America/Santiago", dt.datetime(2024, 9, 8, 12, tzinfo=dt.UTC), 1, dt.timedelta(hours=-8))
@example("America/Havana", dt.datetime(2024, 11, 3, 12, tzinfo=dt.UTC), 1, dt.timedelta(hours=-7.5))
@example("Europe/Berlin", dt.datetime(2024, 10, 27, 12, tzinfo=dt.UTC), 1, dt.timedelta(hours=10.5))
@example("Pacific/Apia", dt.datetime(2011, 12, 29, 12, tzinfo=dt.UTC), 2, dt.timedelta(hours=-1))
def test_named_days_have_the_moments_that_the_clocks_show_on_them(
    zone: str, time: dt.datetime, days: int, further: dt.timedelta
) -> None:
    first = time.astimezone(ZoneInfo(zone)).date()
    after = first + dt.timedelta(days=days)
    through = named("timestamptz", LAST, f"{after - dt.timedelta(1):%Y%m%d}-until-{first:%Y%m%d}", "%Y%m%d", zone)
    assert named("timestamptz", BOTH, f"sales_{first}_{after}.csv", zone=zone) == through
    low, high = through
    other = time + further
    assert (low <= other <= high) == (first <= other.astimezone(ZoneInfo(zone)).date() < after)
    if days == 1:
        assert through == period("timestamptz", "day", zone, time)


def test_named_hours_reach_to_the_end_of_the_hour_that_is_shown_twice() -> None:
    form, pattern = "%Y-%m-%dT%H", r"(?P<from>.*)_(?P<to>.*)"
    hour, moment = dt.timedelta(hours=1), dt.timedelta(microseconds=1)
    begin = dt.datetime(2024, 10, 27, tzinfo=dt.UTC)
    assert named("timestamptz", pattern, "2024-10-27T02_2024-10-27T03", form) == (begin, begin + 2 * hour - moment)
    # no row can have a time that the clocks skip
    low, high = named("timestamptz", pattern, "2024-03-31T02_2024-03-31T03", form)
    assert (low, high) == (dt.datetime(2024, 3, 31, 1, tzinfo=dt.UTC), low - moment)
    # an offset tells which of the two
    told = named("timestamptz", pattern, "2024-10-27T02+0100_2024-10-27T03+0100", "%Y-%m-%dT%H%z")
    assert told == (begin + hour, begin + 2 * hour - moment)


def test_the_last_year_has_an_end() -> None:
    assert period("date", "year", "UTC", dt.datetime(9999, 5, 1, tzinfo=dt.UTC))[1] == dt.date(9999, 12, 31)


def test_other_periods_need_a_rebuild() -> None:
    declared = [("day", "UTC"), ("month", "UTC"), ("day", "Asia/Tokyo"), (None, "UTC")]
    assert len({settings_of(sales("date", grain, zone)) for grain, zone in declared}) == len(declared)
    # a hub that was merged before periods could be declared stays as it is
    assert settings_of(sales("date", None, "UTC")) == settings_of(sales("date", None, "Asia/Tokyo"))


def test_an_hour_of_a_date_is_refused() -> None:
    with pytest.raises((ConfigError, ValueError), match="its periods have at least a day"):
        period("date", "hour", "UTC", dt.datetime(2024, 1, 1, tzinfo=dt.UTC))


def named(
    kind: str, pattern: str, name: str, form: str = "%Y-%m-%d", zone: str = "Europe/Berlin"
) -> tuple[dt.date, dt.date]:
    period = {"pattern": pattern, "format": form}
    refresh = {"type": "timestamp", "range_by": "sold", "period": period}
    found = source("sales", {"sold": kind}, refresh=refresh, discovery={"timezone": zone})
    return period_of(found, Told(dt.datetime(2030, 1, 1, tzinfo=dt.UTC), name))


BOTH = r"sales_(?P<from>[0-9-]+)_(?P<to>[0-9-]+)\.csv"
LAST = r"(?P<through>\d{8})-until-(?P<from>\d{8})"


def test_a_name_tells_a_half_open_period() -> None:
    assert named("date", BOTH, "sales_2024-03-30_2024-04-01.csv") == (dt.date(2024, 3, 30), dt.date(2024, 3, 31))
    assert named("date", LAST, "20240331-until-20240330", "%Y%m%d") == (dt.date(2024, 3, 30), dt.date(2024, 3, 31))
    # the clocks change in between
    low, high = named("timestamptz", BOTH, "sales_2024-03-31_2024-04-01.csv")
    assert (low, high) == (
        dt.datetime(2024, 3, 30, 23, tzinfo=dt.UTC),
        dt.datetime(2024, 3, 31, 21, 59, 59, 999_999, tzinfo=dt.UTC),
    )


@pytest.mark.parametrize(
    ("name", "received"),
    [
        ("sales_2024-03-30.csv", "does not match the pattern"),
        ("sales_2024-03-30_2024-02-30.csv", "day is out of range"),
        ("sales_2024-03-30_2024-03-30.csv", "ends at 2024-03-30"),
    ],
)
def test_a_name_without_a_period_is_refused(name: str, received: str) -> None:
    with pytest.raises(InputError, match=received):
        named("date", BOTH, name)


@pytest.mark.parametrize(
    ("pattern", "form", "message"),
    [("(?P<from>.*)", "%Y-%m-%d", "the groups \\['from'\\]"), (BOTH, "%Y-%m", "does not tell a whole day")],
)
def test_a_period_that_no_name_can_tell_is_refused(pattern: str, form: str, message: str) -> None:
    with pytest.raises((ConfigError, ValueError), match=message):
        named("date", pattern, "", form)
