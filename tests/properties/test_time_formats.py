"""A `date_format` means what Python's strptime means by it: any text, each directive."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataops_assets.config.contract import Column
from dataops_assets.engines.duckdb import DuckDBSession
from dataops_assets.errors import ConfigError
from dataops_assets.sql import alias, column, query
from dataops_assets.steps.parsing.time_formats import time_format
from dataops_assets.steps.parsing.typed_values import TextMarks, converted

DAYS = [
    "%Y-%m-%d",
    "%d.%m.%Y",
    "%m/%d/%y",
    "%d %b %Y",
    "%B %d, %Y",
    "%A %d/%m/%Y",
    "%a %d. %m. %Y",
    "%Y-%j",
    "%x",
    "%Y-%m",
]
WEEKS = ["%Y-W%W-%w", "%Y %U %a", "%G-W%V-%u", "%G/%V/%A", "%y %W %u"]
CLOCKS = ["", " %H:%M:%S", "T%H:%M", " %I:%M %p", " %H:%M:%S.%f", " %X", " at %Hh%%"]
ZONES = ["", "%z", " %z", " %Z"]
FORMATS = st.one_of(
    st.tuples(st.sampled_from(DAYS + WEEKS), st.sampled_from(CLOCKS), st.sampled_from(ZONES)).map("".join),
    st.just("%c"),
)
# parts of a format with no digit between them
PACKED = st.sampled_from(["%Y%m%d", "%y%m%d", "%Y%m%d%H%M%S", "%Y%m%d%H%M%S%f", "%Y%j", "%d%m%Y %H%M"])
OFFSETS = st.builds(
    lambda minutes, seconds: dt.timezone(dt.timedelta(minutes=minutes, seconds=seconds)),
    st.sampled_from([0, 0, 120, -300, 330, 1439, -1439]),
    st.sampled_from([0, 0, 0, 7]),
)
TIMES = st.one_of(
    st.datetimes(timezones=OFFSETS),
    st.dates().map(lambda day: dt.datetime.combine(day, dt.time(), dt.UTC)),
    st.sampled_from(["0001-01-01", "9999-12-31", "2000-02-29", "2016-12-31", "1968-12-31", "1969-01-01"]).map(
        lambda text: dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)
    ),
)
SIGNS = "0123456789 :.-/+zZaAPMmT\t\u00a0\u0663"


@pytest.fixture(scope="module")
def session() -> Iterator[DuckDBSession]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield DuckDBSession(connection)


def convert(
    session: DuckDBSession, texts: Sequence[str], kind: str, form: str | tuple[str, ...]
) -> list[dt.date | dt.datetime | None]:
    given = session.register(pa.table({"n": range(len(texts)), "v": pa.array(texts, pa.string())}))
    declared = Column(name="c", type=kind, date_format=form)
    result = converted(column("v"), "VARCHAR", declared, TextMarks())
    rows = query("SELECT $result FROM $given AS g ORDER BY n", given=given, result=alias(result, "r"))
    found: list[dt.date | dt.datetime | None] = session.fetch(rows).column(0).to_pylist()
    return found


def meant(text: str, form: str, kind: str) -> dt.date | dt.datetime | None:
    """What Python makes of it, where it leaves nothing open."""
    if not text.isascii() and any(sign.isdecimal() and not sign.isascii() for sign in text):
        return None
    try:
        time = dt.datetime.strptime(text, form)  # noqa: DTZ007
        local = time.replace(tzinfo=None)
        utc = time.astimezone(dt.UTC).replace(tzinfo=None) if time.tzinfo else local
    except (ValueError, OverflowError):
        return None
    if "%G" in form and (f"{local.isocalendar().year}" not in text.replace(" ", "").lstrip("0") or "W0-" in text):
        return None
    if "%j" in form and f"{local.year}" not in text:
        # 366 in a year of 365 days
        return None
    if kind == "date":
        return local.date() if local.time() == dt.time() and local == utc else None
    return utc if kind == "timestamp" else utc.replace(tzinfo=dt.UTC)


@st.composite
def changed(draw: st.DrawFn, text: str) -> str:
    """The text with up to three signs lost, added or others."""
    signs = list(text)
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2, 3]))):
        place = draw(st.integers(0, len(signs)))
        kind = draw(st.integers(0, 2))
        signs[place : place + (kind != 1)] = draw(st.sampled_from(SIGNS)) if kind else ""
    return "".join(signs)


@st.composite
def deliveries(draw: st.DrawFn, formats: st.SearchStrategy[str]) -> tuple[str, list[str]]:
    form = draw(formats)
    times = draw(st.lists(TIMES, min_size=1, max_size=30))
    texts = [draw(changed(time.strftime(form.replace("%Y", f"{time.year:04}")))) for time in times]
    return form, [*texts, *draw(st.lists(st.text(SIGNS, max_size=12), max_size=3))]


@settings(max_examples=60, deadline=None)
@given(given_=deliveries(FORMATS), kind=st.sampled_from(["date", "timestamp", "timestamptz"]))
def test_any_text_in_each_directive_is_what_python_makes_of_it(
    session: DuckDBSession, given_: tuple[str, list[str]], kind: str
) -> None:
    form, texts = given_
    assert convert(session, texts, kind, form) == [meant(text, form, kind) for text in texts]


@settings(max_examples=20, deadline=None)
@given(given_=deliveries(PACKED))
def test_numbers_that_touch_have_all_their_digits(session: DuckDBSession, given_: tuple[str, list[str]]) -> None:
    form, texts = given_
    for text, found in zip(texts, convert(session, texts, "timestamp", form), strict=True):
        time = meant(text, form, "timestamp")
        if found is None and isinstance(time, dt.datetime):
            # Python chose one of several ways to split the digits, or took one for two
            full = time.strftime(form.replace("%Y", f"{time.year:04}").removesuffix("%f"))
            assert not text.startswith(full), text
        else:
            assert found == time


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("%m/%d/%Y", "3/2/20"),
        ("%d.%m.%Y", "05.01.13"),
        ("%Y%m%d", "2013111"),
        ("%Y-%m-%d", "0000-01-01"),
        ("%Y-%m-%d", "10000-01-01"),
        ("%Y-%m-%d", "2013-02-30"),
        ("%Y-%m-%d %H:%M %z", "2013-01-05 00:00 +0200"),
        ("%Y-%m-%d %H:%M %z", "2013-01-04 19:00 -0500"),
        ("%Y-%j", "2013-366"),
        ("%d.%m.%Y", "\u0661.2.2013"),
    ],
)
def test_a_date_that_is_not_written_so_is_none(session: DuckDBSession, form: str, text: str) -> None:
    assert convert(session, [text], "date", form) == [None]


def test_of_several_formats_the_first_that_fits_counts(session: DuckDBSession) -> None:
    texts = ["03/02/2020", "13/02/2020", "02/13/2020", "20200203", "2020-02-03"]
    two = ("%d/%m/%Y", "%m/%d/%Y", "%Y%m%d")
    february = [dt.date(2020, 2, day) for day in (3, 13, 13, 3)]
    assert convert(session, texts, "date", two) == [*february, None]
    assert convert(session, texts, "date", two[1::-1]) == [dt.date(2020, 3, 2), *february[1:3], None, None]
    assert convert(session, texts, "date", (*two, "")) == [*february, dt.date(2020, 2, 3)]


@pytest.mark.parametrize(
    ("form", "problem"),
    [
        ("%Q", "no directive"),
        ("%-d.%m.%Y", "no directive"),
        ("%d.%", "no directive"),
        ("dd.mm.yyyy", "no directive"),
        ("%H:%M", "no year"),
        ("%d.%m.", "no year"),
        ("%Y %d", "no month"),
        ("%Y-%m-%d %d", "both tell the day"),
        ("%x %Y", "both tell the year"),
        ("%Y-W%W", "day of the week"),
        ("%Y-W%V-%u", "together"),
        ("%G-W%V", "together"),
        ("%Y-%m-%d %I:%M", "AM or PM"),
        ("%Y-%m-%d %H:%M %p", "AM or PM"),
        ("%Y-%j-%d", "already"),
    ],
)
def test_a_format_that_leaves_the_time_open_is_refused(form: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        time_format(form)
