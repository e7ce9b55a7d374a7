"""A rule is tried on the rows of a hub: what it would give, and nothing is written."""

from __future__ import annotations

import datetime as dt
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import dataops
from declared import unchecked_source
from rule_steps import context, fill_hub

from dataops_assets.errors import InputError, RuleError
from dataops_assets.rules.lineage import ColumnReference
from dataops_assets.steps.recalculate import recalculate
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.upkeep.rule_trial import HIDDEN, try_rule

STORES = unchecked_source("stores", {"Id": "integer", "Kind": "text"}, refresh={"type": "key", "key": ["Id"]})
ORDERS = unchecked_source("orders", {"Store": "integer", "Amount": "integer"})
RELATIONS = {
    "store": {"source": "stores", "on": {"Store": "Id"}},
    "orders": {"source": "orders", "on": {"Store": "Store"}, "cardinality": "to_many"},
}
KINDS = {"Store": "integer", "Sales": "integer", "Note": "text"}
RULES = [
    {"name": "half", "expression": "Sales / 2"},
    {"name": "ordered", "expression": "sum(orders.Amount)", "mode": "keep_current"},
    {"name": "small", "expression": "Sales", "type": "decimal(3,1)"},
]


@pytest.fixture
def space(tmp_path: Path) -> SourceContext:
    own = unchecked_source("sales", KINDS, relations=RELATIONS, rules=RULES)
    columns = (*own.columns[:2], own.columns[2].model_copy(update={"tags": {"pii": "name"}}))
    found = context(tmp_path, own.model_copy(update={"columns": columns}), STORES, ORDERS)
    found.metadata.migrate()
    fill_hub(found, "stores", [{"Id": 1, "Kind": "a"}])
    fill_hub(found, "orders", [{"Store": 1, "Amount": 4}, {"Store": 1, "Amount": 5}])
    rows = [(1, 10, "x"), (1, 20, "y"), (2, None, None), (3, 40, "z")]
    hub = [{"Store": s, "Sales": v, "Note": n, "half": v and v / 2, "s_row_hash": v or 0} for s, v, n in rows]
    fill_hub(found, "sales", hub)
    recalculate(found)
    return found


def test_what_an_expression_gives(space: SourceContext) -> None:
    before = {table.uri: table.snapshot() for table in space.tables}
    trial = try_rule(space, "Sales + sum(orders.Amount)")
    assert (trial.type, trial.rows, trial.nulls, trial.distinct) == ("BIGINT", 4, 2, 2)
    assert (trial.least, trial.most, trial.change) == (19, 29, None)
    assert list(trial.examples) == [("h", 0, 19), ("h", 1, 29)]
    assert ColumnReference("hub/orders", "Amount") in trial.lineage
    assert {table.uri: table.snapshot() for table in space.tables} == before


def test_a_window_sees_all_rows_or_the_sample(space: SourceContext) -> None:
    assert try_rule(space, "count(*) over ()").most == 4
    sampled = try_rule(space, "count(*) over ()", sample=3)
    assert (sampled.rows, sampled.most) == (3, 3)
    assert sampled == try_rule(space, "count(*) over ()", sample=3)


@pytest.mark.parametrize(
    ("expression", "name", "expected"),
    [
        ("Sales / 2", "half", (4, 0, 0, 0)),
        ("Sales / 4 + 5 * (Sales // 20)", "half", (3, 1, 0, 0)),
        ("case when Store = 1 then Sales / 2 end", "half", (3, 1, 1, 0)),
        ("coalesce(Sales, 0) / 2", "half", (3, 1, 0, 1)),
        ("coalesce(sum(orders.Amount), 0)", "ordered", (2, 2, 0, 2)),
        ("case Store when 1 then '10' end", "Sales", (2, 2, 1, 0)),
    ],
)
def test_before_and_after(space: SourceContext, expression: str, name: str, expected: tuple[int, ...]) -> None:
    change = try_rule(space, expression, name).change
    assert change is not None
    assert (change.same, change.changed, change.became_null, change.were_null) == expected
    assert len(change.examples) == expected[1]


def test_values_that_do_not_fit_the_declared_type_are_counted(space: SourceContext) -> None:
    trial = try_rule(space, "Sales * 10", "small")
    assert (trial.type, trial.nulls, trial.failed_casts) == ("DECIMAL(3,1)", 4, 3)


def test_personal_values_are_not_shown(space: SourceContext) -> None:
    trial = try_rule(space, "upper(Note)", "Note")
    assert (trial.least, trial.most) == (HIDDEN, HIDDEN)
    assert trial.change is not None
    assert {value for *_, value in (*trial.examples, *trial.change.examples)} == {HIDDEN}
    assert {before for _, _, before, _ in trial.change.examples} == {HIDDEN}
    shown = try_rule(space, "length(Store::text)", "Note").change
    assert shown is not None
    assert {before for _, _, before, _ in shown.examples} == {HIDDEN}


