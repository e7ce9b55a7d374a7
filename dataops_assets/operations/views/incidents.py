"""How incidents are shown."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dataops_assets.operations.answer import Column, Item, Shown, Table
from dataops_assets.operations.views.status import shown_time

_LISTED = 20
_COLUMNS = (
    Column("incident", number=True),
    Column("state"),
    Column("severity"),
    Column("where"),
    Column("what"),
    Column("since"),
    Column("owners"),
)
Row = Mapping[str, Any]


def table(rows: Sequence[Row]) -> Table:
    """Return a table with a row for each incident."""
    return Table(_COLUMNS, [_cells(row) for row in rows])


def _cells(row: Row) -> list[str]:
    return [
        str(row["incident_id"]),
        row["state"],
        row["severity"],
        row["asset"],
        row["kind"],
        shown_time(row["began_at"]),
        ", ".join(row["owners"]),
    ]


def details(row: Row, events: Sequence[Row]) -> Iterator[Shown]:
    """Return all that is known of an incident."""
    of_source = f" (source {row['source']}, area {row['area']})" if row["source"] else ""
    lines = [
        *row["summary"].splitlines(),
        f"where: {row['asset']}{of_source}",
        f"severity: {row['severity']}",
        f"since: {shown_time(row['began_at'])}, found {shown_time(row['opened_at'])}",
        f"next: {row['next_step']}",
        *_lists(row),
    ]
    if row["muted_until"]:
        lines.append(f"muted until: {shown_time(row['muted_until'])}")
    if row["joined"]:
        lines.append(f"part of: incident {row['joined']}")
    for name in ("detect", "acknowledge", "resolve"):
        seconds = row[f"seconds_to_{name}"]
        if seconds is not None:
            lines.append(f"time to {name}: {dt.timedelta(seconds=round(seconds))}")
    yield Item(row["state"], f"incident {row['incident_id']}: {row['asset']} {row['kind']}", lines)
    yield ""
    yield Table(
        (Column("at"), Column("event"), Column("problem"), Column("by"), Column("note")),
        [[shown_time(one["at"]), one["kind"], one["problem"], one["by"], one["note"]] for one in events],
    )


def _lists(row: Row) -> Iterator[str]:
    names = {
        "problems": row["problems"],
        "owners": row["owners"],
        "inputs": row["inputs"],
        "columns": row["columns"],
        "tables below": row["downstream"],
    }
    for name, values in names.items():
        if values:
            rest = f", and {len(values) - _LISTED} more" if len(values) > _LISTED else ""
            yield f"{name}: {', '.join(values[:_LISTED])}{rest}"
    if row["rows"] is not None:
        yield f"rows: {row['rows']:,}"


def waiting(rows: Sequence[Row]) -> Iterator[str]:
    """Return for each channel how many messages it did not take, and why."""
    by_channel: dict[str, list[Row]] = {}
    for row in rows:
        by_channel.setdefault(row["channel"], []).append(row)
    for channel, some in by_channel.items():
        yield f"{len(some)} messages wait for channel {channel}: {some[-1]['error']}"


def as_data(row: Row) -> dict[str, Any]:
    """Return a row as values of JSON."""
    return {name: value.isoformat() if isinstance(value, dt.datetime) else value for name, value in row.items()}
