"""Judge how long the last two runs of a step took, against the runs before them that had about as many rows.

A duration says something of the machine and of the code, not of the data. It is no function of the inputs, so it
decides nothing about them. One slow run is usually the machine, and a few hundred runs cannot tell how seldom it is.
That two runs in a row are slow can be told from them: each needs only to be as seldom as the root of the level.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dataops_assets.quality.control.pvalues import calibrate, threshold
from dataops_assets.quality.control.scales import Floats

FEWEST_RUNS = 20
"""With fewer runs before the last two, nothing is said of them."""
MOST_RUNS = 200
"""How many of the newest runs are looked at."""

_ALIKE = 20
_LEAST_LEVEL, _MOST_LEVEL = 1e-5, 0.01
# of the logarithms; a machine is never more even
_LEAST_DEVIATION, _TO_DEVIATION = 0.1, 1.4826
_MOST_LOG = 25.0
# less is of no interest: a busy machine does it
_LEAST_TIMES, _LEAST_SECONDS = 2.0, 10.0


@dataclass(frozen=True)
class StepRun:
    """One run of a step: when it ended, how long it took, and how many rows it had."""

    ended: dt.datetime
    seconds: float
    rows: int


@dataclass(frozen=True)
class DurationVerdict:
    """The verdict on the last run: the most seconds expected of it, and whether it and the one before were slow."""

    run: StepRun
    most: float
    usual: float
    is_slow: bool

    @property
    def sentence(self) -> str:
        """Return the seconds and what was expected, without the name of the step."""
        return (
            f"{self.run.seconds:,.0f} s for {self.run.rows:,} rows, expected at most {self.most:,.0f} s; "
            f"runs with about as many rows took {self.usual:,.3g} s"
        )


def judge_duration(runs: Sequence[StepRun], alarms_a_day: float) -> DurationVerdict | None:
    """Judge the last two of some runs; None with too few before them. `alarms_a_day`: how many may be false."""
    ordered = sorted(runs, key=lambda item: item.ended)[-MOST_RUNS:]
    if len(ordered) < FEWEST_RUNS + 2:
        return None
    *before, last_but_one, last = ordered
    days = (last.ended - before[0].ended) / dt.timedelta(days=1) / (len(ordered) - 1)
    level = math.sqrt(float(np.clip(alarms_a_day * days, _LEAST_LEVEL, _MOST_LEVEL)))
    # the one before is no part of what the last is compared with: it may be the first of a slow time
    first, second = (_expected(before, run, level) for run in (last_but_one, last))
    is_slow = last_but_one.seconds > first.most and last.seconds > second.most
    return DurationVerdict(last, second.most, second.usual, is_slow)


class _Expected(NamedTuple):
    """The seconds that are usual for a run, and the most that are not slow."""

    usual: float
    most: float


def _expected(before: Sequence[StepRun], run: StepRun, level: float) -> _Expected:
    rows, seconds = (np.log1p([getattr(item, name) for item in (*before, run)]) for name in ("rows", "seconds"))
    usual = _usual(rows, seconds)
    apart = (seconds - usual)[:-1]
    # calibrated scores are in deviations
    scale = max(_TO_DEVIATION * float(np.median(np.abs(apart))), _LEAST_DEVIATION)
    beyond = float(threshold(calibrate(apart[None, :] / scale), level)[0])
    middle = math.expm1(usual[-1])
    learnt = math.expm1(min(usual[-1] + scale * beyond, _MOST_LOG))
    return _Expected(middle, max(learnt, _LEAST_TIMES * middle, middle + _LEAST_SECONDS))


def _usual(rows: Floats, seconds: Floats) -> Floats:
    """Return for each run what is usual (logarithms): the median of the runs, but the newest, with about as many rows.

    More rows than these have may take longer in proportion, because no run with so many rows is known.
    """
    distance = np.abs(rows[:, None] - rows[None, :-1])
    np.fill_diagonal(distance, np.inf)
    number = min(_ALIKE, len(rows) - 2)
    nearest = np.argpartition(distance, number - 1, axis=1)[:, :number]
    more = np.maximum(rows - np.median(rows[nearest], axis=1), 0)
    found: Floats = np.median(seconds[nearest], axis=1) + more
    return found
