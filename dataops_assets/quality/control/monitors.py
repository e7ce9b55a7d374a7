"""The monitors of a table: what its profiles measure, as series over the data's own time.

A point stands where the extract time of its input is, whenever it arrived. So a late input is a point between others,
and an input that was removed, or replaced by another version, is a point no more.
"""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from dataops_assets.profiles import HOURS, MOST_SAMPLED, MOST_TEXTS, SHARE, ColumnProfile, Profile
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
_QUANTILES = ("5 % quantile", "median", "95 % quantile")
# hours by which inputs may be late at least, but no more than this part of the time between them
_LEAST_DELAY, _PART_OF_GAP = 0.25, 0.05
# a month of daily inputs
_USUAL = 28


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


@dataclass(frozen=True)
class _Values:
    """The statistics of one column in each input; NaN where there is none."""

    nulls: Floats
    distinct: Floats
    means: Floats
    deviations: Floats
    lengths: Floats
    quantiles: Floats
    frequent: Sequence[Mapping[str, int] | None]
    patterns: Sequence[Mapping[str, float] | None]

    def part(self, places: npt.NDArray[np.int64]) -> _Values:
        return _Values(
            self.nulls[places],
            self.distinct[places],
            self.means[places],
            self.deviations[places],
            self.lengths[places],
            self.quantiles[:, places],
            [self.frequent[place] for place in places],
            [self.patterns[place] for place in places],
        )


@dataclass(frozen=True)
class Readings:
    """What the profiles of a table's inputs measure, by column: a value for each input, in the order of their times."""

    rows: Floats
    columns: Mapping[str, _Values]

    def part(self, places: npt.NDArray[np.int64]) -> Readings:
        """Return the readings of the inputs at these places."""
        return Readings(self.rows[places], {name: item.part(places) for name, item in self.columns.items()})


def read(profiles: Sequence[Profile]) -> Readings:
    """Read the statistics of profiles once, however many windows of them are judged."""
    by_name: dict[str, list[tuple[int, ColumnProfile]]] = {}
    for place, profile in enumerate(profiles):
        if profile.rows:
            for item in profile.columns:
                by_name.setdefault(item.name, []).append((place, item))
    return Readings(
        np.array([profile.rows for profile in profiles], dtype=float),
        {name: _values(items, len(profiles)) for name, items in by_name.items()},
    )


def _values(items: Sequence[tuple[int, ColumnProfile]], number: int) -> _Values:
    found = np.full((8, number), np.nan)
    # None becomes NaN
    told = [
        (
            item.nulls,
            item.distinct or None,
            item.mean,
            item.stddev,
            item.mean_length,
            item.low,
            item.median,
            item.high,
        )
        for _, item in items
    ]
    found[:, [place for place, _ in items]] = np.array(told, dtype=float).T
    frequent: list[Mapping[str, int] | None] = [None] * number
    patterns: list[Mapping[str, float] | None] = [None] * number
    for place, item in items:
        frequent[place], patterns[place] = item.frequent, item.patterns
    return _Values(found[0], found[1], found[2], found[3], found[4], found[5:], frequent, patterns)


def monitors(readings: Readings, columns: Sequence[ColumnProfile], ignore: Sequence[str] = ()) -> list[Monitor]:
    """Return the monitors of a table: of its rows, and of these columns without those to `ignore`."""
    rows = readings.rows
    found = [Monitor("", ROWS, "count", rows, np.zeros(len(rows)))]
    of_shares = floor_of_shares(rows)
    for column in columns:
        if column.name not in ignore and column.name in readings.columns:
            found += _of_column(column, rows, readings.columns[column.name], of_shares)
    return with_values(found)


def with_values(found: Sequence[Monitor]) -> list[Monitor]:
    """Return the monitors that have any value."""
    return [item for item in found if np.isfinite(item.values).any()]


def gaps(times: Sequence[dt.datetime]) -> Monitor:
    """Return the monitor of the time between inputs: a longer one says that an input is missing."""
    hours = [(later - earlier) / dt.timedelta(hours=1) for earlier, later in pairwise(times)]
    return Monitor("inputs", "hours since the one before", "count", np.array([np.nan, *hours]), np.zeros(len(times)))


def arrivals(times: Sequence[dt.datetime], delays: Floats) -> Monitor:
    """Return the monitor of the hours from the extract time of each input to its arrival (`delays`).

    Inputs that arrive together, such as a history or what was missing, say nothing of when inputs arrive. So an input
    has a value only if at least half of the time since the extract before it lies between the two arrivals.
    """
    hours = np.array([np.nan, *((later - earlier) / dt.timedelta(hours=1) for earlier, later in pairwise(times))])
    between = hours + np.concatenate([[np.nan], np.diff(delays)])
    alone = (hours > 0) & (between >= hours / 2)
    floors = np.minimum(_LEAST_DELAY, _PART_OF_GAP * _before(hours))
    rests = np.ones(len(times), dtype=bool)
    return Monitor("inputs", "hours from extract to arrival", "number", np.where(alone, delays, np.nan), floors, rests)


