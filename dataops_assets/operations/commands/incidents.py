"""The commands for incidents: list, show, ack, resolve, mute."""

from __future__ import annotations

import datetime as dt
import getpass
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from dataops_assets.operations import project
from dataops_assets.operations.answer import Answer
from dataops_assets.operations.command import Commands
from dataops_assets.operations.commands.words import By
from dataops_assets.operations.completion import incident_numbers

if TYPE_CHECKING:
    from dataops_assets.incidents.journal import EventKind

app = Commands(help="Work on incidents.", no_args_is_help=True)

Numbers: TypeAlias = Annotated[
    list[int],
    typer.Argument(
        metavar="INCIDENT", help="Numbers of incidents, as `list` shows them.", autocompletion=incident_numbers
    ),
]
Note: TypeAlias = Annotated[str, typer.Option(help="What others should know.")]


@app.command("list", example="dataops incidents list", found="an incident is not resolved")
def list_(
    all: Annotated[bool, typer.Option("--all", help="Show resolved incidents, too.")] = False,  # noqa: A002
    source: Annotated[str, typer.Option(help="Only incidents whose cause is in this source.")] = "",
    area: Annotated[str, typer.Option(help="Only incidents of this subject area.")] = "",
) -> Answer:
    """List the incidents that are not resolved, and messages about incidents that could not be sent."""
    from dataops_assets.operations.views import incidents as view

    store = project.incident_store()
    rows = [
        row
        for row in store.incidents(also_resolved=all)
        if (not source or row["source"] == source) and (not area or row["area"] == area)
    ]
    waiting = store.waiting_messages()
    data = {"incidents": [view.as_data(row) for row in rows], "not_sent": [view.as_data(row) for row in waiting]}
    is_open = any(row["state"] != "resolved" for row in rows)
    return Answer(data, [view.table(rows)], [*view.waiting(waiting)], found=is_open)


@app.command(example="dataops incidents show 12", found="the incident is not resolved")
def show(
    incident: Annotated[
        int, typer.Argument(metavar="INCIDENT", help="The number of the incident.", autocompletion=incident_numbers)
    ],
) -> Answer:
    """Show one incident: what is wrong, where, since when, how bad, what to do, and what happened to it."""
    from dataops_assets.errors import InputError
    from dataops_assets.operations.views import incidents as view

    found = project.incident_store().incident(incident)
    if found is None:
        raise InputError(
            f"showing incident {incident}", received="no such incident", next_step="dataops incidents list --all"
        )
    row, events = found
    data = {**view.as_data(row), "events": [view.as_data(event) for event in events]}
    return Answer(data, [*view.details(row, events)], found=row["state"] != "resolved")


@app.command(example='dataops incidents ack 12 --note "the shop sends a new file"')
def ack(incident: Numbers, note: Note = "", by: By = "") -> Answer:
    """Acknowledge incidents: a person works on them, so that they are not escalated."""
    return _decided("acknowledged", incident, note, by)


@app.command(example='dataops incidents resolve 12 --note "the shop was closed that day"')
def resolve(incident: Numbers, note: Note = "", by: By = "") -> Answer:
    """Resolve incidents although their problems are still there. They open again if something new goes wrong."""
    return _decided("resolved", incident, note, by)


@app.command(example="dataops incidents mute 12 --hours 48")
def mute(
    incident: Numbers,
    hours: Annotated[float, typer.Option(min=0, help="For how long; 0 ends a mute.")] = 8,
    note: Note = "",
    by: By = "",
) -> Answer:
    """Send no messages about incidents for some hours. Then send them again for those that are still open."""
    return _decided("muted", incident, note, by, dt.timedelta(hours=hours))


def _decided(kind: EventKind, numbers: list[int], note: str, by: str, muted: dt.timedelta | None = None) -> Answer:
    from dataops_assets.incidents.looking import Decision, record_decision

    now = dt.datetime.now(dt.UTC)
    person = by or getpass.getuser()
    until = now + muted if muted is not None else None
    record_decision(project.incident_store(), numbers, Decision(kind, person, note, until), now)
    end = f" until {until:%Y-%m-%d %H:%M} UTC" if until else ""
    data = {"incidents": numbers, "decision": kind, "by": person, "until": until.isoformat() if until else None}
    return Answer(data, [f"{kind}{end} by {person}: incident {number}" for number in numbers])
