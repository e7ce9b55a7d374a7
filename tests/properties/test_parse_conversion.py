"""Converting values never guesses and never loses anything: the engine agrees with Python's exact arithmetic."""

from __future__ import annotations

import base64
import datetime as dt
import math
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataops_assets.config.connection import CsvFormat, ExcelFormat
from dataops_assets.config.contract import Column
from dataops_assets.engines.duckdb import DuckDBSession
from dataops_assets.errors import ConfigError
from dataops_assets.sql import alias, column, query
from dataops_assets.steps.parsing.typed_values import TextMarks, converted, marks_for, marks_of

HOSTILE = st.text(st.sampled_from("0123456789+-.,eE_ xX'\u0663nainf\t/:TZ"), max_size=8)
ODD = (
    "12345.67e0|1234567e-2|.5E1|5.e-1|12e-400|1e3000|100000000e-1|-0.0125E+2|1.2300000e-0002|"
    "|0|-0|+7|007|1.0|1.50|1.|.5|.|1e3|1E-2|1e400|-1e400|nan|NaN|inf|-Infinity|1_000|0x10|0b1|1,5|1,000|12,34,567|\u0661|"
    "1 000| 5 |5\n|--1|1e|e1|null|9007199254740993.0|1.239|99999999.99|100000000|0.10|1.2300000|true|"
    "9223372036854775807|9223372036854775808|-9223372036854775808|-9223372036854775809|1.0000000000000000001"
)
WORDS = st.sampled_from(ODD.split("|"))
NUMBERS = st.one_of(
    st.integers(-(2**64), 2**64).map(str),
    st.floats(allow_nan=False).map(repr),
    st.decimals(-(10**9), 10**9, places=3).map(str),
)
TEXTS = st.lists(st.one_of(WORDS, NUMBERS, HOSTILE), min_size=1, max_size=60)

NOON = dt.datetime.fromisoformat("2013-01-05 12:00")


@pytest.fixture(scope="module")
def session() -> Iterator[DuckDBSession]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield DuckDBSession(connection)


def convert(
    session: DuckDBSession,
    values: Sequence[Any],
    kind: str,
    raw_type: str = "VARCHAR",
    marks: TextMarks | None = None,
    **fields: Any,
) -> list[Any]:
    marks = marks or TextMarks()
    given = session.register(pa.table({"n": range(len(values)), "v": pa.array(values)}))
    result = converted(column("v"), raw_type, Column(name="c", type=kind, **fields), marks)
    rows = query("SELECT $result FROM $given AS g ORDER BY n", given=given, result=alias(result, "r"))
    return session.fetch(rows).column(0).to_pylist()


def exact(text: str) -> Decimal | None:
    """The value of a number written in ASCII, with nothing but spaces around it."""
    body = text.strip(" \t\n\r\f")
    return Decimal(body) if re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", body) else None


@settings(max_examples=80, deadline=None)
@given(texts=TEXTS)
def test_integers(session: DuckDBSession, texts: list[str]) -> None:
    for text, found in zip(texts, convert(session, texts, "integer"), strict=True):
        number = exact(text)
        fits = number is not None and number == number.to_integral_value() and -(2**63) <= number < 2**63
        if found is None:
            # an exponent is how a tool writes what was no integer, and a point needs digits before it
            assert not fits or re.search(r"[eE]|^\D*\.", text), text
        else:
            assert fits, text
            assert found == number


@settings(max_examples=80, deadline=None)
@given(texts=TEXTS)
def test_doubles(session: DuckDBSession, texts: list[str]) -> None:
    for text, found in zip(texts, convert(session, texts, "double"), strict=True):
        number = exact(text)
        if number is None:
            word = text.strip().lower().lstrip("+-")
            assert (found is not None) == (word in ("inf", "infinity", "nan")) or "nan" in text.lower(), text
        elif math.isinf(float(number)):
            assert found is None, text
        elif re.fullmatch(r"\s*[+-]?[0-9]+(\.0*)?\s*", text) and number != Decimal(float(number)):
            # a whole number that no double is
            assert found is None, text
        else:
            assert found == float(number), text


