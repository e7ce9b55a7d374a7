"""Compares the totals in the control lines of files with the records of the files.

The records are those in the bytes: rejected ones count, and corrections do not change them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from sqlglot import exp

from dataops_assets.config.contract import Column
from dataops_assets.config.source import Source
from dataops_assets.config.text_lines import ALL_ROWS, ROWS
from dataops_assets.connections.formats.isolated_input import attempt
from dataops_assets.connections.formats.null_words import present
from dataops_assets.connections.formats.staging import ControlTotal, RawRows, Reading
from dataops_assets.engines.base import Session
from dataops_assets.errors import DataOpsError
from dataops_assets.sql import alias, column, query
from dataops_assets.steps.parsing.typed_values import TextMarks, converted, marks_for

_CUT_OFF = "the file is cut off, or its records were changed on the way: deliver it again; nothing of it is published"


def wrong_totals(
    session: Session, source: Source, reading: Reading, marks: TextMarks
) -> dict[str, tuple[str, str] | DataOpsError]:
    """Return for each input with a wrong total what was received and the next step; with both numbers."""
    found: dict[str, tuple[str, str] | DataOpsError] = {}
    for input_id, totals in reading.totals.items():
        if input_id in reading.errors or not totals:
            continue
        names = sorted({total.name for total in totals} - {ROWS, ALL_ROWS})
        columns = [item for item in source.columns if item.name in names]
        sums = attempt(input_id, _sums, session, reading.rows, columns, input_id, marks)
        if isinstance(sums, DataOpsError):
            found[input_id] = sums
            continue
        records = reading.records[input_id]
        counts = {ROWS: records - reading.filtered.get(input_id, 0), ALL_ROWS: records}
        problems = [problem for total in totals if (problem := _problem(total, counts, sums))]
        if problems:
            found[input_id] = ("; ".join(problems), _CUT_OFF)
    return found


@dataclass(frozen=True)
class _Sum:
    """The sum of a column over the records of an input, and how many of its values are no numbers."""

    value: Decimal
    unreadable: int


def _problem(total: ControlTotal, counts: Mapping[str, int], sums: Mapping[str, _Sum]) -> str:
    told = _number(total)
    if told is None:
        return f"{total.text!r} as {total.name} in {total.place}, which is no number"
    if total.name in counts:
        made = counts[total.name]
        return "" if told == made else f"{total.place} tells {told:,f} records ({total.name}), and there are {made:,}"
    found = sums[total.name]
    if told == found.value and not found.unreadable:
        return ""
    unread = f" without {found.unreadable:,} values that are no numbers" if found.unreadable else ""
    return f"{total.place} tells {told:,f} as the sum of {total.name}, and it is {found.value:,f}{unread}"


def _number(total: ControlTotal) -> Decimal | None:
    """Return the number that a total tells; thousands are grouped by threes, as in the records."""
    mark = re.escape(total.decimal_mark)
    grouped = rf"[0-9]{{1,3}}({re.escape(total.thousands_mark)}[0-9]{{3}})+|" if total.thousands_mark else ""
    if not re.fullmatch(rf"\s*[+-]?({grouped}[0-9]+)({mark}[0-9]*)?\s*", total.text, re.ASCII):
        return None
    plain = total.text.replace(total.thousands_mark, "") if total.thousands_mark else total.text
    return Decimal(plain.replace(total.decimal_mark, ".").strip())


def _sums(
    session: Session, rows: Sequence[RawRows], columns: Sequence[Column], input_id: str, marks: TextMarks
) -> dict[str, _Sum]:
    found = {item.name: _Sum(Decimal(0), 0) for item in columns}
    for some in rows:
        if input_id not in some.input_ids:
            continue
        asked = list(_asked(some, columns, marks))
        if not asked:
            continue
        counted = query(
            "SELECT $sums FROM $rows AS r WHERE s_input_id = $input_id",
            sums=[part for _, parts in asked for part in parts],
            rows=some.query,
            input_id=input_id,
        )
        (row,) = session.fetch(counted).to_pylist()
        values = list(row.values())
        for index, (name, _) in enumerate(asked):
            total, unreadable = values[2 * index : 2 * index + 2]
            found[name] = _Sum(found[name].value + Decimal(total or 0), found[name].unreadable + unreadable)
    return found


def _asked(
    rows: RawRows, columns: Sequence[Column], marks: TextMarks
) -> Iterator[tuple[str, tuple[exp.Expr, exp.Expr]]]:
    """Yield for each column that the rows have its name, its sum and the number of its unreadable values."""
    for index, item in enumerate(columns):
        raw = next((rows.by_name[name] for name in item.raw_names if name in rows.by_name), None)
        if raw is None:
            continue
        given = present(column(raw.column), raw)
        made = converted(given, raw.type, item, marks_for(item, marks))
        # as text, so that no digit is lost on the way
        total = query("CAST(sum($made) AS VARCHAR)", made=made)
        unreadable = query("count($given) - count($made)", given=given, made=made)
        yield item.name, (alias(total, f"s{index}"), alias(unreadable, f"u{index}"))
