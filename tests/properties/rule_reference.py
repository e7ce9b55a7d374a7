"""What rules give, written from the users' page and nothing else: plain Python over lists of rows, slow and small.

A world has the rows of each table by place (input, position); a row is a dict. An expression knows its SQL, which goes
to the platform, and its value, which is worked out here.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Place = tuple[str, int]
Row = Mapping[str, Any]
Rows = Mapping[Place, Row]
World = Mapping[str, Rows]

COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "<>": operator.ne,
}


class Ambiguous(Exception):
    """Several rows of a to-one relation match."""


@dataclass(frozen=True)
class Relation:
    """`joins` are (own column, comparison, related column)."""

    target: str
    joins: tuple[tuple[str, str, str], ...]
    many: bool

    def matching(self, row: Row, rows: Rows) -> list[Row]:
        return [other for _, other in sorted(rows.items()) if self.matches(row, other)]

    def matches(self, row: Row, other: Row) -> bool:
        pairs = [(row[own], COMPARE[is_], other[related]) for own, is_, related in self.joins]
        return all(a is not None and b is not None and compare(a, b) for a, compare, b in pairs)


@dataclass(frozen=True)
class Table:
    """`key` is empty for a table of all rows of all inputs."""

    name: str
    columns: Mapping[str, str]
    key: tuple[str, ...]
    relations: Mapping[str, Relation]


@dataclass(frozen=True)
class Scope:
    """All that a rule can see: the world, its table's rows, and what rules gave before, by place."""

    world: World
    tables: Mapping[str, Table]
    table: Table
    rows: Mapping[Place, dict[str, Any]]

    def end(self, place: Place, path: Sequence[str]) -> tuple[Table, Row | None]:
        """Where a way of to-one relations leads."""
        table, row = self.table, self.rows[place]
        found: Row | None = row
        for name in path:
            relation = table.relations[name]
            matching = relation.matching(found, self.world[relation.target]) if found is not None else []
            if len(matching) > 1:
                raise Ambiguous(name)
            found, table = (matching[0] if matching else None), self.tables[relation.target]
        return table, found


class Expression:
    """One expression; `value` is that of one row."""

    sql: str

    def value(self, scope: Scope, place: Place) -> Any:
        raise NotImplementedError

    def parts(self) -> Sequence[Expression]:
        return ()

    def all(self) -> Iterator[Expression]:
        yield self
        for part in self.parts():
            yield from part.all()


@dataclass(frozen=True)
class Column(Expression):
    """A column of the row, a rule, or a column at the end of a way of to-one relations."""

    path: tuple[str, ...]
    name: str

    @property
    def sql(self) -> str:  # type: ignore[override]
        return ".".join((*self.path, self.name))

    def value(self, scope: Scope, place: Place) -> Any:
        _, row = scope.end(place, self.path)
        return None if row is None else row[self.name]


@dataclass(frozen=True)
class Call(Expression):
    """`text` has a hole for each argument; `function` takes their values, and may ask for nulls."""

    text: str
    function: Callable[..., Any]
    arguments: tuple[Expression, ...]
    takes_nulls: bool = False

    @property
    def sql(self) -> str:  # type: ignore[override]
        return self.text.format(*(argument.sql for argument in self.arguments))

    def value(self, scope: Scope, place: Place) -> Any:
        values = [argument.value(scope, place) for argument in self.arguments]
        return None if None in values and not self.takes_nulls else self.function(*values)

    def parts(self) -> Sequence[Expression]:
        return self.arguments


def folded(function: str, values: Sequence[Any]) -> Any:
    """An aggregate of values; `count(*)` is asked with a value for each row."""
    known = [value for value in values if value is not None]
    if function == "count":
        return len(known)
    if function == "count distinct":
        return len(set(known))
    if not known:
        return None
    return {"sum": sum, "min": min, "max": max}[function](known)


@dataclass(frozen=True)
class Aggregate(Expression):
    """Over the rows of a to-many relation at the end of `path`; `over` (column, comparison, number) filters them."""

    function: str
    path: tuple[str, ...]
    name: str
    over: tuple[str, str, Any] | None = None

    @property
    def sql(self) -> str:  # type: ignore[override]
        called, _, distinct = self.function.partition(" ")
        found = f"{called}({distinct} {'.'.join((*self.path, self.name))})"
        if self.over is None:
            return found
        column, is_, value = self.over
        return f"{found} filter (where {'.'.join((*self.path, column))} {is_} {value})"

    def value(self, scope: Scope, place: Place) -> Any:
        table, row = scope.end(place, self.path[:-1])
        relation = table.relations[self.path[-1]]
        rows = relation.matching(row, scope.world[relation.target]) if row is not None else []
        if self.over is not None:
            column, is_, value = self.over
            rows = [item for item in rows if item[column] is not None and COMPARE[is_](item[column], value)]
        return folded(self.function, [item[self.name] for item in rows])


