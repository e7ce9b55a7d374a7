"""Writes the messages about incidents: to which channel, when, and with which text.

Each message has an id that follows from what it tells. So it is put into the outbox once, however often it is made.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from dataops_assets.config.incidents import Incidents, Route
from dataops_assets.incidents.journal import Change, Incident
from dataops_assets.masking import mask

JOB = "incidents"
"""The job with which a person acknowledges, resolves and mutes incidents in the UI."""

_LISTED = 5


@dataclass(frozen=True)
class Message:
    """One message about one incident to one channel. `due_at` is when it may be sent."""

    message_id: str
    incident_id: int
    channel: str
    reason: str
    title: str
    body: str
    due_at: dt.datetime


def messages_of(
    incidents: Mapping[int, Incident], settings: Incidents, now: dt.datetime, location: str = "dataops_assets"
) -> list[Message]:
    """Return the messages about new changes, ended mutes, and incidents that nobody acknowledged."""
    found: dict[str, Message] = {}
    for incident in incidents.values():
        for message in _of_incident(incident, settings, now, location):
            known = found.setdefault(message.message_id, message)
            if message.due_at < known.due_at:
                found[message.message_id] = message
    return sorted(found.values(), key=lambda item: (item.incident_id, item.due_at, item.message_id))


def next_time(incidents: Iterable[Incident], settings: Incidents, now: dt.datetime) -> dt.datetime | None:
    """Return when the next mute ends or the next incident is escalated."""
    times = []
    for incident in incidents:
        if incident.state == "resolved":
            continue
        if incident.muted_until is not None:
            times.append(incident.muted_until)
        matching = (route for route in settings.routes if _matches(route, incident))
        times += [time for route in matching if (time := _escalation(incident, route)) is not None]
    return min((time for time in times if time > now), default=None)


def _of_incident(incident: Incident, settings: Incidents, now: dt.datetime, location: str) -> Iterator[Message]:
    text = _Text(incident, settings.link.rstrip("/"), location)
    for route in settings.routes:
        if not _matches(route, incident):
            continue
        due = route.hours.next_open(now) if route.hours is not None else now
        for change in _to_tell(incident, route):
            for channel in route.to:
                yield text.message(channel, change.kind, change.event.event_id, due, change)
        end = incident.muted_until
        if end is not None and end <= now and incident.state != "resolved" and "unmuted" in route.tell:
            for channel in route.to:
                yield text.message(channel, "unmuted", end.isoformat(), due)
        if _is_escalated(incident, route, now):
            for channel in route.escalate_to or route.to:
                yield text.message(channel, "escalated", str(incident.openings), now)


def _to_tell(incident: Incident, route: Route) -> Iterator[Change]:
    for change in incident.changes:
        if not change.event.told and change.kind in route.tell and not incident.is_muted(change.event.recorded_at):
            yield change


def _is_escalated(incident: Incident, route: Route, now: dt.datetime) -> bool:
    time = _escalation(incident, route)
    return time is not None and now >= time and not incident.is_muted(now)


def _escalation(incident: Incident, route: Route) -> dt.datetime | None:
    """Return when an incident is escalated: so long after it was opened, or after the end of its mute."""
    if route.escalate_after is None or incident.state != "open":
        return None
    begin = max(incident.opened_at, incident.muted_until or incident.opened_at)
    return begin + route.escalate_after


def _matches(route: Route, incident: Incident) -> bool:
    cause = incident.of_cause
    return (
        (not route.owners or bool(set(route.owners) & set(cause.owners)))
        and (not route.areas or cause.area in route.areas)
        and (not route.severities or incident.severity in route.severities)
    )


@dataclass(frozen=True)
class _Text:
    """The words about one incident."""

    incident: Incident
    link: str
    location: str

    def message(
        self, channel: str, reason: str, occasion: str, due: dt.datetime, change: Change | None = None
    ) -> Message:
        number = self.incident.incident_id
        content = f"{number}\n{reason}\n{occasion}\n{channel}"
        message_id = hashlib.sha256(content.encode()).hexdigest()[:32]
        body = "\n".join([*self.lines(reason, change), f"Message id: {message_id}"])
        return Message(message_id, number, channel, reason, mask(self.title(reason)), mask(body), due)

    def title(self, reason: str) -> str:
        cause = self.incident.of_cause
        told = (
            "nobody acknowledged it" if reason == "escalated" else "is still there" if reason == "unmuted" else reason
        )
        title = f"[{self.incident.severity}] Incident {self.incident.incident_id} {told}: {cause.asset} {cause.kind}"
        # the title becomes a header of an e-mail
        return " ".join(title.split())

    def lines(self, reason: str, change: Change | None) -> Iterator[str]:
        incident, cause = self.incident, self.incident.of_cause
        number = incident.incident_id
        yield f"What: {cause.summary}"
        others = sorted((incident.problems or incident.known).keys() - {cause.key})
        if others:
            yield f"Also: {_some(others)}"
        of_source = f"source {cause.source}, " if cause.source else ""
        yield f"Where: {cause.asset} ({of_source}area {cause.area or 'none'}); owners: {_some(cause.owners) or 'none'}"
        yield f"Since: {incident.began:%Y-%m-%d %H:%M} UTC; found {incident.opened_at:%Y-%m-%d %H:%M} UTC"
        yield f"How bad: {incident.severity}{''.join(self._extent())}"
        if reason == "resolved":
            yield f"Resolved: {self._resolved()}{f': {change.event.note}' if change and change.event.note else ''}"
        elif reason == "acknowledged":
            note = f": {change.event.note}" if change and change.event.note else ""
            yield f"Acknowledged: by {incident.acknowledged_by}{note}"
        else:
            yield f"What to do: {cause.next_step or f'dataops incidents show {number}'}"
            yield f"Take it: dataops incidents ack {number}"
        if self.link:
            yield f"Table: {self.link}/assets/{quote(cause.asset)}"
            yield f"Job: {self.link}/locations/{quote(self.location)}/jobs/{JOB}/playground"

    def _extent(self) -> Iterator[str]:
        cause = self.incident.of_cause
        if cause.inputs:
            yield f"; {len(cause.inputs)} inputs: {_some(cause.inputs)}"
        if cause.rows:
            yield f"; {cause.rows:,} rows"
        if cause.columns:
            yield f"; columns: {_some(cause.columns)}"
        if cause.downstream:
            yield f"; {len(cause.downstream)} tables below: {_some(cause.downstream)}"

    def _resolved(self) -> str:
        if self.incident.joined is not None:
            return f"it has the same cause as incident {self.incident.joined} and is part of that one"
        return f"by {self.incident.resolved_by}" if self.incident.resolved_by else "all its problems are over"


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _LISTED
    return ", ".join([*names[:_LISTED], *([f"and {rest:,} more"] if rest > 0 else [])])