@settings(max_examples=80, deadline=None)
@given(texts=TEXTS, scale=st.integers(0, 3))
def test_decimals(session: DuckDBSession, texts: list[str], scale: int) -> None:
    for text, found in zip(texts, convert(session, texts, f"decimal(10,{scale})"), strict=True):
        number = exact(text)
        if found is not None:
            assert number is not None, text
            assert found == number, text
        elif number is not None and number:
            kept = number.quantize(Decimal(1).scaleb(-scale)) if abs(number) < 10**12 else None
            assert kept != number or abs(number) >= 10 ** (10 - scale), text


@settings(max_examples=60, deadline=None)
@given(
    numbers=st.lists(st.decimals(-(10**9), 10**9, places=2), min_size=1, max_size=40),
    marks=st.sampled_from([(".", ""), (",", "."), (",", " "), (".", "'"), (".", ",")]),
)
def test_numbers_in_any_marks_are_the_numbers(
    session: DuckDBSession, numbers: list[Decimal], marks: tuple[str, str]
) -> None:
    decimal_mark, thousands_mark = marks
    texts = [
        f"{number:,}".replace(",", "T").replace(".", decimal_mark).replace("T", thousands_mark) for number in numbers
    ]
    known = TextMarks(decimal_mark, thousands_mark)
    assert convert(session, texts, "decimal(12,2)", marks=known) == numbers
    assert convert(session, texts, "double", marks=known) == [float(number) for number in numbers]
    # 1.5 where the point groups by three is neither 15 nor 1.5
    assert convert(session, [f"1{thousands_mark}5"], "double", marks=known) == [None if thousands_mark else 15.0]


_SIGNS = {
    "before": lambda number, unit: (f"-{number}", f" {unit}-{number}", f"-{unit} {number}", f"-{number} {unit}"),
    "after": lambda number, unit: (f"{number}-", f"{unit} {number}-", f"{number}- {unit} ", f"{number} {unit}-"),
    "parentheses": lambda number, unit: (
        f"({number})",
        f"({unit}{number})",
        f"{unit} ({number})",
        f"({number}) {unit}",
    ),
}


@settings(max_examples=25, deadline=None)
@given(
    numbers=st.lists(st.decimals(0, 10**9, places=2), min_size=1, max_size=10),
    minus=st.lists(st.sampled_from(sorted(_SIGNS)), min_size=1, unique=True),
    unit=st.sampled_from(["€", "EUR", "%", "Fr.", "'"]),
)
def test_numbers_with_units_and_any_sign_are_the_numbers(
    session: DuckDBSession, numbers: list[Decimal], minus: list[str], unit: str
) -> None:
    form = {"decimal_mark": ",", "thousands_mark": ".", "minus": minus, "units": ["€u", unit]}
    item = Column.model_validate({"name": "c", "type": "decimal(14,2)", "number_format": form})
    marks = marks_for(item, TextMarks())
    expected: dict[str, Decimal | None] = {}
    for number in numbers:
        text = f"{number:,}".translate(str.maketrans(",.", ".,"))
        expected |= dict.fromkeys((text, f"{unit}{text}", f"{text} {unit}"), number)
        for sign, written in _SIGNS.items():
            expected |= dict.fromkeys(written(text, unit), -number if sign in minus else None)
        wrong = (f"{unit}{text}{unit}", f"-({text})", f"-{text}-", f"({text}", f"{text})", f"x{text}", f"{unit}", "()")
        expected |= dict.fromkeys(wrong)
    found = convert(session, list(expected), "decimal(14,2)", marks=marks)
    assert dict(zip(expected, found, strict=True)) == expected


