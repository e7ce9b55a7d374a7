"""The law of a topic's slices: each message is in exactly one input, or the note of an input says that it is gone.

However large slices are, whenever retention removes messages, partitions appear, or a look dies.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from dataops_assets.config.kafka import KafkaConnection
from dataops_assets.connections.kafka.extract import KafkaPosition, Slice, SliceRequest, read_slice
from dataops_assets.connections.kafka.topic import Most, StoredMessage, TopicState

_CONNECTION = KafkaConnection(type="kafka", cluster="main", topic="t", lost="skip")


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


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(0, 2), st.lists(st.booleans(), min_size=1, max_size=6)),
        st.tuples(st.just("forget"), st.integers(0, 2), st.integers(0, 6)),
        st.tuples(st.just("partition"), st.just(0), st.just(0)),
        st.tuples(st.just("look"), st.integers(1, 4), st.booleans()),
    ),
    max_size=14,
)


@given(_STEPS)
def test_each_message_is_in_one_input_or_noted_as_gone(steps: list[tuple[str, int, object]]) -> None:
    log, position = Log(), KafkaPosition()
    taken: list[tuple[int, int]] = []
    notes: list[str] = []
    started: set[tuple[int, int]] = set()

    def look(most: int) -> KafkaPosition:
        connection = _CONNECTION.model_copy(update={"most_messages": most})
        with tempfile.TemporaryDirectory() as folder:
            found = read_slice(SliceRequest(connection, position, log.state, None), log, Path(folder))
            keep(found)
        return found.position

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
