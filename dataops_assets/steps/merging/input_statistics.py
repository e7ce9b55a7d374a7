"""Computes statistics of inputs: row count, and the value range and missing values of key, order and range columns.

One query per change serves four purposes:
* An input without comparable keys is refused.
* The highest order value of an input decides whether a later input is late.
* Of a large hub, only the rows between the lowest and the highest key are read.
* Unchanged rows are counted without being stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlglot import exp

from dataops_assets.config.refresh import GroupDelete, KeyRefresh
from dataops_assets.config.source import Source
from dataops_assets.config.types import stored_type
from dataops_assets.engines.base import Session
from dataops_assets.errors import DataOpsError, InputError
from dataops_assets.rules.row_condition import row_condition
from dataops_assets.sql import DIALECT, alias, column, conjunction, literal, query
from dataops_assets.steps.merging.row_identity import group_deletes, group_marker
from dataops_assets.storage.publish import rows_of

_EXAMPLES = 3
# a long text is a poor bound, and a text with unprintable characters may not be a valid literal
_LONGEST = 64
_UNORDERED = ("boolean", "binary")


@dataclass(frozen=True)
class ValueRange:
    """Value range of one column in one input.

    `low` and `high` are texts, None without values. `missing` counts the rows with null or NaN.
    """

    low: str | None
    high: str | None
    missing: int


@dataclass(frozen=True)
class Extent:
    """Row count of one input, and the value range of each decisive column.

    * `deletes_groups`: the input has rows that delete many keys.
    """

    rows: int
    spans: Mapping[str, ValueRange]
    deletes_groups: bool = False


Extents = Mapping[str, Extent]
"""By input; an input without rows is not in it."""


def decisive_columns(source: Source) -> tuple[str, ...]:
    """Return the columns that decide the place of a row: key, order and range."""
    refresh = source.refresh
    return tuple(dict.fromkeys(filter(None, (*refresh.key, refresh.order_by, refresh.range_by))))


def extents_of(session: Session, source: Source, lake: exp.Expr, input_ids: Sequence[str]) -> Extents:
    """Return the extents of these inputs, whose rows are in `lake`."""
    if not input_ids:
        return {}
    names = decisive_columns(source)
    facts = [alias(query("count(*)"), "rows")]
    for number, name in enumerate(names):
        value = column(name, "r")
        facts += [
            alias(query("CAST(min($value) AS VARCHAR)", value=value), f"low.{number}"),
            alias(query("CAST(max($value) AS VARCHAR)", value=value), f"high.{number}"),
            alias(query("sum(CASE WHEN $bad THEN 1 ELSE 0 END)", bad=_is_bad(source, name, "r")), f"missing.{number}"),
        ]
    if group_deletes(source):
        facts.append(alias(query("max(CASE WHEN $marks THEN 1 ELSE 0 END)", marks=group_marker(source, "r")), "groups"))
    found = session.fetch(
        query(
            "SELECT r.s_input_id, $facts FROM $rows AS r GROUP BY r.s_input_id",
            facts=facts,
            rows=rows_of(lake, input_ids),
        )
    )
    return {
        row["s_input_id"]: Extent(
            int(row["rows"]),
            {
                name: ValueRange(row[f"low.{number}"], row[f"high.{number}"], int(row[f"missing.{number}"]))
                for number, name in enumerate(names)
            },
            bool(row.get("groups")),
        )
        for row in found.to_pylist()
    }


def incomparable_input_errors(
    session: Session, source: Source, lake: exp.Expr, extents: Extents
) -> dict[str, DataOpsError]:
    """Return an error for each input with null or NaN in a key or order column: column, count and examples."""
    bad = [item for item, extent in extents.items() if any(span.missing for span in extent.spans.values())]
    if not bad:
        return {}
    found = session.fetch(
        query(
            """
            SELECT r.s_input_id, r.s_row_id FROM $rows AS r WHERE $missing
            QUALIFY row_number() OVER (PARTITION BY r.s_input_id ORDER BY r.s_row_id) <= $examples
            ORDER BY r.s_input_id, r.s_row_id
            """,
            rows=rows_of(lake, bad),
            missing=exp.or_(*[_is_bad(source, name, "r") for name in decisive_columns(source)]),
            examples=_EXAMPLES,
        )
    )
    examples: dict[str, list[str]] = {}
    for row in found.to_pylist():
        examples.setdefault(row["s_input_id"], []).append(str(row["s_row_id"]))
    errors: dict[str, DataOpsError] = {}
    for item in bad:
        hit = ", ".join(f"{name}: {span.missing}" for name, span in extents[item].spans.items() if span.missing)
        errors[item] = InputError(
            f"taking input {item} of {source.name!r}: key and order columns must have a comparable value",
            received=f"null or NaN (rows) in {hit}; e.g. in rows {', '.join(examples[item])}",
            next_step="correct the file and deliver it again; the hub is untouched",
        )
    return errors


def between(source: Source, extents: Iterable[Extent], table: str) -> exp.Expr:
    """Return a condition on `table` (the source's columns) that holds for each row that these extents can concern.

    Rows with the same key have the same value in each key column, and rows with the same content the same value in the
    range column. So every row that the inputs contain or cover lies between their lowest and highest values. The bounds
    are constants, so that readers can skip files and row groups by their statistics.
    """
    names = [source.refresh.range_by] if source.refresh.range_by is not None else []
    if isinstance(source.refresh, KeyRefresh):
        names = list(source.refresh.key)
    kinds = {item.name: item.type for item in source.columns}
    inputs = list(extents)
    conditions: list[exp.Expr] = []
    for name in names:
        known = [extent.spans[name] for extent in inputs]
        if not known or kinds[name] in _UNORDERED or any(_is_unbounded(span) for span in known):
            continue
        kind = stored_type(kinds[name])
        low = exp.func("least", *[_typed(span.low, kind) for span in known])
        high = exp.func("greatest", *[_typed(span.high, kind) for span in known])
        conditions.append(query("$value BETWEEN $low AND $high", value=column(name, table), low=low, high=high))
    return conjunction(conditions)


def _is_unbounded(span: ValueRange) -> bool:
    ends = (span.low, span.high)
    return any(end is None or len(end) > _LONGEST or not end.isprintable() for end in ends)


def _typed(text: str | None, kind: str) -> exp.Expr:
    return exp.cast(literal(text), kind, dialect=DIALECT)


def is_missing(source: Source, name: str, table: str) -> exp.Expr:
    """Whether the value of a column cannot be compared: null or NaN."""
    declared = next(item.type for item in source.columns if item.name == name)
    value = column(name, table)
    if declared == "double":
        return query("$value IS NULL OR isnan($value)", value=value)
    return query("$value IS NULL", value=value)


def needed_by_marker(source: Source, item: GroupDelete) -> tuple[str, ...]:
    """Return the columns that must have a value in a row that deletes a group."""
    return tuple(dict.fromkeys(filter(None, (*item.by, source.refresh.order_by))))


def _is_bad(source: Source, name: str, table: str) -> exp.Expr:
    """Whether a decisive column of a row has no comparable value, and needs one: see `needed_by_marker`."""
    without = [item for item in group_deletes(source) if name not in needed_by_marker(source, item)]
    marks = [row_condition(item.when, source.column_names, table) for item in without]
    bad = is_missing(source, name, table)
    return exp.and_(exp.paren(bad), exp.not_(exp.paren(exp.or_(*marks)))) if marks else bad
