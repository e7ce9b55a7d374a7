"""Compiles aggregates over a to-many relation: `sum(orders.amount)` is one value per row, over the related rows.

Each aggregate becomes a column of a look-up. So the rest of the compiler handles it like any column, and the grain
stays the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlglot import exp

from dataops_assets.config.source import Source
from dataops_assets.rules.functions import AGGREGATES
from dataops_assets.rules.parse import is_windowed
from dataops_assets.rules.resolve import LOOKUP_PREFIX, Reference, hops
from dataops_assets.rules.semantics import total
from dataops_assets.rules.source_text import Place, span_of
from dataops_assets.rules.windows import TypeOf, adds_inexactly, guard
from dataops_assets.sql import DIALECT, column, query

_AGGREGATES = tuple(AGGREGATES.values())


@dataclass(frozen=True)
class Aggregate:
    """One aggregate over the rows at the end of `path`. `expression` reads their columns by bare names.

    `name` is the column's name inside a compiled query. `written` is the part of the rule that it replaces.
    """

    path: tuple[str, ...]
    name: str
    expression: exp.Expr
    written: exp.Expr

    def is_inexact(self, type_of: TypeOf) -> bool:
        """Whether its last digits depend on the order of the rows."""
        return adds_inexactly(_function(self.expression), type_of)


def extract_aggregates(
    place: Place, tree: exp.Expr, references: Mapping[str, Reference], source: Source, sources: Mapping[str, Source]
) -> tuple[exp.Expr, tuple[Aggregate, ...]]:
    """Return `tree` with each aggregate over a relation replaced by a column, and the aggregates.

    The names of `tree` are resolved; `references` has the reference of each internal name. Raises RuleError for an
    aggregate over a to-one path, over two relations, or over own columns; for one inside another; and for a to-many
    relation that is not aggregated or is not the last on its path.
    """
    found: dict[str, Aggregate] = {}

    def replaced(node: exp.Expr) -> exp.Expr:
        function = node.this if isinstance(node, exp.Filter) else node
        if not isinstance(function, _AGGREGATES) or is_windowed(function):
            return node
        aggregate = _aggregate(place, node, references, source, sources)
        found[aggregate.name] = aggregate
        value = column(aggregate.name)
        counted = isinstance(_function(aggregate.expression), exp.Count)
        # the count of no rows is 0; every other aggregate of no rows is null
        return query("coalesce($count, 0)", count=value) if counted else value

    rewritten = tree.transform(replaced)
    for node in rewritten.find_all(exp.Column):
        reference = references.get(node.name)
        if reference is not None and (many := _to_many(reference.path, source, sources)):
            _require_last(place, node, reference.path, many, source, sources)
            raise place.error(
                f"{'.'.join(reference.path)!r} is a to-many relation: several rows may match",
                span_of(node),
                next_step=f"aggregate them, e.g. max({'.'.join((*reference.path, reference.name))})",
            )
    return rewritten, tuple(found.values())


def _aggregate(
    place: Place, node: exp.Expr, references: Mapping[str, Reference], source: Source, sources: Mapping[str, Source]
) -> Aggregate:
    inner = next(
        (part for part in node.walk() if isinstance(part, (*_AGGREGATES, exp.Window)) and part is not _function(node)),
        None,
    )
    if inner is not None:
        raise place.error("an aggregate inside an aggregate", span_of(inner), next_step="make the inner one a rule")
    path: tuple[str, ...] = ()
    for part in node.find_all(exp.Column):
        reference = references[part.name]
        if not reference.path:
            raise place.error(
                f"{reference.name!r} is a column of {source.name!r}, and the aggregate is over rows of another source",
                span_of(part),
                next_step="use it outside the aggregate, or compare with it in the relation's 'where'",
            )
        many = _to_many(reference.path, source, sources)
        if not many:
            raise place.error(
                f"{'.'.join(reference.path)!r} is a to-one relation: there is one value, or none",
                span_of(node),
                next_step="leave the aggregate out, or declare 'cardinality: to_many' on the relation",
            )
        _require_last(place, part, reference.path, many, source, sources)
        if path and path != reference.path:
            raise place.error(
                f"one aggregate reads two relations, {'.'.join(path)!r} and {'.'.join(reference.path)!r}",
                span_of(node),
                next_step="aggregate each by itself",
            )
        path = reference.path
    expression = _over_rows(node, references)
    return Aggregate(path, LOOKUP_PREFIX + ".".join((*path, expression.sql(DIALECT))), expression, node.copy())


def _over_rows(node: exp.Expr, references: Mapping[str, Reference]) -> exp.Expr:
    """Return the aggregate over the names of the related source, with the same result on every engine."""
    bare = node.transform(
        lambda part: column(references[part.name].name) if isinstance(part, exp.Column) else part, copy=True
    )
    settled = total(bare)
    function = _function(settled)
    guard(function, [settled.expression.this] if isinstance(settled, exp.Filter) else [])
    if isinstance(function, exp.CountIf):
        # if all values are null, it is null on one engine and 0 on another
        counted = query("count(CASE WHEN $condition THEN 1 END)", condition=function.this)
        if function is settled:
            return counted
        function.replace(counted)
    return settled


def _function(node: exp.Expr) -> exp.Expr:
    return node.this if isinstance(node, exp.Filter) else node


def _to_many(path: tuple[str, ...], source: Source, sources: Mapping[str, Source]) -> int:
    """Return the position (from 1) of the first to-many relation on a path; 0 if there is none."""
    joins = hops(source, path, sources)
    return next((place + 1 for place, (_, relation, _) in enumerate(joins) if relation.cardinality == "to_many"), 0)


def _require_last(
    place: Place, node: exp.Expr, path: tuple[str, ...], many: int, source: Source, sources: Mapping[str, Source]
) -> None:
    if many < len(path):
        target = hops(source, path[:many], sources)[-1][2]
        raise place.error(
            f"{'.'.join(path[:many])!r} is to-many, and only the last relation of a path may be",
            span_of(node),
            next_step=f"make a rule of {target.name!r} that looks up {'.'.join(path[many:])!r}, and aggregate it",
        )
