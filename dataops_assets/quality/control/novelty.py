"""How unlike an input is to those before it, all monitors of its table together.

Many monitors that are each a little away from what was expected are no alarm by themselves. Together they can be: no
input before was away like this. The novelty of an input is its mean distance to the nearest inputs before, in
deviations of the forecasts. After Redyuk et al., "Automating Data Quality Validation for Dynamic Data Ingestion" (EDBT
2021), who compare the profiles themselves. Here weekday, trend and scale are taken out before, and the limit is a rank
among the novelties of earlier inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dataops_assets.quality.control.judging import before_points
from dataops_assets.quality.control.pvalues import calibrate, p_values, threshold
from dataops_assets.quality.control.scales import Floats

FEWEST_MONITORS = 3
"""With fewer monitors, each by itself says the same."""

_NEIGHBOURS = 5
# nearest among so many inputs before
_AMONG = 128
_MOST = 4.0
# nearer than this is as usual, even if all before were nearer
_NEAR = 2.5
# distances of equal inputs are not quite 0
_DIGITS = 5


@dataclass(frozen=True)
class Novelty:
    """The novelty of one input: its distance, the largest that is usual, and how seldom one is as far away."""

    distance: float
    high: float
    p: float


def novelties(scores: Floats) -> Floats:
    """Return the novelty of each point, NaN with too few points before. `scores`: by monitor and point."""
    found = np.full(scores.shape[1], np.nan)
    known = np.flatnonzero(np.isfinite(scores).any(axis=0))
    if len(known) <= _NEIGHBOURS:
        return found
    # what has no value, or is not known well enough yet, is where it is expected
    away = np.minimum(np.maximum(np.nan_to_num(scores[:, known]), -_MOST), _MOST)
    squares = np.add.reduce(away**2, axis=0)
    products = away.T @ away
    others = np.arange(len(known))[:, None] - np.arange(1, _AMONG + 1)
    there = others >= 0
    others = np.maximum(others, 0)
    distances = squares[:, None] + squares[others] - 2 * np.take_along_axis(products, others, axis=1)
    distances = np.where(there, np.sqrt(np.maximum(distances, 0)), np.inf)
    nearest = np.sort(np.partition(distances, _NEIGHBOURS - 1, axis=1)[:, :_NEIGHBOURS], axis=1)
    found[known[_NEIGHBOURS:]] = np.round(nearest[_NEIGHBOURS:].mean(axis=1), _DIGITS)
    return found


def judge_novelty(scores: Floats, points: Sequence[int], level: float) -> list[Novelty]:
    """Judge the novelty of points, each against the points before it; `p` is NaN while there are too few of them."""
    every = novelties(scores)
    places = np.array(points, dtype=int)
    calibration = calibrate(before_points(every[None, :], places, np.nan))
    own = every[places]
    p = p_values(calibration, own)
    p = np.where(np.isnan(p) | (own >= _NEAR), p, 1.0)
    high = np.maximum(threshold(calibration, level), _NEAR)
    return [Novelty(*item) for item in zip(own.tolist(), high.tolist(), p.tolist(), strict=True)]