@settings(max_examples=60, deadline=None)
@given(times=st.lists(st.datetimes(), min_size=1, max_size=40))
def test_times_in_iso_8601_are_the_times(session: DuckDBSession, times: list[dt.datetime]) -> None:
    aware = [time.replace(tzinfo=dt.UTC) for time in times]
    for texts in ([time.isoformat() for time in times], [time.isoformat(" ") for time in times]):
        assert convert(session, texts, "timestamp") == times
        assert convert(session, texts, "timestamptz") == aware
    # whole minutes, as ISO 8601 has offsets
    shifted = [
        time.replace(tzinfo=dt.UTC).astimezone(dt.timezone(dt.timedelta(hours=5, minutes=30))).isoformat()
        for time in times
        if 1 < time.year < 9999
    ]
    kept = [time for time in times if 1 < time.year < 9999]
    if kept:
        assert convert(session, shifted, "timestamp") == kept
        assert convert(session, shifted, "timestamptz") == [time.replace(tzinfo=dt.UTC) for time in kept]
    midnight = dt.time()
    assert convert(session, [time.isoformat(" ") for time in times], "date") == [
        time.date() if time.time() == midnight else None for time in times
    ]
    assert convert(session, [time.date().isoformat() for time in times], "date") == [time.date() for time in times]


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        (
            "date",
            ["2013-02-30", "epoch", "infinity", "2013-01-01 12:00", "0044-01-01 (BC)", "13-01-01", "01.05.2013", ""],
        ),
        ("timestamp", ["2013-01-01T25:00", "now", "infinity", "2013-01-01 05", "2013-01-01T05:00 Europe/Berlin", ""]),
        ("timestamptz", ["2013-01-01T25:00", "today", "2013-01-01+01:00", ""]),
        ("boolean", ["2", "on", "maybe", "", "0.5", "1_0"]),
    ],
)
def test_what_is_no_value_of_the_type_is_not_made_one(session: DuckDBSession, kind: str, texts: list[str]) -> None:
    assert convert(session, texts, kind) == [None] * len(texts)


def test_booleans_and_bytes(session: DuckDBSession) -> None:
    texts = ["true", "FALSE", "t", "0", "1", "yes", "No", "1.0", " 0.0 "]
    assert convert(session, texts, "boolean") == [True, False, True, False, True, True, False, True, False]
    assert convert(session, ["é", "\\x00"], "binary") == ["é".encode(), b"\\x00"]


@given(items=st.lists(st.binary(max_size=40), min_size=1, max_size=8))
@settings(max_examples=20)
def test_bytes_in_text_are_those_that_were_written(session: DuckDBSession, items: list[bytes]) -> None:
    assert convert(session, [item.hex() for item in items], "binary", binary_format="hex") == items
    written = [base64.b64encode(item).decode() for item in items]
    assert convert(session, written, "binary", binary_format="base64") == items


def test_what_is_not_written_in_the_format_of_bytes_is_no_value(session: DuckDBSession) -> None:
    hexadecimal = ["\\x00fF", "0x00ff", " 0X00FF ", "", "\\x", "\\x0", "0x0g", "00 ff", "x00", "\\\\x00", "é"]
    read = [b"\x00\xff", b"\x00\xff", b"\x00\xff", b"", b"", None, None, None, None, None, None]
    assert convert(session, hexadecimal, "binary", binary_format="hex") == read
    base = ["AP8=", " AP8= ", "", "AP8", "AP9=", "AP8==", "A===", "====", "AP\n8=", "AP-_", "AP8=AP8=", "é==="]
    assert convert(session, base, "binary", binary_format="base64") == [b"\x00\xff"] * 2 + [b""] + [None] * 9


