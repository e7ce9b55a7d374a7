"""Keeps a process free of threads, so that it can fork: a fork lacks the threads, but keeps their locks."""

from __future__ import annotations

import os
import signal
from importlib import import_module
from pathlib import Path

# threads that forks do without: the memory allocator of Arrow and DuckDB prepares itself for a fork
_HARMLESS = {"jemalloc_bg_thd"}
_BLAS_THREADS = "OPENBLAS_NUM_THREADS"


def import_without_threads() -> None:
    """Import numpy so that it starts no threads. Has no effect in a process that has imported it already."""
    before = os.environ.get(_BLAS_THREADS)
    os.environ[_BLAS_THREADS] = "1"
    import_module("numpy")
    del os.environ[_BLAS_THREADS]
    if before is not None:
        os.environ[_BLAS_THREADS] = before


def end_idle_threads() -> None:
    """End the threads of the database that DuckDB opens when it is imported. They wait for work."""
    import_module("duckdb").default_connection().close()


def has_threads() -> bool:
    """Return whether this process has threads that its forks would miss. True where the system does not tell."""
    own = str(os.getpid())
    tasks = Path("/proc/self/task")
    if not tasks.is_dir():
        return True
    return any((task / "comm").read_text().strip() not in _HARMLESS for task in tasks.iterdir() if task.name != own)


def end_with(file: int) -> None:
    """Wait until no process has the other end of a pipe or socket open any more, then kill this process."""
    while os.read(file, 1):
        pass
    os.kill(os.getpid(), signal.SIGKILL)
