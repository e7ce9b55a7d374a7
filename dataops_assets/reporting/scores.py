"""Quality scores from 0 to 100 of tables, areas and data products, each explained by what it lost points for.

The score of a table follows from its checks in force and from the rows that are kept out. A check of severity `fail`
weighs three times one that warns. A failed check loses its weight; if it counts rows, only their share. A fault of a
critical column costs more. The score of an area or a product is the mean of its tables.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from dataops_assets.reporting.facts import Facts, Row

_WEIGHTS = {"fail": 3.0, "warn": 1.0}
_KEPT_OUT = 3.0
_BY_ROWS = ("validation", "contract")


@dataclass(frozen=True)
class Loss:
    """Points that a table lost. `rows`: the number of rows concerned; None if it is not about single rows."""

    points: float
    why: str
    rows: int | None = None


@dataclass(frozen=True)
class TableScore:
    """The score of one table, with its losses, the largest first."""

    asset: str
    source: str
    score: float
    losses: tuple[Loss, ...]


def table_scores(facts: Facts, critical: Mapping[str, float] | None = None) -> list[TableScore]:
    """Return the score of each table that has checks. `critical`: the weight of critical columns, 'source.column'."""
    by_asset: dict[tuple[str, str], list[Row]] = {}
    for row in facts.in_force:
        by_asset.setdefault((row["source"], row["asset"]), []).append(row)
    found = []
    for (source, asset), rows in sorted(by_asset.items()):
        weighed = list(_of_checks(rows, critical or {}))
        if asset == f"lake/{source}":
            weighed += _of_rows([row for row in facts.loaded if row["source"] == source], source)
        total = sum(weight for weight, _, _ in weighed)
        losses = [Loss(100 * lost / total, why, rows) for weight, lost, (why, rows) in weighed if lost and weight]
        score = max(0.0, 100 - sum(loss.points for loss in losses))
        found.append(TableScore(asset, source, score, tuple(sorted(losses, key=lambda loss: -loss.points))))
    return found


def mean_score(scores: Sequence[TableScore], sources: Collection[str]) -> float | None:
    """Return the mean score of the tables of some sources; None without any."""
    some = [item.score for item in scores if item.source in sources]
    return fmean(some) if some else None


_Weighed = tuple[float, float, tuple[str, int | None]]


def _of_checks(rows: Sequence[Row], critical: Mapping[str, float]) -> list[_Weighed]:
    """Return weight, lost weight and explanation of each check of a table; of several inputs the worst counts."""
    worst: dict[str, _Weighed] = {}
    for row in rows:
        weight = _WEIGHTS[row["severity"]]
        lost, concerned = 0.0, None
        if not row["passed"]:
            share, concerned = _share(row)
            columns = [
                times
                for name, times in critical.items()
                if name.startswith(f"{row['source']}.")
                and re.search(rf"(?<!\w){re.escape(name.partition('.')[2])}(?!\w)", row["explanation"])
            ]
            lost = weight * share * max(columns, default=1.0)
        told = (f"{row['kind']}: {row['explanation']}", concerned)
        if row["kind"] not in worst or lost > worst[row["kind"]][1]:
            worst[row["kind"]] = (weight, lost, told)
    return list(worst.values())


def _share(row: Row) -> tuple[float, int | None]:
    """Return the share of rows that a failed check is about, and their number; all if it does not count rows."""
    numbers = row["numbers"]
    if row["kind"] not in _BY_ROWS or not isinstance(numbers.get("rows"), int) or not numbers["rows"]:
        failing = numbers.get("failing rows")
        return 1.0, failing if isinstance(failing, int) else None
    failing = max((value for name, value in numbers.items() if name != "rows" and isinstance(value, int)), default=0)
    return min(1.0, failing / numbers["rows"]), failing


def _of_rows(loaded: Sequence[Row], source: str) -> list[_Weighed]:
    rows, kept_out = sum(row["rows"] for row in loaded), sum(row["kept_out"] for row in loaded)
    if not rows:
        return []
    why = f"{kept_out:,} of {rows:,} rows are kept out of the hub: dataops quarantine list {source}"
    return [(_KEPT_OUT, _KEPT_OUT * kept_out / rows, (why, kept_out))]
