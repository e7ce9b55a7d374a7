"""Forecast every point of many monitors from the points before it only.

A monitor is described as level + trend + effects of the calendar + noise, and the level may move. How much it moves
differs from monitor to monitor. So five filters run side by side, from a fixed level to one that follows each point,
and each point is forecast by the filter that had the least error before it.

* The filters are Kalman filters. All monitors of one table share their calendar, so they share the gains, which do not
  depend on the values; 10,000 monitors cost little more than one.
* A point far from its forecast moves a filter no more than one at the limit does: one odd day spoils no later forecast.
* If points stay far away on one side for `accept_after` points, the level is moved to them: a new normal.
* A table gets one input after another, and the filters go on where they ended, if a `Memory` keeps their state. A state
  carries a digest of all that it was made of. So after a late, removed or changed input, another setting or other code
  it is not used, and a forecast is the same, bit by bit, with a memory and without.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt

from dataops_assets.quality.control.calendar import TREND, Design
from dataops_assets.quality.control.scales import Floats, floor_of_counts

# variance by which the level moves from point to point, in units of the noise's
_MOVES = np.array([0.001, 0.0, 0.01, 0.1, 1.0, 0.01])
# the last filter takes any trend, the others know that a monitor has hardly any: variance of the trend over 100 points
_STEEP = len(_MOVES) - 1
_STEEP_TREND = 1e12
# it must be much better than the others: where there is no trend, to take turns with it makes forecasts worse
_HANDICAPS = np.where(np.arange(len(_MOVES)) == _STEEP, 1.5, 1.0)[:, None]
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
# what is forecast at once, so that the arrays of a pass stay below 100 MB
_MOST_VALUES = 1 << 21
# a point that no new level explains
_NEVER = np.iinfo(np.int64).max
# a state is kept once in so many points: it is as large as the forecasts of all points before
_KEPT_EVERY = 16
_MOST_BYTES = 4 << 20
_DIGEST = 32


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


@dataclass(frozen=True)
class Task:
    """Series to forecast over their points. `restarts`: the points at which a person says that a new level begins."""

    series: Series
    design: Design
    accept_after: int
    restarts: frozenset[int] = frozenset()


class Memory(Protocol):
    """Keeps the state of the filters of one table. It may forget it at any time."""

    def read(self) -> bytes | None:
        """Return what was written last; None if nothing was."""

    def write(self, state: bytes) -> None:
        """Keep a state instead of the one before."""


def forecast(series: Series, design: Design, accept_after: int, restarts: Collection[int] = ()) -> Forecasts:
    """Forecast each point of one task."""
    return forecast_all([Task(series, design, accept_after, frozenset(restarts))])[0]


def forecast_all(tasks: Sequence[Task], memory: Memory | None = None) -> list[Forecasts]:
    """Forecast each point of several tasks in one pass over the points, each as if it were alone.

    A pass costs as many steps as there are points, however many monitors there are. So many short tasks cost little
    more than one. One task alone goes on from what `memory` has.
    """
    found: list[Forecasts] = []
    for some in _portions(tasks):
        filters = _Filters(some)
        kept = memory if len(tasks) == 1 else None
        begin = 0 if kept is None else filters.resume(kept.read())
        for point in range(begin, filters.points):
            filters.step(point)
        if kept is not None and filters.points - begin >= _KEPT_EVERY and filters.size <= _MOST_BYTES:
            kept.write(filters.state())
        found += filters.forecasts()
    return found


@lru_cache(maxsize=1)
def _code() -> bytes:
    """Return a digest of the code that forecasts: a state that other code made is no state."""
    texts = [inspect.getsource(sys.modules[name]) for name in (__name__, floor_of_counts.__module__)]
    return hashlib.sha256("\n".join([np.__version__, *texts]).encode()).digest()


def _digest(task: Task, points: int) -> bytes:
    """Return a digest of all that the forecasts of the first points follow from."""
    found = hashlib.sha256(_code())
    series, design = task.series, task.design
    early = [sorted(place for place in places if place < points) for places in (task.restarts, design.after_gaps)]
    found.update(repr((points, task.accept_after, series.values.shape[0], design.effects.shape[1], *early)).encode())
    parts = (series.values[:, :points], series.floors[:, :points], series.counts)
    for part in (*parts, design.effects[:points], design.variances):
        found.update(np.ascontiguousarray(part).tobytes())
    return found.digest()


def _portions(tasks: Sequence[Task]) -> Iterator[list[Task]]:
    """Split tasks so that the values of each part need little memory."""
    some: list[Task] = []
    size = 0
    for task in tasks:
        if some and size + task.series.values.size > _MOST_VALUES:
            yield some
            some, size = [], 0
        some.append(task)
        size += task.series.values.size
    if some:
        yield some


@dataclass(frozen=True)
class _Gains:
    """How much each filter learns from the error at each point; it follows from the calendar alone.

    `of_effects` by point, effect and filter; `roots` by point and filter: the deviation of a forecast with what is not
    known of its effects, in units of the noise's.
    """

    of_effects: Floats
    roots: Floats


# the tables of one source have the same calendar
@lru_cache(maxsize=16)
def _gains(effects: bytes, variances: bytes, restarts: frozenset[int], after_gaps: frozenset[int]) -> _Gains:
    first = np.frombuffer(variances)
    by_point = np.frombuffer(effects).reshape(-1, len(first))
    variance = np.broadcast_to(np.diag(first), (len(_MOVES), len(first), len(first))).copy()
    variance[_STEEP, TREND, TREND] = _STEEP_TREND
    gains = np.empty((len(by_point), len(first), len(_MOVES)))
    roots = np.empty((len(by_point), len(_MOVES)))
    for point, row in enumerate(by_point):
        if point in restarts:
            variance[:, 0, 0] += _AGAIN
        if point in after_gaps:
            variance[_STEEP, 0, 0] += _STEEP_TREND
        covered = variance @ row
        factor = covered @ row + 1
        gain = covered / factor[:, None]
        gains[point] = gain.T
        roots[point] = np.sqrt(factor)
        variance -= gain[:, :, None] * covered[:, None, :]
        variance[:, 0, 0] += _MOVES
    return _Gains(gains, roots)


class _Filters:
    """The filters of several tasks. Arrays are by filter and monitor; states by effect, filter and monitor.

    Sums over effects are sums over the first axis, which numpy adds in order. So effects of other tasks, which are 0
    here, change no bit of a result.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._tasks = tasks
        self.points = max(task.series.values.shape[1] for task in tasks)
        monitors = [len(task.series.values) for task in tasks]
        effects, all_monitors = max(len(task.design.variances) for task in tasks), sum(monitors)
        self._task = np.repeat(np.arange(len(tasks)), monitors)
        self._ends = np.cumsum([0, *monitors])
        self._values = np.full((self.points, all_monitors), np.nan)
        self._floors = np.zeros((self.points, all_monitors))
        self._effects = np.zeros((self.points, effects, len(tasks)))
        self._gains = np.zeros((self.points, effects, len(_MOVES), len(tasks)))
        self._roots = np.ones((self.points, len(_MOVES), len(tasks)))
        for number, task in enumerate(tasks):
            self._place(number, task)
        # the same for all monitors of one task
        if len(tasks) == 1:
            self._task = np.zeros(1, dtype=int)
        self._counts = np.concatenate([task.series.counts for task in tasks])
        self._accept_after = np.repeat([task.accept_after for task in tasks], monitors)
        self._centre = np.concatenate([_first(task.series.values) for task in tasks])
        self._rows = np.arange(all_monitors)
        self._state = np.zeros((effects, len(_MOVES), all_monitors))
        self._changes = np.empty_like(self._state)
        self._error, self._errors, self._loss, self._run, self._run_sum = np.zeros((5, len(_MOVES), all_monitors))
        # what the errors of a run have added, which is taken back if the run is a new level
        self._run_loss, self._error_before = np.zeros((2, len(_MOVES), all_monitors))
        # whether the filter was the best one when its run began
        self._led = np.zeros((len(_MOVES), all_monitors), dtype=bool)
        self._seen = np.zeros(all_monitors)
        self._has_runs = False
        self._expected, self._deviation, self._scores, self._fixed = np.full((4, self.points, all_monitors), np.nan)
        self._explained = np.full((self.points, all_monitors), _NEVER)

    def _place(self, number: int, task: Task) -> None:
        rows = slice(self._ends[number], self._ends[number + 1])
        points, effects = task.design.effects.shape
        gains = _gains(
            np.ascontiguousarray(task.design.effects).tobytes(),
            task.design.variances.tobytes(),
            task.restarts,
            task.design.after_gaps,
        )
        self._values[:points, rows] = task.series.values.T
        self._floors[:points, rows] = task.series.floors.T
        self._effects[:points, :effects, number] = task.design.effects
        self._gains[:points, :effects, :, number] = gains.of_effects
        self._roots[:points, :, number] = gains.roots

    def forecasts(self) -> list[Forecasts]:
        """Return the forecasts of each task."""
        found = []
        for number, task in enumerate(self._tasks):
            rows, points = slice(self._ends[number], self._ends[number + 1]), task.series.values.shape[1]
            parts = (self._expected, self._deviation, self._scores, self._fixed)
            expected, deviation, scores, fixed = (np.ascontiguousarray(part[:points, rows].T) for part in parts)
            explained = np.ascontiguousarray(self._explained[:points, rows].T)
            found.append(Forecasts(expected, deviation, scores, fixed, explained))
        return found

    @property
    def size(self) -> int:
        """Return the bytes of the state."""
        return sum(part.nbytes for part in self._parts(self.points))

    def state(self) -> bytes:
        """Return what `resume` needs, after the last point. Only for one task."""
        parts = self._parts(self.points)
        head = _digest(self._tasks[0], self.points) + self.points.to_bytes(8, "little") + bytes([self._has_runs])
        return b"".join([head, *(np.ascontiguousarray(part).tobytes() for part in parts)])

    def resume(self, state: bytes | None) -> int:
        """Go on from a state, if it was made of the first points of this task; return the point to go on with."""
        if state is None or len(state) <= _DIGEST + 9:
            return 0
        points = int.from_bytes(state[_DIGEST : _DIGEST + 8], "little")
        if points > self.points or state[:_DIGEST] != _digest(self._tasks[0], points):
            return 0
        self._has_runs = bool(state[_DIGEST + 8])
        place = _DIGEST + 9
        for part in self._parts(points):
            part[...] = np.frombuffer(state, part.dtype, part.size, place).reshape(part.shape)
            place += part.nbytes
        return points

    def _parts(self, points: int) -> tuple[npt.NDArray[np.generic], ...]:
        """Return all that a step reads of the steps before, and what the first points were told."""
        learnt = (self._state, self._error, self._errors, self._loss, self._run, self._run_sum, self._run_loss)
        told = (self._expected, self._deviation, self._scores, self._fixed, self._explained)
        return (*learnt, self._error_before, self._led, self._seen, *(part[:points] for part in told))

    def step(self, point: int) -> None:
        """Forecast a point, and learn from it."""
        effects = self._effects[point].take(self._task, axis=1)
        root = self._roots[point].take(self._task, axis=1)
        np.multiply(self._state, effects[:, None, :], out=self._changes)
        expected = np.add.reduce(self._changes, axis=0)
        expected += self._centre
        usual = self._deviations(point, expected)
        deviation = usual * root
        error = self._values[point] - expected
        scores = _in_deviations(error, deviation)
        best = (self._loss * _HANDICAPS).argmin(axis=0)
        self._tell(point, best, (expected, deviation, scores))
        there = np.isfinite(error)
        if not there.all():
            error = np.where(there, error, 0)
            scores = np.where(there, scores, 0)
        limit = np.where(self._seen < _UNCLIPPED, np.inf, _CLIP * deviation)
        limited = np.minimum(np.maximum(error, -limit), limit)
        np.multiply(self._gains[point].take(self._task, axis=2), limited, out=self._changes)
        self._state += self._changes
        self._follow_runs(scores, error, (there, best))
        self._learn(np.abs(error), (usual, deviation, root), there)
        if self._has_runs:
            self._accept(point)
        self._seen += there[0]

    def _deviations(self, point: int, expected: Floats) -> Floats:
        """Return the deviation of the noise: what the errors were so far, and not less than chance."""
        floor = self._floors[point]
        if self._counts.any():
            floor = np.where(self._counts, np.hypot(floor, floor_of_counts(expected)), floor)
        return np.maximum(np.maximum(self._error * _TO_DEVIATION, floor), 1e-300)

    def _tell(self, point: int, best: npt.NDArray[np.int64], told: tuple[Floats, Floats, Floats]) -> None:
        expected, deviation, scores = told
        place = best * len(self._rows) + self._rows
        self._expected[point] = expected.take(place)
        self._deviation[point] = deviation.take(place)
        ready = self._errors.take(place) >= _ENOUGH
        self._scores[point] = np.where(ready, scores.take(place), np.nan)
        self._fixed[point] = np.where(ready, scores[_FIXED], np.nan)

    def _learn(self, size: Floats, told: tuple[Floats, Floats, Floats], there: npt.NDArray[np.bool_]) -> None:
        """Update the usual size of the errors, and which filter has the least."""
        usual, deviation, root = told
        counted = there & (root**2 < _KNOWN)
        own = size / root
        limited = np.where(self._errors < _ENOUGH, own, np.minimum(own, _CLIP * usual))
        gain = np.maximum(1 / (self._errors + 1), _SCALE_GAIN) * counted
        self._error += gain * (limited - self._error)
        self._errors += counted
        ready = there & (self._seen >= _UNCLIPPED)
        loss = np.minimum(size, _CLIP * deviation.min(axis=0)) * ready
        self._loss *= np.where(ready, _FORGET, 1.0)
        self._loss += loss
        if self._has_runs:
            self._run_loss = np.where(self._run != 0, self._run_loss + loss, 0)

    def _follow_runs(
        self, scores: Floats, error: Floats, at: tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]
    ) -> None:
        """Count the points in a row that are far away on one side."""
        there, best = at
        far = np.abs(scores) > _FAR
        if not self._has_runs and not far.any():
            return
        side = np.sign(scores) * far
        goes_on = far & (np.sign(self._run) == side)
        self._error_before = np.where(goes_on, self._error_before, self._error)
        self._led = np.where(goes_on, self._led, best == np.arange(len(_MOVES))[:, None])
        run = np.where(goes_on, self._run + side, side)
        total = np.where(goes_on, self._run_sum + error, error * far)
        self._run = np.where(there, run, self._run)
        self._run_sum = np.where(there, total, self._run_sum)
        if not self._has_runs:
            self._run_loss = np.zeros_like(self._run_loss)
        self._has_runs = bool(self._run.any())

    def _accept(self, point: int) -> None:
        """Move the level to points that stay far away on one side for long enough."""
        accepted = np.abs(self._run) >= self._accept_after
        if not accepted.any():
            return
        for row in np.flatnonzero((accepted & self._led).any(axis=0)):
            self._explained[max(0, point + 1 - self._accept_after[row]) : point + 1, row] = point + 1
        self._state[0] += np.where(accepted, self._run_sum / np.maximum(np.abs(self._run), 1), 0)
        self._error = np.where(accepted, self._error_before, self._error)
        self._loss -= np.where(accepted, self._run_loss, 0)
        for kept in (self._run, self._run_sum, self._run_loss):
            kept[accepted] = 0


def _in_deviations(error: Floats, deviation: Floats) -> Floats:
    """Return errors in standard deviations. They are finite, because what is not finite counts as missing."""
    with np.errstate(over="ignore"):
        return np.minimum(np.maximum(error / deviation, -_MOST_DEVIATIONS), _MOST_DEVIATIONS)


def _first(values: Floats) -> Floats:
    """Return each monitor's first value, 0 without any: numbers near it keep their digits."""
    there = np.isfinite(values)
    first = np.argmax(there, axis=1)
    return np.where(there.any(axis=1), values[np.arange(len(values)), first] if values.size else 0.0, 0.0)
