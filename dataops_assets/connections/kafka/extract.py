"""One slice of a topic: the messages from the position to where the topic ends now, in one raw file.

Grain: one slice, which becomes one input. Nothing is recorded here: the caller records the input and the position
together. So a slice that dies is read again from the same offsets, and no message is missed or taken twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dataops_assets.config.kafka import AvroMessage, KafkaConnection
from dataops_assets.connections.content import digest_of_file
from dataops_assets.connections.formats.message_parts import SCHEMA_ID_BYTES, schema_id
from dataops_assets.connections.formats.messages import FACTS, MESSAGE_ROWS, SCHEMA, SCHEMAS
from dataops_assets.connections.kafka.registry import Registry
from dataops_assets.connections.kafka.topic import Most, TopicState
from dataops_assets.connections.stored_position import StoredPosition
from dataops_assets.errors import InputError

_SHOWN = 8


@dataclass(frozen=True)
class KafkaPosition(StoredPosition):
    """How far a topic was read: the state from which the next slice continues.

    * `reads`: which topic of which cluster. If it differs, the reading begins at `start` again.
    * `topic_id`: the id that Kafka gave the topic; a topic that is made again under its name has another one.
    * `offsets`: the next offset of each partition, by its number as text.
    * `is_behind`: whether more was there than the last slice took.
    * `gone`: what was lost and is not noted at an input yet.
    """

    reads: str = ""
    topic_id: str = ""
    offsets: Mapping[str, int] = field(default_factory=dict)
    is_behind: bool = False
    gone: str = ""


@dataclass(frozen=True)
class Slice:
    """The result of a look: a file of messages, and the position after them. Without a `path` nothing is new.

    `ranges` says which offsets it has, `note` what is to say of it.
    """

    position: KafkaPosition
    path: Path | None = None
    digest: str = ""
    size: int = 0
    ranges: str = ""
    note: str = ""


class Readable(Protocol):
    """The part of a topic that `read_slice` uses; see `topic.Topic` and `spark_topic.SparkTopic`."""

    def at(self, milliseconds: int, state: TopicState) -> Mapping[int, int]:
        """Return the offsets of the first messages with this time or a later one."""

    def rows(
        self, starts: Mapping[int, int], ends: Mapping[int, int], most: Most
    ) -> tuple[pa.Table, Mapping[int, int]]:
        """Return messages as rows of `SCHEMA`, in order of partition and offset, and where to go on."""


@dataclass(frozen=True)
class SliceRequest:
    """The arguments of a slice: the position, the topic as it is now, and the registry, if a schema is there."""

    connection: KafkaConnection
    since: KafkaPosition
    state: TopicState
    registry: Registry | None


def read_slice(request: SliceRequest, topic: Readable, folder: Path) -> Slice:
    """Read what is new into a file in `folder`.

    Raises InputError if messages that were not read are gone, StorageError or ConfigError; then nothing is new.
    """
    connection, state = request.connection, request.state
    starts, gone = _starts(request, topic)
    messages, following = topic.rows(starts, state.ends, Most(connection.most_messages, connection.most_bytes))
    position = KafkaPosition(
        _reads(connection),
        state.topic_id,
        {str(number): offset for number, offset in sorted(following.items())},
        is_behind=any(following[number] < end for number, end in state.ends.items()),
        gone="; ".join(part for part in (request.since.gone, *gone) if part),
    )
    if not messages.num_rows:
        return Slice(position)
    path = folder / "messages.parquet"
    ranges = {number: (starts[number], offset) for number, offset in following.items() if starts[number] < offset}
    facts = {
        "cluster": connection.cluster,
        "topic": connection.topic,
        "topic_id": state.topic_id,
        "ranges": {str(number): found for number, found in sorted(ranges.items())},
        # at the time of reading: messages that were there and are in a later input
        "lag": sum(max(end - following[number], 0) for number, end in state.ends.items()),
    }
    _write(path, messages, facts, _schemas(request, messages))
    note = f"not in any input: {position.gone}" if position.gone else ""
    return Slice(replace(position, gone=""), path, digest_of_file(path), path.stat().st_size, _shown(ranges), note)


def _reads(connection: KafkaConnection) -> str:
    return f"{connection.cluster}/{connection.topic}"


def _starts(request: SliceRequest, topic: Readable) -> tuple[dict[int, int], list[str]]:
    """Return the offset to begin with of each partition, and what is gone."""
    connection, since, state = request.connection, request.since, request.state
    if since.reads != _reads(connection):
        return dict(_first(connection, state, topic)), []
    gone = []
    if since.topic_id != state.topic_id:
        gone.append(f"the topic was deleted and made again after {_offsets(since.offsets)}")
        starts = dict(state.begins)
    else:
        # a partition without a position appeared since: it is read from its first message
        starts = {number: since.offsets.get(str(number), 0) for number in state.begins}
        for number, begin in state.begins.items():
            if starts[number] < begin:
                gone.append(f"offsets {starts[number]} to {begin - 1} of partition {number}")
                starts[number] = begin
            elif starts[number] > state.ends[number]:
                end = state.ends[number]
                gone.append(f"partition {number} ends at {end}, before offset {starts[number]} that was read up to")
                starts[number] = end
    if gone and connection.lost == "stop":
        raise InputError(
            f"reading the topic {connection.topic!r} of {connection.cluster!r} from where the last input ended",
            received=f"{'; '.join(gone)}: these messages are gone and in no input",
            next_step="set connection.lost to skip: the next look reads the messages that are there, and records which "
            "are lost. Then set it to stop again, deliver the lost rows in another way, and give the topic a longer "
            "retention",
        )
    return starts, gone


def _first(connection: KafkaConnection, state: TopicState, topic: Readable) -> Mapping[int, int]:
    time = connection.start_time
    if time is not None:
        return topic.at(int(time.timestamp() * 1000), state)
    return state.ends if connection.start == "latest" else state.begins


def _offsets(offsets: Mapping[str, int]) -> str:
    return ", ".join(f"offset {offset} of partition {number}" for number, offset in list(offsets.items())[:_SHOWN])


def _shown(ranges: Mapping[int, tuple[int, int]]) -> str:
    """Return the ranges as people read them: partition, first and last offset."""
    told = [f"{number}@{start}-{end - 1}" for number, (start, end) in sorted(ranges.items())]
    more = [f"and {len(told) - _SHOWN} more"] if len(told) > _SHOWN else []
    return " ".join([*told[:_SHOWN], *more])


def _schemas(request: SliceRequest, messages: pa.Table) -> dict[str, str]:
    """Return the texts of the schemas that the messages name, by id."""
    if request.registry is None:
        return {}
    ids = set()
    for name in ("key", "value"):
        part = getattr(request.connection, name)
        if isinstance(part, AvroMessage) and not part.schema_text:
            begins = pc.unique(pc.binary_slice(messages[name], 0, SCHEMA_ID_BYTES))
            ids |= {schema_id(begin) for begin in begins.to_pylist()}
    return request.registry.schemas(ids - {""})


def _write(path: Path, messages: pa.Table, facts: Mapping[str, Any], schemas: Mapping[str, str]) -> None:
    """Write a raw file; its bytes follow from the messages alone, and not from how they came."""
    stored = {FACTS: json.dumps(facts).encode(), SCHEMAS: json.dumps(schemas).encode()}
    schema = SCHEMA.with_metadata(stored)
    with pq.ParquetWriter(path, schema, compression="zstd", compression_level=1) as writer:
        for start in range(0, messages.num_rows, MESSAGE_ROWS):
            some = messages.slice(start, MESSAGE_ROWS).combine_chunks()
            writer.write_table(some.replace_schema_metadata(stored), row_group_size=MESSAGE_ROWS)
