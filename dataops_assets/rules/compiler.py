"""Compiles the declared rules and validations of a source to expressions that can be run: `compile_rules`.

It has no side effects. It uses only an empty in-memory database to find types, and takes milliseconds per source.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlglot import exp

from dataops_assets.config.contract import COLUMN_TYPE, name_problem
from dataops_assets.config.rules import Relation
from dataops_assets.config.source import Source
from dataops_assets.rules.aggregates import Aggregate, extract_aggregates
from dataops_assets.rules.lineage import ColumnReference, traced
from dataops_assets.rules.order import CycleError, levels
from dataops_assets.rules.parse import parse
from dataops_assets.rules.resolve import Reference, hops, is_proven_to_one, names_of, related_source, resolve
from dataops_assets.rules.semantics import attempt, of_type, rewritten, total
from dataops_assets.rules.source_text import Place, TextSpan, span_of
from dataops_assets.rules.stage import REPEATED_PREFIX, CompiledRule, CompiledValidation, Level, Lookup, Stage
from dataops_assets.rules.types import Types, UntypedError, always_fits, described, stored, system_columns, types
from dataops_assets.rules.windows import WINDOW_PREFIX, TypeOf, deterministic_windows, hoist, is_inexact, reach_of
from dataops_assets.sql import DIALECT, column, query

# the system columns of a change set; the others are known only when the row is merged into the hub
_SEEN_BY_SNAPSHOT = ("s_key", "s_input_id", "s_row_id", "s_order", "s_row_hash")
_INSTEAD = "make it a keep_current rule that is true or false, or use the gate 'current'"
_TYPES = ("text", "boolean", "integer", "double", "decimal(p,s)", "date", "timestamp", "timestamptz", "binary")


@dataclass(frozen=True)
class CompiledRules:
    """The rules of one source. `snapshot` runs on a change set in enrich, `current` on the hub in recalculate."""

    source: Source
    snapshot: Stage
    current: Stage

    @property
    def types(self) -> Mapping[str, str]:
        """Return the SQL type of every rule, in declared order."""
        compiled = {**self.snapshot.rules, **self.current.rules}
        return {rule.name: compiled[rule.name].type for rule in self.source.rules}

    @property
    def hub_columns(self) -> Mapping[str, str]:
        """Return the columns of the hub and their SQL types: contract, snapshot rules, system."""
        return {
            **{column.name: described(column.type) for column in self.source.columns},
            **{rule.name: self.snapshot.rules[rule.name].type for rule in self.source.snapshot_rules},
            **system_columns(self.source),
        }

    @property
    def lineage(self) -> Mapping[str, frozenset[ColumnReference]]:
        """Return the stored columns that each rule comes from: of the change set for snapshot rules, else of hubs."""
        compiled = {**self.snapshot.rules, **self.current.rules}
        return {rule.name: compiled[rule.name].lineage for rule in self.source.rules}


def compile_rules(source: Source, sources: Mapping[str, Source]) -> CompiledRules:
    """Compile all rules and validations of `source`; `sources` has every source by name.

    Raises RuleError (ConfigError for a relation) with the source, the rule and the place in it: unknown name or
    function, wrong syntax or type, cycle, a window or keep-current dependency in a snapshot rule, a look-up of a column
    that the related hub does not have, snapshot look-ups that lead back to the source.
    """
    return RulesCompiler({**sources, source.name: source}).compile(source)


@dataclass(frozen=True)
class _Declared:
    """A rule or validation before it is compiled."""

    place: Place
    tree: exp.Expr
    references: frozenset[Reference]
    aggregates: tuple[Aggregate, ...]
    type: str

    @property
    def name(self) -> str:
        return self.place.name


class RulesCompiler:
    """Compiles the rules of many sources; the snapshot rules of a related source are compiled once for all of them."""

    _types: Types

    def __init__(self, sources: Mapping[str, Source]) -> None:
        """Take `sources`, which has every source by name."""
        self._sources = sources
        self._snapshots: dict[str, Stage] = {}
        self._open: list[str] = []

    def compile(self, source: Source) -> CompiledRules:
        """Compile one of the compiler's sources; see `compile_rules`."""
        # remove the entries that an earlier error left
        self._open.clear()
        with types() as self._types:
            return self._compile(source)

    def _compile(self, source: Source) -> CompiledRules:
        _check_names(source)
        for relation in source.relations:
            related_source(source, relation, self._sources)
        snapshot = self._snapshot(source)
        hub = CompiledRules(source, snapshot, Stage((), ()))
        declared = [
            self._declare(source, Place(source.name, "rule", rule.name, rule.expression), rule.type)
            for rule in source.keep_current_rules
        ]
        current = self._stage(source, declared, f"hub/{source.name}", hub.hub_columns)
        return CompiledRules(source, snapshot, current)

    def _snapshot(self, source: Source) -> Stage:
        if source.name in self._snapshots:
            return self._snapshots[source.name]
        self._open.append(source.name)
        rules = [
            self._declare(source, Place(source.name, "rule", rule.name, rule.expression), rule.type)
            for rule in source.snapshot_rules
        ]
        checks = [
            self._declare(source, Place(source.name, "validation", item.name, item.expression), "boolean")
            for item in source.validations
            if not item.unique
        ]
        for item in (*rules, *checks):
            _check_snapshot(item)
        for item in (*rules, *checks):
            self._check_no_cycle(source, item)
        columns = {column.name: described(column.type) for column in source.columns}
        columns.update((name, kind) for name, kind in system_columns(source).items() if name in _SEEN_BY_SNAPSHOT)
        stage = self._stage(source, rules, f"lake/{source.name}_changes", columns, checks)
        stage = replace(stage, validations=(*stage.validations, *_unique(source)))
        self._open.pop()
        self._snapshots[source.name] = stage
        return stage

    def _declare(self, source: Source, place: Place, kind: str) -> _Declared:
        if kind and not COLUMN_TYPE.match(kind):
            raise place.error(f"unknown type {kind!r}", known=_TYPES)
        tree, references = resolve(place, parse(place), source, self._sources)
        by_name = {reference.internal: reference for reference in references}
        tree, aggregates = extract_aggregates(place, tree, by_name, source, self._sources)
        return _Declared(place, tree, references, aggregates, kind)

    def _check_no_cycle(self, source: Source, item: _Declared) -> None:
        """Raise RuleError if snapshot look-ups lead back to the source: each looked-up hub must be refreshed before."""
        for reference in sorted(item.references):
            for _, _, target in hops(source, reference.path, self._sources):
                if target.name in self._open:
                    path = [*self._open[self._open.index(target.name) :], target.name]
                    raise item.place.error(
                        f"snapshot look-ups form a cycle: {' → '.join(path)}",
                        _reference_span(item, reference),
                        next_step="declare the rule 'mode: keep_current'",
                    )
                self._snapshot(target)

    def _hub_columns(self, source: Source) -> Mapping[str, str]:
        return CompiledRules(source, self._snapshot(source), Stage((), ())).hub_columns

    def _stage(
        self,
        source: Source,
        declared: Sequence[_Declared],
        table: str,
        columns: Mapping[str, str],
        checks: Sequence[_Declared] = (),
    ) -> Stage:
        declared = [self._with_typed_aggregates(source, item) for item in declared]
        checks = [self._with_typed_aggregates(source, item) for item in checks]
        lookups = self._lookups(source, [*declared, *checks])
        known = dict(columns)
        for item in (*declared, *checks):
            for reference in item.references:
                if reference.path:
                    known[reference.internal] = self._lookup_type(source, reference)
            for aggregate in item.aggregates:
                known[aggregate.name] = self._aggregate_type(source, item, aggregate)
        by_name = {item.name: item for item in declared}
        done: dict[str, CompiledRule] = {}
        found: list[Level] = []
        for names in _levels(by_name):
            compiled = []
            for name in names:
                rule = self._rule(source, by_name[name], table, known, done)
                compiled.append(rule)
            for rule in compiled:
                done[rule.name] = rule
                known[rule.name] = rule.type
            found.append(_level(compiled, f"{WINDOW_PREFIX}{len(found)}."))
        validations = tuple(self._validation(source, item, table, known, done) for item in checks)
        kept = {*columns, *(name for name, rule in done.items() if not rule.windowed)}
        type_of = self._type_of(Place(source.name, "source", source.name, ""), known)
        windowed = [name for name, rule in done.items() if rule.windowed]
        reach = reach_of((level.windows for level in found), type_of, kept, windowed)
        return Stage(lookups, tuple(found), validations, reach)

    def _with_typed_aggregates(self, source: Source, item: _Declared) -> _Declared:
        """Return the declaration with aggregates that give the same result on every engine; types are known now."""
        aggregates = [
            replace(
                aggregate,
                expression=_typed(item.place, aggregate.expression, self._type_of_related(source, item, aggregate)),
            )
            for aggregate in item.aggregates
        ]
        return replace(item, aggregates=tuple(aggregates))

    def _rule(
        self, source: Source, item: _Declared, table: str, known: Mapping[str, str], done: Mapping[str, CompiledRule]
    ) -> CompiledRule:
        type_of = self._type_of(item.place, known)
        value = _typed(item.place, total(item.tree), type_of)
        self._check_constants(item.place, item.tree)
        inferred = type_of(value)
        kind = described(item.type) if item.type else stored(inferred)
        if kind is None:
            raise item.place.error(
                f"the expression gives {inferred}, which no column can hold",
                next_step="declare 'type', or write an expression that gives one of the column types",
            )
        value = deterministic_windows(item.place, value, type_of)
        used = _used(item, done)
        inexact = is_inexact(value, type_of) or any(rule.inexact for rule in used)
        inexact |= any(self._is_inexact(source, item, aggregate) for aggregate in item.aggregates)
        failed = None
        value = _attempted(value)
        if kind != inferred:
            cast = exp.TryCast(this=value, to=exp.DataType.build(kind, dialect=DIALECT))
            if not always_fits(inferred, kind):
                failed = query("(:value) IS NOT NULL AND (:cast) IS NULL", value=value, cast=cast)
            value = cast
        return CompiledRule(
            name=item.name,
            version=self._version(item, source, value, known, used),
            expression=value,
            type=kind,
            failed_cast=failed,
            reads=_reads(item, source, done),
            lineage=self._lineage(item, source, table, done),
            inexact=inexact,
            personal=any(self._is_personal(source, reference, done) for reference in item.references),
            windowed=any(rule.windowed for rule in used) or value.find(exp.Window) is not None,
            uses=frozenset(node.name for node in value.find_all(exp.Column)),
        )

    def _version(
        self, item: _Declared, source: Source, value: exp.Expr, known: Mapping[str, str], used: Sequence[CompiledRule]
    ) -> str:
        """Return a short hash of everything that decides the rule's values, except the rows."""
        joins = [
            (_joined_by(relation), target.refresh.history)
            for path in sorted({reference.path for reference in item.references})
            for _, relation, target in hops(source, path, self._sources)
        ]
        types = {reference.internal: known[reference.internal] for reference in sorted(item.references)}
        decisive = [value.sql(DIALECT), types, joins, sorted((rule.name, rule.version) for rule in used)]
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]

    def _validation(
        self, source: Source, item: _Declared, table: str, known: Mapping[str, str], done: Mapping[str, CompiledRule]
    ) -> CompiledValidation:
        type_of = self._type_of(item.place, known)
        value = _typed(item.place, total(item.tree), type_of)
        self._check_constants(item.place, item.tree)
        inferred = type_of(value)
        if inferred != "BOOLEAN":
            raise item.place.error(
                f"a validation is true or false, this gives {inferred}", next_step="compare the value"
            )
        severity = next(validation.severity for validation in source.validations if validation.name == item.name)
        used = _used(item, done)
        return CompiledValidation(
            name=item.name,
            version=self._version(item, source, value, known, used),
            severity=severity,
            failed=query("NOT coalesce(:value, TRUE)", value=_attempted(value)),
            reads=_reads(item, source, done),
            lineage=self._lineage(item, source, table, done),
        )

    def _lineage(
        self, item: _Declared, source: Source, table: str, done: Mapping[str, CompiledRule]
    ) -> frozenset[ColumnReference]:
        rules = {name: rule.lineage for name, rule in done.items()}
        return traced(item.references, source, self._sources, table, rules)

    def _is_personal(self, source: Source, reference: Reference, done: Mapping[str, CompiledRule]) -> bool:
        if not reference.path and reference.name in done:
            return done[reference.name].personal
        target = hops(source, reference.path, self._sources)[-1][2] if reference.path else source
        if reference.kind == "snapshot":
            return self._snapshot(target).rules[reference.name].personal
        return any(column.name == reference.name and "pii" in column.tags for column in target.columns)

    def _type_of(self, place: Place, known: Mapping[str, str]) -> TypeOf:
        def type_of(expression: exp.Expr) -> str:
            try:
                return self._types.of(expression, known)
            except UntypedError as error:
                raise place.error(str(error), self._culprit(expression, known)) from error

        return type_of

    def _culprit(self, expression: exp.Expr, known: Mapping[str, str]) -> TextSpan | None:
        """Return the span of the smallest part without a type."""
        for node in reversed(list(expression.walk())):
            if not isinstance(node, exp.Condition) or isinstance(node, (exp.Identifier, exp.AggFunc)):
                continue
            try:
                self._types.of(node, known)
            except UntypedError:
                return span_of(node)
        return None

    def _check_constants(self, place: Place, tree: exp.Expr) -> None:
        for cast in tree.find_all(exp.Cast):
            if not isinstance(cast.this, exp.Literal):
                continue
            if self._types.is_null(exp.TryCast(this=cast.this.copy(), to=cast.to.copy())):
                raise place.error(f"{cast.this.sql(DIALECT)} is no {cast.to.sql(DIALECT).lower()}")

    def _lookup_type(self, source: Source, reference: Reference) -> str:
        _, _, target = hops(source, reference.path, self._sources)[-1]
        return self._hub_columns(target)[reference.name]

    def _aggregate_type(self, source: Source, item: _Declared, aggregate: Aggregate) -> str:
        return self._type_of_related(source, item, aggregate)(aggregate.expression)

    def _is_inexact(self, source: Source, item: _Declared, aggregate: Aggregate) -> bool:
        return aggregate.is_inexact(self._type_of_related(source, item, aggregate))

    def _type_of_related(self, source: Source, item: _Declared, aggregate: Aggregate) -> TypeOf:
        kinds = self._hub_columns(hops(source, aggregate.path, self._sources)[-1][2])

        def type_of(expression: exp.Expr) -> str:
            try:
                return self._types.of(expression, kinds)
            except UntypedError as error:
                raise item.place.error(str(error), span_of(aggregate.written)) from error

        return type_of

    def _lookups(self, source: Source, items: Sequence[_Declared]) -> tuple[Lookup, ...]:
        aggregates = {aggregate.name: aggregate for item in items for aggregate in item.aggregates}
        needed: dict[tuple[str, ...], set[str]] = {}
        for reference in sorted({reference for item in items for reference in item.references if reference.path}):
            needed.setdefault(reference.path, set()).add(reference.name)
            joins = hops(source, reference.path, self._sources)
            for position, (_, relation, _) in enumerate(joins):
                path = reference.path[: position + 1]
                needed.setdefault(path, set()).update(relation.related_columns)
                if position:
                    needed[path[:-1]].update(relation.own_columns)
        found = []
        for path in sorted(needed, key=lambda path: (len(path), path)):
            _, relation, target = hops(source, path, self._sources)[-1]
            kinds = self._hub_columns(target)
            found.append(
                Lookup(
                    path=path,
                    source=target.name,
                    on=tuple(relation.on.items()),
                    where=tuple((item.column, item.is_, item.related) for item in relation.where),
                    as_of=relation.as_of,
                    columns={name: kinds[name] for name in kinds if name in needed[path]},
                    aggregates={name: item.expression for name, item in aggregates.items() if item.path == path},
                    unique=is_proven_to_one(relation, target),
                )
            )
        return tuple(found)


