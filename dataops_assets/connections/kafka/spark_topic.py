"""Reads a topic by Spark's Kafka source, in parallel over its partitions: the same messages as one consumer reads.

Spark is told from which offset to which it reads, so it decides nothing. The client asks the cluster for the ends, and
positions are kept with the inputs. There is no checkpoint, which would be a second truth beside them. A read without
new offsets starts no job, and no Spark.

The executors keep what they read while a look goes on. The driver gets the sizes first, and then the messages of one
slice, so its memory is bounded by a slice.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from dataops_assets.connections.formats.messages import SCHEMA
from dataops_assets.connections.kafka.read_ahead import SIZES, Ranges, ReadAhead
from dataops_assets.connections.kafka.topic import Most, Topic, TopicState
from dataops_assets.engines.spark import SparkEngine
from dataops_assets.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

# more tasks than partitions read long ranges
_OFFSETS_A_TASK = 50_000
# the client counts kinds of time from 1, and Kafka's own client, which Spark has, from 0; -1 is no time
_COLUMNS = (
    "partition",
    "offset",
    "if(timestampType >= 0, unix_millis(timestamp), NULL) AS timestamp",
    "CAST(timestampType + 1 AS TINYINT) AS timestamp_kind",
    "key",
    "value",
    "transform(coalesce(headers, array()), h -> struct(h.key AS name, h.value AS value)) AS headers",
)
# as `StoredMessage.size`
_SIZES = (
    "partition",
    "offset",
    "aggregate(headers, 0L, (n, h) -> n + length(h.name) + coalesce(octet_length(h.value), 0)) "
    "+ coalesce(octet_length(key), 0) + coalesce(octet_length(value), 0) AS size",
)
_CAUSE = "Caused by: "
# Spark multiplies milliseconds by 1000
_OVERFLOW = "java.lang.ArithmeticException: long overflow"


@dataclass(frozen=True)
class _Part:
    """The ranges that one job read, and their messages, which the executors keep."""

    ranges: Ranges
    messages: DataFrame


class SparkTopic:
    """The messages of a topic, read by Spark. Its methods raise what those of `Topic` raise."""

    def __init__(self, topic: Topic, options: Mapping[str, str], engine: SparkEngine) -> None:
        """Starts nothing yet. `options` are those of `spark_options.options_of`."""
        self._topic, self._options, self._engine = topic, options, engine
        self._closing = contextlib.ExitStack()
        self._spark: SparkSession | None = None
        self._ahead = ReadAhead({})
        self._parts: list[_Part] = []

    def state(self) -> TopicState:
        """See `Topic.state`."""
        return self._topic.state()

    def at(self, milliseconds: int, state: TopicState) -> Mapping[int, int]:
        """See `Topic.at`."""
        return self._topic.at(milliseconds, state)

    def rows(
        self, starts: Mapping[int, int], ends: Mapping[int, int], most: Most
    ) -> tuple[pa.Table, Mapping[int, int]]:
        """See `Topic.rows`. If `most` is reached, each partition gave as many messages as the others, or all it has."""
        if starts != self._ahead.next:
            self._forget(self._parts)
            self._ahead = ReadAhead(starts)
        while ranges := self._ahead.missing(ends, most):
            part, sizes = self._job(ranges)
            self._parts.append(part)
            self._ahead.add(ranges, sizes)
        begins = self._ahead.next
        count = self._ahead.take(most)
        following = self._ahead.next
        messages = self._fetched(begins, following)
        if messages.num_rows != count:
            raise StorageError(
                self._attempted,
                received=f"{messages.num_rows} messages, where {count} were there before",
                next_step="Spark read them twice, since an executor was lost, and the topic lost some in between; "
                "the next look reads the same offsets again",
            )
        self._forget([part for part in self._parts if _is_within(part.ranges, following)])
        return messages, following

    def close(self) -> None:
        """Let the executors forget what they keep, and close the connections. Spark itself goes on."""
        self._forget(self._parts)
        self._closing.close()
        self._topic.close()

    @property
    def _attempted(self) -> str:
        return f"reading the topic {self._topic.name!r} by Spark"

    def _forget(self, parts: Sequence[_Part]) -> None:
        for part in parts:
            part.messages.unpersist()
        self._parts = [part for part in self._parts if part not in parts]

    def _job(self, ranges: Ranges) -> tuple[_Part, pa.Table]:
        """Let Spark read ranges; return them and the sizes of their messages."""
        name = self._topic.name
        starts, ends = ({str(number): some[side] for number, some in ranges.items()} for side in (0, 1))
        asked = {
            "assign": json.dumps({name: sorted(ranges)}),
            "startingOffsets": json.dumps({name: starts}),
            "endingOffsets": json.dumps({name: ends}),
            "failOnDataLoss": "true",
            "includeHeaders": "true",
        }
        if self._spark is None:
            self._spark = self._closing.enter_context(self._engine.session()).spark
        offsets = sum(end - start for start, end in ranges.values())
        tasks = min(-(-offsets // _OFFSETS_A_TASK), self._spark.sparkContext.defaultParallelism)
        with self._running(ranges):
            reader = self._spark.read.format("kafka").options(**self._options, **asked, minPartitions=tasks)
            messages = reader.load().selectExpr(*_COLUMNS).persist()
            return _Part(ranges, messages), messages.selectExpr(*_SIZES).toArrow().cast(SIZES)

    def _fetched(self, begins: Mapping[int, int], following: Mapping[int, int]) -> pa.Table:
        """Fetch the messages of a slice from the executors."""
        found = [SCHEMA.empty_table()]
        for part in self._parts:
            if any(begins[number] < end and start < following[number] for number, (start, end) in part.ranges.items()):
                with self._running(part.ranges):
                    some = part.messages.where(_is_from(begins) & ~_is_from(following))
                    found.append(some.toArrow().cast(SCHEMA))
        return pa.concat_tables(found).sort_by([("partition", "ascending"), ("offset", "ascending")])

    @contextlib.contextmanager
    def _running(self, ranges: Ranges) -> Iterator[None]:
        """Raise a typed error if Spark fails. What the cluster says of it is asked of the client."""
        from py4j.protocol import Py4JError
        from pyspark.errors import PySparkException

        try:
            yield
        except (Py4JError, PySparkException) as error:
            told = _cause(str(error))
            if _OVERFLOW in told:
                raise ConfigError(
                    self._attempted,
                    received=f"a message with a time that Spark cannot hold ({told})",
                    next_step="set connection.reader to consumer, which reads the same messages and goes on from here; "
                    "ask the producer to write times in milliseconds",
                ) from error
            if "Failed to find data source: kafka" in told:
                raise ConfigError(
                    self._attempted,
                    received="no jar of Spark's Kafka source",
                    next_step="fetch the jars with 'make jars' and set DATAOPS_SPARK_JARS to their folder",
                ) from error
            begins = self._topic.state().begins
            gone = [
                f"offset {start} of partition {number} was removed, which begins at {begins[number]} now"
                for number, (start, _) in ranges.items()
                if begins.get(number, start) > start
            ]
            raise StorageError(
                self._attempted,
                received="; ".join(gone) or told,
                next_step="the next look says what is gone"
                if gone
                else "check that the executors of Spark reach the brokers and have room; the next look tries again",
            ) from error


def _cause(text: str) -> str:
    """Return what Java tells of the first cause of an error, without its stack traces."""
    causes = [line for line in text.splitlines() if line.startswith(_CAUSE)]
    return causes[-1].removeprefix(_CAUSE) if causes else text.strip().split("\n\tat ")[0]


def _is_within(ranges: Ranges, following: Mapping[int, int]) -> bool:
    """Return whether slices up to `following` have all of `ranges`."""
    return all(end <= following[number] for number, (_, end) in ranges.items())


def _is_from(offsets: Mapping[int, int]) -> Column:
    """Return the condition that a message has the offset of its partition in `offsets`, or a later one."""
    from pyspark.sql import functions as of

    pairs = [(of.lit(number), of.lit(offset).cast("bigint")) for number, offset in offsets.items()]
    return of.col("offset") >= of.create_map(*itertools.chain.from_iterable(pairs))[of.col("partition")]
