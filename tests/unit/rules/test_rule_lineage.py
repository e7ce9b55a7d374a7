"""Which stored columns a rule comes from: directly, through rules, and through look-ups with their keys."""

from __future__ import annotations

from declared import source
from rule_cases import compiled, current, rule, sales

from dataops_assets.rules.compiler import compile_rules
from dataops_assets.rules.lineage import ColumnReference

CHANGES = "lake/sales_changes"
HUB = "hub/sales"


def lineage(*pairs: tuple[str, str]) -> frozenset[ColumnReference]:
    return frozenset(ColumnReference(table, column) for table, column in pairs)


def test_own_columns_and_rules_are_traced_to_the_change_set() -> None:
    found = compiled(rule("Sales + customers", "a"), rule("a * Price + a", "b"), rule("1", "constant")).lineage
    assert found["a"] == lineage((CHANGES, "Sales"), (CHANGES, "Customers"))
    assert found["b"] == lineage((CHANGES, "Sales"), (CHANGES, "Customers"), (CHANGES, "Price"))
    assert found["constant"] == frozenset()


def test_keep_current_rules_are_traced_to_hubs() -> None:
    found = compiled(
        rule("Sales + 1", "a"),
        current("a + store.IsBig::integer", "b"),
        current("sum(b) over (partition by Date)", "c"),
    ).lineage
    keys = ((HUB, "Store"), ("hub/stores", "Id"))
    assert found["b"] == lineage((HUB, "a"), ("hub/stores", "IsBig"), *keys)
    assert found["c"] == lineage((HUB, "a"), (HUB, "Date"), ("hub/stores", "IsBig"), *keys)


def test_a_path_is_traced_with_every_key_on_it() -> None:
    found = compiled(rule("store.region.country")).lineage["r"]
    assert found == lineage(
        (CHANGES, "Store"),
        ("hub/stores", "Id"),
        ("hub/stores", "Region"),
        ("hub/regions", "code"),
        ("hub/regions", "country"),
    )


def test_what_is_made_from_personal_data_is_personal() -> None:
    people = source("people", {"id": "integer", "name": "text"}, refresh={"type": "key", "key": ["id"]})
    tagged = people.columns[1].model_copy(update={"tags": {"pii": "name"}})
    people = people.model_copy(update={"columns": (people.columns[0], tagged)})
    relation = {"owner": {"source": "people", "on": {"Store": "id"}}}
    found = sales(
        rule("owner.name", "name"),
        rule("upper(name)", "shout"),
        rule("owner.id", "id"),
        current("shout || '!'", "now"),
        relations=relation,
    )
    rules = compile_rules(found, {"sales": found, "people": people})
    personal = {name: item.personal for name, item in {**rules.snapshot.rules, **rules.current.rules}.items()}
    assert personal == {"name": True, "shout": True, "id": False, "now": True}


def test_names_are_reported_as_declared() -> None:
    found = compiled(
        rule("SALES + STORE.region.COUNTRY::integer"), validations=[{"name": "v", "expression": "sales > 0"}]
    )
    (checked,) = found.snapshot.validations
    assert checked.reads == ("Sales",)
    assert checked.lineage == lineage((CHANGES, "Sales"))
    assert found.snapshot.rules["r"].reads == ("Store", "Sales")
    assert [lookup.name for lookup in found.snapshot.lookups] == ["store", "store.region"]
    assert found.snapshot.related == ("regions", "stores")
    assert [lookup.unique for lookup in found.snapshot.lookups] == [True, True]


def test_the_hub_is_contract_rules_and_system_columns() -> None:
    found = compiled(
        rule("Sales / 2", "half"), current("half", "now"), refresh={"type": "key", "key": ["Store"], "order_by": "At"}
    )
    names = list(found.hub_columns)
    assert names[-9:] == [
        *(
            "half",
            "s_key",
            "s_input_id",
            "s_row_id",
            "s_order",
            "s_row_hash",
            "s_created_at",
            "s_updated_at",
            "s_status",
        )
    ]
    assert found.hub_columns["half"] == "DOUBLE"
    assert found.hub_columns["s_order"] == "TIMESTAMP"
    assert "now" not in found.hub_columns
    kept = compiled(refresh={"type": "full", "key": ["Store"], "history": True}).hub_columns
    assert (kept["s_order"], kept["s_valid_to"], kept["s_is_current"]) == (
        *("TIMESTAMP WITH TIME ZONE", "TIMESTAMP WITH TIME ZONE", "BOOLEAN"),
    )
