"""Writes messages to a topic in one transaction, together with a note of how far the writer is.

The note is a message of a topic of notes. So both are there or neither is: a writer that is killed, fails or is taken
over by another one leaves nothing that readers of committed messages see.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dataops_assets.config.kafka import KafkaCluster
from dataops_assets.connections.kafka.client import KafkaClient, client_of
from dataops_assets.connections.kafka.topic import Most, StoredMessage, Topic, topics
from dataops_assets.errors import ConfigError, DataOpsError, InputError, StorageError, nearest

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Producer

_AT_ONCE = Most(100_000, 64 << 20)
_TRANSACTION_SECONDS = 300
_COMPACTED = {"cleanup.policy": "compact"}
_FENCED = ("_FENCED", "PRODUCER_FENCED", "INVALID_PRODUCER_EPOCH")
_DIGEST_BYTES = 16

Outgoing = tuple[bytes, bytes | None]
"""A key and a value; None is a tombstone."""


class TopicWriter:
    """The only writer of its name to a topic: it took over from all earlier ones."""

    def __init__(self, client: KafkaClient, topic: str, notes: str, name: str, producer: Producer) -> None:
        """Take an open producer."""
        self._client, self._topic, self._notes = client, topic, notes
        self._name, self._producer = name, producer
        self.topic_id = ""

    def note(self) -> Mapping[str, Any] | None:
        """Return the note of the last transaction of this name to this topic; None if there is none."""
        last: bytes | None = None
        for message in self._all(self._notes):
            if message.key == self._name.encode():
                last = message.value
        found = json.loads(last) if last else None
        # a topic that was made again has none of the messages that the note speaks of
        return found["note"] if found is not None and found["topic_id"] == self.topic_id else None

    def live(self) -> dict[bytes, bytes]:
        """Return digests of the last values in the topic by their keys; keys with a tombstone are left out."""
        found: dict[bytes, bytes] = {}
        for message in self._all(self._topic):
            if message.value is None:
                found.pop(message.key or b"", None)
            else:
                found[message.key or b""] = digest_of(message.value)
        return found

    def write(self, messages: Iterable[Outgoing], note: Callable[[], Mapping[str, Any]]) -> int:
        """Write messages and then the note, all or nothing, and return the number of messages.

        Raises StorageError if it may pass, InputError for a message that is too large; then nothing was written.
        """
        from confluent_kafka import KafkaException

        sent = 0
        self._call(self._producer.begin_transaction)
        try:
            for key, value in messages:
                self._produce(self._topic, key, value)
                sent += 1
            told = {"topic_id": self.topic_id, "note": note()}
            self._produce(self._notes, self._name.encode(), json.dumps(told).encode())
            self._commit()
        except KafkaException as failed:
            self._abort()
            raise self._failed(failed.args[0]) from failed
        except DataOpsError:
            self._abort()
            raise
        return sent

    def _produce(self, topic: str, key: bytes, value: bytes | None) -> None:
        from confluent_kafka import KafkaException

        while True:
            try:
                self._producer.produce(topic, key=key, value=value)
            except BufferError:
                # the queue is full until the brokers confirm some of it
                self._producer.poll(0.1)
                continue
            except KafkaException as failed:
                if failed.args[0].name() != "MSG_SIZE_TOO_LARGE":
                    raise
                raise InputError(
                    f"writing to the topic {topic!r}",
                    received=f"a message of {len(value or b''):,} bytes, with the key {key[:100]!r}",
                    next_step="leave out large columns; nothing was delivered",
                ) from failed
            return

    def _commit(self) -> None:
        """Commit. It fails if any message was not confirmed by all brokers that have a copy in step."""
        self._producer.flush(_TRANSACTION_SECONDS)
        self._producer.commit_transaction(_TRANSACTION_SECONDS)

    def _abort(self) -> None:
        from confluent_kafka import KafkaException

        try:
            self._producer.purge()
            self._producer.abort_transaction(self._seconds)
        except KafkaException:
            # a writer that took over has aborted it, or the timeout will
            return

    def _all(self, name: str) -> Iterator[StoredMessage]:
        topic = Topic(self._client, name)
        try:
            state = topic.settled()
            following: Mapping[int, int] = state.begins
            while any(following[number] < end for number, end in state.ends.items()):
                messages, following = topic.read(following, state.ends, _AT_ONCE)
                yield from messages
        finally:
            topic.close()

    @property
    def _seconds(self) -> float:
        return self._client.cluster.timeout_seconds

    def _call(self, act: Callable[..., Any], *arguments: Any) -> None:
        from confluent_kafka import KafkaException

        try:
            act(*arguments)
        except KafkaException as failed:
            raise self._failed(failed.args[0]) from failed

    def _failed(self, error: KafkaError) -> DataOpsError:
        if error.name() in _FENCED:
            return StorageError(
                f"writing to the topic {self._topic!r}",
                received="another delivery of this output began meanwhile",
                next_step="nothing: the other delivery writes the rows; this one has written nothing",
            )
        return self._client.failed(f"writing to the topic {self._topic!r}", error)

    def begin(self) -> None:
        """Take over from earlier writers of this name: what they have not committed is aborted."""
        self._call(self._producer.init_transactions, self._seconds)
        self.topic_id = Topic(self._client, self._topic).state().topic_id


def digest_of(value: bytes) -> bytes:
    """Return a digest of a value, as `TopicWriter.live` has it."""
    return hashlib.blake2b(value, digest_size=_DIGEST_BYTES).digest()


@contextmanager
def topic_writer(
    cluster: KafkaCluster, topic: str, notes: str, name: str, variables: Mapping[str, str]
) -> Iterator[TopicWriter]:
    """Open a topic to write under a name. Raises ConfigError and StorageError."""
    client = client_of(cluster, variables)
    from confluent_kafka import KafkaException, Producer

    known = f"{name}/{topic}"
    settings = {
        **client.settings,
        "transactional.id": f"dataops-output-{known}",
        "transaction.timeout.ms": _TRANSACTION_SECONDS * 1000,
        # as Java's client chooses partitions, so that a key is in the one where other programs look for it
        "partitioner": "murmur2_random",
        "compression.type": "zstd",
        "linger.ms": 20,
    }
    try:
        producer = Producer(settings)
    except KafkaException as failed:
        raise client.failed(f"writing to the topic {topic!r}", failed.args[0]) from failed
    writer = TopicWriter(client, topic, notes, known, producer)
    writer.begin()
    yield writer


def require_topics(cluster: KafkaCluster, wanted: Mapping[str, int], variables: Mapping[str, str]) -> None:
    """Create the topics that are missing, compacted, with these numbers of partitions; 0: it must be there.

    Raises ConfigError and StorageError.
    """
    client = client_of(cluster, variables)
    from confluent_kafka import KafkaException, admin

    of_admin: Any = admin
    there = topics(client)
    missing = {name: partitions for name, partitions in wanted.items() if name not in there}
    for name, partitions in missing.items():
        if not partitions:
            raise ConfigError(
                f"looking for the topic {name!r}",
                received="no such topic, or no right to see it",
                known=there[:20],
                next_step=nearest(name, there) or "create the topic, or declare structure: create",
            )
    if not missing:
        return
    # as many copies as the cluster has by default
    made = client.admin.create_topics(
        [of_admin.NewTopic(name, partitions, -1, config=_COMPACTED) for name, partitions in missing.items()],
        request_timeout=cluster.timeout_seconds,
    )
    for name, future in made.items():
        try:
            future.result()
        except KafkaException as failed:
            if failed.args[0].name() != "TOPIC_ALREADY_EXISTS":
                raise client.failed(f"creating the topic {name!r}", failed.args[0]) from failed
