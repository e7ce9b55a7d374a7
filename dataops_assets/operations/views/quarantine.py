"""How rows that are kept out of a hub are shown."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from typing import Any

from dataops_assets.operations.answer import Column, Shown, Table
from dataops_assets.operations.quarantine import Repaired, Replayed
from dataops_assets.operations.views import steps
from dataops_assets.steps.upkeep.quarantine import KeptOut, Listing

_LISTED = 20
_COLUMNS = (
    Column("input"),
    Column("row", number=True),
    Column("line", number=True),
    Column("rule"),
    Column("column"),
    Column("value"),
    Column("file"),
)


def rows(found: Listing) -> Table:
    """Return the rows as a table."""
    return Table(_COLUMNS, [_row(item) for item in found.rows])


def _row(item: KeptOut) -> list[str]:
    # as Python writes it: a value may contain control characters, and blanks at its end
    value = "" if item.value is None and item.column is None else repr(item.value)
    line = "" if item.line is None else str(item.line)
    return [item.input_id, str(item.row_id), line, item.rule, item.column or "", value, item.origin]


def totals(found: Listing, source: str) -> Iterator[str]:
    """Return the number of rows that each rule keeps out."""
    for rule, count in sorted(found.totals.items(), key=lambda item: (-item[1], item[0])):
        yield f"{count:,} rows: {rule}"
    if not found.totals:
        yield nothing(source)


def nothing(source: str) -> str:
    """Return the message that no row is kept out."""
    return f"no row is kept out of hub/{source}"


def cells(found: Sequence[KeptOut]) -> list[dict[str, Any]]:
    """Return rows as values of JSON, which `repair --from` reads."""
    return [_cell(item) for item in found]


def _cell(item: KeptOut) -> dict[str, Any]:
    named = asdict(item)
    return {"input": named.pop("input_id"), "row": named.pop("row_id"), **named}


def as_csv(found: Sequence[KeptOut]) -> str:
    """Return rows as CSV, which `repair --from` reads."""
    names = ["input", "row", *[field.name for field in fields(KeptOut)[2:]]]
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(cells(found))
    return text.getvalue().rstrip("\n")


def repaired(result: Repaired, source: str) -> Iterator[Shown]:
    """Return what was recorded, the replay, and the rows that are still kept out."""
    yield f"recorded: {result.rows:,} rows of {len(result.replayed.inputs):,} inputs, by {result.by}"
    yield from replayed(result.replayed, source)
    for input_id, row in result.left[:_LISTED]:
        yield f"still kept out: row {row} of input {input_id}"


def repaired_as_data(result: Repaired) -> dict[str, Any]:
    """Return a repair as values of JSON."""
    left = [{"input": input_id, "row": row} for input_id, row in result.left]
    return {"rows": result.rows, "by": result.by, "still_kept_out": left, **replayed_as_data(result.replayed)}


def replayed(result: Replayed, source: str) -> Iterator[Shown]:
    """Return the result of a replay."""
    if result.done is None:
        yield nothing(source)
    else:
        yield from steps.done(result.done)


def replayed_as_data(result: Replayed) -> dict[str, Any]:
    """Return a replay as values of JSON."""
    found = {"table": None, "failed": []} if result.done is None else steps.done_as_data(result.done)
    return {"inputs": [item.input_id for item in result.inputs], **found}
