"""What the documentation shows of declarations is valid as it stands, and becomes what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from dataops_assets.components import (
    DataProductsComponent,
    IncidentsComponent,
    OutputComponent,
    PublicationsComponent,
    SourceComponent,
    TemplatesComponent,
    WarehouseComponent,
)
from dataops_assets.components.declarations import (
    CONNECTION_TYPES,
    INCIDENT_TYPES,
    OUTPUT_TYPES,
    PRODUCT_TYPES,
    PUBLICATION_TYPES,
    SOURCE_TYPES,
    TEMPLATE_TYPES,
    declared_sources,
)
from dataops_assets.components.graph import nodes
from dataops_assets.config.data_products import DataProducts
from dataops_assets.config.databases import Connections
from dataops_assets.config.incidents import Incidents
from dataops_assets.config.outputs import Output
from dataops_assets.config.publications import Publications
from dataops_assets.config.rules import Relation
from dataops_assets.config.source import Source
from dataops_assets.config.templates import SourceDeclaration, Templates
from dataops_assets.config.warehouse import Warehouse
from dataops_assets.errors import ConfigError
from dataops_assets.rules.compiler import compile_rules

PROJECT = Path(__file__).resolve().parents[2]
MODELS: dict[str, type[BaseModel]] = {
    "dataops_assets.components.WarehouseComponent": Warehouse,
    **dict.fromkeys(CONNECTION_TYPES, Connections),
    **dict.fromkeys(INCIDENT_TYPES, Incidents),
    **dict.fromkeys(OUTPUT_TYPES, Output),
    **dict.fromkeys(PRODUCT_TYPES, DataProducts),
    **dict.fromkeys(PUBLICATION_TYPES, Publications),
    **dict.fromkeys(TEMPLATE_TYPES, Templates),
    **dict.fromkeys(SOURCE_TYPES, SourceDeclaration),
}
# what a page's fragment leaves out
MINIMAL: dict[str, Any] = {
    "name": "example",
    "area": "docs",
    "connection": {"type": "files", "path": "example/*.csv"},
    "refresh": {"type": "append"},
}
GUIDE = "docs/declaring-a-source.md"
# what other tests check: settings of dagster.yaml (test_logs), configurations of jobs (test_when_something_is_red), and
# files of dbt (test_tutorial)
NO_DECLARATIONS = {"python_logs", "ops", "sources", "models"}


def shown() -> list[tuple[str, str]]:
    """Every block of YAML, with its page."""
    pages = [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]
    return [
        (str(page.relative_to(PROJECT)), block)
        for page in pages
        for block in re.findall(
            r"^ *```ya?ml\n(.*?)^ *```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
        )
    ]


def page(name: str) -> str:
    return (PROJECT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "block"), shown(), ids=lambda text: text.splitlines()[0])
def test_a_shown_declaration_is_valid(name: str, block: str) -> None:
    declared = yaml.safe_load(block)
    if "type" in declared:
        assert set(declared) == {"type", "attributes"}
        found = MODELS[declared["type"]].model_validate(declared["attributes"])
        # what is made with templates has a test of its own
        if isinstance(found, SourceDeclaration) and not found.for_each:
            assert compile_rules(found, {found.name: found}).source == found
        return
    if set(declared) <= NO_DECLARATIONS:
        return
    # a fragment: its parts are those of a source
    assert set(declared) <= set(Source.model_fields), name
    source = Source.model_validate({"columns": [{"name": "Store"}], **MINIMAL, **without_columns(declared)})
    # an envelope becomes other fields
    assert set(declared) - {"envelope"} <= source.model_fields_set


def without_columns(declared: dict[str, Any]) -> dict[str, Any]:
    """A fragment that refers to columns it does not show brings them along."""
    relations = [Relation.model_validate(relation) for relation in declared.get("relations", {}).values()]
    used = dict.fromkeys(name for relation in relations for name in relation.own_columns)
    return {"columns": [{"name": name} for name in used]} | declared if used else declared


def test_the_components_go_by_the_names_that_are_shown() -> None:
    for component in (
        DataProductsComponent,
        IncidentsComponent,
        OutputComponent,
        PublicationsComponent,
        SourceComponent,
        TemplatesComponent,
        WarehouseComponent,
    ):
        assert f"dataops_assets.components.{component.__name__}" in MODELS


def the_source() -> tuple[str, Source]:
    block = next(block for name, block in shown() if name == GUIDE and "refresh:" in block)
    return block, Source.model_validate(yaml.safe_load(block)["attributes"])


def test_a_source_becomes_the_assets_that_the_guide_lists() -> None:
    _, source = the_source()
    current = source.model_validate(
        source.model_dump(by_alias=True) | {"rules": [{"name": "r", "expression": "1", "mode": "keep_current"}]}
    )
    found = {}
    for node in nodes(current, compile_rules(current, {})):
        found |= dict.fromkeys(filter(None, (node.key, node.beside)), node.name)
    rows = re.findall(r"^\| (`.*?) \| (\w+) \| .* \|$", page(GUIDE), re.MULTILINE)
    told = {key: step for keys, step in rows for key in re.findall(r"`([\w/]+)`", keys) if "/" in key}
    assert told == found
    assert all(
        node.checks.keys() >= {"volume", "schema", "distribution"} for node in nodes(source, compile_rules(source, {}))
    )


def test_a_source_has_the_parts_that_the_guide_lists() -> None:
    table = page(GUIDE).partition("## Attributes of a source")[2].partition("\n## ")[0]
    told = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
    assert told | {"name", "area", "description", "owners", "compatible"} == set(Source.model_fields)


def test_the_shown_template_serves_the_shown_sources(tmp_path: Path) -> None:
    blocks = [block for name, block in shown() if name == GUIDE and ("templates:" in block or "for_each:" in block)]
    customers = {
        "name": "customers_${country}",
        "for_each": "countries",
        "columns": [{"name": "id", "type": "integer"}],
    }
    declared = {"type": SOURCE_TYPES[0], "attributes": {**MINIMAL, **customers}}
    for place, text in enumerate([*blocks, yaml.safe_dump(declared)]):
        (tmp_path / str(place)).mkdir()
        (tmp_path / str(place) / "defs.yaml").write_text(text)
    found = declared_sources(tmp_path)
    assert sorted(found.sources) == ["customers_de", "customers_fr", "invoices_de", "invoices_fr"]
    assert list(found.rules("invoices_fr").types) == ["tax", "net_Margin", "net_MarginShare"]
    assert found.sources["invoices_fr"].relations["who"].source == "customers_fr"


def test_an_error_is_told_as_the_guide_shows_it(tmp_path: Path) -> None:
    (told,) = re.findall(r"^```text\n(.*?)^```$", page(GUIDE), re.MULTILINE | re.DOTALL)
    place = re.search(r"attributes\.columns\.1\.typ at \S+/orders/defs\.yaml:(\d+)\n +Value error, (.*), \.\.\.", told)
    assert place is not None
    file = tmp_path / "orders" / "defs.yaml"
    file.parent.mkdir()
    block, _ = the_source()
    file.write_text(block.replace("{name: customer, type:", "{name: customer, typ:"))
    with pytest.raises(ConfigError) as caught:
        declared_sources(tmp_path)
    assert f"orders/defs.yaml:{place[1]} attributes.columns.1.typ: Value error, {place[2]}" in str(caught.value)
