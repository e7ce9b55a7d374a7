"""Computes column lineage: the stored columns that a rule's value comes from, also through rules and look-ups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dataops_assets.config.source import Source
from dataops_assets.rules.resolve import Reference, hops


@dataclass(frozen=True, order=True)
class ColumnReference:
    """A column of a table, named by its asset key such as 'hub/stores'."""

    table: str
    column: str


def traced(
    references: Iterable[Reference],
    source: Source,
    sources: Mapping[str, Source],
    table: str,
    rules: Mapping[str, frozenset[ColumnReference]],
) -> frozenset[ColumnReference]:
    """Return the stored columns that `references` come from.

    `table` has the source's own columns; `rules` is the lineage of the rules. The columns that join a look-up decide
    its value, so they are included.
    """
    found: set[ColumnReference] = set()
    for reference in references:
        if not reference.path:
            found |= rules.get(reference.name, {ColumnReference(table, reference.name)})
            continue
        here = table
        target = source
        for _, relation, target in hops(source, reference.path, sources):
            found.update(ColumnReference(here, own) for own in relation.own_columns)
            here = f"hub/{target.name}"
            found.update(ColumnReference(here, other) for other in relation.related_columns)
        found.add(ColumnReference(f"hub/{target.name}", reference.name))
    return frozenset(found)
