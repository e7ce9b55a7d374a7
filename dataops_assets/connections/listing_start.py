"""Decides after which name a look begins to list a bucket whose names sort by time, and where the next look begins.

The law: after each look, every object that sorted up to the mark was taken or refused, or came after the last whole
listing. So a look finds each object that sorts after the mark, and a whole listing finds the others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from dataops_assets.config.connection import FileConnection
from dataops_assets.connections.look import Look
from dataops_assets.connections.partial_listing import record_position, was_whole_within
from dataops_assets.connections.stored_position import StoredPosition
from dataops_assets.metadata.position_store import RecordedLook


@dataclass(frozen=True)
class ListedTo(StoredPosition):
    """How far a bucket was listed: of which `place`, after which URL the next look begins, and when all was listed."""

    place: str = ""
    mark: str = ""
    whole_at: str = ""


class ListingStart:
    """The place in a bucket where one look begins; without `sorted_names` it is the begin."""

    def __init__(self, look: Look, connection: FileConnection, place: str) -> None:
        """Read the recorded position; `place` is the URL of the files. Raises StorageError."""
        self._look, self._connection = look, connection
        self._last = RecordedLook()
        self._begins = ListedTo(place, whole_at=look.now.isoformat())
        if connection.sorted_names is None:
            return
        self._last = look.metadata.positions.last_look(look.source.name)
        known = ListedTo.from_json(self._last.position or {})
        if known.place == place and was_whole_within(look, known.whole_at, connection.sorted_names.whole_every):
            self._begins = known

    @property
    def after(self) -> str:
        """Return the URL after which objects are listed; empty for all."""
        return self._begins.mark

    def record(self, listed: Iterable[str], unfinished: Collection[str]) -> None:
        """Record where the next look begins: URLs that were `listed`, and those that were neither taken nor refused."""
        if self._connection.sorted_names is None:
            return
        names = sorted(listed)
        names = names[: max(len(names) - self._connection.sorted_names.overlap, 0)]
        if unfinished:
            first = min(unfinished)
            names = [name for name in names if name < first]
        mark = max([self._begins.mark, *names[-1:]])
        record_position(self._look, self._last, replace(self._begins, mark=mark))
