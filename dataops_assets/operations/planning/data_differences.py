"""Compares a table before and after a change by key: rows that come or go, values that differ, with examples."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlglot import exp

from dataops_assets.engines.base import Session
from dataops_assets.sql import DIALECT, Relation, Rows, alias, column, query
from dataops_assets.storage.delta import TableVersion

_EXAMPLES = 3
_FROM = "s_valid_from"
_PLACE = ("s_input_id", "s_row_id")
_LONGEST = 60
_MEASURES = ("nulls", "distinct", "least", "greatest", "mean")
HIDDEN = "hidden"
"""What is shown instead of a value of a personal column."""


@dataclass(frozen=True)
class Side:
    """The rows of a table before or after, the SQL types of its columns, and the number of its rows."""

    rows: Rows
    columns: Mapping[str, str]
    count: int


@dataclass(frozen=True)
class Identity:
    """The columns that identify a row (`keys`; none if none do), and the columns that name a row to a person."""

    keys: Sequence[str]
    named_by: Sequence[str]


@dataclass(frozen=True)
class Example:
    """One value that differs: its row, and the texts of the value before and after."""

    place: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class ColumnDifference:
    """A column whose values differ in rows that both versions have."""

    name: str
    changed: int
    examples: Sequence[Example] = ()


@dataclass(frozen=True)
class Distribution:
    """The values of a column in all rows: nulls, distinct values (estimated), the least and the greatest, the mean."""

    nulls: int
    distinct: int
    least: str | None
    greatest: str | None
    mean: float | None


@dataclass(frozen=True)
class ColumnDistribution:
    """The distribution of a column before and after; None where the table does not have it."""

    name: str
    before: Distribution | None
    after: Distribution | None


@dataclass(frozen=True)
class TableDifference:
    """How many rows a table gets, loses and keeps with other values, and which columns it gets and loses.

    `added_rows`, `removed_rows`: examples of them. `distributions`: of the columns whose distribution is another one.
    `by_key` is false if nothing identifies a row: then a row with another value counts as removed and added.
    """

    table: str
    rows_before: int
    rows_after: int
    added: int
    removed: int
    changed: int
    new_columns: Sequence[str]
    gone_columns: Sequence[str]
    columns: Sequence[ColumnDifference]
    added_rows: Sequence[str] = ()
    removed_rows: Sequence[str] = ()
    distributions: Sequence[ColumnDistribution] = ()
    by_key: bool = True

    @property
    def is_equal(self) -> bool:
        """Return whether nothing differs."""
        return not (self.added or self.removed or self.changed or self.new_columns or self.gone_columns)


def difference(
    session: Session, table: str, before: TableVersion | None, after: TableVersion | None, personal: Collection[str]
) -> TableDifference:
    """Compare two versions of a hub table, whose rows are found by their keys; `personal` values stay hidden.

    If only one of them has history, its current rows are compared.
    """
    sides = [
        None if one is None else Side(_comparable(session, one, other), one.columns, one.rows)
        for one, other in ((before, after), (after, before))
    ]
    keys = [name for name in ("s_key", _FROM) if all(one is None or name in one.columns for one in (before, after))]
    return compare(session, table, sides, Identity(keys, _PLACE), personal)


def compare(
    session: Session, table: str, sides: Sequence[Side | None], identity: Identity, personal: Collection[str]
) -> TableDifference:
    """Compare the two sides of a table, before and after, by what identifies its rows."""
    before, after = sides
    old_columns, new_columns = (dict(item.columns) if item is not None else {} for item in sides)
    new = [name for name in new_columns if name not in old_columns]
    gone = [name for name in old_columns if name not in new_columns]
    counts = (before.count if before else 0, after.count if after else 0)
    found = TableDifference(table, *counts, counts[1], counts[0], 0, new, gone, ())
    if before is not None and after is not None:
        common = [name for name in new_columns if name in old_columns and not name.startswith("s_")]
        if not identity.keys:
            found = _as_multisets(session, found, before, after, common)
        else:
            found = _by_key(session, found, (before, after), common, (identity, personal))
    names = [name for name in {**old_columns, **new_columns} if not name.startswith("s_")]
    measured = [_distributions(session, side, names, personal) for side in sides]
    other = [ColumnDistribution(name, *(one.get(name) for one in measured)) for name in names]
    return replace(found, distributions=[item for item in other if item.before != item.after])


def _by_key(
    session: Session,
    found: TableDifference,
    sides: tuple[Side, Side],
    common: Sequence[str],
    shown: tuple[Identity, Collection[str]],
) -> TableDifference:
    identity, personal = shown
    rows = session.create(_joined(sides, common, identity, personal))
    counted = session.fetch(_counted(rows, common)).to_pylist()[0]
    columns = [
        ColumnDifference(name, counted[f"d_{index}"], _examples(session, rows, index, hidden=name in personal))
        for index, name in enumerate(common)
        if counted[f"d_{index}"]
    ]
    added, removed = (
        _places(session, rows, flag) if counted[name] else []
        for name, flag in (("added", "is_added"), ("removed", "is_removed"))
    )
    return replace(
        found,
        added=counted["added"],
        removed=counted["removed"],
        changed=counted["changed"],
        columns=columns,
        added_rows=added,
        removed_rows=removed,
    )


def _as_multisets(
    session: Session, found: TableDifference, before: Side, after: Side, common: Sequence[str]
) -> TableDifference:
    """Compare rows as wholes, where nothing identifies them."""
    selected = [
        query("SELECT $columns FROM $rows AS r", columns=[_text(name, "r") for name in common], rows=side.rows)
        for side in (before, after)
    ]
    counts = []
    for one, other in (selected, selected[::-1]):
        wanted = query(
            "SELECT count(*) AS n FROM (SELECT * FROM $one AS a EXCEPT ALL SELECT * FROM $other AS b) AS d",
            one=one,
            other=other,
        )
        counts.append(int(session.fetch(wanted).to_pylist()[0]["n"]))
    return replace(found, removed=counts[0], added=counts[1], by_key=False)


def _text(name: str, table: str) -> exp.Expr:
    return alias(query("CAST($value AS VARCHAR)", value=column(name, table)), name)


def _joined(
    sides: tuple[Side, Side], common: Sequence[str], identity: Identity, personal: Collection[str]
) -> exp.Query:
    """Return each key of the two with its values as texts, which of the two has it, and the words that name it."""
    conditions = [
        query("$old IS NOT DISTINCT FROM $new", old=column(key, "o"), new=column(key, "n")) for key in identity.keys
    ]
    values: list[exp.Expr] = []
    for index, name in enumerate(common):
        for letter, side in (("o", "o"), ("n", "n")):
            values.append(alias(query("CAST($value AS VARCHAR)", value=column(name, side)), f"{letter}_{index}"))
    names = [
        alias(
            exp.convert(HIDDEN)
            if name in personal
            else query("CAST(coalesce($new, $old) AS VARCHAR)", new=column(name, "n"), old=column(name, "o")),
            f"p_{name}",
        )
        for name in identity.named_by
    ]
    found: exp.Query = query(
        """
        SELECT o.s_is_there IS NULL AS is_added, n.s_is_there IS NULL AS is_removed, $names, $values
        FROM $old AS o FULL JOIN $new AS n ON $same
        """,
        names=names,
        values=values,
        old=_marked(sides[0]),
        new=_marked(sides[1]),
        same=exp.and_(*conditions),
    )
    return found


def _marked(side: Side) -> exp.Query:
    """Return the rows with a column that no row of the other side has, because a key may be null."""
    found: exp.Query = query("SELECT r.*, TRUE AS s_is_there FROM $rows AS r", rows=side.rows)
    return found


def _comparable(session: Session, one: TableVersion, other: TableVersion | None) -> exp.Expr:
    """Return the rows of a version; only the current ones if the other version has no history."""
    rows = session.scan(one)
    if other is None or _FROM not in one.columns or _FROM in other.columns:
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
    counts: list[exp.Expr] = [
        alias(query("count(CASE WHEN $differs THEN 1 END)", differs=_differs(index)), f"d_{index}")
        for index in range(len(common))
    ]
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
    named = [column(name, "r") for name in rows.columns if name.startswith("p_")]
    wanted = query(
        "SELECT $named, $old AS before, $new AS after FROM $rows AS r WHERE $differs ORDER BY ALL LIMIT 3",
        named=named,
        old=column(f"o_{index}", "r"),
        new=column(f"n_{index}", "r"),
        rows=rows,
        differs=_differs(index),
    )
    found = session.fetch(wanted).to_pylist()[:_EXAMPLES]
    return [Example(_place(row), *(_shown(row[key], hidden) for key in ("before", "after"))) for row in found]


def _places(session: Session, rows: Relation, flag: str) -> list[str]:
    """Return the words that name some of the rows that come or go."""
    named = [column(name, "r") for name in rows.columns if name.startswith("p_")]
    wanted = query(
        "SELECT $named FROM $rows AS r WHERE $flag ORDER BY ALL LIMIT 3",
        named=named,
        rows=rows,
        flag=column(flag, "r"),
    )
    return [_place(row) for row in session.fetch(wanted).to_pylist()]


def _place(row: Mapping[str, str | None]) -> str:
    named = {name.removeprefix("p_"): value for name, value in row.items() if name.startswith("p_")}
    if tuple(named) == _PLACE:
        return f"row {named['s_row_id']} of {named['s_input_id']}"
    return ", ".join(f"{name} {'null' if value is None else value[:_LONGEST]}" for name, value in named.items())


def _shown(value: str | None, hidden: bool) -> str | None:
    if value is None:
        return None
    return HIDDEN if hidden else value[:_LONGEST]


def _distributions(
    session: Session, side: Side | None, names: Sequence[str], personal: Collection[str]
) -> Mapping[str, Distribution]:
    """Return the distribution of each of these columns that a side has; of personal ones no values."""
    mine = [name for name in names if side is not None and name in side.columns]
    if side is None or not mine:
        return {}
    measures: list[exp.Expr] = []
    for index, name in enumerate(mine):
        value = column(name, "r")
        found = [
            query("count(*) - count($v)", v=value),
            query("approx_count_distinct($v)", v=value),
            query("CAST(min($v) AS VARCHAR)", v=value),
            query("CAST(max($v) AS VARCHAR)", v=value),
            query("avg(CAST($v AS DOUBLE))", v=value) if _is_number(side.columns[name]) else exp.null(),
        ]
        measures += [alias(one, f"{kind}_{index}") for kind, one in zip(_MEASURES, found, strict=True)]
    row = session.fetch(query("SELECT $measures FROM $rows AS r", measures=measures, rows=side.rows)).to_pylist()[0]
    return {
        name: _distribution([row[f"{kind}_{index}"] for kind in _MEASURES], hidden=name in personal)
        for index, name in enumerate(mine)
    }


def _is_number(kind: str) -> bool:
    return exp.DataType.build(kind, dialect=DIALECT).this in exp.DataType.NUMERIC_TYPES


def _distribution(measured: Sequence[object], *, hidden: bool) -> Distribution:
    nulls, distinct, least, greatest, mean = measured
    counts = int(str(nulls)), int(str(distinct))
    if hidden:
        return Distribution(*counts, None, None, None)
    number = None if mean is None else float(str(mean))
    if number is not None:
        # sums of doubles depend on the order of rows in their last digits
        number = float(f"{number:.9g}") if math.isfinite(number) else None
    return Distribution(*counts, _text_of(least), _text_of(greatest), number)


def _text_of(value: object) -> str | None:
    return None if value is None else str(value)[:_LONGEST]