def _joined_by(relation: Relation) -> dict[str, Any]:
    """Return what decides the rows that a relation joins. Rules from before `as_of` existed keep their versions."""
    undecided = {"description"} if relation.as_of is not None else {"description", "as_of"}
    return relation.model_dump(mode="json", exclude=undecided)


def _typed(place: Place, value: exp.Expr, type_of: TypeOf) -> exp.Expr:
    """Return `value` with DuckDB's types where engines differ: days between dates, and products of decimals.

    Raises RuleError for `//` with numbers that are not whole, because DuckDB does not round them.
    """

    def replaced(node: exp.Expr) -> exp.Expr:
        if isinstance(node, exp.IntDiv):
            for part in (node.this, node.expression):
                if "INT" not in (kind := type_of(part)):
                    message = f"// divides whole numbers, here one is {kind}"
                    raise place.error(message, span_of(node), next_step="write floor(a / b)")
        if isinstance(node, exp.Sub) and type_of(node.this) == type_of(node.expression) == "DATE":
            return query("date_diff('day', :start, :end)", start=node.expression, end=node.this)
        if isinstance(node, exp.Mul) and (kind := type_of(node)).startswith("DECIMAL"):
            return of_type(node, kind)
        return node

    return rewritten(value, replaced)


def _unique(source: Source) -> list[CompiledValidation]:
    """Return the validations that compare the rows of an input with each other (`unique`)."""
    table = f"lake/{source.name}"
    return [
        CompiledValidation(
            name=item.name,
            version=" ".join(item.unique),
            severity=item.severity,
            failed=column(REPEATED_PREFIX + item.name),
            reads=item.unique,
            lineage=frozenset(ColumnReference(table, name) for name in item.unique),
            unique=item.unique,
        )
        for item in source.validations
        if item.unique
    ]


