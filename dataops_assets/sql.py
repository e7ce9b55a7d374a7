"""Builds SQL from templates with named placeholders, filled with sqlglot expressions and never with text.

A template is SQL of the DuckDB dialect in which `$name` is a placeholder. `query("SELECT $cols FROM $t", cols=[...],
t=...)` parses the template once and then replaces the placeholders. A list can stand in a list position (select list,
group by, function arguments), a single expression anywhere, a `Relation` or a query in FROM. Plain Python values become
literals.
"""

from __future__ import annotations

import datetime as dt
import decimal
import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import sqlglot
from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.serde import META, dump, load

# an instance, because sqlglot creates a new one for each statement that only names the dialect
DIALECT = Dialect.get_or_raise("duckdb")


@dataclass(frozen=True)
class Relation:
    """A temporary table or view of a session: its name, and the SQL types of its columns by name.

    Only the session makes one. It stands in FROM: `query("SELECT * FROM $rows AS r", rows=relation)`.
    """

    name: str
    columns: Mapping[str, str]

    @property
    def reference(self) -> exp.Table:
        """Return the table as sqlglot expression."""
        return table(self.name)


Rows = exp.Expr | Relation
"""Rows that can stand in FROM."""


def column(name: str, table: str = "") -> exp.Column:
    """Return a quoted column reference."""
    return exp.column(name, table=table or None, quoted=True)


def identifier(name: str) -> exp.Identifier:
    """Return a quoted identifier."""
    return exp.to_identifier(name, quoted=True)


def table(name: str) -> exp.Table:
    """Return a quoted reference to a temporary table or view of a session."""
    return exp.Table(this=identifier(name))


def alias(expression: exp.Expr, name: str) -> exp.Alias:
    """Return `expression AS "name"`."""
    return exp.Alias(this=expression, alias=identifier(name))


def literal(value: Any) -> exp.Expr:
    """Return a Python value as a typed SQL literal; None is NULL."""
    if isinstance(value, exp.Expr):
        return value
    if isinstance(value, dt.datetime):
        kind = "TIMESTAMPTZ" if value.tzinfo else "TIMESTAMP"
        return exp.cast(exp.Literal.string(value.isoformat(sep=" ")), kind)
    if isinstance(value, dt.date):
        return exp.cast(exp.Literal.string(value.isoformat()), "DATE")
    if isinstance(value, decimal.Decimal):
        return exp.Literal.number(format(value, "f"))
    return exp.convert(value)


@functools.lru_cache(maxsize=512)
def _template(text: str) -> exp.Expr:
    nodes = dump(sqlglot.parse_one(text, dialect=DIALECT))
    # a template is copied often, and its positions in the text take most of that time, but nobody needs them
    return cast("exp.Expr", load([{key: value for key, value in node.items() if key != META} for node in nodes]))


def query(template: str, /, **holes: Any) -> Any:
    """Return `template` with every `$name` replaced by `holes[name]`.

    Raises KeyError for a placeholder without a value, and TypeError for a value without a placeholder.
    """
    tree = _template(template).copy()
    used: set[str] = set()
    for hole in list(tree.find_all(exp.Placeholder)):
        name = hole.name
        value = holes[name]
        used.add(name)
        target: exp.Expr = hole
        # `FROM $t` parses as a table whose name is the placeholder: replace the table, keep its alias
        parent = hole.parent
        if isinstance(parent, exp.Table) and parent.this is hole:
            target = parent
            if isinstance(value, str):
                value = table(value)
            elif isinstance(value, Relation):
                value = value.reference
            elif isinstance(value, exp.Query):
                value = exp.Subquery(this=_unplaced(value))
            if parent.args.get("alias") and isinstance(value, exp.Expr):
                value = value.copy()
                value.set("alias", parent.args["alias"].copy())
        if isinstance(value, (list, tuple)):
            _splice(target, [literal(item) for item in value])
        else:
            replacement = literal(value)
            if target is tree:
                return replacement
            target.replace(_unplaced(replacement))
    unknown = set(holes) - used
    if unknown:
        raise TypeError(f"no hole in the template for {sorted(unknown)}: {template}")
    return tree


def _unplaced(value: exp.Expr) -> exp.Expr:
    """Return `value`, or a copy of it if it is part of another query."""
    return value if value.parent is None else value.copy()


def _splice(target: exp.Expr, items: Sequence[exp.Expr]) -> None:
    parent = target.parent
    key = target.arg_key or ""
    if parent is None or not isinstance(parent.args.get(key), list):
        raise TypeError(f"a list cannot fill the hole in {parent.sql(DIALECT) if parent else target.sql(DIALECT)}")
    siblings = parent.args[key]
    position = next(index for index, sibling in enumerate(siblings) if sibling is target)
    parent.set(key, [*siblings[:position], *(_unplaced(item) for item in items), *siblings[position + 1 :]])


def columns(names: Iterable[str], table: str = "") -> list[exp.Expr]:
    """Return quoted references to the columns `names`."""
    return [column(name, table) for name in names]


def computed_once(name: str, value: exp.Expr, body: exp.Expr) -> exp.Expression:
    """Return `body`, in which the column `name` stands for `value`; an engine computes `value` once for a row.

    Use it where `body` names a long expression several times: copies within copies make a query too long to parse.
    Start `name` with `s_`: a column of a source with the same name would be read in its place.
    """
    computed = exp.Lambda(this=body, expressions=[exp.to_identifier(name)], colon=True)
    listed = exp.Transform(this=exp.array(_unplaced(value)), expression=computed)
    return exp.Bracket(this=listed, expressions=[exp.Literal.number(0)], offset=0)


def conjunction(conditions: Iterable[exp.Expr]) -> exp.Expr:
    """Return the conjunction of `conditions`; TRUE if there are none."""
    found = list(conditions)
    return exp.and_(*found) if found else exp.true()


def all_rows(queries: Sequence[exp.Query], *, distinct: bool = False) -> exp.Query:
    """Return the rows of one or more queries; with `distinct` each row once.

    The queries are not copied: for hundreds of them that took time that grew with the square of their number.
    """
    if len(queries) == 1:
        return queries[0]
    return exp.union(*(_unplaced(each) for each in queries), distinct=distinct, copy=False)


def values(rows: Sequence[Mapping[str, Any]], types: Mapping[str, str]) -> exp.Query:
    """Return a small relation of literal rows with the columns and SQL types of `types`; it may be empty."""
    made = [alias(exp.cast(column(name), kind), name) for name, kind in types.items()]
    if not rows:
        empty = exp.select(*[alias(exp.cast(exp.null(), kind), name) for name, kind in types.items()])
        return empty.where(exp.false())
    # one list of rows: the time for unions of thousands of queries grows with their square
    listed = exp.Values(
        expressions=[exp.Tuple(expressions=[literal(row[name]) for name in types]) for row in rows],
        alias=exp.TableAlias(this=identifier("v"), columns=[identifier(name) for name in types]),
    )
    return exp.select(*made, copy=False).from_(listed, copy=False)
