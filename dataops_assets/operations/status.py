"""The commands `dataops status`, which shows what is unfinished and what to do, and `dataops approve`."""

from __future__ import annotations

import argparse
import datetime as dt
import getpass
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.upkeep import approvals

if TYPE_CHECKING:
    from dataops_assets.components.status import SourceStatus, UnfinishedInput

Say = Callable[[str], None]
_LISTED = 20
_HEADER = ("source", "taken", "held", "failed", "to do", "rejected", "kept out", "last arrival", "next")
_LEFT = ("source", "last arrival", "next")


def add_status_commands(commands: Any) -> None:
    """Add the commands to the parser."""
    shown = commands.add_parser("status", help="show what is held, failed or to do in each source, and what to do next")
    shown.add_argument("source", nargs="?", help="one source in depth; default: all sources, a line each")
    shown.add_argument("--json", action="store_true", help="print JSON: one object for each source")
    passed = commands.add_parser("approve", help="approve the deletions of inputs that the delete guard holds")
    passed.add_argument("source")
    passed.add_argument("input", nargs="+", help="ids of inputs, as `dataops status` shows them")
    passed.add_argument("--by", default="", help="name of the person; default: the user of the operating system")


def run_status(given: argparse.Namespace, contexts: Sequence[SourceContext], say: Say) -> int:
    """Show the status of sources. Return the exit status: 1 if anything is held or failed."""
    # the package of the components imports Dagster, which takes seconds
    from dataops_assets.components.status import source_status

    in_depth = given.source is not None
    statuses = [source_status(context, in_depth=in_depth or given.json) for context in contexts]
    if given.json:
        say(json.dumps([as_data(status) for status in statuses], indent=2, ensure_ascii=False))
    else:
        say(table(statuses))
        if in_depth:
            for line in details(statuses):
                say(line)
    return 1 if any(status.needs_attention for status in statuses) else 0


def approve(context: SourceContext, input_ids: Sequence[str], by: str, say: Say) -> int:
    """Approve the deletions of held inputs. Raises InputError, and approves none, if one of them is not held."""
    person, name = by or getpass.getuser(), context.source.name
    for one in approvals.approve(context, input_ids, f"dataops approve by {person}"):
        say(f"approved by {person}: input {one} of {name}")
    say(f"The sensor of {name} takes it at its next look; without a daemon: dataops run {name}")
    return 0


# --- what is shown ---------------------------------------------------------------------------------------------------


def table(statuses: Sequence[SourceStatus]) -> str:
    """Return a text table with a line for each source."""
    rows = [_HEADER, *(_cells(status) for status in statuses)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(_HEADER))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if name in _LEFT else cell.rjust(width)
            for name, cell, width in zip(_HEADER, row, widths, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


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
        _shown(status.last_arrival) or "never",
        status.next_step or "nothing",
    )


def details(statuses: Sequence[SourceStatus], *, only_wrong: bool = False) -> Iterator[str]:
    """Return lines about each unfinished input, failed table and rule; `only_wrong`: what is held or failed."""
    for status in statuses:
        inputs = [item for item in status.inputs if not only_wrong or item.state in ("held", "failed")]
        for item in inputs[:_LISTED]:
            yield from _about(status.source, item)
        if len(inputs) > _LISTED:
            yield f"\nand {len(inputs) - _LISTED:,} more inputs: dataops status {status.source} --json"
        for failed in status.tables:
            yield from ("", f"failed  {failed.table}", *_indented(failed.message), f"  next: {failed.next_step}")
        if status.by_rule and not only_wrong:
            yield "\nrows that are kept out, by rule:"
            for rule, count in sorted(status.by_rule.items(), key=lambda item: (-item[1], item[0])):
                yield f"  {count:,}  {rule}"


def _about(source: str, item: UnfinishedInput) -> Iterator[str]:
    yield ""
    yield f"{item.state}  input {item.input} of {source}, at {item.step}"
    yield f"  file: {item.origin}"
    yield from _indented(item.message)
    if item.next_step:
        yield f"  next: {item.next_step}"
    if item.attempts > 1:
        yield f"  attempts: {item.attempts}, the last at {_shown(item.last_try) or 'an unknown time'}"


def _indented(text: str) -> list[str]:
    return [f"  {line}" for line in text.splitlines()]


def as_data(status: SourceStatus) -> dict[str, Any]:
    """Return a status as values of JSON."""
    found = asdict(status)
    found["last_arrival"] = status.last_arrival.isoformat() if status.last_arrival else None
    for item in found["inputs"]:
        item["last_try"] = item["last_try"].isoformat() if item["last_try"] else None
    found["needs_attention"] = status.needs_attention
    return found


def _shown(time: dt.datetime | None) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC" if time else ""
