"""How tokens are shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from dataops_assets.metadata.token_store import Token
from dataops_assets.operations.answer import Column, Shown, Table
from dataops_assets.operations.views.status import shown_time


def shown(found: Sequence[Token]) -> Iterator[Shown]:
    """Return a table of tokens."""
    names = ("token", "consumer", "table", "release", "version", "taken", "state")
    rows = [
        [
            item.token,
            item.consumer,
            item.asset,
            item.release,
            "" if item.version is None else str(item.version),
            shown_time(item.given_at),
            "approved" if item.revoked_at is None else f"revoked {shown_time(item.revoked_at)}: {item.reason}",
        ]
        for item in found
    ]
    yield Table(tuple(Column(name) for name in names), rows)


def as_data(item: Token) -> dict[str, Any]:
    """Return a token as values of JSON."""
    times = {
        name: time.isoformat() if (time := getattr(item, name)) else None
        for name in ("released_at", "given_at", "revoked_at")
    }
    return {**asdict(item), **times, "is_approved": item.revoked_at is None}
