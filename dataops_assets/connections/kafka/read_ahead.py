"""Chooses the offsets that are read ahead in a topic, and the messages of the next slice among those that were read.

It knows sizes of messages and not the messages, so it is the same whatever reads them and wherever they are kept.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dataops_assets.connections.kafka.topic import Most

SIZES = pa.schema([("partition", pa.int32()), ("offset", pa.int64()), ("size", pa.int64())])
"""The sizes of messages that were read."""

Ranges = Mapping[int, tuple[int, int]]
"""The first offset of each partition, and the one after the last."""

_Whole = npt.NDArray[np.int64]
_IN_ORDER = [("partition", "ascending"), ("offset", "ascending")]


class ReadAhead:
    """The progress of a reading in slices: `next` is where the next slice begins, by partition."""

    def __init__(self, starts: Mapping[int, int]) -> None:
        """`starts` are the offsets to begin with."""
        self.next: Mapping[int, int] = dict(starts)
        self._read = dict(starts)
        self._left = SIZES.empty_table()
        self._offsets = 0

    def missing(self, ends: Mapping[int, int], most: Most) -> Ranges:
        """Return what to read before the next slice can be taken; nothing if enough was read, or all before `ends`."""
        _, is_full = self._chosen(most)
        if is_full:
            self._offsets = 0
            return {}
        # few readings pass a range that compaction left almost empty
        self._offsets = max(2 * self._offsets, most.messages - self._left.num_rows)
        return shared(self._read, ends, self._offsets)

    def add(self, ranges: Ranges, sizes: pa.Table) -> None:
        """Take what was read of `ranges`: one row of `SIZES` for each message."""
        self._read |= {number: end for number, (_, end) in ranges.items()}
        self._left = pa.concat_tables([self._left, sizes]).sort_by(_IN_ORDER)

    def take(self, most: Most) -> int:
        """Move `next` to the end of the next slice, and return how many messages it has."""
        taken, is_full = self._chosen(most)
        offsets, partitions = self._column("offset"), self._column("partition")
        is_taken = np.zeros(len(offsets), bool)
        is_taken[taken] = True
        following = dict(self._read)
        for number in np.unique(partitions[~is_taken]).tolist():
            some = offsets[is_taken & (partitions == number)]
            following[number] = int(some[-1]) + 1 if len(some) else self.next[number]
        if is_full:
            # a consumer does not look at what comes after the message that fills a slice
            following[int(partitions[taken[-1]])] = int(offsets[taken[-1]]) + 1
        self.next = following
        self._left = self._left.filter(pa.array(~is_taken))
        return len(taken)

    def _chosen(self, most: Most) -> tuple[_Whole, bool]:
        """Return the places of the messages of the next slice, and whether `most` closes it.

        They are the first of each partition, then the second of each, until `most` is reached. As for a consumer, the
        message that reaches it belongs to the slice.
        """
        partitions, sizes = self._column("partition"), self._column("size")
        if not len(partitions):
            return np.empty(0, np.int64), False
        _, firsts, which = np.unique(partitions, return_index=True, return_inverse=True)
        order: _Whole = np.lexsort((partitions, np.arange(len(partitions)) - firsts[which]))
        until_bytes = int(np.searchsorted(np.cumsum(sizes[order]), most.bytes)) + 1
        fit = min(most.messages, until_bytes)
        return order[:fit], fit <= len(order)

    def _column(self, name: str) -> _Whole:
        found: _Whole = self._left[name].to_numpy()
        return found


def shared(starts: Mapping[int, int], ends: Mapping[int, int], most: int) -> Ranges:
    """Return ranges with together at most `most` offsets: equally many of each partition, or all that it has."""
    left = {number: end - starts[number] for number, end in ends.items() if starts[number] < end}
    found = {}
    # those with little first: what they do not need is for the others
    for place, number in enumerate(sorted(left, key=lambda number: (left[number], number))):
        share = min(left[number], most // (len(left) - place))
        most -= share
        if share:
            found[number] = (starts[number], starts[number] + share)
    return found