def test_declared_date_formats(session: DuckDBSession) -> None:
    texts = ["05.01.2013 17:30", "31.02.2013 00:00", "2013-01-05"]
    time = NOON.replace(hour=17, minute=30)
    assert convert(session, texts, "timestamp", date_format="%d.%m.%Y %H:%M") == [time, None, None]
    assert convert(session, texts, "timestamptz", date_format="%d.%m.%Y %H:%M") == [
        time.replace(tzinfo=dt.UTC),
        None,
        None,
    ]
    offset = ["05.01.2013 17:30 +0200"]
    assert convert(session, offset, "timestamp", date_format="%d.%m.%Y %H:%M %z") == [time - dt.timedelta(hours=2)]
    either = marks_of(ExcelFormat(type="excel"))
    days = ["05.01.2013", "2013-01-05 00:00:00", ""]
    assert convert(session, days, "date", marks=either, date_format="%d.%m.%Y") == [time.date(), time.date(), None]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12345678901234567.891e0", "12345678901234567.891"),
        ("90071992547409.93", "90071992547409.93"),
        ("9007199254740993E-2", "90071992547409.93"),
        ("1234567890123456789012345678.901E+3", "1234567890123456789012345678901"),
        ("1.00000000000000000001e0", None),
        ("1e36", None),
    ],
)
def test_no_decimal_goes_by_way_of_a_double(session: DuckDBSession, text: str, expected: str | None) -> None:
    assert convert(session, [text], "decimal(38,3)") == [Decimal(expected) if expected else None]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2013-01-05 12:00:00.1234567", None),
        ("2013-01-05 12:00:00.1234560000", NOON.replace(microsecond=123456)),
        ("2013-01-05T12:00Z", NOON),
        ("2013-01-05T14:00+02:00", NOON),
        ("2013-01-05T14:00:00+02:77", None),
        ("0000-01-05 12:00", None),
        ("9999-12-31 23:30:00-05:00", None),
        ("9999-12-31 23:30:00+05:00", dt.datetime.fromisoformat("9999-12-31 18:30")),
        ("0001-01-01 00:30+01:00", None),
    ],
)
def test_no_time_is_cut_and_none_leaves_the_years(
    session: DuckDBSession, text: str, expected: dt.datetime | None
) -> None:
    assert convert(session, [text], "timestamp") == [expected]
    assert convert(session, [text], "timestamptz") == [expected.replace(tzinfo=dt.UTC) if expected else None]


@pytest.mark.parametrize(
    ("raw_type", "kind"), [("TIMESTAMP", "timestamp"), ("TIMESTAMP", "timestamptz"), ("TIMESTAMP", "date")]
)
def test_typed_times_beyond_the_years_are_none(session: DuckDBSession, raw_type: str, kind: str) -> None:
    beyond = pa.array([253_402_300_800_000_000, -62_135_596_800_000_001], pa.timestamp("us"))
    assert convert(session, beyond, kind, raw_type) == [None, None]


@pytest.mark.parametrize("date_format", ["%Q", "%d.%", "dd.mm.yyyy"])
def test_an_unknown_date_format_is_refused(session: DuckDBSession, date_format: str) -> None:
    with pytest.raises(ConfigError, match="date_format of column 'c'"):
        convert(session, ["x"], "date", date_format=date_format)


@pytest.mark.parametrize(
    "marks", [{"decimal_mark": ",", "thousands_mark": ","}, {"decimal_mark": "5"}, {"decimal_mark": ""}]
)
def test_marks_that_cannot_be_told_apart_are_refused(marks: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="decimal_mark"):
        marks_of(CsvFormat(**marks))


@pytest.mark.parametrize(
    ("raw_type", "values", "kind", "expected"),
    [
        ("DOUBLE", [1.0, 1.5, 2.0**63, math.nan, math.inf, None], "integer", [1, None, None, None, None, None]),
        ("DOUBLE", [0.1, 1e10, math.nan], "decimal(10,2)", [Decimal("0.10"), None, None]),
        ("DOUBLE", [1.0, 0.0, 0.5], "boolean", [True, False, None]),
        ("DOUBLE", [1.239, 0.1 + 0.2], "decimal(10,2)", [None, None]),
        ("DOUBLE", [1e22, 90071992547409.93], "decimal(38,2)", [Decimal(10) ** 22, Decimal("90071992547409.94")]),
        ("BIGINT", [1, 2**62], "decimal(10,2)", [Decimal("1.00"), None]),
        ("BIGINT", [2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1], "double", [2.0**53, None, None, None]),
        ("DECIMAL(38,0)", [Decimal(10) ** 22, Decimal(10) ** 30 + 1], "double", [1e22, None]),
        ("DECIMAL(5,2)", [Decimal("1.25")], "double", [1.25]),
        ("BIGINT", [0, 1, 2], "boolean", [False, True, None]),
        ("BIGINT", [0, 1], "date", [None, None]),
        ("BIGINT", [5], "text", ["5"]),
        ("BOOLEAN", [True, False], "integer", [1, 0]),
        ("DECIMAL(5,2)", [Decimal("1.00"), Decimal("1.50")], "integer", [1, None]),
        ("DECIMAL(5,2)", [Decimal("1.20"), Decimal("1.25")], "decimal(4,1)", [Decimal("1.2"), None]),
        ("DATE", [NOON.date()], "timestamp", [NOON.replace(hour=0)]),
        ("DATE", [NOON.date()], "timestamptz", [NOON.replace(hour=0, tzinfo=dt.UTC)]),
        ("DATE", [dt.date(2013, 1, 5)], "integer", [None]),
        ("TIMESTAMP", [NOON.replace(hour=0), NOON], "date", [NOON.date(), None]),
        ("TIMESTAMP WITH TIME ZONE", [NOON.replace(tzinfo=dt.UTC)], "timestamp", [NOON]),
        ("TIMESTAMP", [NOON], "timestamptz", [NOON.replace(tzinfo=dt.UTC)]),
        ("BLOB", ["é".encode(), b"\xff"], "text", ["é", None]),
        ("BLOB", [b"\xff"], "binary", [b"\xff"]),
        ("BIGINT[]", [[1, 2], []], "text", ["[1,2]", "[]"]),
        ("STRUCT(a BIGINT)", [{"a": 1}], "text", ['{"a":1}']),
    ],
)
def test_typed_values_stay_the_same_value(
    session: DuckDBSession, raw_type: str, values: list[Any], kind: str, expected: list[Any]
) -> None:
    assert convert(session, values, kind, raw_type) == expected


