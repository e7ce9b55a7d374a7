"""Finds the fields of text with fixed positions: lines of one length without a delimiter."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from dataops_assets.config.connection import FixedField

_LEAST_LINES = 3
_LEAST_LENGTH = 8
_MOST_FIELDS = 200
# lines of one length; a first or last line can be of another kind
_SHARE = 0.9
_DAY = re.compile(r"(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])")
_BLANK, _DIGIT, _OTHER = range(3)


def fields_of(lines: Sequence[str]) -> tuple[FixedField, ...]:
    """Return the fields of lines; none if they have no fixed positions.

    A field begins where in all lines digits begin or end, or where text begins after blanks. A number that ends or
    begins with a day (20240131) in all lines is two fields. Fields that touch and are of one kind cannot be told apart,
    and neither can letters and digits that always touch, as in a code.
    """
    filled = [line for line in lines if line.strip()]
    lengths = Counter(map(len, filled))
    if len(filled) < _LEAST_LINES or not lengths:
        return ()
    length, count = lengths.most_common(1)[0]
    if length < _LEAST_LENGTH or count < _SHARE * len(filled):
        return ()
    alike = [line for line in filled if len(line) == length]
    begins = [0, *list(_begins(alike, length))[1:], length]
    if not 2 < len(begins) <= _MOST_FIELDS:
        return ()
    # up to the next field, so that a longer value of another file is not lost
    return tuple(
        FixedField(name=f"field_{number}", start=begin + 1, width=end - begin)
        for number, (begin, end) in enumerate(itertools.pairwise(begins), start=1)
    )


def _begins(lines: Sequence[str], length: int) -> Iterator[int]:
    """Yield the places where fields begin."""
    signs = [[line[place] for line in lines] for place in range(length)]
    kinds = list(map(_kind, signs))
    begin, is_code = 0, False
    for kind, places in itertools.groupby(range(length), key=lambda place: kinds[place]):
        end = max(places) + 1
        if kind == _DIGIT:
            # digits after letters are of a code, unless the letters end before them in some line
            is_code = begin > 0 and kinds[begin - 1] == _OTHER and " " not in signs[begin - 1]
            if not is_code:
                yield from _numbers(lines, begin, end)
        elif kind == _OTHER:
            if not is_code:
                yield begin
        else:
            is_code = False
        begin = end


def _kind(signs: Sequence[str]) -> int:
    if all(sign == " " for sign in signs):
        return _BLANK
    return _DIGIT if all(sign in "0123456789" for sign in signs) else _OTHER


def _numbers(lines: Sequence[str], begin: int, end: int) -> Iterator[int]:
    if end - begin > 8 and all(_DAY.fullmatch(line[end - 8 : end]) for line in lines):
        yield from _numbers(lines, begin, end - 8)
        yield end - 8
    elif end - begin > 8 and all(_DAY.fullmatch(line[begin : begin + 8]) for line in lines):
        yield begin
        yield from _numbers(lines, begin + 8, end)
    elif begin < end:
        yield begin
