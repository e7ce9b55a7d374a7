"""The runs that a process without a daemon has to do: one after the other, or side by side in forks of the process."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Generic, TypeVar

from dataops_assets.components.forking import end_idle_threads, end_with, has_threads

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")
_MOST = 2
_SECONDS_TO_END = 20.0


@dataclass(frozen=True)
class _Worker:
    """A fork of this process. It takes a job from the connection, and answers with its result."""

    process: BaseProcess
    connection: Connection


class RunQueue(Generic[_Job, _Result]):
    """Runs jobs. Jobs of one name run in order; jobs of different names may run at the same time.

    Forks take the jobs if `side_by_side` is asked for, this process may have children and has no threads that a fork
    would miss, and the machine has more than one processor. Otherwise this process does them. At most two jobs are done
    at a time, as many as Dagster's queue starts on one machine. If this process is killed, its forks end at once.
    """

    def __init__(
        self,
        do: Callable[[_Job], _Result],
        begin: Callable[[_Job], None],
        lost: Callable[[_Job], _Result],
        side_by_side: bool,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        """Take the functions: `begin` is called here before `do`, `lost` for the job of a fork that was killed.

        `meanwhile` is called once, when this process waits for forks for the first time.
        """
        self._do = do
        self._begin = begin
        self._lost = lost
        self._meanwhile: Callable[[], None] | None = meanwhile
        self._waiting: dict[str, deque[_Job]] = {}
        self._busy: dict[str, tuple[_Worker, _Job]] = {}
        self._free: list[_Worker] = []
        self._alive, self._lifeline = os.pipe()
        if side_by_side:
            self._fork()

    def __enter__(self) -> RunQueue[_Job, _Result]:
        return self

    def __exit__(self, *_: object) -> None:
        """End the forks: an idle one at once, a busy one as if it was interrupted."""
        busy = [worker for worker, _ in self._busy.values()]
        for worker in busy:
            worker.process.terminate()
        for worker in (*self._free, *busy):
            worker.connection.close()
            worker.process.join(_SECONDS_TO_END)
            worker.process.kill()
        os.close(self._lifeline)
        os.close(self._alive)

    @property
    def names(self) -> set[str]:
        """Return the names of the jobs that are not done."""
        return {*self._waiting, *self._busy}

    def add(self, name: str, jobs: Sequence[_Job]) -> None:
        """Add jobs, and begin as many as there are free forks."""
        if jobs:
            self._waiting.setdefault(name, deque()).extend(jobs)
            self._start()

    def next(self) -> _Result:
        """Return the result of the next job that is done. Call it only while there are jobs."""
        if not self._busy:
            name = next(iter(self._waiting))
            job = self._take(name)
            self._begin(job)
            return self._do(job)
        if self._meanwhile is not None:
            meanwhile, self._meanwhile = self._meanwhile, None
            meanwhile()
        ready = wait([worker.connection for worker, _ in self._busy.values()])
        name = next(name for name, (worker, _) in self._busy.items() if worker.connection in ready)
        worker, job = self._busy.pop(name)
        try:
            result: _Result = worker.connection.recv()
            self._free.append(worker)
        except (EOFError, ConnectionError):
            worker.connection.close()
            result = self._lost(job)
        self._start()
        return result

    def _start(self) -> None:
        while self._free and (name := next((one for one in self._waiting if one not in self._busy), None)):
            worker = self._free.pop()
            job = self._take(name)
            self._begin(job)
            self._busy[name] = worker, job
            # if the fork was killed while it was idle, `next` finds that out
            with suppress(BrokenPipeError):
                worker.connection.send(job)

    def _take(self, name: str) -> _Job:
        job = self._waiting[name].popleft()
        if not self._waiting[name]:
            del self._waiting[name]
        return job

    def _fork(self) -> None:
        is_alone = not hasattr(os, "fork") or (os.cpu_count() or 1) < _MOST
        # Python refuses children to a process that it would end with its parent
        if is_alone or multiprocessing.current_process().daemon:
            return
        end_idle_threads()
        if has_threads():
            return
        forks = multiprocessing.get_context("fork")
        pipes = [forks.Pipe() for _ in range(_MOST)]
        for here, there in pipes:
            others = [end for pair in pipes for end in pair if end is not there]
            process = forks.Process(target=self._serve, args=(there, others))
            process.start()
            self._free.append(_Worker(process, here))
        for _, there in pipes:
            there.close()

    def _serve(self, connection: Connection, others: Sequence[Connection]) -> None:
        """Do in a fork what the connection asks for, until it is closed."""
        signal.set_wakeup_fd(-1)
        for other in others:
            other.close()
        os.close(self._lifeline)
        threading.Thread(target=end_with, args=(self._alive,), daemon=True).start()
        # an interrupt from the terminal reaches the forks, too
        with suppress(EOFError, KeyboardInterrupt):
            while True:
                connection.send(self._do(connection.recv()))
