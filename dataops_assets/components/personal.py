"""Finds the columns whose values may not be shown: those with the tag `pii`, and all that is made of them."""

from __future__ import annotations

from collections.abc import Iterator

from dataops_assets.components.dbt_lineage import Origin
from dataops_assets.components.declarations import Declarations
from dataops_assets.components.graph import nodes
from dataops_assets.config.source import Source
from dataops_assets.rules.compiler import CompiledRules


def hidden_columns(source: Source, rules: CompiledRules) -> frozenset[str]:
    """Return the columns of a source's tables whose values may not be shown: tagged 'pii', or made of such columns."""
    tagged = {item.name for item in source.columns if "pii" in item.tags}
    computed = {**rules.snapshot.rules, **rules.current.rules}
    # the platform's key and order are made of these columns; versions of a row begin and end at its order value
    key = {"s_key"} if tagged.intersection(source.refresh.key) else set()
    order = {"s_order", "s_valid_from", "s_valid_to"} if source.refresh.order_by in tagged else set()
    begin = {"s_valid_from", "s_valid_to"} if source.refresh.valid_from in tagged else set()
    return frozenset(tagged | key | order | begin | {name for name, rule in computed.items() if rule.personal})


def personal_columns(declared: Declarations) -> Iterator[Origin]:
    """Return the columns of all tables of the sources whose values may not be shown, with names in lower case."""
    for name, source in declared.sources.items():
        rules = declared.rules(name)
        hidden = hidden_columns(source, rules)
        for node in nodes(source, rules):
            yield from ((tuple(node.key.split("/")), column.lower()) for column in hidden)
