"""How long steps took: false alarms with heavy tails, and slow times that are found."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import numpy as np
import pytest

from dataops_assets.quality.control.durations import FEWEST_RUNS, StepRun, judge_duration

START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
ONE_IN_A_MONTH = 1 / 30


def hourly(seconds: Sequence[float]) -> list[StepRun]:
    return [StepRun(START + dt.timedelta(hours=number), some, 10_000) for number, some in enumerate(seconds)]


def is_slow(seconds: Sequence[float]) -> bool:
    verdict = judge_duration(hourly(seconds), ONE_IN_A_MONTH)
    return verdict is not None and verdict.is_slow


@pytest.mark.parametrize(("degrees", "found"), [(3, 0.7), (6, 0.9)])
def test_heavy_tails_raise_no_alarm_and_a_slow_time_is_told_by_its_second_run(degrees: int, found: float) -> None:
    noise = np.random.default_rng(degrees).standard_t(degrees, 260)
    seconds = [float(some) for some in 60 * np.exp(0.25 * noise)]
    assert not any(is_slow(seconds[:end]) for end in range(40, len(seconds)))
    ends = range(60, len(seconds) - 2, 10)
    told = [is_slow([*seconds[:end], 6 * seconds[end], 6 * seconds[end + 1]]) for end in ends]
    assert sum(told) >= found * len(told)
    # one slow run is the machine, unless chance made the one before it slow
    assert sum(is_slow([*seconds[:end], 6 * seconds[end]]) for end in ends) <= 1


def test_a_slow_step_is_usual_after_some_time_and_fast_again_at_once() -> None:
    usual, slow = [60.0 + number % 5 for number in range(50)], [400.0] * 60
    assert is_slow([*usual, *slow[:2]])
    assert is_slow([*usual, *slow[:4]])
    assert not is_slow([*usual, *slow])
    assert not is_slow([*usual, *slow[:2], 61.0])


def test_too_few_runs_and_small_differences_say_nothing() -> None:
    assert judge_duration(hourly([1.0] * (FEWEST_RUNS + 1)), ONE_IN_A_MONTH) is None
    assert not is_slow([1.0] * FEWEST_RUNS + [10.0, 10.0]), "9 s more is of no interest"
    assert not is_slow([100.0] * FEWEST_RUNS + [190.0, 190.0]), "less than twice as long is of no interest"
    assert is_slow([100.0] * FEWEST_RUNS + [290.0, 290.0])
