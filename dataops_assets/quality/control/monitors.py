"""The monitors of a table: what its profiles measure, as series over the data's own time.

A point stands where the extract time of its input is, whenever it arrived. So a late input is a point between others,
and an input that was removed, or replaced by another version, is a point no more.
"""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from dataops_assets.profiles import SHARE, ColumnProfile, Profile
from dataops_assets.quality.control.forecasts import Series
from dataops_assets.quality.control.scales import Floats, Scale, floor_of_shares, to_scale

ROWS = "rows"
"""The monitor of the rows of an input; of its bytes where they are not parsed."""

# numbers of distinct values are estimates
_LEAST_DISTINCT = 0.2
# part of the deviation of a mean that chance has
_PART_OF_CHANCE = 0.5
_LEAST_MEAN = 1e-3
# columns with at most so many different values have all of them in each input
_FEW = 100
# a month of daily inputs
_USUAL = 28
_Reading = Callable[[Profile, ColumnProfile], float | None]


@dataclass(frozen=True)
class Monitor:
    """One measure of a table. `column` is '' for the rows; `values` are NaN where there is none.

    `rests`: at which points equal values in a row say nothing, because they are an estimate, or because the column had
    only few different values up to there. None: at no point.
    """

    column: str
    measure: str
    scale: Scale
    values: Floats
    floors: Floats
    rests: npt.NDArray[np.bool_] | None = None


def monitors(profiles: Sequence[Profile], ignore: Sequence[str] = ()) -> list[Monitor]:
    """Return the monitors of a table, from the profiles of its inputs in the order of their times.

    The columns are those of the last profile, without those to `ignore`.
    """
    rows = np.array([profile.rows for profile in profiles], dtype=float)
    found = [Monitor("", ROWS, "count", rows, np.zeros(len(rows)))]
    if not profiles:
        return found
    by_name = [{item.name: item for item in profile.columns} for profile in profiles]
    for column in profiles[-1].columns:
        if column.name not in ignore:
            items = [named.get(column.name) for named in by_name]
            found += _of_column(column, rows, list(zip(profiles, items, strict=True)))
    return [item for item in found if np.isfinite(item.values).any()]


def gaps(times: Sequence[dt.datetime]) -> Monitor:
    """Return the monitor of the time between inputs: a longer one says that an input is missing."""
    hours = [(later - earlier) / dt.timedelta(hours=1) for earlier, later in pairwise(times)]
    return Monitor("inputs", "hours since the one before", "count", np.array([np.nan, *hours]), np.zeros(len(times)))


def series_of(found: Sequence[Monitor]) -> Series:
    """Return the monitors as one matrix, on their scales."""
    return Series(
        np.stack([to_scale(item.scale, item.values) for item in found]),
        np.stack([item.floors for item in found]),
        np.array([item.scale == "count" for item in found]),
        np.stack([np.zeros(len(item.values), bool) if item.rests is None else item.rests for item in found]),
    )


def _of_column(
    column: ColumnProfile, rows: Floats, items: Sequence[tuple[Profile, ColumnProfile | None]]
) -> list[Monitor]:
    def read(reading: _Reading) -> Floats:
        values = [reading(profile, item) if item is not None and profile.rows else None for profile, item in items]
        return np.array([np.nan if value is None else value for value in values], dtype=float)

    of_shares = floor_of_shares(rows)
    means = read(lambda _, item: item.mean)
    if column.type == SHARE:
        return [Monitor(column.name, "share", "share", means, of_shares)]
    nulls = read(lambda profile, item: item.nulls / profile.rows)
    distinct = read(lambda _, item: item.distinct or None)
    found = [
        Monitor(column.name, "null share", "share", nulls, of_shares),
        Monitor(
            column.name,
            "distinct values",
            "count",
            distinct,
            np.full(len(rows), _LEAST_DISTINCT),
            np.ones(len(rows), dtype=bool),
        ),
    ]
    if column.type == "BOOLEAN":
        return [*found, Monitor(column.name, "share of true", "share", means, of_shares)]
    lengths = read(lambda _, item: item.mean_length)
    # the hours of full days have one mean, and codes of one length one mean length
    few = np.maximum.accumulate(np.nan_to_num(distinct)) <= _FEW
    found += [
        Monitor(column.name, "mean length", "number", lengths, _LEAST_MEAN * _before(np.abs(lengths)), few),
        Monitor(column.name, "shift of frequent values", "share", _shifts(items), of_shares),
    ]
    deviations = read(lambda _, item: item.stddev)
    return [*found, Monitor(column.name, "mean", "number", means, _floor_of_means(means, deviations, rows), few)]


def _floor_of_means(means: Floats, deviations: Floats, rows: Floats) -> Floats:
    """Return the deviation that chance gives a mean; from the point before, so that no point excuses itself."""
    chance = _PART_OF_CHANCE * np.nan_to_num(deviations) / np.sqrt(np.maximum(rows, 1))
    own = np.hypot(chance, np.where(np.isnan(deviations), _LEAST_MEAN * np.abs(means), 1e-9 * np.abs(means)))
    return _before(own)


def _before(values: Floats) -> Floats:
    """Return the value of the point before, 0 where there is none."""
    return np.nan_to_num(np.concatenate([[np.nan], values[:-1]]))


def _shifts(items: Sequence[tuple[Profile, ColumnProfile | None]]) -> Floats:
    """Return how many of the rows have another value than usual: the total variation from the inputs before.

    Usual is the mean share of each value in the last inputs before that have frequent values. NaN without any.
    """
    found = np.full(len(items), np.nan)
    before: deque[Mapping[str, float]] = deque(maxlen=_USUAL)
    for place, (profile, item) in enumerate(items):
        if item is None or item.frequent is None or not profile.rows:
            continue
        shares = {value: count / profile.rows for value, count in item.frequent.items()}
        if before:
            values = {*shares, *(value for other in before for value in other)}
            usual = {value: sum(other.get(value, 0.0) for other in before) / len(before) for value in values}
            found[place] = sum(abs(shares.get(value, 0.0) - usual[value]) for value in values) / 2
        before.append(shares)
    return found
