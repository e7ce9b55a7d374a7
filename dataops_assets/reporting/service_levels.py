"""Service levels of a data product: how good the last weeks were, and how much of the error budget is left.

An indicator is a good share, from 0 to 1. Its objective is the least share that is promised; what may be bad is the
error budget. The burn rate is how many times as fast as allowed the budget was spent in the last day: at 1 it is
spent exactly at the end of the window.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from dataops_assets.config.data_products import DataProduct, FreshnessObjective, ResolutionObjective
from dataops_assets.config.incidents import Hours
from dataops_assets.reporting.facts import Facts, Row

_DAY = dt.timedelta(days=1)
_TABLES = {
    "freshness": "processes",
    "completeness": "processes",
    "correctness": "check_results",
    "incidents": "incidents",
}
_Counts = tuple[float, float]
"""What is good, and what was counted: seconds, rows, results of checks, or incidents."""
_Count = Callable[[dt.datetime, dt.datetime], _Counts]
"""Counts what happened from one time to before another."""


@dataclass(frozen=True)
class CountedDay:
    """What an indicator counted on a day (UTC) in a part of a data product: a source, or a table of the warehouse.

    `counted_good` of `counted` are seconds (freshness), rows (completeness), results (correctness), or incidents.
    """

    objective: str
    part: str
    day: dt.datetime
    counted_good: float
    counted: float


@dataclass(frozen=True)
class ServiceLevel:
    """One objective of a data product.

    * `good`: the good share of the window; None if nothing happened in it.
    * `budget_left`: 1 if nothing is spent, 0 if all is spent, negative if the objective is missed.
    * `burn_rate`: of the last day; None if nothing happened in it.
    * `table`: the table of the metadata that it is computed from.
    """

    name: str
    target: float
    good: float | None
    burn_rate: float | None
    meaning: str
    table: str

    @property
    def budget_left(self) -> float | None:
        """Return the share of the error budget that is left."""
        return None if self.good is None else 1 - (1 - self.good) / (1 - self.target)

    @property
    def is_met(self) -> bool | None:
        """Return whether the objective is met; None if nothing happened."""
        return None if self.good is None else self.good >= self.target


def service_levels(product: DataProduct, facts: Facts) -> list[ServiceLevel]:
    """Return the service levels of the objectives that a data product declares."""
    levels = []
    for name, (target, meaning, parts) in _objectives(product, facts).items():
        good = _share(name, parts.values(), facts.now - product.objectives.window, _end(facts))
        lately = _share(name, parts.values(), facts.now - _DAY, _end(facts))
        burn_rate = None if lately is None else (1 - lately) / (1 - target)
        levels.append(ServiceLevel(name, target, good, burn_rate, meaning, _TABLES[name]))
    return levels


def counted_days(product: DataProduct, facts: Facts) -> list[CountedDay]:
    """Return the counts of a data product's indicators for each whole day of the window, and for today until now.

    Days on which nothing happened are left out. The counts of days add up to those of the window.
    """
    first = whole_days_since(product, facts.now)
    days = [first + _DAY * number for number in range((_end(facts) - first) // _DAY)]
    found = [
        CountedDay(name, part, day, *count(day, day + _DAY))
        for name, (_, _, parts) in _objectives(product, facts).items()
        for part, count in parts.items()
        for day in days
    ]
    return [item for item in found if item.counted]


def whole_days_since(product: DataProduct, now: dt.datetime) -> dt.datetime:
    """Return when the first day (UTC) begins that is as a whole within the window."""
    since = now - product.objectives.window
    midnight = since.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight if midnight == since else midnight + _DAY


def open_time(hours: Hours | None, start: dt.datetime, end: dt.datetime) -> dt.timedelta:
    """Return how much of the time between two times is within the hours."""
    if end <= start:
        return dt.timedelta(0)
    if hours is None:
        return end - start
    total, time = dt.timedelta(0), start
    while time < end:
        opens = hours.next_open(time)
        closes = hours.closes(opens)
        if opens >= end:
            break
        total += min(closes, end) - opens
        time = closes
    return total


def _end(facts: Facts) -> dt.datetime:
    return facts.now.replace(hour=0, minute=0, second=0, microsecond=0) + _DAY


def _objectives(product: DataProduct, facts: Facts) -> dict[str, tuple[float, str, dict[str, _Count]]]:
    """Return of each objective that is declared the target, what is good in words, and how to count in each part."""
    objectives, sources = product.objectives, sorted(product.sources)
    found: dict[str, tuple[float, str, dict[str, _Count]]] = {}
    if (fresh := objectives.freshness) is not None:
        meaning = f"new data within {_shown(fresh.within)}{' of business hours' if fresh.hours else ''}"
        times = {one: partial(_freshness, facts.published.get(one, ()), fresh, facts.now) for one in sources}
        found["freshness"] = fresh.target, meaning, dict(times)
    if objectives.completeness is not None:
        loaded = _by_source(facts.loaded)
        rows = {one: partial(_completeness, loaded.get(one, ())) for one in sources}
        found["completeness"] = objectives.completeness.target, "delivered rows that reach the hub", dict(rows)
    if objectives.correctness is not None:
        known = _by_source(facts.results)
        results = {one: partial(_correctness, _newest(known.get(one, ()))) for one in sources}
        found["correctness"] = objectives.correctness.target, "results of checks that pass", dict(results)
    if (resolved := objectives.incidents) is not None:
        meaning = f"incidents resolved within {_shown(resolved.within)}"
        tables = {asset for asset, table in facts.warehouse.items() if table.sources and table.sources <= set(sources)}
        mine: dict[str, list[Row]] = {}
        for row in facts.incidents:
            if row["source"] in sources or row["asset"] in tables:
                mine.setdefault(row["source"] or row["asset"], []).append(row)
        ended = {part: partial(_resolution, rows, resolved, facts.now) for part, rows in mine.items()}
        found["incidents"] = resolved.target, meaning, dict(ended)
    return found


def _by_source(rows: Iterable[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["source"], []).append(row)
    return found


def _share(name: str, counts: Iterable[_Count], since: dt.datetime, until: dt.datetime) -> float | None:
    """Return the good share: of the worst part for freshness, of all parts together for the others."""
    parts = [count(since, until) for count in counts]
    if name == "freshness":
        return min((good / counted for good, counted in parts if counted), default=None)
    counted = sum(part[1] for part in parts)
    return sum(part[0] for part in parts) / counted if counted else None


def _freshness(
    times: Sequence[dt.datetime],
    objective: FreshnessObjective,
    now: dt.datetime,
    since: dt.datetime,
    until: dt.datetime,
) -> _Counts:
    first, last = max(bisect_right(times, since) - 1, 0), bisect_left(times, until)
    total = good = dt.timedelta(0)
    for begin, end in pairwise([*times[first:last], min(now, until, *times[last : last + 1])]):
        start = max(begin, since)
        open_now = open_time(objective.hours, start, end)
        total += open_now
        left = max(objective.within - open_time(objective.hours, begin, start), dt.timedelta(0))
        good += min(left, open_now)
    return good.total_seconds(), total.total_seconds()


def _completeness(loaded: Iterable[Row], since: dt.datetime, until: dt.datetime) -> _Counts:
    some = [row for row in loaded if since <= row["at"] < until]
    rows = sum(row["rows"] for row in some)
    return rows - sum(row["kept_out"] for row in some), rows


def _newest(results: Iterable[Row]) -> list[Row]:
    """Return the last result of each check of an input: a check that ran again for the same input counts once."""
    return list({(row["asset"], row["kind"], row["input_id"]): row for row in results}.values())


def _correctness(newest: Iterable[Row], since: dt.datetime, until: dt.datetime) -> _Counts:
    some = [bool(row["passed"]) for row in newest if since <= row["checked_at"] < until]
    return sum(some), len(some)


def _resolution(
    incidents: Iterable[Row],
    objective: ResolutionObjective,
    now: dt.datetime,
    since: dt.datetime,
    until: dt.datetime,
) -> _Counts:
    good = bad = 0
    for row in incidents:
        ended = row["resolved_at"] or now
        if not since <= ended < until:
            continue
        in_time = ended - row["opened_at"] <= objective.within
        # an incident that may still be resolved in time says nothing yet
        good += in_time and row["resolved_at"] is not None
        bad += not in_time
    return good, good + bad


def _shown(time: dt.timedelta) -> str:
    hours = time / dt.timedelta(hours=1)
    return f"{hours / 24:g} days" if hours >= 48 and hours % 24 == 0 else f"{hours:g} hours"