@dataclass(frozen=True)
class Window(Expression):
    """`frame` is None, or 'rows' or 'range' with the first and last offset; without `order` it is the partition."""

    function: str
    argument: Expression
    partition: tuple[str, ...]
    order: str | None = None
    is_date: bool = False
    frame: tuple[str, int, int] | None = None

    @property
    def sql(self) -> str:  # type: ignore[override]
        parts = [f"partition by {', '.join(self.partition)}"] if self.partition else []
        parts += [f"order by {self.order}"] if self.order else []
        if self.frame is not None:
            kind, first, last = self.frame
            parts.append(f"{kind} between {self._bound(first)} and {self._bound(last)}")
        return f"{self.function}({self.argument.sql}) over ({' '.join(parts)})"

    def _bound(self, offset: int) -> str:
        if offset == 0:
            return "current row"
        is_span = self.is_date and self.frame is not None and self.frame[0] == "range"
        number = f"interval {abs(offset)} day" if is_span else f"{abs(offset)}"
        return f"{number} {'preceding' if offset < 0 else 'following'}"

    def value(self, scope: Scope, place: Place) -> Any:
        own = scope.rows[place]
        peers = [p for p, row in scope.rows.items() if all(row[name] == own[name] for name in self.partition)]

        def order(at: Place) -> tuple[bool, Any]:
            value = scope.rows[at][self.order] if self.order else None
            # nulls come last
            return value is None, 0 if value is None else value

        ordered = sorted(peers, key=lambda at: (order(at), at))
        position = ordered.index(place)
        if self.function == "lag":
            return self.argument.value(scope, ordered[position - 1]) if position else None
        seen = [at for at in ordered if self._sees(order(place), order(at), ordered.index(at) - position)]
        return folded(self.function, [self.argument.value(scope, at) for at in seen])

    def _sees(self, own: tuple[bool, Any], other: tuple[bool, Any], distance: int) -> bool:
        if self.order is None:
            return True
        if self.frame is None:
            return other <= own
        kind, first, last = self.frame
        if kind == "rows":
            return first <= distance <= last
        if own[0] or other[0]:
            return own[0] and other[0]
        apart = (other[1] - own[1]).days if self.is_date else other[1] - own[1]
        return first <= apart <= last

    def parts(self) -> Sequence[Expression]:
        return (self.argument,)


@dataclass(frozen=True)
class Rule:
    """One rule of the own table; `kind` is the type of its values."""

    name: str
    expression: Expression
    kind: str
    mode: str = "keep_current"


def computed(
    world: World, tables: Mapping[str, Table], table: Table, rules: Sequence[Rule]
) -> dict[Place, dict[str, Any]]:
    """The rows with their rules, each of which uses those before it. Raises Ambiguous for two rows where one may be."""
    rows = {place: dict(row) for place, row in world[table.name].items()}
    scope = Scope(world, tables, table, rows)
    for path in needs(tables, table, rules):
        many = way(tables, table, path)[-1].many
        for place in rows:
            # whether or not the value is asked for in the end
            scope.end(place, path[:-1] if many else path)
    for rule in rules:
        values = {place: rule.expression.value(scope, place) for place in rows}
        for place, value in values.items():
            rows[place][rule.name] = value
    return rows


def way(tables: Mapping[str, Table], table: Table, path: Sequence[str]) -> list[Relation]:
    """The relations along a path."""
    found = []
    for name in path:
        found.append(table.relations[name])
        table = tables[found[-1].target]
    return found


def needs(tables: Mapping[str, Table], table: Table, rules: Sequence[Rule]) -> dict[tuple[str, ...], set[str]]:
    """What look-ups read: by path, columns of the table at its end."""
    found: dict[tuple[str, ...], set[str]] = {}
    for part in (part for rule in rules for part in rule.expression.all()):
        if not isinstance(part, Column | Aggregate) or not part.path:
            continue
        relations = way(tables, table, part.path)
        for length, relation in enumerate(relations, 1):
            found.setdefault(part.path[:length], set()).update(related for _, _, related in relation.joins)
            if length > 1:
                found[part.path[: length - 1]].update(own for own, _, _ in relation.joins)
        found[part.path].add(part.name)
        if isinstance(part, Aggregate) and part.over is not None:
            found[part.path].add(part.over[0])
    return found


def touched(
    before: World, after: World, tables: Mapping[str, Table], table: Table, rules: Sequence[Rule]
) -> set[Place]:
    """The rows that changed, and those that point to a related row that did, as it is or was, in what rules read."""
    own, former = after[table.name], before[table.name]
    found = {place for place, row in own.items() if former.get(place) != row}
    scope = Scope(after, tables, table, {place: dict(row) for place, row in own.items()})
    for path, names in needs(tables, table, rules).items():
        relation = way(tables, table, path)[-1]
        sides = before[relation.target], after[relation.target]
        changed: list[Row] = []
        for place in {*sides[0], *sides[1]}:
            states = [side.get(place) for side in sides]
            told = [{name: state[name] for name in names} if state else None for state in states]
            if told[0] != told[1]:
                changed += [state for state in states if state is not None]
        for place in own:
            _, start = scope.end(place, path[:-1])
            if start is not None and any(relation.matches(start, row) for row in changed):
                found.add(place)
    return found