def test_what_could_not_be_declared_is_refused_as_when_it_is_loaded(space: SourceContext) -> None:
    with pytest.raises(RuleError, match=r"rule 'half', line 1, column 1: source 'sales' has no column or rule 'Slaes'"):
        try_rule(space, "Slaes / 2", "half")
    with pytest.raises(RuleError, match="a snapshot rule sees one row"):
        try_rule(space, "count(*) over ()", "half")
    with pytest.raises(RuleError, match="half → half"):
        try_rule(space, "half + 1", "half")
    refused = dataops([space], "try", "sales", "1", "--sample", "0")
    assert (refused.code, refused.out) == (2, "")
    assert "--sample" in refused.err


def test_without_a_hub_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="materialize hub/sales first"):
        try_rule(context(tmp_path, unchecked_source("sales", KINDS)), "Sales")


def test_the_command_tells_it(space: SourceContext) -> None:
    words = ("try", "sales", "coalesce(Sales, 0) / 2", "--rule", "half")
    assert dataops([space], *words).lines == [
        "type      DOUBLE",
        "lineage   hub/sales.Sales",
        "rows      4, null in 0, 4 distinct values",
        "values    0.0 to 20.0",
        "",
        "value  row  input",
        *(f"{value:<5}  {row:>3}  h" for row, value in enumerate((5.0, 10.0, 0.0, 20.0))),
        "",
        "half now  the same in 3 rows, changed in 1: null now in 0, no more in 1",
        "before  after  row  input",
        "None    0.0      2  h",
    ]
    found = dataops([space], *words, "--json").data
    assert (found["rows"], found["distinct"], found["lineage"]) == (4, 4, [{"table": "hub/sales", "column": "Sales"}])
    assert found["change"]["examples"] == [{"input": "h", "row": 2, "before": None, "after": 0.0}]


def test_recalculating_by_hand_leaves_receipts(space: SourceContext) -> None:
    changed = [{**RULES[0], "expression": "Sales / 4"}, RULES[1], {**RULES[2], "expression": "Sales"}]
    source = unchecked_source("sales", KINDS, relations=RELATIONS, rules=changed)
    fill_hub(space, "orders", [{"Store": 2, "Amount": 4}])
    then = SourceContext(space.environment, source, {**space.sources, "sales": source}, space.engine, space.metadata)
    # a hub of before versions were recorded is taken as it is
    assert "half" not in dataops([then], "recalculate", "sales").out
    (receipt,) = space.metadata.receipts("sales")
    assert (receipt.asset, receipt.run_id) == ("hub/sales_current", "dataops recalculate")
    assert (receipt.receipt.rule, receipt.receipt.rows_seen, receipt.receipt.rows_changed) == ("ordered", 3, 3)
    assert receipt.recalculated_at - dt.datetime.now(dt.UTC) < dt.timedelta(hours=1)
    assert "skipped" in dataops([then], "recalculate", "sales").out


def test_lineage_goes_from_hub_to_raw_data_through_rules_and_relations(space: SourceContext) -> None:
    def pairs(column: str) -> set[tuple[Any, ...]]:
        return {tuple(row.values()) for row in dataops([space], "lineage", f"sales.{column}", "--json").data}

    assert pairs("half") == {
        ("hub/sales_current", "half", "hub/sales", "half"),
        ("hub/sales", "half", "hub/sales_enriched", "half"),
        ("hub/sales_enriched", "half", "lake/sales_changes", "Sales"),
        ("lake/sales_changes", "Sales", "lake/sales", "Sales"),
        ("lake/sales", "Sales", "raw/sales", "Sales"),
    }
    followed = pairs("ordered")
    assert {
        ("hub/sales_current", "ordered", *end) for end in (("hub/sales", "Store"), ("hub/orders", "Store"))
    } <= followed
    assert ("lake/orders", "Amount", "raw/orders", "Amount") in followed
    tree = dataops([space], "lineage", "sales.ordered").lines
    assert tree[0] == "hub/sales_current.ordered"
    assert "          raw/orders.Amount" in tree
    columns = dataops([space], "lineage", "sales").lines
    assert ["ordered", "raw/orders.Amount,", "raw/orders.Store,", "raw/sales.Store"] in [
        line.split() for line in columns
    ]
    refused = dataops([space], "lineage", "sales.orderd")
    assert refused.code == 2
    assert "did you mean 'ordered'" in refused.err


def test_the_commands_of_the_rules_page_work(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "rules.md").read_text(encoding="utf-8")
    declared = yaml.safe_load(re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[0])
    kinds = {"Store": "integer", "Date": "date", "Sales": "integer", "Customers": "integer"}
    stores = unchecked_source("stores", {"Id": "integer", "Assortment": "text"}, refresh={"type": "key", "key": ["Id"]})
    space = context(tmp_path, unchecked_source("sales", kinds, **declared), stores)
    fill_hub(space, "sales", [{"Store": 1, "Sales": 6, "Customers": 2, "Basket": 3.0, "s_row_hash": 1}])
    (block,) = re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    answers = []
    for line in block.splitlines():
        program, *words = shlex.split(line)
        if program == "source":
            continue
        assert program == "dataops"
        answers.append(dataops([space], *words).out)
    assert "Basket now  the same in 1 rows, changed in 0" in answers[0]
    assert "values    6 to 6" in answers[1]
    assert answers[2].startswith("hub/sales_current.Basket\n  hub/sales.Basket\n")
    assert {"asset", "column", "from_asset", "from_column"} == set(json.loads(answers[3])[0])
