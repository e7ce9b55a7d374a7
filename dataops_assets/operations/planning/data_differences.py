"""Compares a table before and after a change by key: rows that come or go, values that differ, with examples."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlglot import exp

from dataops_assets.engines.base import Session
from dataops_assets.sql import Relation, alias, column, query
from dataops_assets.storage.delta import TableVersion

_EXAMPLES = 3
_FROM = "s_valid_from"
_LONGEST = 60
HIDDEN = "hidden"
"""What is shown instead of a value of a personal column."""


@dataclass(frozen=True)
class Example:
    """One value that differs: its row, and the texts of the value before and after."""

    input_id: str
    row: int
    before: str | None
    after: str | None


@dataclass(frozen=True)
class ColumnDifference:
    """A column whose values differ in rows that both versions have; nulls before and after, of these rows."""

    name: str
    changed: int
    nulls_before: int
    nulls_after: int
    examples: Sequence[Example] = ()


@dataclass(frozen=True)
class TableDifference:
    """How many rows a table gets, loses and keeps with other values, and which columns it gets and loses."""

    table: str
    rows_before: int
    rows_after: int
    added: int
    removed: int
    changed: int
    new_columns: Sequence[str]
    gone_columns: Sequence[str]
    columns: Sequence[ColumnDifference]


def difference(
    session: Session, table: str, before: TableVersion | None, after: TableVersion | None, personal: Collection[str]
) -> TableDifference:
    """Compare two versions of a table, whose rows are found by their keys; values of `personal` columns stay hidden.

    If only one of them has history, its current rows are compared.
    """
    old_columns, new_columns = (dict(item.columns) if item is not None else {} for item in (before, after))
    new = [name for name in new_columns if name not in old_columns]
    gone = [name for name in old_columns if name not in new_columns]
    counts = (before.rows if before else 0, after.rows if after else 0)
    if before is None or after is None:
        return TableDifference(table, *counts, counts[1], counts[0], 0, new, gone, ())
    common = [name for name in new_columns if name in old_columns and not name.startswith("s_")]
    rows = session.create(_joined(session, before, after, common))
    found = session.fetch(_counted(rows, common)).to_pylist()[0]
    columns = [
        ColumnDifference(
            name,
            found[f"d_{index}"],
            found[f"b_{index}"],
            found[f"a_{index}"],
            _examples(session, rows, index, hidden=name in personal),
        )
        for index, name in enumerate(common)
        if found[f"d_{index}"]
    ]
    return TableDifference(table, *counts, found["added"], found["removed"], found["changed"], new, gone, columns)


def _joined(session: Session, before: TableVersion, after: TableVersion, common: Sequence[str]) -> exp.Query:
    """Return each key of the two with its values as texts, and which of the two has it."""
    keys = [name for name in ("s_key", _FROM) if name in before.columns and name in after.columns]
    conditions = [query("$old IS NOT DISTINCT FROM $new", old=column(key, "o"), new=column(key, "n")) for key in keys]
    values: list[exp.Expr] = []
    for index, name in enumerate(common):
        for letter, side in (("o", "o"), ("n", "n")):
            text = query("CAST($value AS VARCHAR)", value=column(name, side))
            values.append(alias(text, f"{letter}_{index}"))
    found: exp.Query = query(
        """
        SELECT o.s_key IS NULL AS is_added, n.s_key IS NULL AS is_removed,
               coalesce(n.s_input_id, o.s_input_id) AS s_input_id, coalesce(n.s_row_id, o.s_row_id) AS s_row_id, $values
        FROM $old AS o FULL JOIN $new AS n ON $same
        """,
        values=values,
        old=_comparable(session, before, after),
        new=_comparable(session, after, before),
        same=exp.and_(*conditions),
    )
    return found


def _comparable(session: Session, one: TableVersion, other: TableVersion) -> exp.Expr:
    """Return the rows of a version; only the current ones if the other version has no history."""
    rows = session.scan(one)
    if _FROM not in one.columns or _FROM in other.columns:
        return rows
    found: exp.Query = query(
        "SELECT r.* FROM $rows AS r WHERE r.s_valid_to IS NULL AND NOT coalesce($gone, FALSE)",
        rows=rows,
        gone=column("s_is_deleted", "r") if "s_is_deleted" in one.columns else exp.false(),
    )
    return found


def _differs(index: int) -> exp.Expr:
    found: exp.Expr = query(
        "NOT r.is_added AND NOT r.is_removed AND $old IS DISTINCT FROM $new",
        old=column(f"o_{index}", "r"),
        new=column(f"n_{index}", "r"),
    )
    return found


def _counted(rows: Relation, common: Sequence[str]) -> exp.Query:
    counts: list[exp.Expr] = []
    for index in range(len(common)):
        counts.append(alias(query("count(CASE WHEN $differs THEN 1 END)", differs=_differs(index)), f"d_{index}"))
        for letter, side in (("b", "o"), ("a", "n")):
            is_null = column(f"{side}_{index}", "r").is_(exp.null())
            null = query("count(CASE WHEN NOT r.is_added AND NOT r.is_removed AND $null THEN 1 END)", null=is_null)
            counts.append(alias(null, f"{letter}_{index}"))
    any_differs = exp.or_(*(exp.paren(_differs(index)) for index in range(len(common)))) if common else exp.false()
    found: exp.Query = query(
        """
        SELECT count(CASE WHEN r.is_added THEN 1 END) AS added, count(CASE WHEN r.is_removed THEN 1 END) AS removed,
               count(CASE WHEN $any THEN 1 END) AS changed, $counts
        FROM $rows AS r
        """,
        any=any_differs,
        counts=counts,
        rows=rows,
    )
    return found


def _examples(session: Session, rows: Relation, index: int, *, hidden: bool) -> list[Example]:
    wanted = query(
        """
        SELECT r.s_input_id, r.s_row_id, $old AS before, $new AS after FROM $rows AS r
        WHERE $differs ORDER BY r.s_input_id, r.s_row_id LIMIT 3
        """,
        old=column(f"o_{index}", "r"),
        new=column(f"n_{index}", "r"),
        rows=rows,
        differs=_differs(index),
    )
    found = session.fetch(wanted).to_pylist()[:_EXAMPLES]
    return [
        Example(row["s_input_id"], row["s_row_id"], *(_shown(row[key], hidden) for key in ("before", "after")))
        for row in found
    ]


def _shown(value: str | None, hidden: bool) -> str | None:
    if value is None:
        return None
    return HIDDEN if hidden else value[:_LONGEST]
