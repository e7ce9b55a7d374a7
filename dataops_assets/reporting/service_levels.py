"""Service levels of a data product: how good the last weeks were, and how much of the error budget is left.

An indicator is a good share, from 0 to 1. Its objective is the least share that is promised; what may be bad is the
error budget. The burn rate is how many times as fast as allowed the budget was spent in the last day: at 1 it is
spent exactly at the end of the window.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from dataops_assets.config.data_products import DataProduct, FreshnessObjective, ResolutionObjective
from dataops_assets.config.incidents import Hours
from dataops_assets.reporting.facts import Facts, Row

_LATELY = dt.timedelta(days=1)
_TABLES = {
    "freshness": "processes",
    "completeness": "processes",
    "correctness": "check_results",
    "incidents": "incidents",
}
_Share = Callable[[dt.datetime], float | None]


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
    objectives, sources = product.objectives, set(product.sources)
    found = []
    if (fresh := objectives.freshness) is not None:
        meaning = f"new data within {_shown(fresh.within)}{' of business hours' if fresh.hours else ''}"
        share = _worst([partial(_freshness, facts, one, fresh) for one in sorted(sources)])
        found.append(_level("freshness", fresh.target, meaning, share, (facts, product)))
    if objectives.completeness is not None:
        loaded = [row for row in facts.loaded if row["source"] in sources]
        found.append(
            _level(
                "completeness",
                objectives.completeness.target,
                "delivered rows that reach the hub",
                lambda since: _completeness(loaded, since),
                (facts, product),
            )
        )
    if objectives.correctness is not None:
        results = [row for row in facts.results if row["source"] in sources]
        found.append(
            _level(
                "correctness",
                objectives.correctness.target,
                "results of checks that pass",
                lambda since: _correctness(results, since),
                (facts, product),
            )
        )
    if (resolved := objectives.incidents) is not None:
        tables = {asset for asset, table in facts.warehouse.items() if table.sources and table.sources <= sources}
        mine = [row for row in facts.incidents if row["source"] in sources or row["asset"] in tables]
        found.append(
            _level(
                "incidents",
                resolved.target,
                f"incidents resolved within {_shown(resolved.within)}",
                lambda since: _resolution(mine, resolved, since, facts.now),
                (facts, product),
            )
        )
    return found


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


def _level(name: str, target: float, meaning: str, share: _Share, of: tuple[Facts, DataProduct]) -> ServiceLevel:
    facts, product = of
    lately = share(facts.now - _LATELY)
    return ServiceLevel(
        name,
        target,
        share(facts.now - product.objectives.window),
        None if lately is None else (1 - lately) / (1 - target),
        meaning,
        _TABLES[name],
    )


def _worst(shares: Sequence[_Share]) -> _Share:
    def worst(since: dt.datetime) -> float | None:
        found = [value for share in shares if (value := share(since)) is not None]
        return min(found, default=None)

    return worst


def _freshness(facts: Facts, source: str, objective: FreshnessObjective, since: dt.datetime) -> float | None:
    times = facts.published.get(source, ())
    ends = [*times[1:], facts.now] if times else []
    total = good = dt.timedelta(0)
    for begin, end in zip(times, ends, strict=True):
        start = max(begin, since)
        open_now = open_time(objective.hours, start, end)
        total += open_now
        left = max(objective.within - open_time(objective.hours, begin, start), dt.timedelta(0))
        good += min(left, open_now)
    return good / total if total else None


def _completeness(loaded: Iterable[Row], since: dt.datetime) -> float | None:
    some = [row for row in loaded if row["at"] >= since]
    rows = sum(row["rows"] for row in some)
    return 1 - sum(row["kept_out"] for row in some) / rows if rows else None


def _correctness(results: Iterable[Row], since: dt.datetime) -> float | None:
    # a check that ran again for the same input counts once, with its last result
    newest = {
        (row["asset"], row["kind"], row["input_id"]): bool(row["passed"])
        for row in results
        if row["checked_at"] >= since
    }
    return sum(newest.values()) / len(newest) if newest else None


def _resolution(
    incidents: Iterable[Row], objective: ResolutionObjective, since: dt.datetime, now: dt.datetime
) -> float | None:
    good = bad = 0
    for row in incidents:
        ended = row["resolved_at"] or now
        if ended < since:
            continue
        in_time = ended - row["opened_at"] <= objective.within
        # an incident that may still be resolved in time says nothing yet
        good += in_time and row["resolved_at"] is not None
        bad += not in_time
    return good / (good + bad) if good + bad else None


def _shown(time: dt.timedelta) -> str:
    hours = time / dt.timedelta(hours=1)
    return f"{hours / 24:g} days" if hours >= 48 and hours % 24 == 0 else f"{hours:g} hours"
