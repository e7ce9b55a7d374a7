"""Kinds of unhealthy numbers: stand-ins, outliers, signs, and numbers whose notation makes them texts."""

from __future__ import annotations

import decimal
import re
from collections.abc import Callable, Mapping, Sequence

from dataops_assets.declaring.candidate_keys import is_named_as_key
from dataops_assets.declaring.health.finding import ColumnView, Finding, number_of

_LEAST_ROWS = 20
_STAND_IN = re.compile(r"-?9{3,}(\.9+|\.0+)?|-1|-?(?:9{2,}8|8{3,}|7{3,})|-?123456789?|-?2147483647|-?32768")
_FAR = decimal.Decimal(20)
_FAR_FACTORS = 8
_CURRENCY = re.compile(
    r"(?P<sign>-?)\s*(?:[$\u20ac\u00a3\u00a5]|EUR|USD|GBP|CHF)\s*-?[0-9][0-9.,' ]*|"
    r"-?[0-9][0-9.,' ]*\s*(?:[$\u20ac\u00a3\u00a5%]|EUR|USD|GBP|CHF|kg|g|km|cm|mm|m|ml|l|h|min|s|pcs|\u00b0C)"
)
_GROUPS = re.compile(r"-?[0-9]{1,3}(?:(?P<mark>[,. '\u00a0])[0-9]{3})(?:(?P=mark)[0-9]{3})*(?:[.,][0-9]+)?")
_COMMA = re.compile(r"-?[0-9]+,[0-9]+")
_TRAILING_MINUS = re.compile(r"[0-9][0-9.,]*-|\([0-9][0-9.,]*\)")


def stand_in_numbers(view: ColumnView) -> Finding | None:
    """Numbers such as -999 or 99999 that stand for a missing value: beyond all others, and repeated."""
    numbers = view.numbers
    if len(numbers) < 5 or is_named_as_key(view.declared.name):
        return None
    special = {number for number in numbers if _STAND_IN.fullmatch(_written(number))}
    others = [number for number in numbers if number not in special]
    if len(others) < 4:
        return None
    least, most = min(others), max(others)
    width = max(most - least, decimal.Decimal(1))
    far = [
        number
        for number in special
        # beyond all others by a gap, or the only negative number among many
        if (
            number > most + width / 2
            or number < least - width / 2
            or (number < 0 <= least and number == -1 and least > 0)
        )
        and numbers[number] > 1
    ]
    bad = [text for text in view.values if _number(view, text) in far]
    return view.found("stand_in_numbers", "numbers look as if they stand for a missing value", bad)


def outliers(view: ColumnView) -> Finding | None:
    """Numbers far outside of all others: beyond the quartiles by 20 times their distance, and apart from the rest."""
    numbers = view.numbers
    rows = sum(numbers.values())
    if rows < _LEAST_ROWS or len(numbers) < 10 or is_named_as_key(view.declared.name):
        return None
    ordered = sorted(numbers)
    low, high = _quantile(ordered, numbers, rows, 0.25), _quantile(ordered, numbers, rows, 0.75)
    distance = high - low
    if distance == 0:
        return None
    inner = [number for number in ordered if low - _FAR * distance <= number <= high + _FAR * distance]
    far = {number for number in ordered if number < inner[0] or number > inner[-1]}
    # a long tail is no error: what is far must be few, and far from the next number, too
    gap = 3 * (inner[-1] - inner[0])
    far = {number for number in far if number > inner[-1] + gap or number < inner[0] - gap}
    if low > 0 and (ratio := high / low) > 1:
        # prices and incomes spread by factors, not by sums
        far = {number for number in far if number <= 0 or number.ln() > high.ln() + _FAR_FACTORS * ratio.ln()}
    if not far or sum(numbers[number] for number in far) > max(0.01 * rows, 1):
        return None
    bad = [text for text in view.values if _number(view, text) in far and not _STAND_IN.fullmatch(text.strip())]
    return view.found("outliers", f"numbers are far from all others, which are {inner[0]} to {inner[-1]}", bad)


