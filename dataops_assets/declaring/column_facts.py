"""Counts the rows, the nulls and the distinct values of a column, with the number of each value."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dataops_assets.declaring.delivered_rows import DeliveredRows, RawColumn
from dataops_assets.engines.base import Session
from dataops_assets.sql import column, query

MOST_VALUES = 10_000
"""How many distinct values of a column are looked at. Odd and frequent ones come first."""
# what most values do not have: blanks at the ends, several blanks, control characters, letters outside ASCII
_ODD = r"^\s|\s$|\s\s|[^\x20-\x7e]|&[a-z#]|^[-.?#*()\\]*$"


@dataclass(frozen=True)
class ColumnFacts:
    """The counts of one column. `values` has the number of rows of each distinct value, as text, in no order.

    `is_complete`: `values` has all of them. `kind` is the SQL type in the files.
    """

    name: str
    column: str
    kind: str
    rows: int
    nulls: int
    distinct: int
    values: Mapping[str, int]
    longest: int = 0

    @property
    def is_complete(self) -> bool:
        """Return whether all values are known."""
        return len(self.values) == self.distinct

    @property
    def present(self) -> int:
        """Return the number of rows with a value."""
        return self.rows - self.nulls

    @functools.cached_property
    def is_text(self) -> bool:
        """Return whether the files give texts."""
        return self.kind == "VARCHAR"


def column_facts(session: Session, delivered: DeliveredRows) -> tuple[ColumnFacts, ...]:
    """Return the facts of each column, in order."""
    return tuple(_facts(session, delivered, item) for item in delivered.columns)


def facts_of(name: str, values: Sequence[str | None]) -> ColumnFacts:
    """Return the facts of a column of texts that are at hand."""
    counts: dict[str, int] = {}
    for value in values:
        if value is not None:
            counts[value] = counts.get(value, 0) + 1
    nulls = sum(value is None for value in values)
    return ColumnFacts(name, name, "VARCHAR", len(values), nulls, len(counts), counts, max(map(len, counts), default=0))


def _facts(session: Session, delivered: DeliveredRows, item: RawColumn) -> ColumnFacts:
    value = column(item.column, "r")
    grouped = session.create(
        query(
            "SELECT CAST($value AS VARCHAR) AS s_value, count(*) AS s_count FROM $rows AS r "
            "WHERE NOT $value IS NULL GROUP BY 1",
            value=value,
            rows=delivered.table,
        )
    )
    counts = session.fetch(
        query(
            "SELECT count(*) AS n, coalesce(sum(s_count), 0)::BIGINT AS present, "
            "coalesce(max(length(s_value)), 0) AS longest FROM $grouped AS g",
            grouped=grouped,
        )
    ).to_pylist()[0]
    found = session.fetch(
        query(
            "SELECT s_value, s_count FROM $grouped AS g "
            "ORDER BY regexp_matches(s_value, $odd) DESC, s_count DESC, hash(s_value) LIMIT $most",
            grouped=grouped,
            odd=_ODD,
            most=MOST_VALUES,
        )
    )
    values = dict(zip(found.column("s_value").to_pylist(), found.column("s_count").to_pylist(), strict=True))
    nulls = delivered.rows - int(counts["present"])
    return ColumnFacts(
        item.name, item.column, item.kind, delivered.rows, nulls, counts["n"], values, int(counts["longest"])
    )
