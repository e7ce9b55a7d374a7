"""Locks that one process of this machine holds. The system releases them when it ends, even if it is killed."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(file: Path) -> Iterator[bool]:
    """Hold the lock that `file` stands for, and say whether this process got it; it does not wait.

    The file is there only while the lock is held, or after a kill. Raises OSError where it cannot be made.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            got = False
        else:
            # the holder before may have removed the file between the two: then others lock another one
            got = _is_at(file, held.fileno())
        try:
            yield got
        finally:
            if got:
                file.unlink(missing_ok=True)


@contextmanager
def waited_for(file: Path) -> Iterator[None]:
    """Hold the lock that `file` stands for, after every other process has released it. The file stays.

    Raises OSError where it cannot be made.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _is_at(file: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(file.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
