"""Measures how far an input is from the inputs before it, over all monitors of its table.

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
# so that equal distances are equal
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
    # by how many points before, and point: bands of differences need a fraction of a product of matrices
    squares = np.full((min(_AMONG, len(known) - 1), len(known)), np.inf)
    for place, row in enumerate(squares, start=1):
        apart = away[:, place:] - away[:, :-place]
        np.add.reduce(np.multiply(apart, apart, out=apart), axis=0, out=row[place:])
    nearest = np.sort(np.partition(squares, _NEIGHBOURS - 1, axis=0)[:_NEIGHBOURS], axis=0)
    distances = np.add.reduce(np.sqrt(nearest), axis=0) / _NEIGHBOURS
    found[known[_NEIGHBOURS:]] = np.round(distances[_NEIGHBOURS:], _DIGITS)
    return found


def judge_novelty(every: Floats, points: Sequence[int], level: float) -> list[Novelty]:
    """Judge the novelty of points, each against the points before it; `p` is NaN while there are too few of them.

    `every`: the novelties of all points.
    """
    places = np.array(points, dtype=int)
    calibration = calibrate(before_points(every[None, :], places, np.nan))
    own = every[places]
    p = p_values(calibration, own)
    p = np.where(np.isnan(p) | (own >= _NEAR), p, 1.0)
    high = np.maximum(threshold(calibration, level), _NEAR)
    return [Novelty(*item) for item in zip(own.tolist(), high.tolist(), p.tolist(), strict=True)]
