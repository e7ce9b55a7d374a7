"""Resolves each name in an expression: a column of this source, a rule, or a column of a related source by a path."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlglot import exp

from dataops_assets.config.rules import Relation
from dataops_assets.config.source import Source
from dataops_assets.errors import ConfigError, RuleError, nearest
from dataops_assets.rules.source_text import Place, TextSpan
from dataops_assets.rules.types import described, system_columns
from dataops_assets.sql import identifier

Kind = Literal["column", "snapshot", "keep_current", "system"]

# internal columns of a compiled query; the prefix s_ is reserved, so no declared name can collide
LOOKUP_PREFIX = "s_lookup."

_COMPARABLE = ({"integer", "double", "decimal"}, {"date", "timestamp"})


@dataclass(frozen=True, order=True)
class Reference:
    """A column as it is declared. `path` are the relations to its source, empty for columns of this source."""

    path: tuple[str, ...]
    name: str
    kind: Kind

    @property
    def internal(self) -> str:
        """Return the column's name inside a compiled query."""
        return LOOKUP_PREFIX + ".".join((*self.path, self.name)) if self.path else self.name


def resolve(
    place: Place, tree: exp.Expr, source: Source, sources: Mapping[str, Source]
) -> tuple[exp.Expr, frozenset[Reference]]:
    """Return `tree` with every name replaced by its quoted internal name, and the references of the names.

    Names are compared without case. Raises RuleError at the name for one that is unknown, with the nearest known one.
    """
    references: set[Reference] = set()

    def replaced(node: exp.Expr) -> exp.Expr:
        if not isinstance(node, exp.Column):
            return node
        reference = _reference(place, node, source, sources)
        references.add(reference)
        name = identifier(reference.internal)
        # keep the position in the user's text for later errors
        for end, part in (("start", node.parts[0]), ("end", node.parts[-1])):
            if end in part.meta:
                name.meta[end] = part.meta[end]
        return exp.Column(this=name)

    return tree.transform(replaced), frozenset(references)


def related_source(source: Source, relation: str, sources: Mapping[str, Source]) -> Source:
    """Return the source of a declared relation. Raises ConfigError for a relation that cannot be joined."""
    declared = source.relations[relation]
    where = f"source {source.name!r}, relation {relation!r}"
    if not (relation.isidentifier() and relation.isascii()):
        raise ConfigError(f"{where}: the name must be letters, digits and underscores", received=repr(relation))
    if declared.source not in sources:
        hint = nearest(declared.source, list(sources))
        raise ConfigError(
            f"{where}: unknown source {declared.source!r}" + (f", {hint}" if hint else ""), known=sorted(sources)
        )
    target = sources[declared.source]
    compared = [*declared.on.items(), *((item.column, item.related) for item in declared.where)]
    for own, other in compared:
        _check_join_columns(where, source, target, own, other)
    if declared.as_of is not None:
        _check_moment(where, source, target, declared.as_of)
    if declared.cardinality == "to_many" and is_proven_to_one(declared, target):
        raise ConfigError(
            f"{where}: at most one row of {target.name!r} matches, because 'on' has its whole key",
            received="cardinality: to_many",
            next_step="leave 'cardinality' out",
        )
    return target


def is_proven_to_one(relation: Relation, target: Source) -> bool:
    """Whether at most one row can match, because the join covers the related key."""
    key = target.refresh.key
    return bool(key) and set(key) <= set(relation.on.values())


def _check_join_columns(where: str, source: Source, target: Source, own: str, other: str) -> None:
    if other not in target.column_names:
        hint = nearest(other, target.column_names)
        raise ConfigError(
            f"{where}: source {target.name!r} has no column {other!r}" + (f", {hint}" if hint else ""),
            known=target.column_names,
        )
    kinds = {column.name: column.type for column in source.columns}
    theirs = {column.name: column.type for column in target.columns}
    left, right = (kind.split("(")[0] for kind in (kinds[own], theirs[other]))
    if left != right and not any(left in family and right in family for family in _COMPARABLE):
        raise ConfigError(
            f"{where}: column {own!r} is {kinds[own]}, column {other!r} of {target.name!r} is {theirs[other]}",
            next_step="declare both columns with one type",
        )


