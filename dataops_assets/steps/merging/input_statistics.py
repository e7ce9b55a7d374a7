"""What inputs span: how many rows, the range of each column that decides where these go, and those without a value.

One look at the inputs serves four: an input without comparable keys is refused, the highest order of an input says
whether a later one is late, of a large hub only the part between the lowest and the highest key is read, and what an
input does not change is counted without being kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlglot import exp

from dataops_assets.config.refresh import KeyRefresh
from dataops_assets.config.source import Source
from dataops_assets.config.types import stored_type
from dataops_assets.engines.base import Session
from dataops_assets.errors import DataOpsError, InputError
from dataops_assets.sql import DIALECT, alias, column, conjunction, literal, query
from dataops_assets.storage.publish import rows_of

_EXAMPLES = 3
# a longer text bounds nothing well, and one that cannot be shown may not survive as a literal
_LONGEST = 64
_UNORDERED = ("boolean", "binary")


@dataclass(frozen=True)
class ValueRange:
    """One column in one input: lowest and highest value as text, None without any, and the rows of null or NaN."""

    low: str | None
    high: str | None
    missing: int


@dataclass(frozen=True)
class Extent:
    """One input: its rows, and the span of each decisive column."""

    rows: int
    spans: Mapping[str, ValueRange]


Extents = Mapping[str, Extent]
"""By input with rows."""


def decisive_columns(source: Source) -> tuple[str, ...]:
    """The columns that say where a row goes: key, order, range."""
    refresh = source.refresh
    return tuple(dict.fromkeys(filter(None, (*refresh.key, refresh.order_by, refresh.range_by))))


def extents_of(session: Session, source: Source, lake: exp.Expr, input_ids: Sequence[str]) -> Extents:
    """The extents of these inputs, whose rows are in `lake`."""
    if not input_ids:
        return {}
    names = decisive_columns(source)
    facts = [alias(query("count(*)"), "rows")]
    for number, name in enumerate(names):
        value = column(name, "r")
        facts += [
            alias(query("CAST(min($value) AS VARCHAR)", value=value), f"low.{number}"),
            alias(query("CAST(max($value) AS VARCHAR)", value=value), f"high.{number}"),
            alias(
                query("sum(CASE WHEN $bad THEN 1 ELSE 0 END)", bad=is_missing(source, name, "r")), f"missing.{number}"
            ),
        ]
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
        )
        for row in found.to_pylist()
    }


def refused(session: Session, source: Source, lake: exp.Expr, extents: Extents) -> dict[str, DataOpsError]:
    """Inputs whose key or order cannot be compared: null, or NaN. An error an input, with column, count, examples."""
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
            missing=exp.or_(*[is_missing(source, name, "r") for name in decisive_columns(source)]),
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
    """A condition on the rows of `table` (the source's columns) that holds for each row these extents can concern.

    Rows of one key have one value in each key column, and rows of one content one value in the range column. So what
    inputs contain or cover lies between their lowest and highest values. Constants let readers leave out files and row
    groups by their statistics.
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
    """Whether a row has no value in a column that can be compared: null, or NaN."""
    declared = next(item.type for item in source.columns if item.name == name)
    value = column(name, table)
    if declared == "double":
        return query("$value IS NULL OR isnan($value)", value=value)
    return query("$value IS NULL", value=value)
