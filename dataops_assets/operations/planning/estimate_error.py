"""Compares the estimated seconds of applied plans with the measured seconds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# estimates are rounded to it
_SHORTEST = 0.1
_FEWEST = 5


@dataclass(frozen=True)
class EstimateError:
    """The ratio of measured to estimated seconds over `pieces` of work: median, and 90th percentile."""

    pieces: int
    median: float
    nine_of_ten: float


def estimate_error(outcomes: Iterable[Mapping[str, Any]]) -> EstimateError | None:
    """Return the error over the outcomes of applied plans; None if fewer than five of them had an estimate."""
    ratios = sorted(
        max(float(item["seconds"]), _SHORTEST) / max(float(item["seconds_predicted"]), _SHORTEST)
        for item in outcomes
        if item.get("seconds_predicted") is not None and item.get("seconds") is not None and not item.get("error")
    )
    if len(ratios) < _FEWEST:
        return None
    highest = ratios[min(len(ratios) - 1, -(-len(ratios) * 9 // 10) - 1)]
    return EstimateError(len(ratios), round(statistics.median(ratios), 2), round(highest, 2))
