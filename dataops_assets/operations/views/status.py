"""How the status of sources is shown."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dataops_assets.operations.answer import Column, Item, Shown, Table

if TYPE_CHECKING:
    from dataops_assets.components.status import SourceStatus, UnfinishedInput

_LISTED = 20
_COUNTS = ("taken", "held", "failed", "to do", "rejected", "kept out")
_COLUMNS = (Column("source"), *(Column(name, number=True) for name in _COUNTS), Column("last arrival"), Column("next"))


def status_table(statuses: Sequence[SourceStatus]) -> Table:
    """Return a table with a row for each source."""
    return Table(_COLUMNS, [_cells(status) for status in statuses])


def _cells(status: SourceStatus) -> tuple[str, ...]:
    counts = (
        status.taken,
        status.count("held"),
        status.count("failed"),
        status.count("waiting", "running", "to do"),
        status.rejected,
        status.kept_out,
    )
    return (
        status.source,
        *(f"{count:,}" for count in counts),
        shown_time(status.last_arrival) or "never",
        status.next_step or "nothing",
    )


def details(statuses: Sequence[SourceStatus], *, only_wrong: bool = False) -> Iterator[Shown]:
    """Return each unfinished input, failed table and rule; `only_wrong`: what is held or failed."""
    for status in statuses:
        if status.paused:
            yield f"\n{status.source} is {status.paused}; next: dataops resume {status.source}"
        if status.look:
            lines = [*status.look.message.splitlines(), f"since: {shown_time(status.look.since)}"]
            lines += [f"next: {status.look.next_step}"] if status.look.next_step else []
            yield from ("", Item("failed", f"looks for new inputs of {status.source}", lines))
        inputs = [item for item in status.inputs if not only_wrong or item.state in ("held", "failed")]
        for item in inputs[:_LISTED]:
            yield from ("", _about(status.source, item))
        if len(inputs) > _LISTED:
            yield f"\nand {len(inputs) - _LISTED:,} more inputs: dataops status {status.source} --json"
        for failed in status.tables:
            lines = [*failed.message.splitlines(), f"next: {failed.next_step}"]
            yield from ("", Item("failed", failed.table, lines))
        if status.filtered and not only_wrong:
            yield f"\nfiltered rows of {status.source}: {status.filtered:,}"
        if status.by_rule and not only_wrong:
            yield "\nrows that are kept out, by rule:"
            for rule, count in sorted(status.by_rule.items(), key=lambda item: (-item[1], item[0])):
                yield f"  {count:,}  {rule}"


def _about(source: str, item: UnfinishedInput) -> Item:
    lines = [f"file: {item.origin}", *item.message.splitlines()]
    if item.next_step:
        lines.append(f"next: {item.next_step}")
    if item.attempts > 1:
        lines.append(f"attempts: {item.attempts}, the last at {shown_time(item.last_try) or 'an unknown time'}")
    return Item(item.state, f"input {item.input} of {source}, at {item.step}", lines)


def as_data(status: SourceStatus) -> dict[str, Any]:
    """Return a status as values of JSON."""
    found = asdict(status)
    found["last_arrival"] = status.last_arrival.isoformat() if status.last_arrival else None
    for item in found["inputs"]:
        item["last_try"] = item["last_try"].isoformat() if item["last_try"] else None
    if status.look:
        found["look"]["since"] = status.look.since.isoformat() if status.look.since else None
    found["needs_attention"] = status.needs_attention
    return found


def shown_time(time: dt.datetime | None) -> str:
    """Return a time as a person reads it; '' for None."""
    return f"{time:%Y-%m-%d %H:%M} UTC" if time else ""
