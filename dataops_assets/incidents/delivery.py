"""Sends the messages of the outbox. Each is sent at least once: a message leaves the outbox when its channel took it.

A try is recorded before it is made, so a process that is killed while it sends leaves the message to the next try. So a
message may be sent twice; its id is in the text.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from typing import Protocol

from dataops_assets.config.incidents import Incidents
from dataops_assets.metadata.incident_store import IncidentStore, Row

_FIRST_PAUSE = dt.timedelta(minutes=1)
_LONGEST_PAUSE = dt.timedelta(hours=1)
_INTERRUPTED = "the process that sent it ended before the channel answered"
# a channel that hangs keeps a look waiting
_AT_ONCE = 10


class Channel(Protocol):
    """Something that messages can be sent to."""

    def send(self, title: str, body: str, severity: str) -> str:
        """Send a message. Returns why it was not sent, without secrets; '' if it was."""
        ...


def deliver(store: IncidentStore, channels: Mapping[str, Channel], settings: Incidents, now: dt.datetime) -> list[str]:
    """Send the messages that are due. Returns an error text for each channel that did not accept its messages."""
    by_channel: dict[str, list[Row]] = {}
    for row in store.due_messages(now):
        by_channel.setdefault(row["channel"], []).append(row)
    told = []
    for name, rows in sorted(by_channel.items()):
        channel = channels.get(name) or _Undeclared()
        portions = [rows] if len(rows) > settings.digest_above else [[row] for row in rows[:_AT_ONCE]]
        for portion in portions:
            error = _send(store, channel, portion, now)
            if error:
                told.append(f"channel {name} does not take messages, which wait: {error}")
                # the rest waits, too: each try may take long
                break
    return told


def pause(attempts: int) -> dt.timedelta:
    """Return how long a message waits after so many tries."""
    return min(_FIRST_PAUSE * 2 ** min(attempts - 1, 10), _LONGEST_PAUSE)


def _send(store: IncidentStore, channel: Channel, rows: Sequence[Row], now: dt.datetime) -> str:
    taken = store.claim(rows, lambda attempts: now + pause(attempts), _INTERRUPTED)
    if not taken:
        return ""
    ids = [row["notification_id"] for row in taken]
    severity = "fail" if any(row["title"].startswith("[fail]") for row in taken) else "warn"
    if len(taken) == 1:
        digest, title, body = None, taken[0]["title"], taken[0]["body"]
    else:
        digest = hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()[:32]
        title = f"[{severity}] {len(taken)} messages about incidents"
        body = "\n\n".join([*(f"{row['title']}\n{row['body']}" for row in taken), f"Digest id: {digest}"])
    error = channel.send(title, body, severity)
    if error:
        store.not_sent(ids, error)
    else:
        store.sent(ids, now, digest)
    return error


class _Undeclared:
    """Stands for a channel that is not declared any more."""

    def send(self, title: str, body: str, severity: str) -> str:  # noqa: ARG002
        return "it is not declared any more"
