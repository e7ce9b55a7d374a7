"""The vocabulary of the kinds: a column as they see it, and what they find."""

from __future__ import annotations

import datetime as dt
import decimal
import functools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from dataops_assets.config.contract import Column
from dataops_assets.declaring.column_facts import ColumnFacts
from dataops_assets.declaring.value_types import PLAIN, is_null_word
from dataops_assets.steps.parsing.epoch_times import MICROSECONDS, time_of_text
from dataops_assets.steps.parsing.typed_values import TextMarks

MOST_EXAMPLES = 5
_LONGEST_EXAMPLE = 60


@dataclass(frozen=True)
class Finding:
    """Something in the data that looks unhealthy.

    `kind` is its name, `column` is empty if it is about the whole table, `what` is a sentence, `rows` the number of
    rows that show it, and `examples` are values of them.
    """

    kind: str
    column: str
    what: str
    rows: int
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class ColumnView:
    """A column as the kinds see it: its facts, its suggested declaration, and the day on which the files came."""

    facts: ColumnFacts
    declared: Column
    today: dt.date
    marks: TextMarks = PLAIN

    @property
    def values(self) -> Mapping[str, int]:
        """Return the number of rows of each distinct value."""
        return self.facts.values

    @property
    def family(self) -> str:
        """Return the suggested type without its digits: text, integer, decimal, double, date, ..."""
        return self.declared.type.partition("(")[0]

    @property
    def is_text(self) -> bool:
        """Return whether the column is declared as text, and the files give texts."""
        return self.declared.type == "text" and self.facts.is_text

    @property
    def is_number(self) -> bool:
        """Return whether the column is declared as a number."""
        return self.family in ("integer", "decimal", "double")

    @property
    def is_time(self) -> bool:
        """Return whether the column is declared as a date or a time."""
        return self.family in ("date", "timestamp", "timestamptz")

    @functools.cached_property
    def shown(self) -> int:
        """Return the number of rows of the values that are known."""
        return sum(self.values.values())

    @functools.cached_property
    def numbers(self) -> Mapping[decimal.Decimal, int]:
        """Return the number of rows of each number; empty if the column has none."""
        found: dict[decimal.Decimal, int] = {}
        if self.is_number:
            for text, count in self.values.items():
                number = number_of(text, self.marks)
                if number is not None:
                    found[number] = found.get(number, 0) + count
        return found

    @functools.cached_property
    def times(self) -> Mapping[dt.datetime, int]:
        """Return the number of rows of each date or time (without its zone); empty if the column has none."""
        found: dict[dt.datetime, int] = {}
        if self.is_time:
            for text, count in self.values.items():
                time = time_of(text, self.declared.date_formats)
                if time is not None:
                    found[time] = found.get(time, 0) + count
        return found

    @functools.cached_property
    def words(self) -> Mapping[str, int]:
        """Return the values that do not stand for a missing value."""
        return {text: count for text, count in self.values.items() if text.strip() and not is_null_word(text)}

    def found(self, kind: str, what: str, values: Iterable[str]) -> Finding | None:
        """Return the finding that these values show; None if there are none."""
        shown = sorted(set(values), key=lambda value: (-self.values.get(value, 0), value))
        if not shown:
            return None
        rows = sum(self.values.get(value, 0) for value in shown)
        examples = tuple(value[:_LONGEST_EXAMPLE] for value in shown[:MOST_EXAMPLES])
        return Finding(kind, self.declared.name, what, rows, examples)


ColumnKind = Callable[[ColumnView], Finding | None]


def number_of(text: str, marks: TextMarks = PLAIN) -> decimal.Decimal | None:
    """Return the finite number that a text is; None if it is none."""
    plain = text.strip()
    if marks.thousands_mark:
        plain = plain.replace(marks.thousands_mark, "")
    plain = plain.replace(marks.decimal_mark, ".")
    try:
        number = decimal.Decimal(plain)
    except decimal.InvalidOperation:
        return None
    return number if number.is_finite() and "_" not in plain else None


def time_of(text: str, formats: Iterable[str]) -> dt.datetime | None:
    """Return the time that a text is in one of the formats ('' is ISO 8601), without its zone."""
    for form in formats:
        try:
            if form in MICROSECONDS:
                return time_of_text(text, form)
            # the zone is left out anyway
            found = dt.datetime.strptime(text.strip(), form) if form else dt.datetime.fromisoformat(_iso(text))  # noqa: DTZ007
        except ValueError:
            continue
        return found.replace(tzinfo=None)
    return None


def _iso(text: str) -> str:
    # one digit of a month or day, and an offset of hours, are ISO 8601 to parse and not to Python
    found = re.fullmatch(r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})(.*)", text.strip())
    if found is None:
        return text.strip()
    rest = re.sub(r"([+-]\d{2})$", r"\1:00", found[4]) if ":" in found[4] else found[4]
    rest = re.sub(r"(\.\d{6})\d+", r"\1", rest)
    rest = re.sub(r"^([ T])(\d):", r"\g<1>0\2:", rest)
    return f"{found[1]}-{int(found[2]):02}-{int(found[3]):02}{rest}"
