"""One look: read the problems, record what changed, and put the messages about it into the outbox.

All that a look writes is one transaction. A look that is repeated writes nothing new.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from dataops_assets.config.incidents import Incidents
from dataops_assets.errors import InputError
from dataops_assets.incidents.decisions import INSTANT, Recorded, Seen, decide
from dataops_assets.incidents.grouping import Lineage
from dataops_assets.incidents.journal import Change, Event, EventKind, Incident, folded
from dataops_assets.incidents.messages import messages_of, next_time
from dataops_assets.incidents.records import event_row, events_of, incident_row, message_rows
from dataops_assets.metadata.incident_store import IncidentStore, Recording

_KEPT = dt.timedelta(days=1)


@dataclass(frozen=True)
class Looked:
    """The result of a look.

    * `changes`: changes of incidents that no earlier look told.
    * `next_time`: when a look is due although nothing new happened.
    """

    changes: Sequence[tuple[Incident, Change]] = ()
    next_time: dt.datetime | None = None


def look(
    store: IncidentStore,
    read: Callable[[], Seen],
    lineage: Lineage,
    settings: Incidents,
    now: dt.datetime,
    before: dt.datetime | None,
) -> Looked:
    """Look at the problems that `read` returns. `before` is the time of the look before; None if there was none."""
    since = min(now - max(settings.reopen_within, _KEPT), (before or now) - _KEPT)

    def work(recording: Recording) -> Looked:
        # read inside of the transaction, so that a slower look never records an older state after a newer one
        seen = read()
        known = events_of(recording.events(since))
        new = decide(Recorded(known, recording.next_number()), seen, lineage, now, settings.reopen_within)
        everything = [*known, *new]
        incidents = folded(everything)
        changes = [
            (incident, change)
            for incident in incidents.values()
            for change in incident.changes
            if not change.event.told
        ]
        messages = messages_of(incidents, settings, now)
        concerned = {event.incident_id for event in everything if not event.told}
        rows = [incident_row(incidents[number]) for number in sorted(concerned) if number in incidents]
        recording.save(rows, [event_row(replace(event, told=True)) for event in new], message_rows(messages, now))
        recording.mark_told([event.event_id for event in known if not event.told])
        return Looked(changes, next_time(incidents.values(), settings, now))

    found: Looked = store.record("looking for incidents", work)
    return found


@dataclass(frozen=True)
class Decision:
    """A decision of a person about an incident. `until` is the end of a mute."""

    kind: EventKind
    by: str
    note: str = ""
    until: dt.datetime | None = None


def record_decision(store: IncidentStore, numbers: Sequence[int], decision: Decision, now: dt.datetime) -> None:
    """Record what a person decided about these incidents: all of them, or none.

    Raises InputError for an unknown incident, and for one that is resolved.
    """

    def work(recording: Recording) -> None:
        rows, events = [], []
        for number in dict.fromkeys(numbers):
            known = events_of(recording.events_of(number))
            incident = folded(known).get(number)
            if incident is None or incident.state == "resolved":
                raise InputError(
                    f"recording that incident {number} is {decision.kind}",
                    received="a resolved incident" if incident else "no incident with this number",
                    next_step="dataops incidents list shows those that are open; nothing was recorded",
                )
            until = {"until": decision.until.isoformat()} if decision.until else {}
            at = max(now, max(event.at for event in known) + INSTANT)
            event = Event(number, decision.kind, at, now, by=decision.by, note=decision.note, details=until)
            events.append(event_row(event))
            rows.append(incident_row(folded([*known, event])[number]))
        recording.save(rows, events)

    store.record(f"recording that incidents are {decision.kind}", work)
