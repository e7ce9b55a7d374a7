"""How seldom a score is: its rank among earlier scores, and beyond the largest of them the tail that they suggest.

The rank alone gives (1 + scores at least as large) / (n + 1). If the scores are exchangeable this is a valid p-value
whatever their distribution is (conformal prediction). But it is never below 1 / (n + 1), and a deployment with many
monitors needs smaller ones. So a tail is fitted to the largest tenth of the scores, a generalised Pareto distribution.
Its shape, which few scores tell badly, is drawn towards a rather heavy one. It never makes a p-value smaller than the
rank does, except beyond all scores. Hence for every level from 1 / (n + 1) on the rank's guarantee holds, and below it
at most 1 in n + 1 can be false.
"""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True)
class Calibration:
    """The earlier scores of each monitor, ascending; -inf fills up where a monitor has fewer.

    `number` of scores; `start`, `excess` and `shape` of the fitted tail; `tail`: number of scores in it.
    """

    scores: Floats
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
    """Sort the scores of each monitor (a row; NaN is no score) and fit the tail of the largest.

    A few scores so far out that they were faults themselves are left out, unless `keep_faults`.
    """
    fitted = _fit(np.where(np.isfinite(scores), scores, -np.inf), by_scores=keep_faults)
    if keep_faults:
        return fitted
    odd = fitted.scores > fitted.beyond(_FAULTS)[:, None]
    few = odd.sum(axis=1) <= np.maximum(_MOST_FAULTS * fitted.number, 1)
    odd &= few[:, None] & (fitted.number >= FEWEST)[:, None]
    return _fit(np.where(odd, -np.inf, fitted.scores), by_scores=True)


def p_values(calibration: Calibration, scores: Floats) -> Floats:
    """Return for one new score of each monitor how seldom one at least as large is; NaN without enough scores."""
    n = calibration.number
    at_least = (calibration.scores >= scores[:, None]).sum(axis=1)
    ranked = (1 + at_least) / (n + 1)
    with np.errstate(invalid="ignore", over="ignore"):
        beyond = np.maximum(scores - calibration.start, 0) / calibration.excess
        tail = (calibration.tail + 0.5) / (n + 1) * (1 + calibration.shape * beyond) ** (-1 / calibration.shape)
    in_tail = np.where(at_least == 0, np.minimum(ranked, tail), np.maximum(ranked, tail))
    found = np.where(scores > calibration.start, in_tail, ranked)
    return np.where((n >= FEWEST) & np.isfinite(scores), np.minimum(found, 1), np.nan)


def threshold(calibration: Calibration, level: float | Floats) -> Floats:
    """Return the score beyond which the p-value of each monitor is at most `level`."""
    n = calibration.number
    width = calibration.scores.shape[1]
    largest = calibration.scores[:, -1] if width else np.full(len(n), -np.inf)
    tail = calibration.beyond(level)
    rank = np.floor(level * (n + 1) + 1e-9).astype(int)
    place = np.clip(width - rank, 0, max(width - 1, 0))
    ranked = np.take_along_axis(calibration.scores, place[:, None], axis=1)[:, 0] if width else largest
    found: Floats = np.where(rank >= 1, np.minimum(np.maximum(ranked, tail), largest), np.maximum(largest, tail))
    return np.where(n >= FEWEST, found, np.inf)


def _fit(scores: Floats, *, by_scores: bool) -> Calibration:
    """Fit the tail. `by_scores`: its shape, too, by the largest scores, which faults would spoil."""
    ascending = np.sort(scores, axis=1)
    monitors, width = ascending.shape
    number = np.isfinite(ascending).sum(axis=1)
    tail = np.minimum(np.maximum(np.ceil(_TAIL * number).astype(int), _FEWEST_TAIL), np.maximum(number - 1, 0))
    usual = np.full(monitors, _USUAL_SHAPE)
    if width == 0:
        nothing = np.zeros(monitors)
        return Calibration(ascending, number, tail, nothing, nothing + _USUAL_EXCESS, usual)
    last = width - 1
    start = np.take_along_axis(ascending, np.clip(last - tail, 0, last)[:, None], axis=1)[:, 0]
    middle = np.take_along_axis(ascending, np.clip(last - tail // 2, 0, last)[:, None], axis=1)[:, 0]
    start = np.where(number > 0, start, 0.0)
    shape = _shapes(ascending, start, tail) if by_scores else usual
    # the median of the excesses tells the scale of the tail, and a few faults among the scores do not move it
    median = np.where(number > 0, np.maximum(middle - start, 0), 0.0)
    excess = median * shape / (2**shape - 1)
    excess = (_EXCESS_COUNTS_AS * _USUAL_EXCESS + tail * excess) / (_EXCESS_COUNTS_AS + tail)
    return Calibration(ascending, number, tail, start, excess, shape)


def _shapes(ascending: Floats, start: Floats, tail: npt.NDArray[np.int64]) -> Floats:
    """Return the shape of each tail by the first two L-moments of its excesses, drawn towards the usual shape."""
    width = max(int(tail.max(initial=0)), 1)
    place = np.arange(width) - (width - tail)[:, None]
    excesses = np.where(place >= 0, ascending[:, -width:] - start[:, None], 0.0)
    mean = excesses.sum(axis=1) / np.maximum(tail, 1)
    weighted = (excesses * np.maximum(place, 0)).sum(axis=1) / np.maximum(tail * (tail - 1), 1)
    spread = 2 * weighted - mean
    told = np.where(spread > 0, 2 - mean / np.where(spread > 0, spread, 1), _USUAL_SHAPE)
    drawn = (_SHAPE_COUNTS_AS * _USUAL_SHAPE + tail * np.clip(told, -1, 1)) / (_SHAPE_COUNTS_AS + tail)
    return np.clip(drawn, *_SHAPES)
