"""How the rows differ after the work of a plan was tried in a private environment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from dataops_assets.operations.answer import Column, Item, Shown, Table
from dataops_assets.operations.planning.data_differences import Distribution, Example, TableDifference
from dataops_assets.operations.planning.trial import Trial

_NAMES = ("table", "rows before", "rows after", "added", "removed", "changed")


def trial(tried: Trial) -> Iterator[Shown]:
    """Return the differences as text."""
    yield ""
    yield f"{_how(tried)}:"
    if tried.tables:
        columns = [Column(_NAMES[0]), *(Column(name, number=True) for name in _NAMES[1:])]
        yield Table(columns, [_row(one) for one in tried.tables])
    else:
        yield "no stored row is concerned"
    for table in tried.tables:
        if lines := list(_lines(table)):
            yield Item("~", table.table, lines)
    yield from (Item("not compared", text) for text in tried.not_compared)
    yield from (Item("warns", text) for text in tried.warned)
    yield from (Item("failed", error) for error in tried.errors)


def markdown(tried: Trial) -> str:
    """Return the differences as Markdown."""
    lines = ["### Data", "", f"{_how(tried)}.", ""]
    lines += [f"| {' | '.join(_NAMES)} |", "|---|---:|---:|---:|---:|---:|"]
    lines += [f"| `{cells[0]}` | {' | '.join(cells[1:])} |" for cells in map(_row, tried.tables)]
    for table in tried.tables:
        lines += ["", *(f"* `{table.table}` {line}" for line in _lines(table))]
    told = (("Not compared", tried.not_compared), ("Warns", tried.warned), ("Failed", tried.errors))
    return "\n".join([*lines, "", *(f"**{word}:** {text}" for word, texts in told for text in texts), ""])


def as_data(tried: Trial) -> dict[str, Any]:
    """Return the differences as values of JSON."""
    return {
        "sample": tried.sample,
        "tables": [asdict(item) for item in tried.tables],
        "errors": tried.errors,
        "warnings": list(tried.warned),
        "not_compared": list(tried.not_compared),
    }


def _how(tried: Trial) -> str:
    if tried.sample is None:
        return "Tried in a private environment"
    return f"Tried in a private environment with the newest {tried.sample} inputs of each source"


def _row(item: TableDifference) -> list[str]:
    numbers = (item.rows_before, item.rows_after, item.added, item.removed, item.changed)
    return [item.table, *(f"{number:,}" for number in numbers)]


def _lines(item: TableDifference) -> Iterator[str]:
    if item.new_columns:
        yield f"new columns: {', '.join(item.new_columns)}"
    if item.gone_columns:
        yield f"columns that go: {', '.join(item.gone_columns)}"
    if not item.by_key:
        yield "no columns identify a row, so a changed row counts as removed and added"
    for word, places in (("added", item.added_rows), ("removed", item.removed_rows)):
        if places:
            yield f"{word}, such as {'; '.join(places)}"
    for column in item.columns:
        yield f"{column.name}: {column.changed:,} values differ; such as {'; '.join(map(_example, column.examples))}"
    for one in item.distributions:
        if one.before is not None and one.after is not None:
            yield f"{one.name}, all rows: {', '.join(_shifts(one.before, one.after))}"


def _shifts(before: Distribution, after: Distribution) -> Iterator[str]:
    for name, was in asdict(before).items():
        now = asdict(after)[name]
        if was != now:
            yield f"{name} {_value(was)} → {_value(now)}"


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.6g}"
    return "none" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _example(item: Example) -> str:
    before, after = ("null" if value is None else value for value in (item.before, item.after))
    return f"{before} → {after} ({item.place})"
