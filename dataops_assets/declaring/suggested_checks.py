"""Suggests validations and check limits from what the files hold."""

from __future__ import annotations

import datetime as dt
import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from dataops_assets.declaring.candidate_keys import CandidateKey, is_named_as_key
from dataops_assets.declaring.columns import SuggestedColumn
from dataops_assets.declaring.health.finding import ColumnView, Finding
from dataops_assets.sql import DIALECT, column, literal, query

_LEAST_ROWS = 50
_MOST_CODES = 12
_LEAST_OF_A_CODE = 3
_LONGEST_CODE = 20
_ENOUGH_FILES = 3


@dataclass(frozen=True)
class SuggestedPart:
    """A part of a declaration as it is written, and the reason for it."""

    declared: Mapping[str, Any]
    why: str


def suggest_validations(
    views: Sequence[ColumnView], keys: Sequence[CandidateKey], chosen: Sequence[str], findings: Sequence[Finding]
) -> list[SuggestedPart]:
    """Return validations of severity `warn` that all rows of the files pass.

    `chosen` are the columns of the key. A column in which something looks wrong gets no limits.
    """
    unhealthy = {item.column for item in findings if not item.kind.startswith("personal_")}
    found = []
    for view in views:
        if view.declared.name in unhealthy or view.facts.rows < _LEAST_ROWS or view.declared.name in chosen:
            continue
        part = _not_negative(view) or _known_codes(view)
        if part is not None:
            found.append(part)
    others = (key for key in keys if key.is_sure and len(key.names) == 1 and tuple(chosen) != key.names)
    for key in others:
        name = key.names[0]
        found.append(SuggestedPart({"name": f"{name} is unique", "unique": [name], "severity": "warn"}, f"{key.why}"))
    return found


def _not_negative(view: ColumnView) -> SuggestedPart | None:
    numbers = view.numbers
    if not numbers or min(numbers) < 0 or not view.facts.is_complete or is_named_as_key(view.declared.name):
        return None
    name = view.declared.name
    condition = query("$value >= 0", value=_reference(name))
    return SuggestedPart(
        {"name": f"{name} is not negative", "expression": condition.sql(DIALECT), "severity": "warn"},
        f"the values are {min(numbers)} to {max(numbers)}",
    )


def _known_codes(view: ColumnView) -> SuggestedPart | None:
    if not view.is_text or not view.facts.is_complete or not 1 < len(view.values) <= _MOST_CODES:
        return None
    # values that came once may be followed by others
    if min(view.values.values()) < _LEAST_OF_A_CODE or view.facts.longest > _LONGEST_CODE:
        return None
    if any(value.startswith(("[", "{")) for value in view.values):
        # nested values are no codes
        return None
    name = view.declared.name
    known = exp.In(this=_reference(name), expressions=[literal(value) for value in sorted(view.values)])
    return SuggestedPart(
        {"name": f"{name} is known", "expression": known.sql(DIALECT), "severity": "warn"},
        f"{view.facts.present:,} rows have one of {len(view.values)} values",
    )


def _reference(name: str) -> exp.Expr:
    """Return a column as a person writes it: in quotes only if it needs them."""
    try:
        plain = sqlglot.parse_one(name, dialect=DIALECT)
    except SqlglotError:
        return column(name)
    is_name = isinstance(plain, exp.Column) and plain.sql(DIALECT) == name and not plain.table
    return plain if is_name else column(name)


def suggest_limits(rows_by_file: Sequence[int], times: Sequence[dt.datetime]) -> list[SuggestedPart]:
    """Return limits for the checks of volume and freshness; empty if the files are too few to tell."""
    found = []
    if len(rows_by_file) >= _ENOUGH_FILES:
        least, most = min(rows_by_file), max(rows_by_file)
        if least:
            found.append(
                SuggestedPart(
                    {"volume": {"min_rows": max(least // 2, 1)}}, f"the files have {least:,} to {most:,} rows"
                )
            )
    ordered = sorted(set(times))
    if len(ordered) >= _ENOUGH_FILES:
        gaps = [(after - before).total_seconds() / 3600 for before, after in itertools.pairwise(ordered)]
        usual = statistics.median(gaps)
        if usual >= 1:
            hours = {"warn_after_hours": round(usual * 1.5), "fail_after_hours": round(usual * 3)}
            found.append(SuggestedPart({"freshness": hours}, f"the files are {usual:,.0f} hours apart (median)"))
    return found


def pii_tags(columns: Sequence[SuggestedColumn], tags: Mapping[str, str]) -> list[SuggestedColumn]:
    """Return the columns with the tag `pii`, by name, so that their values are masked."""
    return [
        SuggestedColumn(
            item.declared.model_copy(update={"tags": {"pii": tags[item.declared.name]}}),
            item.facts,
            (*item.notes, "personal data: values are masked in previews and messages"),
        )
        if tags.get(item.declared.name)
        else item
        for item in columns
    ]
