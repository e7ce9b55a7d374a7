"""Judge points of monitors: a sudden change, a slow drift, or a value that does not move any more.

Each of the three gives a p-value. They share the level of a verdict: a verdict is an alarm if one of them is below its
part. So a verdict is a false alarm with at most its level, however the three depend on each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from dataops_assets.quality.control.forecasts import Forecasts, Series
from dataops_assets.quality.control.pvalues import FEWEST, calibrate, p_values, threshold
from dataops_assets.quality.control.scales import Floats

Number = TypeVar("Number", np.float64, np.int64)

KINDS = ("sudden", "drift", "frozen")
"""What a verdict can be about, in the order of `Judged.kind`."""

# parts of the level: up and down of a sudden change, up and down of a drift, frozen
_SUDDEN, _DRIFT, _FROZEN = 0.4, 0.08, 0.04
# a value (or a drift) this near to its forecast is as usual, even if all before were nearer: a constant that moves by
# one in a thousand is of no interest
_NEAR = 2.5
# how much of a drift's mean is the newest point, and how much one point may count
_NEWEST = 0.15
_MOST = 3.0
# A drift shares errors with those of the points just before it, so it is not ranked among them: a drift that goes on
# would hide itself.
_SHARING = 7
# Of a drift without a cause. It is 0.285 if errors do not depend on each other, and those of a forecast mostly do. The
# tail is fitted in deviations, because of few drifts its width is assumed.
_DEVIATION = 0.4
# after so many repetitions a value is constant
_RESTS = 20
# scores before the point that it is ranked among
_HISTORY = 400
# points are judged together in parts whose scores need 16 MB
_MOST_SCORES = 1 << 21
# the tail is a tenth of the scores, and more of few scores
_MAY_BE_IN_TAIL = 0.35


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
    levels = np.broadcast_to(np.asarray(level, dtype=float), len(series.values))
    at_once = max(1, _MOST_SCORES // (max(len(series.values), 1) * _HISTORY))
    found: list[Judged] = []
    for start in range(0, len(points), at_once):
        some = np.array(points[start : start + at_once], dtype=int)
        found += _judged(forecasts, (drift, repeats), some, np.tile(levels, len(some)))
    return found


def drifts(fixed: Floats) -> Floats:
    """Return the exponentially weighted mean of the scores against a fixed level (an EWMA chart).

    Each value follows from the one before it: mean = kept * mean before + added. Two such steps are one of the same
    form. So the steps are joined two by two, then four by four: few passes over all points instead of one for each.
    """
    there = np.isfinite(fixed)
    added = np.where(there, _NEWEST * np.minimum(np.maximum(fixed, -_MOST), _MOST), 0.0)
    kept = np.where(there, 1 - _NEWEST, 1.0)
    reach = 1
    while reach < fixed.shape[1]:
        added[:, reach:] += kept[:, reach:] * added[:, :-reach]
        kept[:, reach:] *= kept[:, :-reach].copy()
        reach *= 2
    return np.where(there, added, np.nan)


def repetitions(values: Floats) -> npt.NDArray[np.int64]:
    """Return for each point how many points in a row, up to it, have the same value; 0 without a value.

    0 and a share of 1 are the ends of scales, where values rest by nature: each counts as 1.
    """
    there = np.isfinite(values)
    if not there.size:
        return np.zeros(values.shape, dtype=np.int64)
    number = np.cumsum(there, axis=1)
    last = np.maximum.accumulate(np.where(there, np.arange(values.shape[1]), -1), axis=1)
    before = np.concatenate([np.full((len(values), 1), -1), last[:, :-1]], axis=1)
    earlier = np.take_along_axis(values, np.maximum(before, 0), axis=1)
    goes_on = there & (before >= 0) & (values == earlier) & (values != 0) & (values != np.pi / 2)
    began = np.maximum.accumulate(np.where(there & ~goes_on, number, 0), axis=1)
    return np.where(there, number - began + 1, 0)


def _judged(
    forecasts: Forecasts,
    over_time: tuple[Floats, npt.NDArray[np.int64]],
    points: npt.NDArray[np.int64],
    level: Floats,
) -> list[Judged]:
    """Judge points together: a row for each monitor of the first point, then for each of the second, and so on."""
    drift, repeats = over_time
    scores, score = _known_scores(forecasts, points), _at(forecasts.scores, points)
    above, below = calibrate(scores), calibrate(-scores)
    sudden = np.fmin(p_values(above, score), p_values(below, -score))
    parts = np.stack(
        [
            np.where(np.abs(score) < _NEAR, np.maximum(sudden, 1), sudden) / _SUDDEN,
            _drift(*_known_drifts(forecasts, drift, points)) / _DRIFT,
            _frozen(repeats, points) / _FROZEN,
        ]
    )
    # without enough points nothing is told, so a monitor that repeats its first values is not frozen
    learning = np.isnan(parts[0])
    kind = np.argmin(np.where(np.isnan(parts), np.inf, parts), axis=0)
    expected, deviation = _at(forecasts.expected, points), _at(forecasts.deviation, points)
    found = (
        np.where(learning, np.nan, np.minimum(np.fmin.reduce(np.where(learning, 1.0, parts), axis=0), 1)),
        kind,
        expected,
        expected - deviation * np.maximum(threshold(below, level * _SUDDEN), _NEAR),
        expected + deviation * np.maximum(threshold(above, level * _SUDDEN), _NEAR),
        _at(repeats, points),
    )
    by_point = [item.reshape(len(points), -1) for item in found]
    return [Judged(*(item[place] for item in by_point)) for place in range(len(points))]


def _at(values: npt.NDArray[Number], points: npt.NDArray[np.int64]) -> npt.NDArray[Number]:
    """Return the values of all monitors at each point, one point after another."""
    return values[:, points].T.ravel()


def before_points(values: npt.NDArray[Number], points: npt.NDArray[np.int64], nothing: float) -> npt.NDArray[Number]:
    """Return the values of all monitors before each point as a row, `nothing` in front where there are fewer."""
    most = int(min(_HISTORY, points.max(initial=0)))
    if len(points) == 1:
        return values[:, points[0] - most : points[0]]
    filled = np.concatenate([np.full((len(values), most), nothing, dtype=values.dtype), values], axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(filled, most, axis=1)
    return np.swapaxes(windows[:, points], 0, 1).reshape(-1, most)


def _known_scores(forecasts: Forecasts, points: npt.NDArray[np.int64]) -> Floats:
    """Return the scores before each point, without those that a new level explains by then."""
    scores = before_points(forecasts.scores, points, np.nan)
    rows = np.flatnonzero((forecasts.explained <= points.max(initial=0)).any(axis=1))
    if not len(rows):
        return scores
    found = scores.copy()
    explained = before_points(forecasts.explained[rows], points, np.iinfo(np.int64).max)
    places = (np.arange(len(points))[:, None] * len(forecasts.scores) + rows).ravel()
    found[places] = np.where(explained <= np.repeat(points, len(rows))[:, None], np.nan, scores[places])
    return found


def _known_drifts(forecasts: Forecasts, drift: Floats, points: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Return the drifts before each point, and at it, of scores without those that a new level explains by then."""
    before, now = before_points(drift, points, np.nan), _at(drift, points)
    rows = np.flatnonzero((forecasts.explained <= points.max(initial=0)).any(axis=1))
    if not len(rows):
        return before, now
    before, most = before.copy(), before.shape[1]
    for place, point in enumerate(points):
        explained = forecasts.explained[rows, : point + 1] <= point
        found = drifts(np.where(explained, np.nan, forecasts.fixed[rows, : point + 1]))
        at = place * len(forecasts.fixed) + rows
        known = found[:, max(point - most, 0) : point]
        before[at, most - known.shape[1] :] = known
        now[at] = found[:, point]
    return before, now


