"""The partitions of a source: one for each input; its key is the input's id."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import dagster as dg

_Asked = tuple[str | None, ...]

_READ: ContextVar[dict[_Asked, Sequence[str]] | None] = ContextVar("_READ", default=None)


def partitions_name(source: str) -> str:
    """Return the name of the partitions of a source."""
    return f"{source}_inputs"


class InputPartitions(dg.DynamicPartitionsDefinition):
    """The inputs of a source as partitions, in the order in which they became known."""

    def get_partition_keys(
        self, current_time: dt.datetime | None = None, dynamic_partitions_store: Any = None
    ) -> Sequence[str]:
        """Return all partition keys; within `partitions_read_once`, read them once."""
        read = super().get_partition_keys
        return _once((self.name,), lambda: read(current_time, dynamic_partitions_store))

    def get_partition_keys_in_range(self, partition_key_range: dg.PartitionKeyRange) -> Sequence[str]:
        """Return the partition keys of a range; within `partitions_read_once`, find them once."""
        find = super().get_partition_keys_in_range
        asked = (self.name, partition_key_range.start, partition_key_range.end)
        return _once(asked, lambda: find(partition_key_range))


@contextmanager
def partitions_read_once() -> Iterator[None]:
    """Read the partition keys of each source once in this block. Keys that are added in the block may be missing.

    Dagster reads all keys of the source again for each input that a run adds metadata to: with 10,000 inputs one such
    read takes 50 ms. An evaluation of automation conditions reads them for each condition of each asset.
    """
    token = _READ.set({})
    try:
        yield
    finally:
        _READ.reset(token)


def _once(asked: _Asked, read: Callable[[], Sequence[str]]) -> Sequence[str]:
    known = _READ.get()
    if known is None:
        return read()
    if asked not in known:
        known[asked] = read()
    return known[asked]