def _check_moment(where: str, source: Source, target: Source, moment: str) -> None:
    """Raise ConfigError if a column cannot be compared with the times at which versions of a source are valid."""
    if not target.refresh.history:
        raise ConfigError(
            f"{where}: source {target.name!r} keeps no versions",
            received=f"as_of: {moment}",
            next_step=f"declare 'history: true' for {target.name!r}, or leave 'as_of' out",
        )
    kind = described(next(column.type for column in source.columns if column.name == moment))
    theirs = system_columns(target)["s_valid_from"]
    if kind != theirs:
        raise ConfigError(
            f"{where}: column {moment!r} is {kind}, versions of {target.name!r} are valid from a {theirs}",
            received=f"as_of: {moment}",
            next_step=f"name a column of the type {theirs}; it can be computed: {{name: …, type: …, expression: …}}",
        )


def _reference(place: Place, node: exp.Column, source: Source, sources: Mapping[str, Source]) -> Reference:
    *qualifiers, last = node.parts
    path: list[str] = []
    target = source
    for part in qualifiers:
        relation = _declared(part.name, target.relations)
        if relation is None:
            raise _unknown_relation(place, part, target)
        path.append(relation)
        target = related_source(target, relation, sources)
    kinds = names_of(target)
    name = _declared(last.name, kinds)
    if name is None:
        raise _unknown_name(place, last, target, kinds, looked_up=bool(path))
    kind = kinds[name]
    if path and kind == "keep_current":
        raise place.error(
            f"{'.'.join((*path, name))} is a keep_current rule of source {target.name!r}",
            _span(last),
            next_step=f"a look-up reads hub/{target.name}: its contract columns and snapshot rules",
        )
    return Reference(tuple(path), name, kind)


def names_of(source: Source) -> dict[str, Kind]:
    """Return every name that an expression over `source` may use without a path, as it is declared."""
    found: dict[str, Kind] = dict.fromkeys(source.column_names, "column")
    found.update((rule.name, rule.mode) for rule in source.rules)
    found.update(dict.fromkeys(system_columns(source), "system"))
    return found


def _declared(written: str, declared: Iterable[str]) -> str | None:
    return next((name for name in declared if name.lower() == written.lower()), None)


def _unknown_relation(place: Place, part: exp.Expr, source: Source) -> RuleError:
    hint = _hint(part.name, list(source.relations))
    return place.error(
        f"source {source.name!r} has no relation {part.name!r}" + (f", {hint}" if hint else ""),
        _span(part),
        known=sorted(source.relations) or ["none is declared"],
    )


def _unknown_name(
    place: Place, part: exp.Expr, source: Source, kinds: Mapping[str, Kind], *, looked_up: bool
) -> RuleError:
    name = part.name
    problem = f"source {source.name!r} has no column or rule {name!r}"
    relation = _declared(name, source.relations)
    if relation is not None and not looked_up:
        return place.error(f"{relation!r} is a relation", _span(part), next_step=f"write '{relation}.column'")
    hint = _hint(name, list(kinds))
    known = [known for known, kind in kinds.items() if kind != "system"]
    next_step = (
        ""
        if hint or not part.args.get("quoted")
        else f"a text is written in single quotes: {exp.Literal.string(name).sql()}"
    )
    return place.error(problem + (f", {hint}" if hint else ""), _span(part), known=known, next_step=next_step)


def _hint(written: str, known: Sequence[str]) -> str:
    spelled = {name.lower(): name for name in known}
    hint = nearest(written.lower(), list(spelled))
    for lowered, name in spelled.items():
        hint = hint.replace(repr(lowered), repr(name))
    return hint


def _span(part: exp.Expr) -> TextSpan | None:
    return (part.meta["start"], part.meta["end"]) if "start" in part.meta else None


def hops(source: Source, path: Sequence[str], sources: Mapping[str, Source]) -> list[tuple[Source, Relation, Source]]:
    """Return the joins along a path of relations: (from, relation, to)."""
    found = []
    for name in path:
        target = sources[source.relations[name].source]
        found.append((source, source.relations[name], target))
        source = target
    return found