def _drift(before: Floats, now: Floats) -> Floats:
    """Return how seldom a drift is as far, up or down, among the drifts before that share little with it."""
    apart, far = before[:, :-_SHARING] / _DEVIATION, now / _DEVIATION
    seldom = np.fmin(_rising(apart, far), _rising(-apart, -far))
    return np.where(np.abs(far) < _NEAR, np.maximum(seldom, 1), seldom)


def _rising(before: Floats, now: Floats) -> Floats:
    """Return how seldom a drift is as far up. A tail is fitted only where the drift is in it; elsewhere ranks count."""
    number = np.isfinite(before).sum(axis=1)
    at_least = (before >= now[:, None]).sum(axis=1)
    ranked = (1 + at_least) / (number + 1)
    found = np.where((number >= FEWEST) & np.isfinite(now), np.minimum(ranked, 1), np.nan)
    in_tail = np.flatnonzero(ranked <= _MAY_BE_IN_TAIL)
    found[in_tail] = p_values(calibrate(before[in_tail], keep_faults=True), now[in_tail])
    return found


def _frozen(repeats: npt.NDArray[np.int64], points: npt.NDArray[np.int64]) -> Floats:
    """Return how seldom so many equal values follow each other, from how often a value was repeated before.

    The repetitions of the run itself are left out: they are what is judged. A monitor that hardly moved before, or that
    rests for long already, is not frozen but constant.
    """
    now = _at(repeats, points)
    found = np.ones(len(now))
    rows = np.flatnonzero((now > 1) & (now <= _RESTS + 1))
    if not len(rows):
        return found
    before = before_points(repeats, points, 0)[rows]
    run = now[rows] - 1
    known = (before > 0).sum(axis=1) - run
    repeated = (before > 1).sum(axis=1) - np.maximum(run - 1, 0)
    as_long = (before >= now[rows, None]).sum(axis=1)
    often = np.clip((repeated + 1) / (np.maximum(known, 0) + 2), 0, 1)
    seldom = np.maximum(often**run, as_long / (np.maximum(known, 0) + 1))
    found[rows] = np.where(known >= FEWEST, np.minimum(seldom, 1), 1.0)
    return found
