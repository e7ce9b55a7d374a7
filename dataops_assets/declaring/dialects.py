"""Finds how a text is delimited: the delimiter, the quote, the lines before the header, and whether there is a header.

Each dialect is tried with the reader that defines a record (`csv_text`). The best one gives records of one width, with
fields that contain neither quotes nor other delimiters.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from dataops_assets.connections.formats.csv_text import Dialect, records
from dataops_assets.connections.formats.staging import Record

_DELIMITERS = (",", ";", "\t", "|", "^", "~")
_OTHERS = re.compile(r"[;\t|^~]")
_MOST_RECORDS = 500
_MOST_SKIPPED = 20
_LEAST_SHARE = 0.8
_CLEARLY = 1.02
_NUMBER = re.compile(r"[+-]?(\d{1,3}([., ']\d{3})+|\d+)?([.,]\d+)?([eE][+-]?\d+)?%?")
_TIME = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T].*)?|\d{1,2}:\d{2}(:\d{2})?")
_YEAR = re.compile(r"(19|20)\d{2}")


@dataclass(frozen=True)
class TextLayout:
    """How a text is delimited. `skip_rows` are the lines before the first record."""

    dialect: Dialect
    header: bool
    skip_rows: int
    width: int


def layout_of(samples: Sequence[str]) -> TextLayout:
    """Return the layout of texts that share one; each sample is the begin of a text, in whole lines."""
    lines = [sample.splitlines(keepends=True) for sample in samples]
    fits = [_fit(lines, dialect) for dialect in _dialects("".join(samples))]
    best = fits[0]
    for fit in fits[1:]:
        if fit.score > best.score * _CLEARLY or (fit.score >= best.score > 0 and fit.width > best.width):
            best = fit
    if best.score == 0:
        # blanks are marks between numbers, and not between words
        best = _fit(lines, Dialect(" ", "", ""))
    if best.score == 0 or (best.dialect.delimiter == " " and not _are_values(best.texts)):
        best = _fit(lines, Dialect(",", '"', '"'), least=1)
    named = [_has_header([[field or "" for field in item.fields] for item in some]) for some in best.texts]
    return TextLayout(best.dialect, 2 * sum(named) >= len(named), best.skipped, best.width)


def is_value(text: str) -> bool:
    """Return whether a text is a number, a date or a time."""
    stripped = text.strip()
    return any(sign.isdigit() for sign in stripped) and bool(_NUMBER.fullmatch(stripped) or _TIME.fullmatch(stripped))


@dataclass(frozen=True)
class _Fit:
    """How well a dialect fits the texts: the good records of each, the lines before them, their width, and a score."""

    dialect: Dialect
    texts: Sequence[Sequence[Record]]
    skipped: int
    width: int
    score: float


def _dialects(text: str) -> list[Dialect]:
    escapes = ['"'] + (["\\"] if '\\"' in text else [])
    marks = [('"', escape) for escape in escapes]
    marks += [("", "")] if '"' in text else []
    found = []
    for delimiter in _DELIMITERS:
        if delimiter not in text:
            continue
        own = re.escape(delimiter)
        single = len(re.findall(rf"(?m)(?:^|{own})'[^'\n]*'(?={own}|\r?$)", text)) > 1
        found += [Dialect(delimiter, quote, escape) for quote, escape in [*marks, *([("'", "'")] if single else [])]]
    return found or [Dialect(",", '"', '"')]


def _fit(texts: Sequence[Sequence[str]], dialect: Dialect, least: int = 2) -> _Fit:
    of_texts = [list(itertools.islice(records(lines, dialect), _MOST_RECORDS)) for lines in texts]
    widths = Counter(len(item.fields) for some in of_texts for item in some if not item.problem)
    width = max((item for item in widths if item >= least), key=lambda item: widths[item], default=0)
    skips = [next((n for n, item in enumerate(some) if _is_of(item, width)), 0) for some in of_texts]
    # a title above the header is in each file, or in none
    skipped = skips[0] if skips and len(set(skips)) == 1 and skips[0] <= _MOST_SKIPPED else 0
    of_texts = [some[skipped:] for some in of_texts]
    texts_of_width = [[item for item in some if _is_of(item, width)] for some in of_texts]
    good = [item for some in texts_of_width for item in some]
    if not width or not good:
        return _Fit(dialect, texts_of_width, 0, 0, 0.0)
    share = len(good) / sum(map(len, of_texts))
    fields = [field.strip() for item in good for field in item.fields if field]
    clean = sum(_is_clean(field, dialect) for field in fields) / max(len(fields), 1)
    score = share * share * clean if share >= _LEAST_SHARE else 0.0
    line = of_texts[0][0].line - 1 if skipped else 0
    return _Fit(dialect, texts_of_width, line, width, score)


def _is_of(record: Record, width: int) -> bool:
    return not record.problem and len(record.fields) == width


def _are_values(texts: Sequence[Sequence[Record]]) -> bool:
    fields = [field or "" for some in texts for item in some for field in item.fields]
    return 2 * sum(map(is_value, fields)) > len(fields)


def _is_clean(field: str, dialect: Dialect) -> bool:
    other = _OTHERS.search(field)
    if other and other[0] != dialect.delimiter:
        return False
    if dialect.quote != '"' and field and '"' in (field[0], field[-1]):
        return False
    return not (dialect.quote != "'" and len(field) > 1 and field[0] == field[-1] == "'")


def _has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Return whether the first row names the columns."""
    if not rows:
        return True
    # files that were joined repeat their header
    first, rest = rows[0], [row for row in rows[1:] if row != rows[0]]
    values = [name for name in first if is_value(name)]
    years = [name for name in values if _YEAR.fullmatch(name.strip())]
    if len(years) > 1 and len(years) == len(values) < len(first) and years == sorted(set(years)):
        # a table with a column for each year
        return True
    named = [name for name in first if name]
    if 2 * len(values) >= len(first) or _is_value_above_values(first, rest):
        return False
    if len(rest) < 2 or (not values and _is_typed_below(first, rest)):
        return True
    if len(set(named)) < len(named):
        return False
    repeated = [place for place, name in enumerate(first) if any(row[place] == name for row in rest)]
    return 2 * len(repeated) <= len(first)


def _is_value_above_values(first: Sequence[str], rest: Sequence[Sequence[str]]) -> bool:
    """Return whether a column begins with a value and goes on with values alone, as it does without a header."""
    return any(
        is_value(name) and any(row[place] for row in rest) and all(is_value(row[place]) for row in rest if row[place])
        for place, name in enumerate(first)
    )


def _is_typed_below(first: Sequence[str], rest: Sequence[Sequence[str]]) -> bool:
    """Return whether a column has only values below a name that is none."""
    return any(
        all(is_value(row[place]) for row in rest if row[place]) and any(row[place] for row in rest)
        for place, name in enumerate(first)
        if name and not is_value(name)
    )
