"""Say which process runs everything that is due here, and which of its runs a kill left unfinished.

Such a process (`dataops run`) holds a lock as long as it lives, and notes each of its runs in a file beside the lock.
So every process with the same home can tell a run under way from a dead one, also if other homes use the same Dagster.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dataops_assets.config.environment import Environment
from dataops_assets.errors import ConfigError
from dataops_assets.storage import durable
from dataops_assets.storage.file_lock import locked

# who asks whether the lock is free holds it for a moment
_TRIES = 5
_PAUSE_SECONDS = 0.05


def cursor_of(environment: Environment) -> Path:
    """Return the file with the state of automation, which only one process may have."""
    return environment.home / "local" / "automation.json"


def lock_of(environment: Environment) -> Path:
    """Return the file that a process locks while it runs what is due."""
    return lock_beside(cursor_of(environment))


def lock_beside(cursor: Path) -> Path:
    """Return the lock that guards a state of automation."""
    return cursor.with_suffix(".lock")


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Hold a file lock; the system releases it when this process and its forks end, even if they are killed.

    Raises ConfigError if another process holds it.
    """
    with ExitStack() as held:
        for _ in range(_TRIES):
            if held.enter_context(locked(lock)):
                break
            time.sleep(_PAUSE_SECONDS)
        else:
            raise ConfigError(
                "running everything that is due in this process",
                received=f"another process does this already; it has locked {lock}",
                next_step="wait until it has ended",
            )
        yield


def note(lock: Path, run_id: str) -> None:
    """Note a run before it begins, while its process holds the lock. The note outlives a kill, also of the machine."""
    folder = _notes(lock)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / run_id).touch()
    durable.sync_folders(folder, lock.parent)


def forget(lock: Path, run_id: str) -> None:
    """Remove the note of a run that has ended."""
    (_notes(lock) / run_id).unlink(missing_ok=True)


def noted(lock: Path) -> list[str]:
    """Return the ids of the runs with a note."""
    folder = _notes(lock)
    return sorted(os.listdir(folder)) if folder.is_dir() else []


def killed_runs(lock: Path) -> Collection[str]:
    """Return the ids of the runs whose process was killed; none while a process holds the lock."""
    # in this order: a process that begins afterwards makes other runs
    runs = noted(lock)
    if not runs:
        return ()
    with locked(lock) as is_free:
        return runs if is_free else ()


def _notes(lock: Path) -> Path:
    return lock.with_suffix(".runs")
