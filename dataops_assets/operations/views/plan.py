"""How a plan, and what became of it, is shown: as text for a person, and as Markdown for a pull request."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dataops_assets.operations.answer import Column, Item, Shown, Table
from dataops_assets.operations.planning.changes import WEIGHTS, Change, FieldChange
from dataops_assets.operations.planning.plan import Plan, Reached
from dataops_assets.operations.planning.work import Work

_LONGEST = 60
_SIGNS = {"added": "+", "changed": "~", "removed": "-"}
_MEANING = {
    "breaking": "values, types or names that readers use change or go",
    "additive": "something is new, and what was there stays",
    "operational": "other inputs, checks or times from now on; the rows stay",
    "words": "only words",
}
_SUMMARY = {
    "nothing": "No row of any table changes.",
    "adds": "New tables are made. No row of a table that is there changes.",
    "recalculates": "Columns are computed again for stored rows.",
    "rebuilds": "Inputs are parsed again, or hubs are built again from the lake.",
}


def plan(made: Plan) -> Iterator[Shown]:
    """Return a plan as text."""
    yield f"plan {made.plan_id}, {_compared(made)}"
    if made.is_empty:
        yield "nothing to do"
        return
    for weight in WEIGHTS:
        found = [item for item in made.changes if item.weight == weight]
        if found:
            yield from ("", f"{weight}: {_MEANING[weight]}")
            yield from map(_change, found)
    yield from ("", _SUMMARY[made.effect])
    if made.work:
        yield _work_table(made.work)
        yield _time(made)
    if made.reached:
        yield from ("", "Reached tables and columns:")
        yield from (f"  {item.table}: {_columns(item)}" for item in made.reached)
    if made.owners:
        yield f"owners: {', '.join(made.owners)}"
    yield from _settled(made)
    if not made.against:
        yield from ("", f"next: dataops apply {made.plan_id}")


def _change(item: Change) -> Item:
    return Item(_SIGNS[item.action], f"{item.kind} {item.name}", list(_lines(item.fields)))


def markdown(made: Plan) -> str:
    """Return a plan as Markdown, with the heaviest changes first."""
    lines = [f"## Plan `{made.plan_id}`", "", f"{_compared(made)}.".capitalize(), ""]
    if made.is_empty:
        return "\n".join([*lines, "Nothing to do.", ""])
    lines += [f"**{_SUMMARY[made.effect]}** {_time(made)}" if made.work else f"**{_SUMMARY[made.effect]}**", ""]
    if made.changes:
        lines += ["| | change | of | before → after |", "|---|---|---|---|"]
        for item in made.changes:
            fields = "<br>".join(_cell(text) for text in _lines(item.fields))
            lines.append(f"| {item.weight} | {item.action} {item.kind} | `{_cell(item.name)}` | {fields} |")
        lines.append("")
    if made.work:
        lines += ["| work | table | rows, at most | seconds | why |", "|---|---|---:|---:|---|"]
        lines += [
            f"| {item.kind} | `{item.table}` | {_number(item.rows)} | {_seconds(item)} | {_cell(item.why)} |"
            for item in made.work
        ]
        lines.append("")
    if made.reached:
        lines += ["<details><summary>Reached tables and columns</summary>", "", "| table | columns | owners |"]
        lines.append("|---|---|---|")
        lines += [
            f"| `{item.table}` | {_cell(_columns(item))} | {_cell(', '.join(item.owners))} |" for item in made.reached
        ]
        lines += ["", "</details>", ""]
    lines += [*_settled(made), f"Owners: {', '.join(made.owners)}" if made.owners else ""]
    if not made.against:
        lines.append(f"Apply it: `dataops apply {made.plan_id}`")
    return "\n".join([*lines, ""])


def applied(plan_id: str, outcome: Sequence[Mapping[str, Any]]) -> Iterator[Shown]:
    """Return the result of an applied plan: for each piece of work the estimate, and what was done."""
    if not outcome:
        yield f"plan {plan_id} is applied; no table had to change"
        return
    columns = (
        Column("work"),
        Column("table"),
        Column("rows, at most", number=True),
        Column("computed", number=True),
        Column("changed", number=True),
        Column("about s", number=True),
        Column("took s", number=True),
        Column("result"),
    )
    rows = [
        [
            item["kind"],
            item["table"],
            _number(item["rows_predicted"]),
            _number(item["rows"]),
            _number(item["changed"]),
            "?" if item["seconds_predicted"] is None else f"{item['seconds_predicted']:,.1f}",
            f"{item['seconds']:,.1f}",
            item["error"] or "done",
        ]
        for item in outcome
    ]
    yield from (f"plan {plan_id}:", Table(columns, rows))


def _compared(made: Plan) -> str:
    if made.against:
        return f"compared with {made.against}"
    return "compared with what is in force" if made.load_id is not None else "nothing was ever loaded here"


def _work_table(work: Sequence[Work]) -> Table:
    columns = (
        Column("work"),
        Column("table"),
        Column("rows, at most", number=True),
        Column("about s", number=True),
        Column("why"),
    )
    return Table(columns, [[item.kind, item.table, _number(item.rows), _seconds(item), item.why] for item in work])


def _time(made: Plan) -> str:
    unknown = sum(item.seconds is None for item in made.work)
    more = f", and {unknown} pieces of work that were never timed" if unknown else ""
    return f"It takes about {made.seconds:,.1f} s{more}. {_error(made)}"


def _error(made: Plan) -> str:
    found = made.error
    if found is None:
        return "How good such an estimate is here is not measured yet."
    return (
        f"The last {found.pieces} pieces of work took {found.median:,.1f} times as long as estimated (median); "
        f"nine of ten at most {found.nine_of_ten:,.1f} times."
    )


def _seconds(item: Work) -> str:
    return "?" if item.seconds is None else f"{item.seconds:,.1f}"


def _number(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"


def _columns(item: Reached) -> str:
    shown = f"all rows: {', '.join(item.columns)}" if item.rows else ", ".join(item.columns)
    return f"{shown} (not declared here)" if item.elsewhere else shown


def _settled(made: Plan) -> Iterator[str]:
    for source, count in made.settled.items():
        yield f"{source}: {count} inputs are settled: their rows stay as they were parsed"


def _lines(fields: Sequence[FieldChange]) -> Iterator[str]:
    for item in fields:
        yield f"{item.name}: {_value(item.before)} → {_value(item.after)}"


def _value(value: Any) -> str:
    if value is None:
        return "none"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if 0 < len(text) <= _LONGEST else f"{text[:_LONGEST]}…" if text else "empty"


def _cell(text: str) -> str:
    """Return a text as a cell of a table in Markdown."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
