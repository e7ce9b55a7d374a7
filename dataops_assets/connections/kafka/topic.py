"""One topic of a Kafka cluster: where its partitions begin and end, and its messages from there to here.

Partitions are read by their offsets, without a consumer group: nothing is committed to Kafka, no rebalance moves a
partition, and any number of readers see the same messages. Messages of aborted transactions are not read.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from dataops_assets.connections.formats.messages import MESSAGE_ROWS, SCHEMA
from dataops_assets.connections.kafka.client import KafkaClient
from dataops_assets.errors import ConfigError, StorageError, nearest

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message

_AT_ONCE = 500
_POLL_SECONDS = 0.5
_SETTLE_SECONDS = 0.05
_QUEUE_KB = 32 << 10


class StoredMessage(NamedTuple):
    """A message as it came. `timestamp` in milliseconds since 1970 and its kind are those of Kafka."""

    partition: int
    offset: int
    timestamp: int | None
    timestamp_kind: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]

    @property
    def size(self) -> int:
        """The bytes of key, value and headers."""
        headers = sum(len(name) + len(value or b"") for name, value in self.headers)
        return len(self.key or b"") + len(self.value or b"") + headers


@dataclass(frozen=True)
class TopicState:
    """A topic now, by partition: the first offset that is there, and the one after the last that may be read."""

    topic_id: str
    begins: Mapping[int, int]
    ends: Mapping[int, int]


@dataclass(frozen=True)
class Most:
    """The most messages and bytes of one reading."""

    messages: int
    bytes: int


@dataclass
class _Reading:
    """The progress of a read: the next offset of each partition, and the partitions that are not at their end."""

    next: dict[int, int]
    ends: Mapping[int, int]
    pending: set[int]
    messages: dict[int, list[StoredMessage]] = field(default_factory=dict)
    count: int = 0
    bytes: int = 0

    def end(self, partition: int) -> None:
        """Note that all messages before the end of a partition came."""
        if partition in self.pending:
            self.next[partition] = self.ends[partition]
            self.pending.discard(partition)

    def take(self, message: StoredMessage) -> None:
        """Take a message, if it belongs to this reading."""
        partition, offset = message.partition, message.offset
        if partition not in self.pending or offset < self.next[partition]:
            return
        if offset >= self.ends[partition]:
            self.end(partition)
            return
        self.messages.setdefault(partition, []).append(message)
        self.count += 1
        self.bytes += message.size
        self.next[partition] = offset + 1
        if offset + 1 == self.ends[partition]:
            self.pending.discard(partition)


class Topic:
    """A topic of an open cluster. Its methods raise StorageError if it may pass, otherwise ConfigError."""

    def __init__(self, client: KafkaClient, name: str) -> None:
        """Opens nothing yet."""
        self.name = name
        self._client = client
        self._consumer: Consumer | None = None

    def state(self) -> TopicState:
        """Return the begin and end of each partition. The end is where the first open transaction begins, if any."""
        from confluent_kafka import IsolationLevel, TopicCollection, admin

        seconds = self._client.cluster.timeout_seconds
        found = self._client.admin.describe_topics(TopicCollection([self.name]), request_timeout=seconds)
        described = self._result(found[self.name])
        numbers = [partition.id for partition in described.partitions]
        client: Any = admin
        begins = self._offsets(numbers, client.OffsetSpec.earliest())
        ends = self._offsets(numbers, client.OffsetSpec.latest(), isolation_level=IsolationLevel.READ_COMMITTED)
        return TopicState(str(described.topic_id), begins, ends)

    def settled(self) -> TopicState:
        """Wait until all present messages of the topic are committed or aborted; return the state then.

        Messages after the first one of an open transaction are hidden, also those of others. Raises StorageError if it
        stays open for too long.
        """
        from confluent_kafka import admin

        client: Any = admin
        found = self.state()
        wanted = self._offsets(list(found.ends), client.OffsetSpec.latest())
        until = time.monotonic() + self._client.cluster.timeout_seconds
        while any(found.ends[number] < end for number, end in wanted.items()):
            if time.monotonic() > until:
                raise StorageError(
                    f"reading the topic {self.name!r}",
                    received="an open transaction, which hides the messages after it",
                    next_step="run it again; an abandoned transaction ends after its timeout",
                )
            time.sleep(_SETTLE_SECONDS)
            found = self.state()
        return found

    def at(self, milliseconds: int, state: TopicState) -> Mapping[int, int]:
        """Return the offsets of the first messages with this time or a later one; the end where there is none."""
        from confluent_kafka import admin

        client: Any = admin
        found = self._offsets(list(state.ends), client.OffsetSpec.for_timestamp(milliseconds))
        return {number: offset if offset >= 0 else state.ends[number] for number, offset in found.items()}

    def _offsets(self, partitions: Sequence[int], spec: Any, **options: Any) -> dict[int, int]:
        from confluent_kafka import TopicPartition

        asked = {TopicPartition(self.name, number): spec for number in partitions}
        seconds = self._client.cluster.timeout_seconds
        found = self._client.admin.list_offsets(asked, request_timeout=seconds, **options)
        return {place.partition: self._result(future).offset for place, future in found.items()}

    def rows(
        self, starts: Mapping[int, int], ends: Mapping[int, int], most: Most
    ) -> tuple[pa.Table, Mapping[int, int]]:
        """Return the messages of `read` as rows of a raw file, and where to go on."""
        messages, following = self.read(starts, ends, most)
        return table_of(messages), following

    def read(
        self, starts: Mapping[int, int], ends: Mapping[int, int], most: Most
    ) -> tuple[list[StoredMessage], Mapping[int, int]]:
        """Return messages from `starts` to before `ends`, in order of partition and offset, and where to go on.

        Fewer come if `most` is reached.
        """
        open_ones = {number for number, end in ends.items() if starts[number] < end}
        reading = _Reading(dict(starts), ends, open_ones)
        if not open_ones:
            return [], reading.next
        consumer = self._assigned({number: starts[number] for number in open_ones})
        waiting_since = time.monotonic()
        while reading.pending and reading.count < most.messages and reading.bytes < most.bytes:
            some = consumer.consume(min(_AT_ONCE, most.messages - reading.count), timeout=_POLL_SECONDS)
            if some:
                waiting_since = time.monotonic()
            elif time.monotonic() - waiting_since > self._client.cluster.timeout_seconds:
                raise self._silent(reading.pending)
            for message in some:
                self._take(reading, message)
                if reading.bytes >= most.bytes:
                    break
        rows = [message for number in sorted(reading.messages) for message in reading.messages[number]]
        return rows, reading.next

    def _take(self, reading: _Reading, message: Message) -> None:
        from confluent_kafka import TIMESTAMP_NOT_AVAILABLE

        error = message.error()
        partition, offset = message.partition(), message.offset()
        if error is None:
            kind, timestamp = message.timestamp()
            reading.take(
                StoredMessage(
                    partition or 0,
                    offset or 0,
                    None if kind == TIMESTAMP_NOT_AVAILABLE else timestamp,
                    kind,
                    _bytes(message.key()),
                    _bytes(message.value()),
                    _headers(message.headers()),
                )
            )
        elif error.name() != "_PARTITION_EOF":
            raise self._client.failed(f"reading the topic {self.name!r}", error)
        elif partition is not None and offset is not None and offset >= reading.ends.get(partition, offset + 1):
            reading.end(partition)

    def _assigned(self, starts: Mapping[int, int]) -> Consumer:
        from confluent_kafka import Consumer, TopicPartition

        if self._consumer is None:
            self._consumer = Consumer(
                {
                    **self._client.settings,
                    # the client wants one; no group is joined, and no offset is committed
                    "group.id": self._client.settings["client.id"],
                    "enable.auto.commit": False,
                    "enable.auto.offset.store": False,
                    "enable.partition.eof": True,
                    "isolation.level": "read_committed",
                    # never somewhere else than asked for
                    "auto.offset.reset": "error",
                    "check.crcs": True,
                    "queued.max.messages.kbytes": _QUEUE_KB,
                }
            )
        # also forgets what was fetched in advance
        self._consumer.assign([TopicPartition(self.name, number, offset) for number, offset in starts.items()])
        return self._consumer

    def close(self) -> None:
        """Close the connections."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _result(self, future: Future[Any]) -> Any:
        from confluent_kafka import KafkaException

        attempted = f"looking at the topic {self.name!r}"
        try:
            return future.result()
        except KafkaException as failed:
            error = failed.args[0]
            if error.name() == "UNKNOWN_TOPIC_OR_PART":
                known = topics(self._client)
                raise ConfigError(
                    attempted,
                    received="no such topic, or no right to see it",
                    known=known[:20],
                    next_step=nearest(self.name, known) or "correct connection.topic, or create the topic",
                ) from failed
            raise self._client.failed(attempted, error) from failed

    def _silent(self, pending: set[int]) -> StorageError:
        last = self._client.faults.last
        return StorageError(
            f"reading the topic {self.name!r}",
            received=f"nothing for {self._client.cluster.timeout_seconds:.0f} s from partition "
            f"{', '.join(map(str, sorted(pending)[:10]))}" + (f": {last.str()}" if last is not None else ""),
            next_step="check that each partition has a leader that can be reached; the next look tries again",
        )


def table_of(messages: Sequence[StoredMessage]) -> pa.Table:
    """Return messages as rows of a raw file."""
    batches = []
    for start in range(0, len(messages), MESSAGE_ROWS):
        values: list[Sequence[Any]] = list(zip(*messages[start : start + MESSAGE_ROWS], strict=True))
        arrays = [pa.array(given, item.type) for given, item in zip(values, SCHEMA, strict=True)]
        batches.append(pa.record_batch(arrays, schema=SCHEMA))
    return pa.Table.from_batches(batches, SCHEMA)


def topics(client: KafkaClient) -> list[str]:
    """Return the names of the topics that may be seen, but not Kafka's own."""
    from confluent_kafka import KafkaException

    try:
        found = client.admin.list_topics(timeout=client.cluster.timeout_seconds)
    except KafkaException as failed:
        raise client.failed(f"asking {client.place} for its topics", failed.args[0]) from failed
    return sorted(name for name in found.topics if not name.startswith("__"))


def _headers(given: Any) -> list[tuple[str, bytes | None]]:
    return [(name, _bytes(value)) for name, value in given or ()]


def _bytes(given: object) -> bytes | None:
    if given is None or isinstance(given, bytes):
        return given
    return str(given).encode()
