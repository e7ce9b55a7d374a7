"""Finds the last line of delimited files that is no record but has totals: `SUM;40;33.933,47`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dataops_assets.config.text_lines import ControlLine
from dataops_assets.connections.formats.csv_text import Dialect, records
from dataops_assets.declaring.dialects import is_value

NUMBER = "total_{}"
"""The name of a group with a number that is not known yet, by its position in the line."""
_TOTAL = re.compile(
    r"(grand |sub)?total[es]?|sum(me)?|somme|gesamt(summe)?|trailer|trl|footer|eof|end( of file)?|ende|fin|count|rows|"
    r"records|t|z|99+",
    re.IGNORECASE,
)


def trailer_of(lines: Sequence[str], dialect: Dialect, width: int) -> ControlLine | None:
    """Return the pattern of the last lines of files; None if they are records.

    `width` is the number of fields of a record. Each number is a group `total_<position>`. A line is no record if it
    begins with a word for a total, or if in several files it begins with the same word and has another width.
    """
    found = [_fields(line, dialect) for line in lines]
    words = {fields[0].strip() for fields in found if fields}
    if len(words) != 1 or not all(found):
        return None
    (word,) = words
    others = [field.strip() for fields in found for field in fields[1:] if field.strip()]
    if not word or is_value(word) != bool(re.fullmatch("99+", word)) or not all(map(is_value, others)):
        return None
    is_total = bool(_TOTAL.fullmatch(word.rstrip(": ")))
    is_other = all(len(fields) != width for fields in found)
    filled = {len([field for field in fields if field.strip()]) for fields in found}
    if not (is_total and (is_other or max(filled) <= (width + 1) // 2)) and not (is_other and len(found) > 1):
        return None
    widths = {len(fields) for fields in found}
    if len(widths) != 1 or any(dialect.quote and dialect.quote in line for line in lines):
        return ControlLine(pattern=f"{re.escape(word)}.*")
    mark = re.escape(dialect.delimiter)
    parts = [rf"\s*{re.escape(word)}\s*"]
    for place in range(1, widths.pop()):
        numbers = all(fields[place].strip() for fields in found)
        one = f"[^{mark}]*"
        parts.append(f"(?P<{NUMBER.format(place)}>{one})" if numbers else one)
    return ControlLine(pattern=mark.join(parts))


def _fields(line: str, dialect: Dialect) -> Sequence[str]:
    found = next(records([line], dialect), None)
    return [field or "" for field in found.fields] if found and not found.problem else []
