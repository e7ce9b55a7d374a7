"""Recalculation follows changed rows, related rows and rules on Spark as it does in the embedded engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from declared import unchecked_source
from rule_steps import context, fill_hub, table_rows

from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.engines.spark import SparkEngine
from dataops_assets.steps.recalculate import recalculate
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.upkeep.rule_backfill import backfill_rules
from dataops_assets.steps.upkeep.rule_trial import try_rule

KINDS = {"Store": "integer", "Day": "integer", "Sales": "integer"}
ORDERS = unchecked_source("orders", {"Store": "integer", "Day": "integer", "Amount": "integer"})
RELATIONS = {
    "orders": {"source": "orders", "on": {"Store": "Store"}, "cardinality": "to_many"},
    "before": {
        "source": "orders",
        "on": {"Store": "Store"},
        "where": [{"column": "Day", "is": ">", "related": "Day"}],
        "cardinality": "to_many",
    },
}
WEEK = "sum(Sales) over (partition by Store order by Day range between 2 preceding and 1 preceding)"
Rules = Mapping[str, tuple[str, str]]
FIRST: Rules = {
    "twice": ("Sales * 2", "snapshot"),
    "ordered": ("sum(orders.Amount)", "keep_current"),
    "earlier": ("count(before.Amount)", "keep_current"),
    "week": (WEEK, "keep_current"),
}
THEN: Rules = {**FIRST, "more": ("twice + 1", "snapshot"), "earlier": ("max(before.Amount)", "keep_current")}


def space(home: Path, engine: DuckDBEngine | SparkEngine, rules: Rules) -> SourceContext:
    declared = [{"name": name, "expression": text, "mode": mode} for name, (text, mode) in rules.items()]
    own = unchecked_source("sales", KINDS, relations=RELATIONS, rules=declared)
    return replace(context(home, own, ORDERS), engine=engine)


def rows(*values: tuple[int, int, int]) -> list[dict[str, Any]]:
    return [
        {"Store": store, "Day": day, "Sales": sales, "twice": sales * 2, "s_row_id": place, "s_row_hash": sales}
        for place, (store, day, sales) in enumerate(values)
    ]


def told(current: SourceContext) -> tuple[list[tuple[Any, ...]], Sequence[tuple[str, int, int]]]:
    report = recalculate(current)
    assert report.failures == ()
    names = ["twice", "ordered", "earlier", "week"]
    found = [tuple(row.values()) for row in table_rows(current, "hub/sales_current", names)]
    return found, [(item.rule, item.rows_seen, item.rows_changed) for item in report.receipts]


def test_a_story_of_changes_is_the_same(tmp_path: Path, duckdb: DuckDBEngine, spark: SparkEngine) -> None:
    """The tables are filled by the embedded engine; both read them."""
    stories = []
    for engine in (duckdb, spark):
        home = tmp_path / engine.name
        filling, first = space(home, duckdb, FIRST), space(home, engine, FIRST)
        orders = [{"Store": store, "Day": day, "Amount": day + store} for store in (1, 2) for day in (1, 2, 3)]
        sales = rows((1, 1, 5), (1, 2, 7), (1, 4, 1), (2, 2, 3), (3, 1, 9))
        fill_hub(filling, "sales", sales)
        fill_hub(filling, "orders", orders)
        story: list[Any] = [told(first)]
        orders[0]["Store"] = 3
        fill_hub(filling, "orders", orders)
        story.append(told(first))
        sales[0]["Sales"] = 50
        fill_hub(filling, "sales", sales[:-1])
        story.append(told(first))
        then = space(home, engine, THEN)
        story.append(try_rule(then, "max(before.Amount) + Sales", "earlier"))
        restated = backfill_rules(then)
        assert restated is not None
        story += [restated.receipts, table_rows(then, "hub/sales", ["Sales", "more"]), told(then)]
        stories.append(story)
    assert stories[0] == stories[1]
    assert [seen for _, seen, _ in stories[0][1][1]][:2] == [4, 4]
