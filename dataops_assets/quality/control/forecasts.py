"""Forecast every point of many monitors from the points before it only.

A monitor is described as level + trend + effects of the calendar + noise, and the level may move. How much it moves
differs from monitor to monitor. So five filters run side by side, from a fixed level to one that follows each point,
and each point is forecast by the filter that had the least error before it.

* The filters are Kalman filters. All monitors of one table share their calendar, so they share the gains, which do not
  depend on the values; 10,000 monitors cost little more than one.
* A point far from its forecast moves a filter no more than one at the limit does: one odd day spoils no later forecast.
* If points stay far away on one side for `accept_after` points, the level is moved to them: a new normal.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataops_assets.quality.control.calendar import Design
from dataops_assets.quality.control.scales import Floats, floor_of_counts

# variance by which the level moves from point to point, in units of the noise's
_MOVES = np.array([0.001, 0.0, 0.01, 0.1, 1.0])
# the filter whose level is fixed: slow drifts are seen against it
_FIXED = 1
_CLIP = 3.0
_FAR = 2.5
_MOST_DEVIATIONS = 1e100
# an effect counts as known if a forecast with it has at most so many times the variance of the noise
_KNOWN = 4.0
_UNCLIPPED = 12
_ENOUGH = 6
_FORGET = 0.98
_SCALE_GAIN = 0.02
_TO_DEVIATION = 1.2533
_AGAIN = 1e4


@dataclass(frozen=True)
class Series:
    """Values of monitors (rows) at the same points (columns), on their scales; NaN where a monitor has none.

    * `floors`: the least deviation to assume.
    * `counts`: by monitor, whether it is on the scale of counts, whose least deviation depends on what is expected.
    * `rests`: at which points equal values in a row say nothing; None: at no point.
    """

    values: Floats
    floors: Floats
    counts: npt.NDArray[np.bool_]
    rests: npt.NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Forecasts:
    """For each monitor and point, from the points before it: the expected value and the deviation of the forecast.

    * `scores`: (value - expected) / deviation; NaN where there is no value or too few points came before.
    * `fixed`: the same against a level that does not move.
    * `explained`: the point from which on the score is known to be part of a new level; no score to compare with then.
    """

    expected: Floats
    deviation: Floats
    scores: Floats
    fixed: Floats
    explained: npt.NDArray[np.int64]

    def known_scores(self, point: int, most: int) -> Floats:
        """Return at most `most` scores before a point, without those that a new level explains by then."""
        before = slice(max(0, point - most), point)
        return np.where(self.explained[:, before] <= point, np.nan, self.scores[:, before])


def forecast(series: Series, design: Design, accept_after: int, restarts: Collection[int] = ()) -> Forecasts:
    """Forecast each point. `restarts` are the points (by number) at which a person says a new level begins."""
    monitors, points = series.values.shape
    filters = _Filters(series, design, accept_after)
    never = np.full((monitors, points), points + 1)
    expected, deviation, scores, fixed = (np.full((monitors, points), np.nan) for _ in range(4))
    found = Forecasts(expected, deviation, scores, fixed, never)
    for point in range(points):
        if point in restarts:
            filters.restart()
        filters.step(point, found)
    return found


class _Filters:
    def __init__(self, series: Series, design: Design, accept_after: int) -> None:
        monitors, filters, effects = len(series.values), len(_MOVES), design.effects.shape[1]
        self._series, self._design, self._accept_after = series, design, accept_after
        self._centre = _first(series.values)
        self._state = np.zeros((monitors, filters, effects))
        self._variance = np.broadcast_to(np.diag(design.variances), (filters, effects, effects)).copy()
        self._error = np.zeros((monitors, filters))
        self._errors = np.zeros((monitors, filters))
        self._loss = np.zeros((monitors, filters))
        self._seen = np.zeros(monitors)
        self._run = np.zeros((monitors, filters))
        self._run_sum = np.zeros((monitors, filters))
        # what the errors of a run have added, which is taken back if the run is a new level
        self._run_loss = np.zeros((monitors, filters))
        self._error_before = np.zeros((monitors, filters))
        # whether the filter was the best one when its run began
        self._led = np.zeros((monitors, filters), dtype=bool)
        self._rows = np.arange(monitors)

    def restart(self) -> None:
        self._variance[:, 0, 0] += _AGAIN

    def step(self, point: int, found: Forecasts) -> None:
        effects = self._design.effects[point]
        covered = self._variance @ effects
        factor = covered @ effects + 1
        expected = self._centre[:, None] + self._state @ effects
        deviation = self._deviations(point, expected) * np.sqrt(factor)
        error = self._series.values[:, point, None] - expected
        scores = _in_deviations(error, deviation)
        self._tell(point, found, expected, deviation, scores)
        there = np.isfinite(error)
        error = np.where(there, error, 0)
        limit = np.where(self._seen[:, None] < _UNCLIPPED, np.inf, _CLIP * deviation)
        gains = covered / factor[:, None]
        self._state += np.clip(error, -limit, limit)[:, :, None] * gains
        self._follow_runs(np.where(there, scores, 0), error, there)
        self._learn(error, deviation, np.sqrt(factor), there)
        self._accept(point, found)
        self._seen += there[:, 0]
        self._variance -= gains[:, :, None] * covered[:, None, :]
        self._variance[:, 0, 0] += _MOVES

    def _deviations(self, point: int, expected: Floats) -> Floats:
        floor = self._series.floors[:, point, None]
        by_counts = np.hypot(floor, floor_of_counts(expected))
        floor = np.where(self._series.counts[:, None], by_counts, floor)
        return np.maximum(np.maximum(self._error * _TO_DEVIATION, floor), 1e-300)

    def _tell(self, point: int, found: Forecasts, expected: Floats, deviation: Floats, scores: Floats) -> None:
        best = np.argmin(self._loss, axis=1)
        found.expected[:, point] = expected[self._rows, best]
        found.deviation[:, point] = deviation[self._rows, best]
        ready = self._errors[self._rows, best] >= _ENOUGH
        found.scores[:, point] = np.where(ready, scores[self._rows, best], np.nan)
        found.fixed[:, point] = np.where(ready, scores[:, _FIXED], np.nan)

    def _learn(self, error: Floats, deviation: Floats, root: Floats, there: npt.NDArray[np.bool_]) -> None:
        """Update the usual size of the errors, and which filter has the least."""
        counted = there & (root**2 < _KNOWN)
        size = np.abs(error) / root
        few = self._errors < _ENOUGH
        limited = np.where(few, size, np.minimum(size, _CLIP * deviation / root))
        gain = np.where(counted, np.maximum(1 / (self._errors + 1), _SCALE_GAIN), 0)
        self._error += gain * (limited - self._error)
        self._errors += counted
        most = _CLIP * deviation.min(axis=1, keepdims=True)
        ready = there & (self._seen[:, None] >= _UNCLIPPED)
        loss = np.where(ready, np.minimum(np.abs(error), most), 0)
        self._loss = np.where(ready, _FORGET * self._loss, self._loss) + loss
        self._run_loss = np.where(self._run != 0, self._run_loss + loss, 0)

    def _follow_runs(self, score: Floats, error: Floats, there: npt.NDArray[np.bool_]) -> None:
        """Count the points in a row that are far away on one side."""
        side = np.where(np.abs(score) > _FAR, np.sign(score), 0)
        goes_on = (side != 0) & (np.sign(self._run) == side)
        self._error_before = np.where(goes_on, self._error_before, self._error)
        best = np.argmin(self._loss, axis=1)[:, None] == np.arange(len(_MOVES))
        self._led = np.where(goes_on, self._led, best)
        run = np.where(goes_on, self._run + side, side)
        total = np.where(goes_on, self._run_sum + error, np.where(side != 0, error, 0))
        self._run = np.where(there, run, self._run)
        self._run_sum = np.where(there, total, self._run_sum)

    def _accept(self, point: int, found: Forecasts) -> None:
        """Move the level to points that stay far away on one side for long enough."""
        accepted = np.abs(self._run) >= self._accept_after
        if not accepted.any():
            return
        explained = (accepted & self._led).any(axis=1)
        found.explained[explained, max(0, point + 1 - self._accept_after) : point + 1] = point + 1
        self._state[:, :, 0] += np.where(accepted, self._run_sum / np.maximum(np.abs(self._run), 1), 0)
        self._error = np.where(accepted, self._error_before, self._error)
        self._loss -= np.where(accepted, self._run_loss, 0)
        for kept in (self._run, self._run_sum, self._run_loss):
            kept[accepted] = 0


def _in_deviations(error: Floats, deviation: Floats) -> Floats:
    """Return errors in standard deviations. They are finite, because what is not finite counts as missing."""
    with np.errstate(over="ignore"):
        return np.clip(error / deviation, -_MOST_DEVIATIONS, _MOST_DEVIATIONS)


def _first(values: Floats) -> Floats:
    """Return each monitor's first value, 0 without any: numbers near it keep their digits."""
    there = np.isfinite(values)
    first = np.argmax(there, axis=1)
    return np.where(there.any(axis=1), values[np.arange(len(values)), first] if values.size else 0.0, 0.0)
