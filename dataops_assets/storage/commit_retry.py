"""Repeats a commit after another writer published the next version first."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from dataops_assets.errors import CommitConflict

_Result = TypeVar("_Result")

_ATTEMPTS = 30
_LONGEST_PAUSE = 2.0


def until_won(attempt: Callable[[], _Result], attempted: str) -> _Result:
    """Return the result of `attempt`; call it again after each lost race. It must read the newest version itself.

    Pauses grow from nothing to two seconds. Raises CommitConflict, saying what was `attempted`, after many lost races.
    """
    for lost in range(_ATTEMPTS):
        try:
            return attempt()
        except CommitConflict:
            time.sleep(min(0.05 * (2**lost - 1), _LONGEST_PAUSE))
    raise CommitConflict(
        attempted,
        received=f"{_ATTEMPTS} lost races",
        next_step="lower the number of concurrent runs of this source",
    )
