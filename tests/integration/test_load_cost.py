"""The load of a code location does each piece of work once, however many sources there are or look each other up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from code_location import CUSTOMERS, loaded, orders, standalone

from dataops_assets.components import assets
from dataops_assets.components.declarations import Declaration, Declarations
from dataops_assets.components.expansion import Expanded
from dataops_assets.components.graph import lineage_edges
from dataops_assets.config import source as source_model
from dataops_assets.config.source import Source
from dataops_assets.config.templates import SourceDeclaration
from dataops_assets.rules import compiler


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, str], list[Any]]:
    """Replace a function of a module by one that also collects its first arguments."""

    def count(module: Any, name: str) -> list[Any]:
        original = getattr(module, name)
        seen: list[Any] = []

        def counting(*given: Any) -> Any:
            seen.append(given[0])
            return original(*given)

        monkeypatch.setattr(module, name, counting)
        return seen

    return count


def chain(length: int) -> dict[str, Source]:
    """Sources that each look up a snapshot rule of the one before."""
    found = {}
    for number in range(length):
        related = {"before": {"source": f"link_{number - 1}", "on": {"id": "id"}}} if number else {}
        rule = {"name": "total", "expression": "amount + before.total" if number else "amount"}
        declared = standalone() | {"name": f"link_{number}", "relations": related, "rules": [rule]}
        found[f"link_{number}"] = Source.model_validate(declared)
    return found


@pytest.mark.parametrize("first", ["link_0", "link_11"])
def test_each_rule_of_a_chain_is_compiled_once_for_all_sources(counted: Any, first: str, tmp_path: Any) -> None:
    sources = chain(12)
    declared = Declarations(
        {name: Declaration(source, tmp_path, {}, name, Expanded({})) for name, source in sources.items()}
    )
    compiled = counted(compiler, "resolve")
    declared.rules(first)
    for name in sources:
        declared.rules(name)
    assert sorted(place.source for place in compiled) == sorted(sources)


def test_each_rule_of_a_chain_is_compiled_once_for_the_lineage_of_all_columns(counted: Any) -> None:
    sources = chain(12)
    compiled = counted(compiler, "resolve")
    edges = lineage_edges(sources)
    assert sorted(place.source for place in compiled) == sorted(sources)
    # the column itself, and both columns that join the look-up
    assert edges["hub/link_11_enriched", "total"] == {
        ("lake/link_11_changes", "amount"),
        ("lake/link_11_changes", "id"),
        ("hub/link_10", "id"),
        ("hub/link_10", "total"),
    }


def test_the_steps_of_each_source_are_made_once(counted: Any) -> None:
    made = counted(assets, "nodes")
    with loaded(CUSTOMERS, orders()):
        pass
    assert sorted(source.name for source in made) == ["customers", "orders"]


def test_a_declaration_without_templates_is_its_source_without_another_check(counted: Any) -> None:
    written = SourceDeclaration.model_validate(orders())
    checked = Source.model_validate(orders())
    made = counted(source_model, "refuse")
    assert written.source == checked
    assert written.source.model_fields_set == checked.model_fields_set
    assert written.source.model_dump(mode="json", by_alias=True) == checked.model_dump(mode="json", by_alias=True)
    assert not made
