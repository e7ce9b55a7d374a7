"""Templates shared by sources, and sources repeated by parameters: what comes of them, and where errors point."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from code_location import SOURCE_TYPE
from dagster.components.testing import create_defs_folder_sandbox

from dataops_assets.components.declarations import Declarations, declared_sources
from dataops_assets.components.look_sensors import look_sensors
from dataops_assets.components.source import source_assets
from dataops_assets.errors import ConfigError

MARGIN: dict[str, Any] = {
    "rules": [
        {"name": "${prefix}Margin", "expression": "${price} - ${cost}"},
        {"name": "${prefix}Share", "expression": "${prefix}Margin / ${price}", "mode": "keep_current"},
    ],
    "validations": [{"name": "${prefix}margin is not below ${least}", "expression": "${prefix}Margin >= ${least}"}],
}
TEMPLATES: dict[str, Any] = {
    "templates": {"margin": MARGIN},
    "parameters": {"countries": [{"country": "de", "rate": 0.19}, {"country": "fr", "rate": 0.2}]},
}
TOKENS = {"prefix": "", "price": "amount", "cost": "cost", "least": 0}
ORDERS: dict[str, Any] = {
    "name": "orders",
    "area": "shop",
    "connection": {"type": "files", "path": "orders/*.csv"},
    "columns": [
        {"name": "id", "type": "integer"},
        {"name": "customer", "type": "integer"},
        {"name": "amount", "type": "double"},
        {"name": "cost", "type": "double"},
    ],
    "refresh": {"type": "key", "key": ["id"]},
    "rules": [{"name": "own", "expression": "amount * 2"}],
    "use": [{"template": "margin", "tokens": TOKENS}],
}
CUSTOMERS: dict[str, Any] = {
    "name": "customers_${country}",
    "area": "erp_${country}",
    "for_each": "countries",
    "connection": {"type": "files", "path": "erp/${country}/customers_*.csv"},
    "columns": [{"name": "id", "type": "integer"}, {"name": "name"}],
    "refresh": {"type": "key", "key": ["id"]},
}
CLONED: dict[str, Any] = {
    **ORDERS,
    "name": "orders_${country}",
    "area": "erp_${country}",
    "for_each": "countries",
    "relations": {"who": {"source": "customers_${country}", "on": {"customer": "id"}}},
    "rules": [
        {"name": "tax", "expression": "amount * ${rate}"},
        {"name": "customer_name", "expression": "coalesce(who.name, '${country}')"},
    ],
    "use": [{"template": "margin", "tokens": {**TOKENS, "prefix": "${country}_"}}],
}


def write(folder: Path, *sources: dict[str, Any], templates: dict[str, Any] = TEMPLATES) -> None:
    kind = "dataops_assets.components.TemplatesComponent"
    documents = [("shared", kind, templates), *((f"s{n}", SOURCE_TYPE, item) for n, item in enumerate(sources))]
    for name, kind, attributes in documents:
        (folder / name).mkdir(exist_ok=True, parents=True)
        text = yaml.safe_dump({"type": kind, "attributes": attributes}, sort_keys=False)
        (folder / name / "defs.yaml").write_text(text)


def declared(folder: Path, *sources: dict[str, Any], templates: dict[str, Any] = TEMPLATES) -> Declarations:
    write(folder, *sources, templates=templates)
    return declared_sources(folder)


def test_a_template_gives_rules_and_validations(tmp_path: Path) -> None:
    found = declared(tmp_path, ORDERS).sources["orders"]
    assert [(rule.name, rule.expression, rule.mode) for rule in found.rules] == [
        ("own", "amount * 2", "snapshot"),
        ("Margin", '"amount" - "cost"', "snapshot"),
        ("Share", '"Margin" / "amount"', "keep_current"),
    ]
    assert [(item.name, item.expression) for item in found.validations] == [("margin is not below 0", '"Margin" >= 0')]
    assert type(found).__name__ == "Source"


def test_one_template_serves_many_and_a_change_reaches_all(tmp_path: Path) -> None:
    twice = {**ORDERS, "use": [{"template": "margin", "tokens": {**TOKENS, "prefix": p}} for p in ("a", "b")]}
    other = {**ORDERS, "name": "sales"}
    before = declared(tmp_path, twice, other)
    assert list(before.rules("orders").types) == ["own", "aMargin", "aShare", "bMargin", "bShare"]
    first, second = MARGIN["rules"]
    margin = {**MARGIN, "rules": [{**first, "expression": "${price} * 2 - ${cost}"}, second]}
    after = declared(tmp_path, twice, other, templates={**TEMPLATES, "templates": {"margin": margin}})
    for name, rules in (("orders", ("aMargin", "bMargin")), ("sales", ("Margin",))):
        old, new = (found.rules(name).snapshot.versions for found in (before, after))
        assert {rule for rule in new if new[rule] != old[rule]} == set(rules)


def test_a_group_of_sources_is_repeated_by_parameters(tmp_path: Path) -> None:
    found = declared(tmp_path, CUSTOMERS, CLONED)
    assert sorted(found.sources) == ["customers_de", "customers_fr", "orders_de", "orders_fr"]
    orders = found.sources["orders_fr"]
    assert (orders.area, orders.relations["who"].source) == ("erp_fr", "customers_fr")
    assert [rule.expression for rule in orders.rules][:2] == ["amount * 0.2", "coalesce(who.name, 'fr')"]
    assert [rule.name for rule in orders.rules][2:] == ["fr_Margin", "fr_Share"]
    assert found.sources["customers_de"].connection.path == "erp/de/customers_*.csv"  # type: ignore[union-attr]
    assert found.rules("orders_fr").snapshot.related == ("customers_fr",)
    # one line more is a whole group more
    entries = [*TEMPLATES["parameters"]["countries"], {"country": "it", "rate": 0.22}]
    more = declared(tmp_path, CUSTOMERS, CLONED, templates={**TEMPLATES, "parameters": {"countries": entries}})
    assert len(more.sources) == 6


def test_dagster_loads_what_they_stand_for() -> None:
    with create_defs_folder_sandbox() as sandbox:
        write(sandbox.defs_folder_path, CUSTOMERS, CLONED, ORDERS)
        with sandbox.build_all_defs() as definitions:
            whole = dg.Definitions.merge(definitions, dg.Definitions(resources={"platform": object()}))
            keys = {key.to_user_string() for key in whole.resolve_asset_graph().get_all_asset_keys()}
            assert definitions.component_tree is not None
            sensors = {each.name: each for each in look_sensors(source_assets(definitions.component_tree))}
    assert {"hub/orders_de_current", "hub/orders_fr_current", "hub/customers_fr", "hub/orders_current"} <= keys
    assert {"looks_at_erp_de", "looks_at_erp_fr"} <= set(sensors)


def using(**tokens: Any) -> dict[str, Any]:
    return {**ORDERS, "use": [{"template": "margin", "tokens": {**TOKENS, **tokens}}]}


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (
            using(price="amuont"),
            ["attributes.rules.1", "made by template 'margin'", "did you mean 'amount'", "s0/defs.yaml:"],
        ),
        (using(price="1; drop"), ["template 'margin'", "rule '${prefix}Margin'", "'1; drop'", "attributes.use"]),
        (using(prefix="s_"), ["made by template 'margin'", "prefix 's_'"]),
        (using(more=1), ["it has no token more", "least"]),
        ({**ORDERS, "use": [{"template": "margin", "tokens": {}}]}, ["filling ${prefix}", "no value"]),
        ({**ORDERS, "use": [{"template": "margn"}]}, ["unknown template 'margn'", "did you mean 'margin'"]),
        ({**ORDERS, "use": [{"templat": "margin"}]}, ["use.0.templat", "did you mean 'template'"]),
        (
            {**ORDERS, "use": [*ORDERS["use"], *ORDERS["use"]]},
            ["'Margin' is declared twice", "made by template 'margin'"],
        ),
        ({**CUSTOMERS, "for_each": "countrys"}, ["unknown list of parameters 'countrys'", "did you mean 'countries'"]),
        (
            {**CUSTOMERS, "area": "${contry}"},
            ["for country=de, rate=0.19", "filling ${contry}", "did you mean 'country'"],
        ),
        ({**CUSTOMERS, "area": "a ${country}"}, ["attributes.area for country=de, rate=0.19", "'a de' must match"]),
        ({**CUSTOMERS, "name": "customers"}, ["the source is declared twice"]),
    ],
)
def test_an_error_names_template_and_user(tmp_path: Path, source: dict[str, Any], told: list[str]) -> None:
    def load() -> None:
        found = declared(tmp_path, source)
        for name in found.sources:
            found.rules(name)

    with pytest.raises(ConfigError) as caught:
        load()
    for text in told:
        assert text in str(caught.value)


def test_a_name_is_declared_once(tmp_path: Path) -> None:
    write(tmp_path / "again")
    with pytest.raises(ConfigError, match=r"attributes.templates.margin: declared twice.*the other is at"):
        declared(tmp_path)
