"""Rejected dates say in which format they look written: exactly the formats that all of them have."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataops_assets.steps.parsing.date_advice import DATES, PACKED, TIMES, fitting_formats, looks_like

FORMATS = [*(f"{date}{time}" for date in DATES for time in TIMES), *PACKED]


@pytest.mark.parametrize(
    ("values", "kind", "advice"),
    [
        (["31.12.2013", "1.2.2014"], "date", "looks like %d.%m.%Y: set date_format"),
        (["31/12/2013", "01/02/2014"], "date", "looks like %d/%m/%Y: set date_format"),
        (["12/31/2013", "01/02/2014"], "date", "looks like %m/%d/%Y: set date_format"),
        (["01/02/2014"], "date", "looks like %d/%m/%Y or %m/%d/%Y, and no value tells which"),
        (["20131231"], "date", "looks like %Y%m%d: set date_format"),
        (["31 Dec 2013"], "date", "looks like %d %b %Y: set date_format"),
        (
            ["2013-12-31 10:00:00", "2014-01-01T00:30"],
            "date",
            "ISO 8601 with a time of day: declare the type timestamp",
        ),
        (["31.12.2013 10:05"], "date", "looks like %d.%m.%Y %H:%M: declare the type timestamp with this date_format"),
        (["31.12.2013 10:05"], "timestamp", "looks like %d.%m.%Y %H:%M: set date_format"),
        (["41639", "41640.5"], "date", "day numbers of Excel"),
        (["1388488800", "1388488800.5"], "timestamp", "seconds since 1970: set date_format: epoch_seconds"),
        (["1388488800123"], "timestamptz", "milliseconds since 1970: set date_format: epoch_milliseconds"),
        (["1388488800123456"], "date", "declare the type timestamptz with date_format: epoch_microseconds"),
        # one that fits no format is enough
        (["31.12.2013", "soon"], "date", ""),
        (["31.12.2013", "12/31/2013"], "date", ""),
        (["99.99.2013"], "date", ""),
        (["7"], "date", ""),
        ([], "date", ""),
    ],
)
def test_rejected_dates_look_like_what_all_of_them_are(values: list[str], kind: str, advice: str) -> None:
    found = looks_like(values, kind)
    assert advice in found
    assert bool(found) is bool(advice)


def test_a_declared_format_is_not_advised_again() -> None:
    assert looks_like(["31/12/2013"], "date", ["%m/%d/%Y"]).startswith("looks like %d/%m/%Y: ")
    assert looks_like(["31/12/2013"], "date", ["%d/%m/%Y"]) == ""


@given(st.sampled_from(FORMATS), st.lists(st.integers(0, 3_000_000_000), min_size=1))
def test_values_of_one_format_look_like_that_format_unless_others_fit(form: str, seconds: list[int]) -> None:
    texts = [dt.datetime.fromtimestamp(moment, dt.UTC).strftime(form) for moment in seconds]
    fitting = fitting_formats(texts)
    assert form in fitting
    found = looks_like(texts, "timestamp")
    assert (f"looks like {form}: " in found) is (fitting == [form])
    # another value that no format has
    assert fitting_formats([*texts, "soon"]) == []
