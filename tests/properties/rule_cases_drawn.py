"""Tables, relations, rules and stories of inputs, drawn at random from a number."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

from rule_reference import COMPARE, Aggregate, Call, Column, Expression, Relation, Rule, Table, Window, way

DAYS = [dt.date(2024, 1, 1) + dt.timedelta(days=number) for number in range(10)]
VALUES: Mapping[str, Sequence[Any]] = {
    "integer": [None, 0, 1, 1, 2, 3],
    "double": [None, 0.5, 1.0, 2.0, 2.5],
    "text": [None, "x", "x", "y", "zz"],
    "date": [None, *DAYS],
}
KINDS = ("integer", "integer", "text", "date", "double")
NUMBERS = ("integer", "double")
AGGREGATES = {"integer": ("sum", "count", "count distinct"), "double": ("sum",)}
OWN = "own"


def alike(kind: str, other: str) -> bool:
    return kind == other or (kind in NUMBERS and other in NUMBERS)


@dataclass
class Draw:
    """What is drawn so far. `with_inputs`: the tables are filled by inputs, and the own one may have snapshot rules."""

    random: Random
    with_inputs: bool = False
    tables: dict[str, Table] = field(default_factory=dict)
    rules: list[Rule] = field(default_factory=list)
    # no windows, windows of any kind, or windows that see some rows before and after along one order
    windows: Literal["none", "any", "near"] = "none"
    # a partition and an order that windows share
    common: tuple[tuple[str, ...], str | None] = ((), None)

    # --- tables and relations ----------------------------------------------------------------------------------------

    def schema(self) -> None:
        names = [OWN, *(f"t{number}" for number in range(self.random.randint(1, 2)))]
        drawn: dict[str, tuple[dict[str, str], tuple[str, ...]]] = {}
        for name in names:
            key = tuple(f"k{number}" for number in range(self.random.choice([0, 1, 1, 2])))
            columns = {item: self.random.choice(["integer", "integer", "text", "date"]) for item in key}
            columns |= {f"v{number}": self.random.choice(KINDS) for number in range(self.random.randint(2, 4))}
            drawn[name] = (columns, key)
        for name in names:
            relations: dict[str, Relation] = {}
            for number in range(self.random.randint(1, 3) if name == OWN else self.random.randint(0, 2)):
                relation = self.relation(drawn, name, self.random.choice([*names, *names[1:]]))
                if relation is not None:
                    relations[f"r{number}"] = relation
            self.tables[name] = Table(name, *drawn[name], relations)
        own = drawn[OWN][0]
        orders = sorted(name for name, kind in own.items() if kind in ("integer", "date"))
        parts = sorted(name for name in own if name not in orders) or sorted(own)
        shared = (self.random.choice(parts),) if self.random.random() < 0.5 else ()
        self.common = (shared, self.random.choice(orders) if orders else None)

    def relation(self, drawn: Mapping[str, Any], name: str, target: str) -> Relation | None:
        own, (related, key) = drawn[name][0], drawn[target]
        pairs = [(mine, other) for mine in own for other in related if alike(own[mine], related[other])]
        by_key = {other: [mine for mine, its in pairs if its == other] for other in key}
        if key and all(by_key.values()) and self.random.random() < 0.6:
            joins = [(self.random.choice(by_key[other]), "=", other) for other in key]
            return Relation(target, tuple(joins), many=False) if len({mine for mine, *_ in joins}) == len(key) else None
        chosen = [pair for pair in self.random.sample(pairs, min(len(pairs), 2)) if pair[1] not in key or len(key) > 1]
        joins = [(mine, "=", other) for mine, other in chosen[:1]]
        if len(chosen) > 1:
            mine, other = chosen[1]
            joins.append((mine, self.random.choice(["=", *COMPARE] if own[mine] != "text" else ["="]), other))
        equal = [(mine, other) for mine, is_, other in joins if is_ == "="]
        if not equal or any(len(set(side)) < len(equal) for side in zip(*equal, strict=True)):
            return None
        equal = [other for _, other in equal]
        if key and set(key) <= set(equal):
            return Relation(target, tuple(joins), many=False)
        # of rows that are told apart by nothing, two soon match
        return Relation(target, tuple(joins), many=self.random.random() < 0.85)

    def paths(self, *, many: bool, longest: int) -> list[tuple[str, ...]]:
        """Ways from the own table: to-one all along, but for a to-many end if `many`."""
        found: list[tuple[str, ...]] = []
        edge: list[tuple[str, ...]] = [()]
        for _ in range(longest):
            following = []
            for path in edge:
                table = self.tables[way(self.tables, self.tables[OWN], path)[-1].target if path else OWN]
                for name, relation in table.relations.items():
                    if relation.many == many:
                        found.append((*path, name))
                    if not relation.many:
                        following.append((*path, name))
            edge = following
        return found

    def end(self, path: Sequence[str]) -> Table:
        return self.tables[way(self.tables, self.tables[OWN], path)[-1].target]

    # --- expressions -------------------------------------------------------------------------------------------------

    def of(self, kind: str, choices: Mapping[str, str]) -> str | None:
        names = [name for name, its in choices.items() if its == kind]
        return self.random.choice(names) if names else None

    def value(self, kind: str, depth: int, *, mode: str, windows: bool) -> Expression:
        """An expression of a type; its leaves are columns, rules, look-ups, aggregates and windows."""
        if depth and self.random.random() < 0.6:
            part = self.value(kind, depth - 1, mode=mode, windows=windows)
            if kind == "integer":
                shape = self.random.choice(["sum", "coalesce", "same", "length"])
                if shape == "same":
                    other = self.random.choice(["integer", "text", "date"])
                    pair = tuple(self.value(other, 0, mode=mode, windows=windows) for _ in range(2))
                    text = "case when {0} = {1} then 1 else 0 end"
                    return Call(text, lambda a, b: int(a is not None and a == b), pair, takes_nulls=True)
                if shape == "length":
                    return Call("length({0})", len, (self.value("text", 0, mode=mode, windows=windows),))
                if shape == "coalesce":
                    return Call("coalesce({0}, 7)", lambda a: 7 if a is None else a, (part,), takes_nulls=True)
                return Call("({0} + {1})", lambda a, b: a + b, (part, self.value(kind, 0, mode=mode, windows=windows)))
            if kind == "text":
                return Call("coalesce({0}, '-')", lambda a: "-" if a is None else a, (part,), takes_nulls=True)
            return part
        shapes = ["own", "one", "many"]
        for shape in [*(["window"] if windows and self.random.random() < 0.7 else []), *self.random.sample(shapes, 3)]:
            found = self.leaf(kind, shape, mode)
            if found is not None:
                return found
        return self.constant(kind)

    def constant(self, kind: str) -> Expression:
        value = {"integer": 1, "double": 1.5, "text": "c", "date": DAYS[0]}[kind]
        text = {"integer": "1", "double": "1.5::double", "text": "'c'", "date": f"date '{DAYS[0]}'"}[kind]
        return Call(text, lambda: value, ())

    def leaf(self, kind: str, shape: str, mode: str) -> Expression | None:
        own = dict(self.tables[OWN].columns)
        own |= {rule.name: rule.kind for rule in self.rules if mode == "keep_current" or rule.mode == mode}
        if shape == "own":
            name = self.of(kind, own)
            return Column((), name) if name else None
        if shape == "window":
            return self.window(kind, own)
        longest = 1 if mode == "snapshot" else 3
        paths = [path for path in self.paths(many=shape == "many", longest=longest) if self.may_look(path, mode)]
        if not paths:
            return None
        path = self.random.choice(paths)
        if shape == "one":
            name = self.of(kind, self.end(path).columns)
            return Column(path, name) if name else None
        function = self.random.choice([*AGGREGATES.get(kind, ()), "min", "max"])
        columns = self.end(path).columns
        name = self.of(kind, columns) if function in ("sum", "min", "max") else self.random.choice(list(columns))
        numbers = [item for item, its in columns.items() if its == "integer"]
        over = None
        if numbers and self.random.random() < 0.3:
            over = self.random.choice(numbers), self.random.choice(["<", ">="]), 2
        return Aggregate(function, path, name, over) if name else None

    def may_look(self, path: Sequence[str], mode: str) -> bool:
        """A snapshot look-up must not lead back, and one that may be ambiguous would stop the input itself."""
        if mode == "keep_current":
            return True
        (relation,) = way(self.tables, self.tables[OWN], path)
        key = self.tables[relation.target].key
        proven = bool(key) and set(key) <= {other for _, is_, other in relation.joins if is_ == "="}
        return relation.target != OWN and not self.tables[OWN].key and (relation.many or proven)

    def window(self, kind: str, own: Mapping[str, str]) -> Window | None:
        function = self.random.choice(
            [*AGGREGATES.get(kind, ())[:2], "min", "max", *(["lag"] if self.windows == "any" else [])]
        )
        name = self.random.choice(list(own)) if function == "count" else self.of(kind, own)
        if name is None:
            return None
        windowed = [rule for rule in self.rules if any(isinstance(part, Window) for part in rule.expression.all())]
        before = self.of(kind, {rule.name: rule.kind for rule in windowed})
        if before is not None and self.random.random() < 0.6:
            # a window that sees what a window saw
            name = before
        argument: Expression = Column((), name)
        paths = self.paths(many=False, longest=2)
        if paths and self.random.random() < 0.3:
            path = self.random.choice(paths)
            found = self.of(kind, self.end(path).columns)
            argument = Column(path, found) if found and function != "count" else argument
        if self.windows == "near" or self.random.random() < 0.4:
            partition, order = self.common
        else:
            partition = tuple(self.random.sample(sorted(own), self.random.choice([0, 1, 1, 2])))
            orders = [item for item, its in own.items() if its in ("integer", "date")]
            order = self.random.choice(orders) if orders and self.random.random() < 0.8 else None
        if order is None:
            return Window(function, argument, partition) if function != "lag" else None
        first = self.random.randint(-3, 2)
        kinds = ["range"] if self.windows == "near" else [None, "rows", "range"]
        drawn = None if function == "lag" else self.random.choice(kinds)
        frame = (drawn, first, first + self.random.randint(0, 3)) if drawn else None
        return Window(function, argument, partition, order, own[order] == "date", frame)

    def rule(self, name: str, mode: str) -> Rule:
        # rules of one type use each other
        kind = "integer" if self.windows == "near" and self.random.random() < 0.7 else self.random.choice(KINDS)
        windows = mode == "keep_current" and self.windows != "none"
        return Rule(name, self.value(kind, self.random.randint(0, 2), mode=mode, windows=windows), kind, mode)

    def all_rules(self) -> None:
        kinds: list[Literal["none", "any", "near"]] = ["none", "any", "near", "near"]
        self.windows = self.random.choice(kinds)
        if self.with_inputs:
            for number in range(self.random.randint(0, 2)):
                self.rules.append(self.rule(f"s{number}", "snapshot"))
        for number in range(self.random.randint(1, 3)):
            self.rules.append(self.rule(f"c{number}", "keep_current"))

    # --- rows --------------------------------------------------------------------------------------------------------

    def row(self, table: Table) -> dict[str, Any]:
        values = {name: self.random.choice(VALUES[kind]) for name, kind in table.columns.items()}
        return values | {name: self.random.choice(VALUES[table.columns[name]][1:]) for name in table.key}


def drawn(number: int, *, with_inputs: bool) -> Draw:
    """Tables, relations and rules that follow from a number."""
    found = Draw(Random(number), with_inputs)
    found.schema()
    found.all_rules()
    return found
