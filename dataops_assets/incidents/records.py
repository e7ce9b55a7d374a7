"""Incidents and their events as rows of the metadata, and back."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any

from dataops_assets.incidents.journal import Event, Incident
from dataops_assets.incidents.messages import Message
from dataops_assets.metadata.incident_store import Row


def event_row(event: Event) -> dict[str, Any]:
    """Return an event as a row."""
    return {
        "event_id": event.event_id,
        "incident_id": event.incident_id,
        "kind": event.kind,
        "problem": event.problem,
        "at": event.at,
        "recorded_at": event.recorded_at,
        "by": event.by,
        "note": event.note,
        "details": event.details,
        "told": event.told,
    }


def events_of(rows: Iterable[Row]) -> list[Event]:
    """Return the events of rows."""
    return [Event(**{name: value for name, value in row.items() if name != "event_id"}) for row in rows]


def incident_row(incident: Incident) -> dict[str, Any]:
    """Return an incident as a row."""
    cause = incident.of_cause
    problems = incident.problems or incident.known
    return {
        "incident_id": incident.incident_id,
        "state": incident.state,
        "severity": incident.severity,
        "source": cause.source or None,
        "area": cause.area,
        "asset": cause.asset,
        "kind": cause.kind,
        "summary": cause.summary,
        "next_step": cause.next_step,
        "problems": sorted(incident.known),
        "present": len(incident.problems),
        "owners": list(cause.owners),
        "downstream": list(cause.downstream),
        "inputs": sorted({one for item in problems.values() for one in item.inputs}),
        "columns": sorted({one for item in problems.values() for one in item.columns}),
        "rows": cause.rows,
        "began_at": incident.began,
        "opened_at": incident.opened_at,
        "acknowledged_at": incident.acknowledged_at,
        "acknowledged_by": incident.acknowledged_by or None,
        "resolved_at": incident.resolved_at,
        "resolved_by": incident.resolved_by if incident.resolved_at else None,
        "muted_until": incident.muted_until,
        "reopened": incident.openings - 1,
        "joined": incident.joined,
        "seconds_to_detect": _seconds(incident.began, incident.found_at),
        "seconds_to_acknowledge": _seconds(incident.opened_at, incident.acknowledged_at),
        "seconds_to_resolve": _seconds(incident.opened_at, incident.resolved_at),
    }


def message_rows(messages: Sequence[Message], now: dt.datetime) -> list[dict[str, Any]]:
    """Return messages as rows of the outbox."""
    return [
        {
            "notification_id": item.message_id,
            "incident_id": item.incident_id,
            "channel": item.channel,
            "reason": item.reason,
            "title": item.title,
            "body": item.body,
            "created_at": now,
            "due_at": item.due_at,
            "attempts": 0,
            "error": "",
        }
        for item in messages
    ]


def _seconds(begin: dt.datetime, end: dt.datetime | None) -> float | None:
    return None if end is None else max((end - begin).total_seconds(), 0.0)
