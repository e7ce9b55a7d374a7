from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataops_assets.config.connection import ExtractTime
from dataops_assets.connections.extract_time import extract_time, require_pattern
from dataops_assets.errors import ConfigError, InputError

MODIFIED = dt.datetime(2020, 5, 5, 5, 5, tzinfo=dt.UTC)
BERLIN = ZoneInfo("Europe/Berlin")


def read(pattern: str, name: str, zone: dt.tzinfo = dt.UTC, otherwise: str = "") -> dt.datetime:
    return extract_time(ExtractTime(pattern=pattern, otherwise=otherwise), name, MODIFIED, zone)


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("flights_%Y-%m-%d.csv", "flights_2013-01-31.csv", "2013-01-31T00:00"),
        ("flights_%Y-%m-%d.csv*", "flights_2013-01-31.csv.gz", "2013-01-31T00:00"),
        ("*%Y%m%d*", "export v2 20130101_120000.csv", "2013-01-01T00:00"),
        ("*_%Y%m%d_%H%M%S.*", "a_b_20130101_235958.json", "2013-01-01T23:59:58"),
        ("%Y-%m-%d", "2013-1-31", "2013-01-31T00:00"),
        ("sales_%Y-%m.csv", "sales_2013-02.csv", "2013-02-01T00:00"),
        ("w_%Y-W%W-%u.csv", "w_2013-W05-3.csv", "2013-02-06T00:00"),
        ("s_%Y-%j.csv", "s_2013-060.csv", "2013-03-01T00:00"),
        ("s_%d%b%y.csv", "s_07Sep13.csv", "2013-09-07T00:00"),
        ("week_%G-W%V-%u.csv", "week_2013-W01-1.csv", "2012-12-31T00:00"),
        ("%Y-%m-%d %I%p.csv", "2013-01-02 12AM.csv", "2013-01-02T00:00"),
        ("100%%_%Y.csv", "100%_2013.csv", "2013-01-01T00:00"),
        ("a.b+c(%Y)[1].csv", "a.b+c(2013)[1].csv", "2013-01-01T00:00"),
        ("x_%Y%m%dT%H%M%S%f.csv", "x_20130102T030405000006.csv", "2013-01-02T03:04:05.000006"),
        ("S_%Y.CSV", "s_2013.csv", "2013-01-01T00:00"),
    ],
)
def test_a_pattern_reads_the_time_of_a_name(pattern: str, name: str, expected: str) -> None:
    assert read(pattern, name) == dt.datetime.fromisoformat(expected).replace(tzinfo=dt.UTC)


@given(st.datetimes(timezones=st.just(dt.UTC)))
def test_what_a_clock_writes_is_read_back(time: dt.datetime) -> None:
    name = f"any-{time.year:04}{time:%m%d%H%M%S%f}.csv"
    assert read("*-%Y%m%d%H%M%S%f.csv", name) == time


def test_a_time_without_an_offset_is_in_the_zone_of_the_source() -> None:
    assert read("%Y-%m-%d", "2013-07-01", BERLIN) == dt.datetime(2013, 6, 30, 22, tzinfo=dt.UTC)
    # the hour that comes twice: the earlier one, always
    assert read("%Y-%m-%d_%H%M", "2013-10-27_0230", BERLIN) == dt.datetime(2013, 10, 27, 0, 30, tzinfo=dt.UTC)


def test_an_offset_in_the_name_wins() -> None:
    assert read("%Y-%m-%dT%H%M%z", "2013-07-01T0000-0500", BERLIN) == dt.datetime(2013, 7, 1, 5, tzinfo=dt.UTC)


def test_without_a_pattern_the_modification_time_counts() -> None:
    assert read("", "whatever.csv") == MODIFIED


@pytest.mark.parametrize("name", ["flights.csv", "flights_2013-01-31.csv.bak", "xflights_2013-01-31.csv", ""])
def test_a_name_the_pattern_does_not_match_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="does not match the pattern"):
        read("flights_%Y-%m-%d.csv", name)


def test_otherwise_dates_the_undated_file() -> None:
    assert read("f_%Y.csv", "history.csv", otherwise="2012-12-31") == dt.datetime(2012, 12, 31, tzinfo=dt.UTC)
    assert read("f_%Y.csv", "history.csv", otherwise="modified") == MODIFIED


@pytest.mark.parametrize("name", ["f_2013-02-30.csv", "f_2013-13-01.csv", "f_2013-00-10.csv"])
def test_a_date_that_does_not_exist_is_refused_even_where_undated_files_are_allowed(name: str) -> None:
    with pytest.raises(InputError, match="extract time"):
        read("f_%Y-%m-%d.csv", name, otherwise="2012-12-31")


@pytest.mark.parametrize("pattern", ["f_%Q.csv", "f_%Y_%Y.csv", "f_%", "f_%d%m.csv", "*.csv", "%c"])
def test_a_pattern_that_cannot_give_a_time_is_a_mistake_of_the_declaration(pattern: str) -> None:
    with pytest.raises(ConfigError, match="pattern"):
        read(pattern, "f_2013.csv")


@pytest.mark.parametrize(
    "pattern",
    [
        "%Y-W%W.csv",
        "%Y-U%U.csv",
        "%G-W%V.csv",
        "%Y-W%V-%u.csv",
        "%G-%m-%d.csv",
        "%Y%y.csv",
        "%Y-%m-%b.csv",
        "%Y-%d.csv",
        "%Y-%a.csv",
        "%Y-%m-%u.csv",
        "%Y-%j-%m.csv",
        "%Y-%m_%H.csv",
        "%Y-%m-%d_%I.csv",
        "%Y-%m-%d_%H%p.csv",
        "%Y-%m-%d_%M.csv",
        "%Y-%m-%d_%H%S.csv",
        "%Y-%m-%d_%H%M%f.csv",
    ],
)
def test_a_pattern_that_cannot_be_read_exactly_is_refused_with_what_to_write(pattern: str) -> None:
    with pytest.raises(ConfigError, match=r"next: (write|add|name)"):
        require_pattern(pattern)


def test_of_digits_side_by_side_none_is_guessed() -> None:
    for name in ("2013111", "201311", "2013131"):
        with pytest.raises(InputError, match="does not match the pattern"):
            read("%Y%m%d", name)


@pytest.mark.parametrize("name", ["1" * 255, "1" * 254 + "x", "_" * 255, "é" * 100, "a\nb"])
def test_hostile_names_are_answered_at_once(name: str) -> None:
    with pytest.raises(InputError):
        read("*%Y%m%d%H%M%S*_x.csv", name)