def test_nanoseconds_that_a_time_cannot_hold_are_no_time(session: DuckDBSession) -> None:
    times = pa.array([1_000, 1_001], pa.timestamp("ns"))
    start = dt.datetime.fromtimestamp(0, dt.UTC).replace(microsecond=1)
    assert convert(session, times, "timestamp", "TIMESTAMP_NS") == [start.replace(tzinfo=None), None]
    assert convert(session, times, "timestamptz", "TIMESTAMP_NS") == [start, None]
    assert convert(session, times, "date", "TIMESTAMP_NS") == [None, None]


_UNITS = {
    "epoch_days": 86_400_000_000,
    "epoch_seconds": 1_000_000,
    "epoch_milliseconds": 1_000,
    "epoch_microseconds": 1,
}


@settings(max_examples=80, deadline=None)
@given(
    micros=st.lists(
        st.one_of(st.integers(-(2**63), 2**63), st.integers(-(10**15), 10**15), st.integers(-(10**4), 10**4)),
        min_size=1,
    ),
    word=st.sampled_from(sorted(_UNITS)),
    kind=st.sampled_from(["timestamp", "timestamptz", "date"]),
    scale=st.integers(0, 3),
)
def test_numbers_since_1970_are_exact_times_or_none(
    session: DuckDBSession, micros: list[int], word: str, kind: str, scale: int
) -> None:
    """As texts and as numbers of a typed file; finer than a microsecond is no time."""
    numbers = [Decimal(number).scaleb(-scale) / _UNITS[word] for number in micros]
    # a text has the digits of a decimal(24,6), as a number of a file does
    numbers = [number.quantize(Decimal("0.000001")) for number in numbers]
    wanted = []
    for number in numbers:
        exactly = number * _UNITS[word]
        try:
            time = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=int(exactly))
        except OverflowError:
            time = None
        time = time if exactly == int(exactly) else None
        if kind == "date":
            time = time.date() if time and time.time() == dt.time() else None
        wanted.append(time.replace(tzinfo=None) if kind == "timestamp" and time else time)
    assert convert(session, [f" {number} " for number in numbers], kind, date_format=word) == wanted
    assert convert(session, numbers, kind, "DECIMAL(24,6)", date_format=word) == wanted
    whole = [int(number) for number in numbers if number == int(number)]
    kept = [time for number, time in zip(numbers, wanted, strict=True) if number == int(number)]
    if whole and max(map(abs, whole)) < 2**63:
        assert convert(session, whole, kind, "BIGINT", date_format=word) == kept


def test_one_number_has_one_unit(session: DuckDBSession) -> None:
    """Numbers beside texts in another format are read; two units are refused."""
    texts = ["1704067200", "2024-01-01", "soon"]
    new_year = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    assert convert(session, texts, "timestamptz", date_format=("epoch_seconds", "")) == [new_year, new_year, None]
    with pytest.raises(ConfigError, match="no number tells which"):
        convert(session, texts, "timestamptz", date_format=("epoch_seconds", "epoch_milliseconds"))
