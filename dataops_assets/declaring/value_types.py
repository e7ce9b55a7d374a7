"""Finds the type of texts: what all of them can be read as without a change, and what they mean as null."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from dataops_assets.steps.parsing.epoch_times import time_of_text
from dataops_assets.steps.parsing.typed_values import TextMarks

NULL_WORDS = frozenset(
    (
        *("na", "n/a", "n.a.", "nan", "null", "(null)", "none", "nil", "\\n", "#n/a", "#null!", "#na", "n/k", "nd"),
        *("-", "--", "---", "?", "??", ".", "..", "...", "*", "unknown", "missing", "undefined", "(blank)", "(empty)"),
        *("not available", "not applicable", "tbd", "tba", "void", "empty", "blank", "#ref!", "#value!", "#div/0!"),
    )
)
"""Texts, in small letters, that stand for a missing value."""

PLAIN = TextMarks()
MARKS = (
    PLAIN,
    TextMarks(".", ","),
    TextMarks(",", ""),
    TextMarks(",", "."),
    TextMarks(",", " "),
    TextMarks(",", "\u00a0"),
    TextMarks(".", "'"),
    TextMarks(".", " "),
)
"""Notations of numbers, the most usual first."""

_BOOLEANS = frozenset(("true", "false"))
_MOST_BIGINT = 2**63
_MOST_SCALE = 6
_MOST_DIGITS = 38
# 18 digits take the same space as fewer
_USUAL_PRECISION = 18
_ISO_DATE = re.compile(r"\d{4}([-/])\d{1,2}\1\d{1,2}")
_ISO_TIME = re.compile(r"\d{4}([-/])\d{1,2}\1\d{1,2}[T ]\d{1,2}:\d{2}(:\d{2}(\.\d{1,6}0*)?)?(Z|[+-]\d{2}(:?\d{2})?)?")
_MIDNIGHT = re.compile(r"[T ]00:00(:00(\.0+)?)?Z?$")
_DATES = ("%d.%m.%Y", "%d.%m.%y", "%Y.%m.%d", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d/%m/%y", "%m/%d/%y")
_NAMED_DATES = ("%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%d-%b-%Y", "%d-%b-%y", "%a, %d %b %Y", "%b %d %Y")
_CLOCKS = ("%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p", "%I:%M:%S %p", "%I:%M%p")
_COMPACT = ("%Y%m%d", "%Y%m%d%H%M%S")
# the digits of these numbers from 2001 to 2286
_EPOCHS = {"epoch_seconds": 10, "epoch_milliseconds": 13, "epoch_microseconds": 16}
_FIRST_YEAR, _LAST_YEAR = 2001, 2100
_DATE_NAMES = re.compile(r"date|datum|dt$|^dt|day|time|stamp|_on$|_at$", re.IGNORECASE)
_SIGNS = re.compile(r"[0-9]")


@dataclass(frozen=True)
class ValueType:
    """A type that all values have. `note` says how it is known. `formats` are the date formats, '' is ISO 8601."""

    type: str
    formats: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class TypedText:
    """The type of a column of texts, and the words in it that mean null. `note` says what a person should know."""

    type: ValueType
    null_words: tuple[str, ...] = ()
    note: str = ""


def is_null_word(text: str) -> bool:
    """Return whether a text usually stands for a missing value."""
    return text.strip().casefold() in NULL_WORDS


def text_type(
    name: str, values: Collection[str], *, has_nulls: bool, marks: TextMarks = PLAIN, dates_have_clock: bool = False
) -> TypedText:
    """Return the type that distinct values of a column have.

    `dates_have_clock`: the format writes each date with a midnight, as workbooks do.
    """
    found = value_type(name, values, has_nulls=has_nulls, marks=marks, dates_have_clock=dates_have_clock)
    if found.type != "text" or found.note:
        return TypedText(found, note=found.note)
    words = tuple(sorted(value for value in values if is_null_word(value)))
    others = [value for value in values if not is_null_word(value)]
    if not words or len(others) < 2:
        return TypedText(found)
    without = value_type(name, others, has_nulls=True, marks=marks, dates_have_clock=dates_have_clock)
    if without.type == "text":
        return TypedText(found, note=without.note)
    told = ", ".join(map(repr, words[:4]))
    return TypedText(without, words, f"{told} stands where a value is missing; all other values are {without.type}")


def value_type(
    name: str, values: Collection[str], *, has_nulls: bool, marks: TextMarks = PLAIN, dates_have_clock: bool = False
) -> ValueType:
    """Return the narrowest type that has all values unchanged; text if there is none."""
    text = ValueType("text")
    if not values:
        return text
    if all(value.strip().lower() in _BOOLEANS for value in values):
        return ValueType("boolean")
    if any(_SIGNS.search(value) is None for value in values):
        return text
    return (
        _compact_date(name, values)
        or _since_1970(name, values)
        or number_type(values, has_nulls=has_nulls, marks=marks)
        or _time(values, dates_have_clock=dates_have_clock)
        or text
    )


def number_type(values: Collection[str], *, has_nulls: bool, marks: TextMarks) -> ValueType | None:
    """Return the type of numbers in this notation; None if a value is no number in it."""
    mark = re.escape(marks.decimal_mark)
    whole = r"0|[1-9][0-9]*"
    if marks.thousands_mark:
        whole += rf"|[1-9][0-9]{{0,2}}(?:{re.escape(marks.thousands_mark)}[0-9]{{3}})+"
    # a leading zero or a plus is part of a code, not of a number
    shape = re.compile(rf"-?({whole}|(?={mark}))(?:{mark}([0-9]+))?([eE][+-]?[0-9]+)?")
    digits = scale = 0
    is_scientific, has_zeros_alone = False, True
    for value in values:
        found = shape.fullmatch(value.strip())
        if found is None or value.strip() in ("", "-"):
            return None
        before, after, exponent = found[1] or "", found[2] or "", found[3]
        is_scientific = is_scientific or exponent is not None
        digits = max(digits, sum(sign.isdigit() for sign in before))
        scale = max(scale, len(after))
        has_zeros_alone = has_zeros_alone and (not after or set(after) == {"0"})
    if is_scientific:
        return ValueType("double")
    if scale == 0 or (has_zeros_alone and has_nulls and scale == 1):
        return _integer(values, digits, marks, scale)
    if scale > _MOST_SCALE or digits + scale > _MOST_DIGITS:
        return ValueType("double") if digits + scale <= _MOST_DIGITS else None
    precision = _USUAL_PRECISION if digits + scale <= _USUAL_PRECISION - 2 else _MOST_DIGITS
    note = f"at most {digits} digits before and {scale} after the decimal mark"
    return ValueType(f"decimal({precision},{scale})", note=note)


def _integer(values: Collection[str], digits: int, marks: TextMarks, scale: int) -> ValueType | None:
    if digits < 19 or all(
        -_MOST_BIGINT
        <= int(value.strip().replace(marks.thousands_mark, "").partition(marks.decimal_mark)[0])
        < _MOST_BIGINT
        for value in values
    ):
        return ValueType("integer", note="written with .0, as tools do that know no empty integers" if scale else "")
    # longer numbers are codes: text keeps each digit
    return None


def _time(values: Collection[str], *, dates_have_clock: bool) -> ValueType | None:
    iso = [value for value in values if _iso_kind(value)]
    if len(iso) == len(values):
        return _iso_type(iso, dates_have_clock=dates_have_clock)
    covered = _covered([value for value in values if not _iso_kind(value)])
    if not covered:
        return None
    rest = set(values) - set(iso)
    best = max(len(found) for found in covered.values())
    whole = [form for form, found in covered.items() if len(found) == best]
    if iso and best == len(rest) and len(whole) == 1:
        return _two_formats(iso, whole[0], dates_have_clock=dates_have_clock)
    if iso:
        return None
    if best == len(rest):
        return _one_format(whole, covered)
    return _mixed_formats(rest, covered)


def _iso_kind(value: str) -> bool:
    stripped = value.strip()
    found = _ISO_DATE.match(stripped)
    if found is None or not (_ISO_DATE.fullmatch(stripped) or _ISO_TIME.fullmatch(stripped)):
        return False
    year, month, day = re.split(r"[-/]", found[0])
    return _is_day(int(year), int(month), int(day))


def _is_day(year: int, month: int, day: int) -> bool:
    try:
        dt.date(year, month, day)
    except ValueError:
        return False
    return True


def _iso_type(values: Sequence[str], *, dates_have_clock: bool) -> ValueType:
    stripped = [value.strip() for value in values]
    if all(_ISO_DATE.fullmatch(value) for value in stripped):
        return ValueType("date", ("",))
    if dates_have_clock and all(_ISO_DATE.fullmatch(value) or _MIDNIGHT.search(value) for value in stripped):
        return ValueType("date", ("",))
    zones = {bool(re.search(r"(Z|[T ].*[+-]\d{2}(:?\d{2})?)$", value)) for value in stripped}
    if zones == {True}:
        return ValueType("timestamptz", ("",))
    note = "some values have an offset; they become UTC" if len(zones) > 1 else ""
    return ValueType("timestamp" if not note else "timestamptz", ("",), note)


def _covered(values: Sequence[str]) -> dict[str, dict[str, dt.datetime]]:
    """Return the formats that read some of the values, with the time of each value."""
    found: dict[str, dict[str, dt.datetime]] = {}
    for form in _formats(values[:50]):
        times = {value: time for value in values if (time := _read(value, form)) is not None}
        if times:
            found[form] = times
    return found


def _formats(values: Sequence[str]) -> Iterable[str]:
    for date in (*_DATES, *_NAMED_DATES):
        for form in (date, *(f"{date} {clock}" for clock in _CLOCKS)):
            if any(_read(value, form) is not None for value in values):
                yield form


def _read(value: str, form: str) -> dt.datetime | None:
    try:
        return dt.datetime.strptime(value.strip(), form)  # noqa: DTZ007  compared with other readings alone
    except ValueError:
        return None


def _one_format(whole: Sequence[str], covered: Mapping[str, Mapping[str, dt.datetime]]) -> ValueType:
    first = covered[whole[0]]
    different = [form for form in whole[1:] if covered[form] != first]
    if different:
        note = f"each value fits {' and '.join([whole[0], *different][:2])}: choose, and declare date and date_format"
        return ValueType("text", note=note)
    return ValueType(_type_of(whole[0]), (whole[0],))


def _mixed_formats(values: Collection[str], covered: Mapping[str, Mapping[str, dt.datetime]]) -> ValueType | None:
    """Return the type of values in two formats, if each value fits only one of them."""
    pairs = [
        (one, other)
        for one in covered
        for other in covered
        if one < other
        and _type_of(one) == _type_of(other)
        and not set(covered[one]) & set(covered[other])
        and len(covered[one]) + len(covered[other]) == len(values)
    ]
    if len(pairs) != 1:
        return None
    forms = sorted(pairs[0], key=lambda form: -len(covered[form]))
    return ValueType(_type_of(forms[0]), tuple(forms), "dates in two formats")


def _two_formats(iso: Sequence[str], form: str, *, dates_have_clock: bool) -> ValueType | None:
    found = _iso_type(iso, dates_have_clock=dates_have_clock)
    if found.type != _type_of(form):
        return None
    return ValueType(found.type, ("", form), "dates in two formats")


def _type_of(form: str) -> str:
    return "timestamp" if "%H" in form or "%I" in form else "date"


def _since_1970(name: str, values: Collection[str]) -> ValueType | None:
    """Return the type of numbers of seconds, milliseconds or microseconds since 1970: only if the name says so."""
    if not _DATE_NAMES.search(name):
        return None
    for word, length in _EPOCHS.items():
        if all(len(value) == length and value.isdecimal() for value in values) and all(
            _FIRST_YEAR <= time_of_text(value, word).year <= _LAST_YEAR for value in values
        ):
            return ValueType("timestamptz", (word,))
    return None


def _compact_date(name: str, values: Collection[str]) -> ValueType | None:
    """Return the type of dates without marks between their parts, such as 20240131: only if the name says so."""
    if not _DATE_NAMES.search(name):
        return None
    for form, length in zip(_COMPACT, (8, 14), strict=True):
        if all(len(value) == length and value.isdecimal() for value in values):
            times = [_read(value, form) for value in values]
            if all(time is not None and 1900 <= time.year <= _LAST_YEAR for time in times):
                return ValueType(_type_of(form), (form,))
    return None
