"""Scales on which the noise of a monitor is about the same for small and large values.

* `count`: rows, bytes, distinct values. Its noise grows with the square root of small counts (as chance does) and in
  proportion to large ones (as business does). 2 / sqrt(a) * asinh(sqrt(a * x)) is nearly 2 * sqrt(x) below 1 / a, and
  nearly log(x) / sqrt(a) above. So one scale serves counts from 0 to 10^9.
* `share`: 0 to 1. The arc sine of the root makes the noise of a share the same near 0 and near one half.
* `number`: means. It stays as it is, so a verdict changes neither with the unit nor with an offset.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Scale = Literal["count", "share", "number"]

# counts above 1 / _A = 100 are compared by ratio
_A = 0.01
# differences below 0.5 % of a count, or below about 1 point of a share, are never an alarm
_LEAST_RATIO = 0.005
_LEAST_SHARE = 0.01
# part of the deviation that pure chance has; less than 1, because many counts vary less
_PART_OF_CHANCE = 0.5


def to_scale(scale: Scale, values: Floats) -> Floats:
    """Return the values on the scale."""
    if scale == "count":
        return 2 / np.sqrt(_A) * np.arcsinh(np.sqrt(_A * np.maximum(values, 0)))
    if scale == "share":
        return np.arcsin(np.sqrt(np.clip(values, 0, 1)))
    return values


def from_scale(scale: Scale, values: Floats) -> Floats:
    """Return the original values; what is beyond the ends of the scale becomes its end."""
    if scale == "count":
        # beyond exp(700) a double overflows
        return np.sinh(np.clip(values * np.sqrt(_A) / 2, 0, 300)) ** 2 / _A
    if scale == "share":
        return np.sin(np.clip(values, 0, np.pi / 2)) ** 2
    return values


def floor_of_shares(rows: Floats) -> Floats:
    """Return the least deviation to assume for shares of so many rows."""
    return np.hypot(_PART_OF_CHANCE * 0.5 / np.sqrt(np.maximum(rows, 1)), _LEAST_SHARE)


def floor_of_counts(expected: Floats) -> Floats:
    """Return the least deviation to assume where so much (on the scale) is expected."""
    chance = _PART_OF_CHANCE / np.cosh(np.minimum(np.maximum(np.sqrt(_A) / 2 * expected, 0), 300))
    return np.hypot(chance, _LEAST_RATIO / np.sqrt(_A))