def negatives(view: ColumnView) -> Finding | None:
    """A few negative numbers where all others are positive."""
    numbers = view.numbers
    rows = sum(numbers.values())
    below = [number for number in numbers if number < 0]
    count = sum(numbers[number] for number in below)
    if rows < _LEAST_ROWS or not below or count > max(0.01 * rows, 1) or (view.family == "double" and len(below) > 3):
        return None
    # numbers around zero may be negative: an error is as far below it as the least number is above
    least = min((number for number in numbers if number >= 0), default=decimal.Decimal(0))
    if least <= 0 or max(below) > -least or is_stand_in(below):
        return None
    bad = [text for text in view.values if _number(view, text) in below]
    return view.found("negatives", "a few numbers are negative, and all others are not", bad)


def is_stand_in(numbers: Sequence[decimal.Decimal]) -> bool:
    """Return whether all numbers are of the form that stands for a missing value."""
    return all(_STAND_IN.fullmatch(_written(number)) for number in numbers)


def numbers_with_units(view: ColumnView) -> Finding | None:
    """Numbers that are texts because of a currency or a unit."""
    bad = [text for text in view.words if _CURRENCY.fullmatch(text.strip())] if view.is_text else []
    if 2 * len(bad) < len(view.words):
        return None
    return view.found("numbers_with_units", "numbers have a currency or a unit, so they are texts", bad)


def thousands_marks(view: ColumnView) -> Finding | None:
    """Numbers that are texts because of marks between the thousands."""
    if not view.is_text:
        return None
    plain = [text for text in view.words if re.fullmatch(r"-?[0-9]+([.,][0-9]+)?", text.strip())]
    bad = [text for text in view.words if text not in plain and _GROUPS.fullmatch(text.strip())]
    ambiguous = [text for text in view.words if text in plain and _GROUPS.fullmatch(text.strip())]
    if not bad and len(ambiguous) < len(view.words):
        return None
    if not view.words or 10 * len({*plain, *bad}) < 9 * len(view.words) or any(text[0] == "0" for text in ambiguous):
        return None
    what = "numbers have marks between thousands, so they are texts"
    return view.found("thousands_marks", what, bad or ambiguous)


def decimal_commas(view: ColumnView) -> Finding | None:
    """Numbers with a decimal comma, in files whose other numbers have a decimal point."""
    if not view.is_text or view.marks.decimal_mark == ",":
        return None
    bad = [text for text in view.words if _COMMA.fullmatch(text.strip())]
    numbers = [text for text in view.words if re.fullmatch(r"-?[0-9]+([.,][0-9]+)?", text.strip())]
    if not bad or 10 * len(numbers) < 9 * len(view.words) or all(_GROUPS.fullmatch(text.strip()) for text in bad):
        return None
    return view.found("decimal_commas", "numbers have a decimal comma, and the format's decimal_mark is a point", bad)


def signs_after_numbers(view: ColumnView) -> Finding | None:
    """Negative numbers as accountants write them: 12.50- or (12.50)."""
    bad = [text for text in view.words if _TRAILING_MINUS.fullmatch(text.strip())] if view.is_text else []
    numbers = [text for text in view.words if re.fullmatch(r"[0-9][0-9.,]*", text.strip())]
    if len(bad) + len(numbers) < len(view.words):
        return None
    return view.found(
        "signs_after_numbers", "negative numbers are written as 12.50- or (12.50), so they are texts", bad
    )


def numbers_as_text(view: ColumnView) -> Finding | None:
    """Numbers in a text column of files that have types."""
    if not view.is_text or view.facts.kind != "VARCHAR" or is_named_as_key(view.declared.name):
        return None
    plain = [text for text in view.words if re.fullmatch(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]+)?", text.strip())]
    if not plain or len(plain) < len(view.words) or len(plain) < 3:
        return None
    return view.found("numbers_as_text", "all values are numbers, and the column is text", plain)


def _written(number: decimal.Decimal) -> str:
    return format(number, "f")


def _number(view: ColumnView, text: str) -> decimal.Decimal | None:
    return number_of(text, view.marks)


def _quantile(
    ordered: Sequence[decimal.Decimal], numbers: Mapping[decimal.Decimal, int], rows: int, share: float
) -> decimal.Decimal:
    counted = 0
    for number in ordered:
        counted += numbers[number]
        if counted >= share * rows:
            return number
    return ordered[-1]


KINDS: Sequence[Callable[[ColumnView], Finding | None]] = (
    stand_in_numbers,
    outliers,
    negatives,
    numbers_with_units,
    thousands_marks,
    decimal_commas,
    signs_after_numbers,
    numbers_as_text,
)
