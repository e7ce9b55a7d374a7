"""Examines columns with every kind, in the order in which a person reads them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from dataops_assets.declaring.columns import SuggestedColumn
from dataops_assets.declaring.health import categories, numbers, personal, texts, times
from dataops_assets.declaring.health.finding import ColumnKind, ColumnView, Finding
from dataops_assets.declaring.value_types import PLAIN
from dataops_assets.steps.parsing.typed_values import TextMarks

COLUMN_KINDS: tuple[ColumnKind, ...] = (
    *texts.KINDS,
    *categories.KINDS,
    *numbers.KINDS,
    *times.KINDS,
    *personal.KINDS,
)
"""Every kind that looks at one column."""


def examine(columns: Sequence[SuggestedColumn], today: dt.date, marks: TextMarks = PLAIN) -> list[Finding]:
    """Return what each kind finds in each column. `today` is the day on which the files came."""
    found = []
    for item in columns:
        view = ColumnView(item.facts, item.declared, today, marks)
        results = [result for kind in COLUMN_KINDS if (result := kind(view)) is not None]
        by_form = any(item.kind.startswith("personal_") and item.kind != "personal_by_name" for item in results)
        # what the values show need not be told of the name again
        found += [item for item in results if not (by_form and item.kind == "personal_by_name")]
    return found