def _check_names(source: Source) -> None:
    for rule in source.rules:
        problem = name_problem(rule.name)
        if problem:
            place = Place(source.name, "rule", rule.name, "")
            raise place.error(problem, next_step="choose another name")
    seen: set[str] = set()
    for validation in source.validations:
        place = Place(source.name, "validation", validation.name, "")
        if not validation.name.strip() or "," in validation.name or not validation.name.isprintable():
            # the names of failed validations are stored in one text, separated by commas
            raise place.error("a validation's name is printable text without commas")
        if validation.name in seen:
            raise place.error("the name is declared twice")
        seen.add(validation.name)


def _check_snapshot(item: _Declared) -> None:
    window = item.tree.find(exp.Window)
    if window is not None:
        what = "a snapshot rule" if item.place.kind == "rule" else "a validation"
        raise item.place.error(
            f"{what} sees one row, but a window function needs other rows, too",
            span_of(window),
            next_step="declare 'mode: keep_current'" if item.place.kind == "rule" else _INSTEAD,
        )
    for reference in sorted(item.references):
        if reference.path:
            continue
        if reference.kind == "keep_current":
            what = "snapshot rule" if item.place.kind == "rule" else "validation"
            raise item.place.error(
                f"{what} {item.name!r} depends on keep_current rule {reference.name!r}",
                _reference_span(item, reference),
                next_step="declare 'mode: keep_current' here too" if item.place.kind == "rule" else _INSTEAD,
            )
        if reference.kind == "system" and reference.name not in _SEEN_BY_SNAPSHOT:
            raise item.place.error(
                f"{reference.name} is known only once the row is in the hub",
                _reference_span(item, reference),
                next_step="declare 'mode: keep_current'" if item.place.kind == "rule" else _INSTEAD,
            )