def series_of(found: Sequence[Monitor]) -> Series:
    """Return the monitors as one matrix, on their scales."""
    return Series(
        np.stack([to_scale(item.scale, item.values) for item in found]),
        np.stack([item.floors for item in found]),
        np.array([item.scale == "count" for item in found]),
        np.stack([np.zeros(len(item.values), bool) if item.rests is None else item.rests for item in found]),
    )


def _of_column(column: ColumnProfile, rows: Floats, values: _Values, of_shares: Floats) -> list[Monitor]:
    if column.type == HOURS:
        # of these only the arrival is known, and it needs the times of the inputs
        return []
    if column.type == SHARE:
        return [Monitor(column.name, "share", "share", values.means, of_shares)]
    estimated = np.ones(len(rows), dtype=bool)
    least = np.full(len(rows), _LEAST_DISTINCT)
    found = [
        Monitor(column.name, "null share", "share", values.nulls / np.maximum(rows, 1), of_shares),
        Monitor(column.name, "distinct values", "count", values.distinct, least, estimated),
    ]
    if column.type == "BOOLEAN":
        return [*found, Monitor(column.name, "share of true", "share", values.means, of_shares)]
    # the hours of full days have one mean, and codes of one length one mean length
    few = np.maximum.accumulate(np.nan_to_num(values.distinct)) <= _FEW
    of_lengths = _LEAST_MEAN * _before(np.abs(values.lengths))
    of_means = _floor_of_means(values.means, values.deviations, rows)
    # samples are smaller, and quantiles of whole numbers rest by nature
    sampled, texts = (np.minimum(rows, most / 2) for most in (MOST_SAMPLED, MOST_TEXTS))
    of_frequent = [
        counted and {value: count / all_rows for value, count in counted.items()}
        for counted, all_rows in zip(values.frequent, rows, strict=True)
    ]
    return [
        *found,
        Monitor(column.name, "mean length", "number", values.lengths, of_lengths, few),
        Monitor(column.name, "shift of frequent values", "share", _shifts(of_frequent), of_shares),
        Monitor(column.name, "shift of patterns", "share", _shifts(values.patterns), floor_of_shares(texts)),
        Monitor(column.name, "mean", "number", values.means, of_means, few),
        *(
            Monitor(column.name, name, "number", part, _floor_of_means(part, values.deviations, sampled), estimated)
            for name, part in zip(_QUANTILES, values.quantiles, strict=True)
        ),
    ]


def _floor_of_means(means: Floats, deviations: Floats, rows: Floats) -> Floats:
    """Return the deviation that chance gives a mean; from the point before, so that no point excuses itself."""
    chance = _PART_OF_CHANCE * np.nan_to_num(deviations) / np.sqrt(np.maximum(rows, 1))
    own = np.hypot(chance, np.where(np.isnan(deviations), _LEAST_MEAN * np.abs(means), 1e-9 * np.abs(means)))
    return _before(own)


def _before(values: Floats) -> Floats:
    """Return the value of the point before, 0 where there is none."""
    return np.nan_to_num(np.concatenate([[np.nan], values[:-1]]))


def _shifts(by_input: Sequence[Mapping[str, float] | None]) -> Floats:
    """Return how many of the rows have another value than usual: the total variation from the inputs before.

    `by_input`: the share of the rows that each value has. Usual is the mean share of each value in the last inputs
    before that have any. NaN without any.
    """
    found = np.full(len(by_input), np.nan)
    before: deque[Mapping[str, float]] = deque()
    # sums over the inputs before: of each value, and of all together
    of_value: dict[str, float] = {}
    of_all = 0.0
    for place, shares in enumerate(by_input):
        if not shares:
            continue
        number = len(before)
        if number:
            other, known = 0.0, 0.0
            for value, share in shares.items():
                usual = of_value.get(value, 0.0) / number
                other += abs(share - usual)
                known += usual
            # and the values that this input lacks; rounded, so that equal shifts are equal
            found[place] = round((other + max(of_all / number - known, 0.0)) / 2, 12)
        if number == _USUAL:
            gone = before.popleft()
            of_all -= sum(gone.values())
            for value, share in gone.items():
                of_value[value] -= share
        before.append(shares)
        of_all += sum(shares.values())
        for value, share in shares.items():
            of_value[value] = of_value.get(value, 0.0) + share
    return found
