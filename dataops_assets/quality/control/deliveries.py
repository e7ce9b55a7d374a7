"""Finds the kind of delivery that an input is, from its size and from the time that its rows cover.

A small correction is not compared with full days, and neither is a first load.
"""

from __future__ import annotations

import datetime as dt
from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from dataops_assets.profiles import ColumnProfile, Profile

Kind = Literal["regular", "first load", "correction", "backfill"]

_TIMES = ("DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ")
# with fewer regular inputs it is not known what is usual
_ENOUGH = 3
# share of the inputs that end later than all before them, for a column that says what an input covers
_MOSTLY = 0.7
_SMALL, _LARGE = 0.5, 2.0
_LONG = 5.0


@dataclass(frozen=True)
class _Covered:
    start: dt.datetime
    end: dt.datetime

    @property
    def days(self) -> float:
        return (self.end - self.start) / dt.timedelta(days=1) + 1


def kinds(profiles: Sequence[Profile]) -> list[Kind]:
    """Return the kind of each input, in the order of their times, each from itself and the inputs before it.

    * `first load`: the first input.
    * `correction`: it covers no time that is new, and has less than half of the usual rows.
    * `backfill`: it covers more than five times the usual time, with more than twice the usual rows.
    """
    found: list[Kind] = []
    rows = _Known()
    columns: dict[str, _Times] = {}
    for profile in profiles:
        ranges = {
            item.name: covered
            for item in profile.columns
            if item.type in _TIMES and (covered := _range(item)) is not None
        }
        best = max(columns.values(), key=lambda item: item.grown, default=None)
        kind: Kind = "regular" if found else "first load"
        if best is not None and best.grown > _MOSTLY and best.name in ranges and len(rows.ascending) >= _ENOUGH:
            kind = _kind(profile.rows, ranges[best.name], best, rows.median)
        found.append(kind)
        if kind == "regular":
            rows.add(profile.rows)
        for name, covered in ranges.items():
            columns.setdefault(name, _Times(name)).add(covered, is_regular=kind == "regular")
    return found


@dataclass
class _Known:
    """Numbers in ascending order, so that their median costs nothing."""

    ascending: list[float] = field(default_factory=list)

    def add(self, number: float) -> None:
        insort(self.ascending, number)

    @property
    def median(self) -> float:
        middle = len(self.ascending) // 2
        if len(self.ascending) % 2:
            return self.ascending[middle]
        return (self.ascending[middle - 1] + self.ascending[middle]) / 2


@dataclass
class _Times:
    """How a column of times grew from input to input so far."""

    name: str
    latest: dt.datetime | None = None
    inputs: int = 0
    later: int = 0
    days: _Known = field(default_factory=_Known)

    @property
    def grown(self) -> float:
        """Return the share of inputs that end later than all before; near 1 for the time that an input covers."""
        return self.later / (self.inputs - 1) if self.inputs > _ENOUGH and self.days.ascending else 0.0

    def add(self, covered: _Covered, *, is_regular: bool) -> None:
        if self.latest is not None:
            self.later += covered.end > self.latest
        self.inputs += 1
        self.latest = covered.end if self.latest is None else max(self.latest, covered.end)
        if is_regular:
            self.days.add(covered.days)


def _kind(rows: int, own: _Covered, before: _Times, usual: float) -> Kind:
    if before.latest is not None and own.end <= before.latest and rows < _SMALL * usual:
        return "correction"
    if own.days > _LONG * before.days.median and rows > _LARGE * usual:
        return "backfill"
    return "regular"


def _range(column: ColumnProfile) -> _Covered | None:
    start, end = _time(column.min), _time(column.max)
    return _Covered(start, end) if start is not None and end is not None else None


@lru_cache(maxsize=8192)
def _time(text: str | None) -> dt.datetime | None:
    if text is None:
        return None
    try:
        # years beyond 9999 are no times here
        found = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.replace(tzinfo=dt.UTC) if found.tzinfo is None else found
