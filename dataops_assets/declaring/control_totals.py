"""Finds the meaning of the totals in the last line of files: the number of rows, or the sum of a column."""

from __future__ import annotations

import decimal
import re
from collections.abc import Mapping, Sequence

from dataops_assets.config.connection import CsvFormat
from dataops_assets.config.text_lines import ROWS
from dataops_assets.declaring.columns import SuggestedColumns
from dataops_assets.declaring.trailer_lines import NUMBER
from dataops_assets.engines.base import Session
from dataops_assets.sql import column, query

_GROUP = re.compile(r"\(\?P<total_(\d+)>([^()]*)\)")
_NUMERIC = ("integer", "decimal", "double")


def with_named_totals(
    session: Session, totals: Sequence[Mapping[str, str]], records_of: Sequence[int], found: SuggestedColumns
) -> CsvFormat:
    """Return the format in which each proved total has its name: `rows` or a column. Other totals have no name.

    `totals` are the texts of each file by their groups, `records_of` is the number of records of each file.
    """
    layout = found.layout
    if not isinstance(layout, CsvFormat):
        raise TypeError("only delimited text has such lines")
    (line,) = layout.trailer_lines
    sums = _sums(session, found, len(totals))
    taken: set[str] = set()

    def named(group: re.Match[str]) -> str:
        told = [_number(some.get(NUMBER.format(group[1]), ""), layout) for some in totals]
        meant = ROWS if told == list(records_of) else next((name for name in sums if sums[name] == told), "")
        if not meant or meant in taken or None in told:
            return group[2]
        taken.add(meant)
        return f"(?P<{meant}>{group[2]})"

    pattern = _GROUP.sub(named, line.pattern)
    return layout.model_copy(update={"trailer_lines": (line.model_copy(update={"pattern": pattern}),)})


def _number(text: str, layout: CsvFormat) -> decimal.Decimal | None:
    plain = text.strip().replace(layout.thousands_mark, "") if layout.thousands_mark else text.strip()
    try:
        return decimal.Decimal(plain.replace(layout.decimal_mark, "."))
    except decimal.InvalidOperation:
        return None


def _sums(session: Session, found: SuggestedColumns, files: int) -> dict[str, list[decimal.Decimal | None]]:
    """Return the sums of each numeric column, file by file."""
    sums: dict[str, list[decimal.Decimal | None]] = {}
    for item in found.columns:
        name = item.declared.name
        # a group of a pattern is named like a column
        if item.declared.type.partition("(")[0] not in _NUMERIC or not (name.isidentifier() and name.isascii()):
            continue
        by_file = query(
            "SELECT r.s_file, CAST(sum(CAST($value AS DECIMAL(38, 6))) AS VARCHAR) AS n FROM $rows AS r GROUP BY 1",
            value=column(item.facts.column, "r"),
            rows=found.typed,
        )
        told = {row["s_file"]: decimal.Decimal(row["n"]) for row in session.fetch(by_file).to_pylist() if row["n"]}
        sums[name] = [told.get(file) for file in range(files)]
    return sums
