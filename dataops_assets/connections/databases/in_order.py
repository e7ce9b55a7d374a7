"""Runs readers side by side, and hands over what they read in the order of the readers.

Few portions are in memory: a reader waits until those before it were handed over. Which one is quick changes nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from queue import Full, Queue
from threading import Event

import numpy as np
import pyarrow as pa

from dataops_assets.connections.databases.reading import Take

_AHEAD = 2
_SECONDS = 0.2


@dataclass(frozen=True)
class Portion:
    """Rows that follow each other, and how many bytes the database sent for each."""

    rows: pa.Table
    sizes: np.ndarray


Reader = Callable[[Callable[[Portion], None]], None]
"""Reads a part, and gives its portions to the function in its argument."""


class _StoppedError(Exception):
    """Ends a reader whose portions nobody takes any more."""


@dataclass(frozen=True)
class _Running:
    """A reader that runs or waits to run; `None` in the queue is its end."""

    stopped: Event
    portions: Queue[Portion | None] = field(default_factory=lambda: Queue(_AHEAD))

    def run(self, read: Reader) -> None:
        """Read, in a thread."""
        try:
            if not self.stopped.is_set():
                read(self._give)
        finally:
            self._give(None)

    def _give(self, portion: Portion | None) -> None:
        while not self.stopped.is_set():
            try:
                self.portions.put(portion, timeout=_SECONDS)
            except Full:
                continue
            return
        raise _StoppedError


def in_order(
    readers: Iterable[Reader], threads: int, give: Callable[[Portion], None], interrupt: Callable[[], None]
) -> None:
    """Run the readers, so many at a time, and give all portions in the order of the readers, in this thread.

    If a reader or `give` raises, `interrupt` is called to end what the other readers wait for. The error is raised when
    all of them have ended.
    """
    stopped = Event()
    waiting: deque[tuple[_Running, Future[None]]] = deque()

    def finish_first() -> None:
        running, future = waiting.popleft()
        while (portion := running.portions.get()) is not None:
            give(portion)
        future.result()

    with ThreadPoolExecutor(threads, thread_name_prefix="dataops-read") as pool, ExitStack() as failing:
        failing.callback(interrupt)
        failing.callback(stopped.set)
        for read in readers:
            running = _Running(stopped)
            waiting.append((running, pool.submit(running.run, read)))
            if len(waiting) >= 2 * threads:
                finish_first()
        while waiting:
            finish_first()
        failing.pop_all()


class Regrouped:
    """Hands over rows in portions that depend on the rows alone, and not on how they were divided to be read.

    A portion ends with the row that makes it as large as `least` bytes.
    """

    def __init__(self, take: Take, least: int) -> None:
        """Take what takes the portions."""
        self._take = take
        self._least = least
        self._held: list[pa.Table] = []
        self._size = 0

    def add(self, portion: Portion) -> None:
        """Take the next rows."""
        ends = np.cumsum(portion.sizes, dtype=np.int64)
        first, before = 0, 0
        while (last := int(np.searchsorted(ends, before + self._least - self._size))) < len(ends):
            self._held.append(portion.rows.slice(first, last + 1 - first))
            self.flush()
            first, before = last + 1, int(ends[last])
        if first < len(ends):
            self._held.append(portion.rows.slice(first))
            self._size += int(ends[-1]) - before

    def flush(self) -> None:
        """Hand over the rows taken so far."""
        if self._held:
            rows = pa.concat_tables(self._held).combine_chunks()
            self._held, self._size = [], 0
            self._take(rows)
