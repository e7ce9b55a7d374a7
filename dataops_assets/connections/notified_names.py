"""Decides which objects a look at a bucket with notifications looks at, and what the next look begins from.

The law: an object that changed is named by a message in the queue, or by the recorded position, or it is found by the
next full listing. A message is deleted after what it names is recorded: as an arrival, or in the position.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from dataops_assets.config.notifications import Notifications
from dataops_assets.connections.files import FileVersion
from dataops_assets.connections.look import Clock, Look
from dataops_assets.connections.object_events import events_in
from dataops_assets.connections.partial_listing import record_position, was_whole_within
from dataops_assets.connections.queues import Queue
from dataops_assets.connections.stored_position import StoredPosition
from dataops_assets.errors import StorageError

MOST_PENDING = 10_000
"""Number of objects that are remembered from look to look; if there are more, the next look lists all."""


@dataclass(frozen=True)
class NotifiedTo(StoredPosition):
    """Of which `place` and `queue` messages were read, when all was listed, and which objects are `pending`.

    Pending objects (URLs) are those that the next look has to look at again, whatever messages come.
    """

    place: str = ""
    queue: str = ""
    whole_at: str = ""
    pending: list[str] = field(default_factory=list)


class NotifiedNames:
    """The objects that one look is about. It receives the messages when it is made."""

    def __init__(
        self, look: Look, declared: Notifications, place: str, queue: Queue, until: float, clock: Clock
    ) -> None:
        """`place` is the URL of the files; messages are received at most `until` the clock shows this.

        Raises StorageError.
        """
        self._look, self._queue = look, queue
        self._last = look.metadata.positions.last_look(look.source.name)
        known = NotifiedTo.from_json(self._last.position or {})
        self._before = NotifiedTo(place, queue.url)
        if (known.place, known.queue) == (place, queue.url):
            self._before = known
        # before a listing, too: what they name is there then
        self._messages = queue.receive(until, clock)
        scheme, _, path = place.partition("://")
        bucket = path.partition("/")[0]
        self._said = [(message, events_in(message.body, bucket)) for message in self._messages]
        named = {f"{scheme}://{bucket}/{key}" for _, said in self._said for key in said.keys}
        self.names: set[str] | None = None
        """The URLs of the objects to look at; None if the look lists all."""
        if was_whole_within(look, self._before.whole_at, declared.full_listing_every):
            self.names = named | set(self._before.pending)
        self._faults = [
            (FileVersion(f"{queue.url}#{message.id}", len(message.body.encode()), message.sent_at), said.fault)
            for message, said in self._said
            if said.fault
        ]

    @property
    def told(self) -> list[str]:
        """Return the origins under which `tell` records messages that name no object of the bucket."""
        return [version.origin for version, _ in self._faults]

    def tell(self) -> None:
        """Record each message that names no object of the bucket, as a file that is left out."""
        for version, fault in self._faults:
            self._look.leave_out(version, f"a message of the queue: {fault}", 0)

    def record(self, pending: Collection[str]) -> None:
        """Record the position, after the arrivals, and delete the messages. `pending` are URLs to look at again."""
        whole_at = self._look.now.isoformat() if self.names is None else self._before.whole_at
        following = NotifiedTo(self._before.place, self._before.queue, whole_at, sorted(pending))
        if len(following.pending) > MOST_PENDING:
            following = NotifiedTo(self._before.place, self._before.queue)
        if not record_position(self._look, self._last, following):
            # the messages come again
            return
        try:
            self._queue.delete(self._messages)
        except StorageError as error:
            self._look.refuse(self._queue.url, error)
