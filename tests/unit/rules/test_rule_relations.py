"""To-many relations, comparisons as join conditions, and what is refused of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import yaml
from declared import source
from rule_cases import current, rule, run

from dataops_assets.config.rules import Relation
from dataops_assets.config.source import Source
from dataops_assets.errors import ConfigError, RuleError
from dataops_assets.rules.compiler import CompiledRules, compile_rules
from dataops_assets.rules.lineage import ColumnReference

ORDERS = {"Id": "integer", "Customer": "integer", "Day": "date", "Amount": "decimal(10,2)", "Paid": "boolean"}
OTHERS = {
    "orders": source(
        "orders",
        {**ORDERS, "Ratio": "double", "Text": "text"},
        relations={"product": {"source": "products", "on": {"Id": "Id"}}},
    ),
    "products": source("products", {"Id": "integer", "Price": "integer"}, refresh={"type": "key", "key": ["Id"]}),
    "groups": source(
        "groups",
        {"Code": "text"},
        refresh={"type": "key", "key": ["Code"]},
        relations={"members": {"source": "customers", "on": {"Code": "Group"}, "cardinality": "to_many"}},
    ),
    "rates": source("rates", {"Code": "text", "Since": "date", "Until": "date", "Rate": "double"}),
}
RELATIONS: dict[str, Any] = {
    "orders": {"source": "orders", "on": {"Id": "Customer"}, "cardinality": "to_many"},
    "earlier": {
        "source": "orders",
        "on": {"Id": "Customer"},
        "where": [{"column": "Since", "is": ">", "related": "Day"}],
        "cardinality": "to_many",
    },
    "group": {"source": "groups", "on": {"Group": "Code"}},
    "rate": {
        "source": "rates",
        "on": {"Group": "Code"},
        "where": [
            {"column": "Since", "is": ">=", "related": "Since"},
            {"column": "Since", "is": "<", "related": "Until"},
        ],
    },
    "newer": {
        "source": "customers",
        "where": [{"column": "Since", "is": "<", "related": "Since"}],
        "cardinality": "to_many",
    },
}


def customers(*rules: Mapping[str, Any], **declared: Any) -> Source:
    kinds = {"Id": "integer", "Group": "text", "Since": "date"}
    return source("customers", kinds, **{"relations": RELATIONS, "rules": list(rules), **declared})


def compiled(*rules: Mapping[str, Any], **declared: Any) -> CompiledRules:
    own = customers(*rules, **declared)
    return compile_rules(own, {**OTHERS, "customers": own})


def values(
    expression: str, rows: Sequence[Mapping[str, Any]], hubs: Mapping[str, Sequence[Mapping[str, Any]]]
) -> list[Any]:
    rules = compiled(current(expression))
    return [row["r"] for row in run(rules, rules.current, rows, hubs)]


TWO = [{"Id": 1, "Group": "a"}, {"Id": 2, "Group": "a"}, {"Id": None}]
BOUGHT = [
    {"Id": 10, "Customer": 1, "Day": "2024-01-03", "Amount": 5, "Paid": True, "Ratio": 0.5, "Text": "1"},
    {"Id": 11, "Customer": 1, "Amount": 7, "Paid": False, "Ratio": 0.0, "Text": "x"},
    {"Id": 11, "Customer": 1, "Amount": None, "Paid": None},
    {"Id": 12, "Customer": None, "Amount": 99},
]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("sum(orders.Amount)", [12, None, None]),
        ("coalesce(sum(orders.Amount), 0) * 2", [24, 0, 0]),
        ("count(orders.Id)", [3, 0, 0]),
        ("count(distinct orders.Id)", [2, 0, 0]),
        ("count(orders.Amount)", [2, 0, 0]),
        ("count(*) filter (where orders.Paid)", [1, 0, 0]),
        ("count_if(orders.Paid)", [1, 0, 0]),
        ("count_if(orders.Paid and orders.Paid is null)", [0, 0, 0]),
        ("sum(orders.Amount) filter (where not orders.Paid)", [7, None, None]),
        ("max(orders.Amount) - min(ORDERS.amount)", [2, None, None]),
        ("avg(orders.Id)", [32 / 3, None, None]),
        ("bool_and(orders.Paid)", [False, None, None]),
        ("sum(orders.Id // (orders.Id - 10))", [22, None, None]),
        ("sum(orders.Text::integer)", [1, None, None]),
        ("max(orders.Day - date '2024-01-01')", [2, None, None]),
        ("sum(orders.Amount * orders.Amount)", [74, None, None]),
        ("sum(orders.Id * 9223372036854775807)", [None, None, None]),
        ("Id + count(orders.Id)", [4, 2, None]),
        ("count(orders.Id) > 1 and max(orders.Amount) = 7", [True, False, False]),
        ('sum(count(orders.Id)) over (partition by "Group")', [3, 3, 0]),
        ("max(Id) over (partition by count(orders.Id))", [1, 2, 2]),
        ("count(group.members.Id)", [2, 2, 0]),
    ],
)
def test_a_to_many_relation_is_aggregated_and_the_grain_stays(expression: str, expected: list[Any]) -> None:
    given = [{"Code": "a"}, {"Code": "b"}]
    assert values(expression, TWO, {"orders": BOUGHT, "groups": given, "customers": TWO}) == expected


def test_comparisons_decide_what_matches() -> None:
    rows = [{"Id": 1, "Group": "a", "Since": f"2024-01-0{day}"} for day in (1, 2, 5)] + [{"Id": 1, "Group": "a"}]
    orders = [{"Id": day, "Customer": 1, "Day": f"2024-01-0{day}"} for day in (1, 1, 2, 4)]
    rates = [
        {"Code": "a", "Since": "2024-01-01", "Until": "2024-01-02", "Rate": 1.0},
        {"Code": "a", "Since": "2024-01-02", "Until": "2024-01-04", "Rate": 2.0},
        {"Code": "b", "Since": "2024-01-04", "Until": "2024-01-09", "Rate": 3.0},
    ]
    hubs = {"orders": orders, "rates": rates, "customers": rows}
    assert values("count(earlier.Id)", rows, hubs) == [0, 2, 4, 0]
    assert values("rate.Rate", rows, hubs) == [1.0, 2.0, None, None]
    assert values("count(newer.Id)", rows, hubs) == [2, 1, 0, 0]


def test_snapshot_rules_and_validations_aggregate_too() -> None:
    rules = compiled(rule("count(orders.Id)"), validations=[{"name": "v", "expression": "count(orders.Id) < 3"}])
    found = run(rules, rules.snapshot, TWO, {"orders": BOUGHT})
    assert [(row["r"], row["s_failed.v"]) for row in found] == [(3, True), (0, False), (0, False)]


def refused(expression: str) -> RuleError:
    with pytest.raises(RuleError) as caught:
        compiled(current(expression))
    assert "source 'customers', rule 'r', line 1, column" in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("expression", "problem", "place"),
    [
        ("1 + orders.Amount", "'orders' is a to-many relation: several rows may match", "orders.Amount"),
        ("Id + sum(group.Code)", "'group' is a to-one relation: there is one value", "sum(group.Code"),
        ("sum(orders.product.Price)", "'orders' is to-many, and only the last relation", "orders.product.Price"),
        ("orders.product.Price", "make a rule of 'orders' that looks up 'product'", "orders.product.Price"),
        ("sum(orders.Amount * Id)", "'Id' is a column of 'customers'", "Id"),
        ("sum(orders.Amount) filter (where Since > orders.Day)", "'Since' is a column of 'customers'", "Since"),
        ("sum(orders.Amount + earlier.Amount)", "reads two relations, 'orders' and 'earlier'", None),
        ("sum(max(orders.Amount) + orders.Amount)", "an aggregate inside an aggregate", None),
        ("sum(Id)", "'SUM(Id)' needs OVER", "sum(Id"),
        ("count(*)", "needs OVER", None),
        ("sum(orders.Amount) over ()", "'orders' is a to-many relation", "orders.Amount"),
        ("rank(orders.Amount)", "needs OVER", None),
        ("sum(orders.Amuont)", "no column or rule 'Amuont', did you mean 'Amount'?", "Amuont"),
        ("sum(orders.Text)", "No function matches", "sum(orders.Text"),
    ],
)
def test_a_relation_used_the_wrong_way_is_shown(expression: str, problem: str, place: str | None) -> None:
    error = refused(expression)
    assert problem in str(error)
    shown, carets = error.at.excerpt.split("\n")
    if place is not None:
        assert shown[carets.index("^") : len(carets)] == place


def test_a_relation_that_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"relation 'group': at most one row of 'groups' matches"):
        compiled(relations={"group": {**RELATIONS["group"], "cardinality": "to_many"}})
    wrong = [{"column": "Since", "is": ">", "related": "Code"}]
    with pytest.raises(ConfigError, match="column 'Since' is date, column 'Code' of 'rates' is text"):
        compiled(relations={"rate": {"source": "rates", "where": wrong}})
    with pytest.raises(ValueError, match=r"relations\.rate\.where names 'Sinc', did you mean 'Since'"):
        compiled(relations={"rate": {"source": "rates", "where": [{"column": "Sinc", "is": ">", "related": "Since"}]}})
    with pytest.raises(ValueError, match="needs 'on'"):
        Relation(source="rates")
    with pytest.raises(ValueError, match="'<', '<=', '>', '>=' or '<>'"):
        Relation.model_validate({"source": "rates", "where": [{"column": "a", "is": "=", "related": "b"}]})
    read = yaml.safe_load("{source: rates, on: {Group: Code}}")
    assert Relation.model_validate(read).on == {"Group": "Code"}


def test_snapshot_aggregates_that_lead_back_are_refused() -> None:
    with pytest.raises(RuleError, match=r"snapshot look-ups form a cycle: customers → customers") as caught:
        compiled(rule("1 + count(newer.Id)"))
    assert caught.value.at.excerpt.endswith("  " + " " * 10 + "^" * 8)


def test_lineage_and_personal_data_go_through_aggregates() -> None:
    rules = compiled(current("sum(earlier.Amount) filter (where earlier.Paid)"))
    own, there = "hub/customers", "hub/orders"
    assert rules.lineage["r"] == {
        *(ColumnReference(own, name) for name in ("Id", "Since")),
        *(ColumnReference(there, name) for name in ("Customer", "Day", "Amount", "Paid")),
    }
    assert rules.current.related == ("orders",)
    tagged = OTHERS["orders"].columns[6].model_copy(update={"tags": {"pii": "name"}})
    orders = OTHERS["orders"].model_copy(update={"columns": (*OTHERS["orders"].columns[:6], tagged)})
    asked = customers(current("max(orders.Text)", "t"), current("max(orders.Id)", "i"))
    found = compile_rules(asked, {**OTHERS, "orders": orders, "customers": asked}).current.rules
    assert (found["t"].personal, found["i"].personal) == (True, False)


def test_a_version_changes_with_what_decides_the_values() -> None:
    def version(expression: str, name: str = "r", **declared: Any) -> str:
        return compiled(current(expression), current("r + 1", "s"), **declared).current.versions[name]

    assert version("count(orders.Id)") == version("COUNT( orders.id )")
    assert version("count(orders.Id)") != version("count(orders.Id) + 1")
    assert version("count(orders.Id)", "s") != version("count(orders.Id) + 1", "s")
    loose = {**RELATIONS, "orders": {**RELATIONS["orders"], "on": {"Id": "Id"}}}
    assert version("count(orders.Id)") != version("count(orders.Id)", relations=loose)
    unused = {**RELATIONS, "group": {**RELATIONS["group"], "description": "x"}}
    assert version("count(orders.Id)") == version("count(orders.Id)", relations=unused)
