"""How the rows differ after the work of a plan was tried in a private environment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from dataops_assets.operations.answer import Column, Item, Shown, Table
from dataops_assets.operations.planning.data_differences import Example, TableDifference
from dataops_assets.operations.planning.trial import Trial

_NAMES = ("table", "rows before", "rows after", "added", "removed", "changed")


def trial(tried: Trial) -> Iterator[Shown]:
    """Return the differences as text."""
    yield ""
    yield "Tried in a private environment; dbt models are not built:"
    if not tried.tables:
        yield "no stored row is concerned"
        return
    yield Table(
        [Column(_NAMES[0]), *(Column(name, number=True) for name in _NAMES[1:])], [_row(one) for one in tried.tables]
    )
    for table in tried.tables:
        if table.columns or table.new_columns or table.gone_columns:
            yield Item("~", table.table, list(_lines(table)))
    yield from (Item("failed", error) for error in tried.errors)


def markdown(tried: Trial) -> str:
    """Return the differences as Markdown."""
    lines = ["### Data", "", "Tried in a private environment; dbt models are not built.", ""]
    lines += [f"| {' | '.join(_NAMES)} |", "|---|---:|---:|---:|---:|---:|"]
    lines += [f"| `{cells[0]}` | {' | '.join(cells[1:])} |" for cells in map(_row, tried.tables)]
    for table in tried.tables:
        lines += ["", *(f"* `{table.table}` {line}" for line in _lines(table))]
    return "\n".join([*lines, "", *(f"**Failed:** {error}" for error in tried.errors), ""])


def as_data(tried: Trial) -> dict[str, Any]:
    """Return the differences as values of JSON."""
    return {"tables": [asdict(item) for item in tried.tables], "errors": tried.errors}


def _row(item: TableDifference) -> list[str]:
    numbers = (item.rows_before, item.rows_after, item.added, item.removed, item.changed)
    return [item.table, *(f"{number:,}" for number in numbers)]


def _lines(item: TableDifference) -> Iterator[str]:
    if item.new_columns:
        yield f"new columns: {', '.join(item.new_columns)}"
    if item.gone_columns:
        yield f"columns that go: {', '.join(item.gone_columns)}"
    for column in item.columns:
        nulls = f"null before in {column.nulls_before:,}, after in {column.nulls_after:,}"
        examples = "; ".join(map(_example, column.examples))
        yield f"{column.name}: {column.changed:,} values differ, {nulls}; such as {examples}"


def _example(item: Example) -> str:
    before, after = ("null" if value is None else value for value in (item.before, item.after))
    return f"{before} → {after} (row {item.row} of {item.input_id})"
