"""The law of a topic's slices: each message is in exactly one input, or the note of an input says that it is gone.

However large slices are, whenever retention removes messages, partitions appear, or a look dies; and whether they are
read by one consumer or ahead of the slices, as Spark does.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataops_assets.config.kafka import KafkaConnection
from dataops_assets.connections.kafka.extract import KafkaPosition, Readable, Slice, SliceRequest, read_slice
from dataops_assets.connections.kafka.read_ahead import SIZES, ReadAhead, shared
from dataops_assets.connections.kafka.topic import Most, StoredMessage, TopicState, table_of

_CONNECTION = KafkaConnection(type="kafka", cluster="main", topic="t", lost="skip")
_ALL = Most(1 << 30, 1 << 40)


@dataclass
class Log:
    """A topic in memory. Of each partition: its first offset, and whether each offset has a message or is a mark."""

    begins: list[int] = field(default_factory=lambda: [0])
    offsets: list[list[bool]] = field(default_factory=lambda: [[]])
    generation: int = 0

    @property
    def state(self) -> TopicState:
        ends = {number: len(some) for number, some in enumerate(self.offsets)}
        return TopicState(f"id-{self.generation}", dict(enumerate(self.begins)), ends)

    def at(self, milliseconds: int, state: TopicState) -> Mapping[int, int]:
        raise NotImplementedError

    def rows(
        self, starts: Mapping[int, int], ends: Mapping[int, int], most: Most
    ) -> tuple[pa.Table, Mapping[int, int]]:
        found, following = self.read(starts, ends, most)
        return table_of(found), following

    def read(
        self, starts: Mapping[int, int], ends: Mapping[int, int], most: Most
    ) -> tuple[list[StoredMessage], Mapping[int, int]]:
        found, following = [], dict(starts)
        for number in ends:
            assert self.begins[number] <= starts[number] <= len(self.offsets[number])
            for offset in range(starts[number], ends[number]):
                if len(found) == most.messages:
                    return found, following
                following[number] = offset + 1
                if self.offsets[number][offset]:
                    value = f'{{"g": {self.generation}}}'.encode()
                    found.append(StoredMessage(number, offset, 0, 1, None, value, []))
        return found, following


@dataclass
class Ahead:
    """A reader that keeps what it read ahead, like `SparkTopic`, without Spark."""

    log: Log
    ahead: ReadAhead = field(default_factory=lambda: ReadAhead({}))
    kept: dict[tuple[int, int], StoredMessage] = field(default_factory=dict)

    def at(self, milliseconds: int, state: TopicState) -> Mapping[int, int]:
        raise NotImplementedError

    def rows(
        self, starts: Mapping[int, int], ends: Mapping[int, int], most: Most
    ) -> tuple[pa.Table, Mapping[int, int]]:
        if starts != self.ahead.next:
            self.ahead, self.kept = ReadAhead(starts), {}
        while ranges := self.ahead.missing(ends, most):
            froms, untils = ({number: some[side] for number, some in ranges.items()} for side in (0, 1))
            found, _ = self.log.read(froms, untils, _ALL)
            self.kept |= {(one.partition, one.offset): one for one in found}
            self.ahead.add(ranges, sizes_of([(one.partition, one.offset, one.size) for one in found]))
        begins, count = self.ahead.next, self.ahead.take(most)
        taken = [
            one for place, one in sorted(self.kept.items()) if begins[place[0]] <= place[1] < self.ahead.next[place[0]]
        ]
        assert len(taken) == count <= most.messages
        return table_of(taken), self.ahead.next


def sizes_of(rows: list[tuple[int, int, int]]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(SIZES.names, row, strict=True)) for row in rows], SIZES)


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(0, 2), st.lists(st.booleans(), min_size=1, max_size=6)),
        st.tuples(st.just("forget"), st.integers(0, 2), st.integers(0, 6)),
        st.tuples(st.just("partition"), st.just(0), st.just(0)),
        st.tuples(st.just("look"), st.integers(1, 4), st.booleans()),
    ),
    max_size=14,
)


@pytest.mark.parametrize("reader", [lambda log: log, Ahead], ids=["consumer", "ahead"])
@given(steps=_STEPS)
def test_each_message_is_in_one_input_or_noted_as_gone(
    reader: Callable[[Log], Readable], steps: list[tuple[str, int, object]]
) -> None:
    log, position = Log(), KafkaPosition()
    taken: list[tuple[int, int]] = []
    notes: list[str] = []
    started: set[tuple[int, int]] = set()

    def look(most: int) -> KafkaPosition:
        connection, topic, reached = _CONNECTION.model_copy(update={"most_messages": most}), reader(log), position
        state = log.state
        for _ in range(2):
            with tempfile.TemporaryDirectory() as folder:
                found = read_slice(SliceRequest(connection, reached, state, None), topic, Path(folder))
                keep(found)
            reached = found.position
        return reached

    def keep(found: Slice) -> None:
        if found.path is not None:
            rows = pq.read_table(found.path, columns=["partition", "offset"]).to_pylist()
            assert rows == sorted(rows, key=lambda row: (row["partition"], row["offset"]))
            taken.extend((row["partition"], row["offset"]) for row in rows)
            notes.append(found.note)

    for what, number, more in [*steps, ("send", 0, [True]), ("look", 100, False)]:
        partition = number % len(log.offsets)
        if what == "send":
            log.offsets[partition] += more  # type: ignore[arg-type]
        elif what == "forget":
            log.begins[partition] = min(log.begins[partition] + int(more), len(log.offsets[partition]))  # type: ignore[call-overload]
        elif what == "partition":
            log.offsets.append([])
            log.begins.append(0)
        elif more:
            # it dies: what it read is nowhere, and the position stays
            before = len(taken), len(notes)
            look(number)
            del taken[before[0] :], notes[before[1] :]
        else:
            if not position.reads:
                # the first look begins with what is there
                started = {(number, offset) for number, begin in enumerate(log.begins) for offset in range(begin)}
            position = look(number)
    gone = {
        (int(number), offset)
        for note in notes
        for first, last, number in re.findall(r"offsets (\d+) to (\d+) of partition (\d+)", note)
        for offset in range(int(first), int(last) + 1)
    }
    everything = {
        (number, offset)
        for number, some in enumerate(log.offsets)
        for offset, is_message in enumerate(some)
        if is_message
    }
    assert len(taken) == len(set(taken))
    assert set(taken) | gone | started >= everything
    assert not set(taken) & (gone | started)
    assert gone <= {(number, offset) for number, begin in enumerate(log.begins) for offset in range(begin)}


@given(
    st.lists(st.one_of(st.none(), st.integers(0, 9)), max_size=12),
    st.integers(1, 6),
    st.integers(1, 30),
)
def test_slices_of_one_partition_are_those_of_a_consumer(sizes: list[int | None], messages: int, size: int) -> None:
    most, ends = Most(messages, size), {0: len(sizes)}
    ahead, here = ReadAhead({0: 0}), 0
    while here < len(sizes):
        count, here = one_slice(sizes, here, most)
        while ranges := ahead.missing(ends, most):
            begin, end = ranges[0]
            ahead.add(ranges, sizes_of([(0, n, one) for n in range(begin, end) if (one := sizes[n]) is not None]))
        assert (ahead.take(most), ahead.next) == (count, {0: here})


def one_slice(sizes: Sequence[int | None], begin: int, most: Most) -> tuple[int, int]:
    """Messages of the slice of a consumer, and where the next one begins. An offset without a size is a mark."""
    count = total = 0
    for offset in range(begin, len(sizes)):
        one = sizes[offset]
        if one is not None:
            count, total = count + 1, total + one
            if count >= most.messages or total >= most.bytes:
                return count, offset + 1
    return count, len(sizes)


@given(st.lists(st.integers(0, 20), min_size=1, max_size=5), st.integers(1, 60))
def test_partitions_share_a_reading(lengths: list[int], most: int) -> None:
    ends = dict(enumerate(lengths))
    found = shared(dict.fromkeys(ends, 0), ends, most)
    given = {number: end for number, (_, end) in found.items()}
    assert sum(given.values()) == min(most, sum(lengths))
    # no partition that has more gets less than another, but for the remainder
    short = [given.get(number, 0) for number, end in ends.items() if given.get(number, 0) < end]
    assert all(max(given.values()) - one <= 1 for one in short)
