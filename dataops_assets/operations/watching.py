"""Watches a deployment for some time after a change, and finds what fails."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.upkeep.releases import failed


@dataclass(frozen=True)
class Watched:
    """What failed since the watch began, or nothing; and how long it was watched."""

    failed: Sequence[str]
    seconds: float


def watch(
    contexts: Sequence[SourceContext],
    within: dt.timedelta,
    every: dt.timedelta,
    wait: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Watched:
    """Look at these sources again and again, and return at once when something failed, else after `within`.

    Failed gates and steps, checks and incidents of severity fail count. Inputs that are held for a person do not: they
    are in no table.
    """
    began = clock()
    while True:
        found = failed(contexts)
        passed = clock() - began
        if found or passed >= within.total_seconds():
            return Watched(found, passed)
        wait(min(every.total_seconds(), within.total_seconds() - passed))
