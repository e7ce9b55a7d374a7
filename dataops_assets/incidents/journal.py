"""The journal of incidents: events, and the state that follows from them.

The state is a function of the set of events. Their order of arrival and repetitions do not matter: events are sorted by
the time at which they happened, and an event has an id made of its content.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from dataops_assets.config.quality import Severity
from dataops_assets.incidents.problem import Problem, problem_of

State = Literal["open", "acknowledged", "resolved"]
EventKind = Literal["found", "cleared", "acknowledged", "resolved", "muted", "joined"]
ChangeKind = Literal["opened", "reopened", "worsened", "acknowledged", "resolved"]

# events of one instant: first what is found, last what ends it
_ORDER: tuple[EventKind, ...] = ("found", "muted", "acknowledged", "cleared", "resolved", "joined")


@dataclass(frozen=True)
class Event:
    """One thing that happened to an incident.

    * `problem`: key of the problem, for found and cleared.
    * `details`: the problem and the key of its cause (found), the end of a mute (muted), the other incident (joined).
    * `told`: whether the messages about it are in the outbox. It is no part of the content.
    """

    incident_id: int
    kind: EventKind
    at: dt.datetime
    recorded_at: dt.datetime
    problem: str = ""
    by: str = ""
    note: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    told: bool = False

    @property
    def event_id(self) -> str:
        """Return a hash of the content: the same event twice is one."""
        content = (
            self.incident_id,
            self.kind,
            self.at.astimezone(dt.UTC).isoformat(),
            self.problem,
            self.by,
            self.note,
            json.dumps(self.details, sort_keys=True),
        )
        return hashlib.sha256("\n".join(map(str, content)).encode("utf-8", "backslashreplace")).hexdigest()[:32]


@dataclass(frozen=True)
class Change:
    """A change of an incident's state, by the event that made it. `number` counts the openings, from 1."""

    kind: ChangeKind
    event: Event
    number: int


@dataclass
class Incident:
    """The state of an incident after all its events.

    * `problems`: the problems that it has now, by key. `known`: the last that was found of each problem it ever had.
    * `cause`: key of the problem that explains the others.
    * `began`: when its first problem began. `opened_at`: when it was found, or found again.
    * `touched`: when the newest event about a problem happened, by key.
    * `joined`: the incident that it became part of.
    """

    incident_id: int
    began: dt.datetime
    opened_at: dt.datetime
    found_at: dt.datetime
    state: State = "open"
    cause: str = ""
    problems: dict[str, Problem] = field(default_factory=dict)
    known: dict[str, Problem] = field(default_factory=dict)
    touched: dict[str, dt.datetime] = field(default_factory=dict)
    acknowledged_at: dt.datetime | None = None
    acknowledged_by: str = ""
    resolved_at: dt.datetime | None = None
    resolved_by: str = ""
    mutes: list[tuple[dt.datetime, dt.datetime]] = field(default_factory=list)
    joined: int | None = None
    changes: list[Change] = field(default_factory=list)

    @property
    def openings(self) -> int:
        """Return how often it was opened."""
        return sum(change.kind in ("opened", "reopened") for change in self.changes)

    @property
    def of_cause(self) -> Problem:
        """Return the problem that explains the others."""
        return self.known[self.cause]

    @property
    def severity(self) -> Severity:
        """Return the worst severity of its problems; of those it had, if they are over."""
        problems = self.problems or self.known
        return "fail" if any(item.severity == "fail" for item in problems.values()) else "warn"

    def is_muted(self, at: dt.datetime) -> bool:
        """Return whether it sends no messages at this time."""
        return any(begin <= at < end for begin, end in self.mutes)

    @property
    def muted_until(self) -> dt.datetime | None:
        """Return the end of the last mute; None if it was never muted."""
        # a later mute replaces the end of the one before, so it can be ended early
        return self.mutes[-1][1] if self.mutes else None


def folded(events: Iterable[Event]) -> dict[int, Incident]:
    """Return the incidents that these events make, by number."""
    by_incident: dict[int, list[Event]] = {}
    for event in events:
        by_incident.setdefault(event.incident_id, []).append(event)
    found = {number: _fold(some) for number, some in sorted(by_incident.items())}
    return {number: incident for number, incident in found.items() if incident is not None}


def _fold(events: Sequence[Event]) -> Incident | None:
    unique: dict[str, Event] = {}
    for event in events:
        known = unique.setdefault(event.event_id, event)
        if event.recorded_at < known.recorded_at:
            unique[event.event_id] = event
    ordered = sorted(unique.values(), key=lambda item: (item.at, _ORDER.index(item.kind), item.event_id))
    first = next((event for event in ordered if event.kind == "found"), None)
    if first is None:
        return None
    began = problem_of(first.details["problem"]).began
    incident = Incident(first.incident_id, began, first.recorded_at, first.recorded_at)
    for event in ordered:
        _apply(incident, event)
    return incident


def _apply(incident: Incident, event: Event) -> None:
    if event.kind == "found":
        _found(incident, event)
    elif event.kind == "cleared":
        incident.touched[event.problem] = event.at
        if incident.problems.pop(event.problem, None) is not None and not incident.problems:
            _resolve(incident, event)
    elif event.kind == "acknowledged" and incident.state == "open" and incident.changes:
        incident.state, incident.acknowledged_at, incident.acknowledged_by = "acknowledged", event.at, event.by
        incident.changes.append(Change("acknowledged", event, incident.openings))
    elif event.kind == "resolved":
        _resolve(incident, event)
    elif event.kind == "joined":
        incident.joined = int(event.details["into"])
        _resolve(incident, event)
    elif event.kind == "muted":
        incident.mutes = [(begin, min(end, event.at)) for begin, end in incident.mutes]
        incident.mutes.append((event.at, dt.datetime.fromisoformat(event.details["until"])))


def _found(incident: Incident, event: Event) -> None:
    problem = problem_of(event.details["problem"])
    was = incident.severity if incident.known else "fail"
    incident.problems[event.problem] = incident.known[event.problem] = problem
    incident.touched[event.problem] = event.at
    incident.began = min(incident.began, problem.began)
    incident.cause = event.details["cause"] if event.details["cause"] in incident.known else event.problem
    if not incident.changes:
        incident.opened_at = incident.found_at = event.recorded_at
        incident.changes.append(Change("opened", event, 1))
    elif incident.state == "resolved":
        incident.state, incident.opened_at = "open", event.recorded_at
        incident.acknowledged_at, incident.acknowledged_by = None, ""
        incident.resolved_at, incident.resolved_by, incident.joined = None, "", None
        incident.changes.append(Change("reopened", event, incident.openings + 1))
    elif (was, problem.severity) == ("warn", "fail") and event.recorded_at > incident.opened_at:
        # what the look that opened it found is told by its opening
        incident.changes.append(Change("worsened", event, incident.openings))


def _resolve(incident: Incident, event: Event) -> None:
    if incident.state != "resolved" and incident.changes:
        incident.state, incident.resolved_at, incident.resolved_by = "resolved", event.at, event.by
        incident.changes.append(Change("resolved", event, incident.openings))
