"""How a tried rule and the lineage of columns are shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from dataops_assets.operations.answer import Column, Shown, Table
from dataops_assets.operations.rules import Lineage, TableColumn
from dataops_assets.steps.upkeep.rule_trial import Change, Trial


def trial(tried: Trial) -> Iterator[Shown]:
    """Return what a tried rule gives, and how it differs from the column of its name."""
    yield f"type      {tried.type}"
    yield f"lineage   {', '.join(f'{item.table}.{item.column}' for item in sorted(tried.lineage)) or 'none'}"
    failed = f", of them {tried.failed_casts:,} that do not fit the type" if tried.failed_casts else ""
    yield f"rows      {tried.rows:,}, null in {tried.nulls:,}{failed}, {tried.distinct:,} distinct values"
    yield f"values    {tried.least} to {tried.most}"
    if tried.examples:
        columns = (Column("value"), Column("row", number=True), Column("input"))
        yield from ("", Table(columns, [[str(value), str(row), one] for one, row, value in tried.examples]))
    if tried.change is not None:
        yield from ("", *_change(tried.change))


def _change(change: Change) -> Iterator[Shown]:
    yield (
        f"{change.column} now  the same in {change.same:,} rows, changed in {change.changed:,}: "
        f"null now in {change.became_null:,}, no more in {change.were_null:,}"
    )
    if change.examples:
        columns = (Column("before"), Column("after"), Column("row", number=True), Column("input"))
        yield Table(columns, [[str(before), str(after), str(row), one] for one, row, before, after in change.examples])


def trial_as_data(tried: Trial) -> dict[str, Any]:
    """Return a tried rule as values of JSON; values of columns are texts or numbers."""
    found = asdict(tried)
    found["lineage"] = [{"table": item.table, "column": item.column} for item in sorted(tried.lineage)]
    found["examples"] = [{"input": one, "row": row, "value": value} for one, row, value in tried.examples]
    if tried.change is not None:
        found["change"]["examples"] = [
            {"input": one, "row": row, "before": before, "after": after}
            for one, row, before, after in tried.change.examples
        ]
    return found


def lineage(found: Lineage, *, as_tree: bool) -> Iterator[Shown]:
    """Return for each column where its values come from; `as_tree`: of one column, with all steps between."""
    if as_tree:
        yield from _tree(found, found.starts[0], 0)
        return
    rows = [
        [start[1], ", ".join(".".join(end) for end in found.ends(start)) or "made by the platform, or a constant"]
        for start in found.starts
    ]
    yield Table((Column("column"), Column("computed from")), rows)


def _tree(found: Lineage, node: TableColumn, depth: int, above: tuple[TableColumn, ...] = ()) -> Iterator[str]:
    yield "  " * depth + ".".join(node)
    if node not in above:
        for origin in found.origins(node):
            yield from _tree(found, origin, depth + 1, (*above, node))


def lineage_as_data(found: Lineage) -> list[dict[str, str]]:
    """Return pairs of columns as values of JSON."""
    return [
        {"asset": node[0], "column": node[1], "from_asset": origin[0], "from_column": origin[1]}
        for node, origin in found.pairs()
    ]
