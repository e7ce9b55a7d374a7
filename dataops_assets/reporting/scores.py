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
    """The score of one table, with the sources that it is made of, and its losses, the largest first."""

    asset: str
    area: str
    sources: frozenset[str]
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
        found.append(_score(asset, facts.areas.get(source, ""), frozenset({source}), weighed))
    for asset, table in sorted(facts.warehouse.items()):
        found.append(_score(asset, table.area, table.sources, list(_of_checks(table.results, critical or {}))))
    return found


def mean_score(scores: Sequence[TableScore], sources: Collection[str]) -> float | None:
    """Return the mean score of the tables that are made of some sources alone; None without any."""
    some = [item.score for item in scores if item.sources and item.sources <= set(sources)]
    return fmean(some) if some else None


def area_score(scores: Sequence[TableScore], area: str) -> float | None:
    """Return the mean score of the tables of a subject area; None without any."""
    some = [item.score for item in scores if item.area == area]
    return fmean(some) if some else None


_Weighed = tuple[float, float, tuple[str, int | None]]


def _score(asset: str, area: str, sources: frozenset[str], weighed: Sequence[_Weighed]) -> TableScore:
    total = sum(weight for weight, _, _ in weighed)
    losses = [Loss(100 * lost / total, why, rows) for weight, lost, (why, rows) in weighed if lost and weight]
    score = max(0.0, 100 - sum(loss.points for loss in losses))
    return TableScore(asset, area, sources, score, tuple(sorted(losses, key=lambda loss: -loss.points)))


def _of_checks(rows: Sequence[Row], critical: Mapping[str, float]) -> list[_Weighed]:
    """Return weight, lost weight and explanation of each check of a table; of several inputs the worst counts."""
    worst: dict[str, _Weighed] = {}
    for row in rows:
        weight = _WEIGHTS[row["severity"]]
        lost, concerned = 0.0, None
        if not row["passed"]:
            share, concerned = _share(row)
            lost = (
                weight * share * max((times for name, times in critical.items() if _is_about(row, name)), default=1.0)
            )
        told = (f"{row['kind']}: {row['explanation']}", concerned)
        if row["kind"] not in worst or lost > worst[row["kind"]][1]:
            worst[row["kind"]] = (weight, lost, told)
    return list(worst.values())


def _is_about(row: Row, column: str) -> bool:
    """Return whether a result is about a column, 'source.column': results of sources name it in their explanation."""
    if "columns" in row:
        return column in row["columns"]
    source, _, name = column.partition(".")
    return source == row["source"] and bool(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", row["explanation"]))


def _share(row: Row) -> tuple[float, int | None]:
    """Return the share of rows that a failed check is about, and their number; all if it does not count rows."""
    numbers = row["numbers"]
    rows, failing = numbers.get("rows"), numbers.get("failing rows")
    if isinstance(rows, int) and rows and isinstance(failing, int):
        return min(1.0, failing / rows), failing
    if row["kind"] not in _BY_ROWS or not isinstance(rows, int) or not rows:
        return 1.0, failing if isinstance(failing, int) else None
    failing = max((value for name, value in numbers.items() if name != "rows" and isinstance(value, int)), default=0)
    return min(1.0, failing / rows), failing


def _of_rows(loaded: Sequence[Row], source: str) -> list[_Weighed]:
    rows, kept_out = sum(row["rows"] for row in loaded), sum(row["kept_out"] for row in loaded)
    if not rows:
        return []
    why = f"{kept_out:,} of {rows:,} rows are kept out of the hub: dataops quarantine list {source}"
    return [(_KEPT_OUT, _KEPT_OUT * kept_out / rows, (why, kept_out))]
