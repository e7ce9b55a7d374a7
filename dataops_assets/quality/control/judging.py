"""Judge points of monitors: a sudden change, a slow drift, or a value that does not move any more.

Each of the three gives a p-value. They share the level of a verdict: a verdict is an alarm if one of them is below its
part. So a verdict is a false alarm with at most its level, however the three depend on each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataops_assets.quality.control.forecasts import Forecasts, Series
from dataops_assets.quality.control.pvalues import FEWEST, calibrate, p_values, threshold
from dataops_assets.quality.control.scales import Floats

KINDS = ("sudden", "drift", "frozen")
"""What a verdict can be about, in the order of `Judged.kind`."""

# parts of the level: up and down of a sudden change, up and down of a drift, frozen
_SUDDEN, _DRIFT, _FROZEN = 0.4, 0.08, 0.04
# a value this near to its forecast is as usual, even if all before were nearer: a constant that moves by one in a
# thousand is of no interest
_NEAR = 2.5
# how much of a drift's mean is the newest point, and how much one point may count
_NEWEST = 0.15
_MOST = 3.0
# after so many repetitions a value is constant
_RESTS = 20
# scores before the point that it is ranked among
_HISTORY = 400


@dataclass(frozen=True)
class Judged:
    """For each monitor, at one point.

    * `p`: how seldom something as odd as this happens by chance; NaN while it is learning.
    * `kind`: number of what is odd, in `KINDS`.
    * `low`, `high`: between these a value is no sudden change, on the monitor's scale.
    * `repeats`: how many points in a row have this value.
    """

    p: Floats
    kind: npt.NDArray[np.int64]
    expected: Floats
    low: Floats
    high: Floats
    repeats: npt.NDArray[np.int64]


def judge(series: Series, forecasts: Forecasts, points: Sequence[int], level: float | Floats) -> list[Judged]:
    """Judge the given points (by number), each against the points before it. `level` (by monitor) makes the limits."""
    drift = drifts(forecasts.fixed)
    repeats = repetitions(series.values)
    if series.rests is not None:
        repeats = np.where(series.rests, np.minimum(repeats, 1), repeats)
    return [_judged(forecasts, (drift, repeats), point, level) for point in points]


def drifts(fixed: Floats) -> Floats:
    """Return the exponentially weighted mean of the scores against a fixed level (an EWMA chart)."""
    found = np.full_like(fixed, np.nan)
    mean = np.zeros(len(fixed))
    for point in range(fixed.shape[1]):
        score = fixed[:, point]
        there = np.isfinite(score)
        mean = np.where(there, mean + _NEWEST * (np.clip(np.nan_to_num(score), -_MOST, _MOST) - mean), mean)
        found[:, point] = np.where(there, mean, np.nan)
    return found


def repetitions(values: Floats) -> npt.NDArray[np.int64]:
    """Return for each point how many points in a row, up to it, have the same value; 0 without a value.

    0 and a share of 1 are the ends of scales, where values rest by nature: each counts as 1.
    """
    found = np.zeros(values.shape, dtype=np.int64)
    last = np.full(len(values), np.nan)
    run = np.zeros(len(values), dtype=np.int64)
    for point in range(values.shape[1]):
        value = values[:, point]
        there = np.isfinite(value)
        goes_on = (value == last) & (value != 0) & (value != np.pi / 2)
        run = np.where(there, np.where(goes_on, run + 1, 1), run)
        last = np.where(there, value, last)
        found[:, point] = np.where(there, run, 0)
    return found


def _judged(
    forecasts: Forecasts,
    over_time: tuple[Floats, npt.NDArray[np.int64]],
    point: int,
    level: float | Floats,
) -> Judged:
    drift, repeats = over_time
    before = slice(max(0, point - _HISTORY), point)
    scores, score = forecasts.known_scores(point, _HISTORY), forecasts.scores[:, point]
    above, below = calibrate(scores), calibrate(-scores)
    sudden = np.fmin(p_values(above, score), p_values(below, -score))
    parts = np.stack(
        [
            np.where(np.abs(score) < _NEAR, np.maximum(sudden, 1), sudden) / _SUDDEN,
            _drift(drift[:, before], drift[:, point]) / _DRIFT,
            _frozen(repeats[:, before], repeats[:, point]) / _FROZEN,
        ]
    )
    # without enough points nothing is told, so a monitor that repeats its first values is not frozen
    learning = np.isnan(parts[0])
    kind = np.argmin(np.where(np.isnan(parts), np.inf, parts), axis=0)
    expected, deviation = forecasts.expected[:, point], forecasts.deviation[:, point]
    return Judged(
        p=np.where(learning, np.nan, np.minimum(np.nanmin(np.where(learning, 1.0, parts), axis=0), 1)),
        kind=kind,
        expected=expected,
        low=expected - deviation * np.maximum(threshold(below, level * _SUDDEN), _NEAR),
        high=expected + deviation * np.maximum(threshold(above, level * _SUDDEN), _NEAR),
        repeats=repeats[:, point],
    )


def _drift(before: Floats, now: Floats) -> Floats:
    up = p_values(calibrate(before, keep_faults=True), now)
    down = p_values(calibrate(-before, keep_faults=True), -now)
    return np.fmin(up, down)


def _frozen(before: npt.NDArray[np.int64], now: npt.NDArray[np.int64]) -> Floats:
    """Return how seldom so many equal values follow each other, from how often a value was repeated before.

    The repetitions of the run itself are left out: they are what is judged. A monitor that hardly moved before, or that
    rests for long already, is not frozen but constant.
    """
    run = np.maximum(now - 1, 0)
    points = (before > 0).sum(axis=1) - run
    repeated = (before > 1).sum(axis=1) - np.maximum(run - 1, 0)
    as_long = (before >= now[:, None]).sum(axis=1)
    often = np.clip((repeated + 1) / (np.maximum(points, 0) + 2), 0, 1)
    seldom = np.maximum(often**run, as_long / (np.maximum(points, 0) + 1))
    return np.where((run > 0) & (run <= _RESTS) & (points >= FEWEST), np.minimum(seldom, 1), 1.0)
