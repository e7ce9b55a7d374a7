"""Shared by the looks that list only a part of a bucket.

They list all at an interval, and record a position from which the next look begins.
"""

from __future__ import annotations

import datetime as dt

from dataops_assets.connections.look import Look
from dataops_assets.connections.stored_position import StoredPosition
from dataops_assets.errors import CommitConflict
from dataops_assets.metadata.position_store import FinishedLook, RecordedLook


def was_whole_within(look: Look, whole_at: str, every: dt.timedelta) -> bool:
    """Return whether all was listed less than `every` before the look; not if the clock was set back since.

    `whole_at` is the time of that listing in ISO 8601; empty if there was none.
    """
    return bool(whole_at) and dt.timedelta(0) <= look.now - dt.datetime.fromisoformat(whole_at) < every


def record_position(look: Look, last: RecordedLook, following: StoredPosition) -> bool:
    """Record the position of the next look, if it differs from that of the `last` one.

    Returns False if another look of the same moment recorded its own position, which is as good. Raises StorageError.
    """
    if following.as_json() == (last.position or {}):
        return True
    look.metadata.contracts.register(look.source)
    try:
        look.metadata.positions.record(FinishedLook(look.source.name, last.looks, look.now, following.as_json()))
    except CommitConflict:
        return False
    return True