def _reference_span(item: _Declared, reference: Reference) -> TextSpan | None:
    trees = (item.tree, *(aggregate.written for aggregate in item.aggregates))
    nodes = (node for tree in trees for node in tree.find_all(exp.Column))
    return next(span_of(node) for node in nodes if node.name == reference.internal)


def _levels(items: Mapping[str, _Declared]) -> list[list[str]]:
    needs = {
        name: sorted(reference.name for reference in item.references if not reference.path and reference.name in items)
        for name, item in items.items()
    }
    try:
        return levels(needs)
    except CycleError as cycle:
        item = items[cycle.path[0]]
        used = next(found for found in item.references if found.name == cycle.path[1] and not found.path)
        way = " → ".join(cycle.path)
        raise item.place.error(f"rules need each other: {way}", _reference_span(item, used)) from cycle


def _level(rules: Sequence[CompiledRule], prefix: str) -> Level:
    found = []
    parts = [part for rule in rules for part in (rule.expression, rule.failed_cast) if part is not None]
    rewritten, windows = hoist(parts, prefix)
    remaining = iter(rewritten)
    for rule in rules:
        expression = next(remaining)
        failed = next(remaining) if rule.failed_cast is not None else None
        found.append(replace(rule, expression=expression, failed_cast=failed))
    return Level(windows, tuple(found))


def _attempted(value: exp.Expr) -> exp.Expr:
    return value if isinstance(value, exp.Window) else attempt(value)


def _used(item: _Declared, done: Mapping[str, CompiledRule]) -> list[CompiledRule]:
    """Return the rules of the same source that an expression reads."""
    return [done[reference.name] for reference in item.references if not reference.path and reference.name in done]


def _reads(item: _Declared, source: Source, done: Mapping[str, CompiledRule]) -> tuple[str, ...]:
    read: set[str] = set()
    for reference in item.references:
        if reference.path:
            read.update(source.relations[reference.path[0]].own_columns)
        elif reference.name in done:
            read.update(done[reference.name].reads)
        else:
            read.add(reference.name)
    return tuple(name for name in names_of(source) if name in read)
