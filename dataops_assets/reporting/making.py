"""Makes the report from the metadata: one page about the service levels and the quality of all data products."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from dataops_assets.config.data_products import DataProducts
from dataops_assets.config.source import Source
from dataops_assets.metadata.incident_store import IncidentStore
from dataops_assets.metadata.report_store import ReportStore
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.quality.checks import Compared, judged
from dataops_assets.quality.control.charts import Trend
from dataops_assets.quality.control.verdicts import WINDOW, Judgement
from dataops_assets.reporting.facts import Facts, Row, WarehouseTable
from dataops_assets.reporting.page import Report
from dataops_assets.reporting.scores import area_score, mean_score, table_scores
from dataops_assets.reporting.service_levels import counted_days, service_levels, whole_days_since

_LEAST_WINDOW = dt.timedelta(days=28)
_HISTORY = dt.timedelta(days=92)


def make_report(
    url: str,
    sources: Mapping[str, Source],
    declared: DataProducts,
    now: dt.datetime,
    link: str = "",
    warehouse: Mapping[str, WarehouseTable] | None = None,
) -> Report:
    """Return the report of these sources and data products. `url` is that of the metadata, `link` of the Dagster UI.

    `warehouse` has the tables of the warehouse by asset key; their checks are not in the metadata.

    Raises StorageError if the metadata cannot be read.
    """
    metadata = MetadataStore(url)
    facts = replace(read_facts(url, sources, declared, now), warehouse=warehouse or {})
    critical = {
        column: product.critical_weight for product in declared.products.values() for column in product.critical_columns
    }
    judged_last = {name: _judged(metadata, sources, name) for name in sources}
    trends = {name: told.trend for name, told in judged_last.items() if told.trend is not None}
    distances = {name: told.distances for name, told in judged_last.items() if told.distances is not None}
    return Report(
        facts,
        {name: (product, service_levels(product, facts)) for name, product in declared.products.items()},
        table_scores(facts, critical),
        trends,
        _kept_out(facts, sources),
        link.rstrip("/"),
        _history(url, now),
        distances,
    )


def save_results(url: str, report: Report) -> None:
    """Record service levels, their counts, and scores, so that they and their history can be queried."""
    at = report.facts.now
    levels = [
        {
            "reported_at": at,
            "product": name,
            "objective": level.name,
            "target": level.target,
            "good": level.good,
            "budget_left": level.budget_left,
            "burn_rate": level.burn_rate,
        }
        for name, (_, found) in report.products.items()
        for level in found
    ]
    scores = [
        ("table", item.asset, item.score, [[loss.points, loss.why, loss.rows] for loss in item.losses])
        for item in report.scores
    ]
    for area in sorted({item.area for item in report.scores}):
        if (score := area_score(report.scores, area)) is not None:
            scores.append(("area", area, score, []))
    for name, (product, _) in report.products.items():
        if (score := mean_score(report.scores, product.sources)) is not None:
            scores.append(("product", name, score, []))
    rows = [
        {"reported_at": at, "scope": scope, "name": name, "score": score, "losses": losses}
        for scope, name, score, losses in scores
    ]
    store = ReportStore(url)
    store.save(levels, rows)
    for name, (product, _) in report.products.items():
        days = [
            {
                "product": name,
                "objective": item.objective,
                "part": item.part,
                "day": item.day,
                "counted_good": item.counted_good,
                "counted": item.counted,
            }
            for item in counted_days(product, report.facts)
        ]
        store.save_days(name, whole_days_since(product, at), days)


def read_facts(url: str, sources: Mapping[str, Source], declared: DataProducts, now: dt.datetime) -> Facts:
    """Read the facts of the longest window of all objectives, of the declared sources alone."""
    store, incidents = ReportStore(url), IncidentStore(url)
    since = now - max((item.objectives.window for item in declared.products.values()), default=_LEAST_WINDOW)

    def ours(rows: Sequence[Row]) -> list[Row]:
        return [row for row in rows if row["source"] in sources]

    alone = [row for row in incidents.incidents(also_resolved=True) if row["joined"] is None]
    return Facts(
        now,
        store.published(),
        ours(store.loaded(since)),
        ours(store.results(since)),
        [row for row in ours(incidents.checks(None)) if row["passed"] or not row["is_removed"]],
        sorted(alone, key=lambda row: row["opened_at"], reverse=True),
        {name: cost for name, cost in store.costs().items() if name in sources},
        store.loads(now - _HISTORY),
        {name: source.area for name, source in sources.items()},
    )


def _judged(metadata: MetadataStore, sources: Mapping[str, Source], name: str) -> Judgement:
    """Return what process control says of the newest input of a source."""
    asset = f"lake/{name}"
    profiles = metadata.profiles.newest(name, asset, limit=WINDOW)
    if not profiles:
        return Judgement()
    newest = max(profiles, key=lambda item: (item.extracted, item.input_id))
    compared = Compared(
        profiles, len(sources), metadata.decisions.faulty_inputs(name), metadata.forecasts.of(name, asset)
    )
    told = judged([newest], compared, sources[name].checks)
    return told.get(newest.input_id, Judgement())


def _history(url: str, now: dt.datetime) -> dict[str, Trend]:
    """Return the scores of data products in earlier reports, of those with at least two."""
    found: dict[str, list[Row]] = {}
    for row in ReportStore(url).scores("product", now - _HISTORY):
        found.setdefault(row["name"], []).append(row)
    return {
        name: Trend(
            [row["reported_at"] for row in rows],
            [row["score"] for row in rows],
            [math.nan] * len(rows),
            [math.nan] * len(rows),
        )
        for name, rows in found.items()
        if len(rows) > 1
    }


def _kept_out(facts: Facts, sources: Mapping[str, Source]) -> list[Row]:
    """Return the rows that are kept out by source and rule, the most first; of each input the newest result."""
    found: dict[tuple[str, str], int] = {}
    for row in facts.loaded:
        if row["rejected"]:
            key = row["source"], "does not fit the contract"
            found[key] = found.get(key, 0) + row["rejected"]
    newest = {(row["source"], row["input_id"]): row for row in facts.results if row["kind"] == "validation"}
    for (source, _), row in newest.items():
        for rule in sources[source].validations:
            count = row["numbers"].get(rule.name)
            if rule.severity == "quarantine" and isinstance(count, int) and count:
                found[source, rule.name] = found.get((source, rule.name), 0) + count
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return [{"source": source, "rule": rule, "rows": rows} for (source, rule), rows in ordered]
