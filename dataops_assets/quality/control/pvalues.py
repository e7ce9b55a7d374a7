"""How seldom a score is: its rank among earlier scores, and beyond the largest of them the tail that they suggest.

The rank alone gives (1 + scores at least as large) / (n + 1). If the scores are exchangeable this is a valid p-value
whatever their distribution is (conformal prediction). But it is never below 1 / (n + 1), and a deployment with many
monitors needs smaller ones. So a tail is fitted to the largest tenth of the scores, a generalised Pareto distribution.
Its shape, which few scores tell badly, is drawn towards a rather heavy one. It never makes a p-value smaller than the
rank does, except beyond all scores. Hence for every level from 1 / (n + 1) on the rank's guarantee holds, and below it
at most 1 in n + 1 can be false.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dataops_assets.quality.control.scales import Floats

FEWEST = 14
"""With fewer earlier scores there is no p-value."""

_TAIL = 0.1
_FEWEST_TAIL = 3
# The shape and the excess that are assumed before there are scores, and the number of scores that they count as. A
# shape of 0 is an exponential tail, of 1/6 that of a t-distribution with six degrees of freedom.
_USUAL_SHAPE = 0.15
_SHAPE_COUNTS_AS = 30.0
_SHAPES = (0.01, 0.5)
_USUAL_EXCESS = 0.45
_EXCESS_COUNTS_AS = 8.0
# earlier scores that are this seldom were faults themselves, unless there are many of them
_FAULTS = 1e-4
_MOST_FAULTS = 0.05


class Known(NamedTuple):
    """Earlier scores, as `Calibration` has them."""

    scores: Floats
    largest: Floats
    left_out: npt.NDArray[np.int64]
    number: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Calibration:
    """The earlier scores of each monitor, in any order; -inf fills up where a monitor has fewer.

    * `largest`: a bit more than the tail of them, ascending. `left_out`: how many of `scores`, the largest ones, count
      as faults.
    * `number` of scores without faults. `tail`: how many of them the tail has; `start`, `excess` and `shape` of it.
    """

    scores: Floats
    largest: Floats
    left_out: npt.NDArray[np.int64]
    number: npt.NDArray[np.int64]
    tail: npt.NDArray[np.int64]
    start: Floats
    excess: Floats
    shape: Floats

    def beyond(self, level: float | Floats) -> Floats:
        """Return the score that the fitted tail exceeds with the probability `level`."""
        share = np.minimum(level * (self.number + 1) / (self.tail + 0.5), 1)
        return self.start + self.excess / self.shape * (share**-self.shape - 1)


def calibrate(scores: Floats, *, keep_faults: bool = False) -> Calibration:
    """Find the largest scores of each monitor (a row; NaN is no score) and fit the tail of them.

    A few scores so far out that they were faults themselves are left out, unless `keep_faults`.
    """
    there = np.isfinite(scores)
    known = np.where(there, scores, -np.inf)
    number = there.sum(axis=1)
    largest = _largest(known)
    nothing = np.zeros_like(number)
    fitted = _fit(Known(known, largest, nothing, number), by_scores=keep_faults)
    if keep_faults:
        return fitted
    odd = (largest > fitted.beyond(_FAULTS)[:, None]).sum(axis=1)
    few = (odd <= np.maximum(_MOST_FAULTS * number, 1)) & (number >= FEWEST)
    left_out = np.where(few, odd, 0)
    return _fit(Known(known, _without(largest, left_out), left_out, number - left_out), by_scores=True)


def p_values(calibration: Calibration, scores: Floats) -> Floats:
    """Return for one new score of each monitor how seldom one at least as large is; NaN without enough scores."""
    n = calibration.number
    at_least = np.maximum((calibration.scores >= scores[:, None]).sum(axis=1) - calibration.left_out, 0)
    ranked = (1 + at_least) / (n + 1)
    with np.errstate(invalid="ignore", over="ignore"):
        beyond = np.maximum(scores - calibration.start, 0) / calibration.excess
        tail = (calibration.tail + 0.5) / (n + 1) * (1 + calibration.shape * beyond) ** (-1 / calibration.shape)
    in_tail = np.where(at_least == 0, np.minimum(ranked, tail), np.maximum(ranked, tail))
    found = np.where(scores > calibration.start, in_tail, ranked)
    return np.where((n >= FEWEST) & np.isfinite(scores), np.minimum(found, 1), np.nan)


def threshold(calibration: Calibration, level: float | Floats) -> Floats:
    """Return the score beyond which the p-value of each monitor is at most `level` (up to a tenth)."""
    n = calibration.number
    width = calibration.largest.shape[1]
    largest = calibration.largest[:, -1] if width else np.full(len(n), -np.inf)
    tail = calibration.beyond(level)
    rank = np.floor(level * (n + 1) + 1e-9).astype(int)
    place = np.clip(width - rank, 0, max(width - 1, 0))
    ranked = np.take_along_axis(calibration.largest, place[:, None], axis=1)[:, 0] if width else largest
    found: Floats = np.where(rank >= 1, np.minimum(np.maximum(ranked, tail), largest), np.maximum(largest, tail))
    return np.where(n >= FEWEST, found, np.inf)


def _largest(scores: Floats) -> Floats:
    """Return the largest scores, ascending: those of the tail, of the faults that can be left out, and some more."""
    width = scores.shape[1]
    kept = min(width, math.ceil((_TAIL + _MOST_FAULTS) * width) + _FEWEST_TAIL + 2)
    if kept == width:
        return np.sort(scores, axis=1)
    return np.sort(np.partition(scores, width - kept, axis=1)[:, width - kept :], axis=1)


def _without(ascending: Floats, left_out: npt.NDArray[np.int64]) -> Floats:
    """Return the scores without so many of the largest of each row; -inf fills up."""
    found = ascending.copy()
    width = ascending.shape[1]
    for row in np.flatnonzero(left_out):
        kept = width - left_out[row]
        found[row] = -np.inf
        found[row, width - kept :] = ascending[row, :kept]
    return found


def _fit(known: Known, *, by_scores: bool) -> Calibration:
    """Fit the tail. `by_scores`: its shape, too, by the largest scores, which faults would spoil."""
    _, ascending, _, number = known
    monitors, width = ascending.shape
    tail = np.minimum(np.maximum(np.ceil(_TAIL * number).astype(int), _FEWEST_TAIL), np.maximum(number - 1, 0))
    usual = np.full(monitors, _USUAL_SHAPE)
    if width == 0:
        nothing = np.zeros(monitors)
        return Calibration(*known, tail, nothing, nothing + _USUAL_EXCESS, usual)
    last = width - 1
    start = np.take_along_axis(ascending, np.clip(last - tail, 0, last)[:, None], axis=1)[:, 0]
    middle = np.take_along_axis(ascending, np.clip(last - tail // 2, 0, last)[:, None], axis=1)[:, 0]
    start = np.where(number > 0, start, 0.0)
    shape = _shapes(ascending, start, tail) if by_scores else usual
    # the median of the excesses tells the scale of the tail, and a few faults among the scores do not move it
    median = np.where(number > 0, np.maximum(middle - start, 0), 0.0)
    excess = median * shape / (2**shape - 1)
    excess = (_EXCESS_COUNTS_AS * _USUAL_EXCESS + tail * excess) / (_EXCESS_COUNTS_AS + tail)
    return Calibration(*known, tail, start, excess, shape)


def _shapes(ascending: Floats, start: Floats, tail: npt.NDArray[np.int64]) -> Floats:
    """Return the shape of each tail by the first two L-moments of its excesses, drawn towards the usual shape."""
    width = max(int(tail.max(initial=0)), 1)
    place = np.arange(width)[:, None] - (width - tail)
    # by score and monitor: sums over the first axis are the same however long the tails of other monitors are
    largest = np.ascontiguousarray(ascending[:, -width:].T)
    excesses = np.where(place >= 0, largest - start, 0.0)
    mean = np.add.reduce(excesses, axis=0) / np.maximum(tail, 1)
    weighted = np.add.reduce(excesses * np.maximum(place, 0), axis=0) / np.maximum(tail * (tail - 1), 1)
    spread = 2 * weighted - mean
    told = np.where(spread > 0, 2 - mean / np.where(spread > 0, spread, 1), _USUAL_SHAPE)
    drawn = (_SHAPE_COUNTS_AS * _USUAL_SHAPE + tail * np.clip(told, -1, 1)) / (_SHAPE_COUNTS_AS + tail)
    return np.clip(drawn, *_SHAPES)
