"""SQL as values: templates with named holes, filled with sqlglot expressions and never with text.

A template is DuckDB-dialect SQL in which `$name` is a hole. `query("SELECT $cols FROM $t", cols=[...], t=...)` parses
the template once, then puts expressions in the holes: a list fills a hole in a list position (select list, group by,
function arguments), a single expression fills it anywhere, plain Python values become literals.
"""

from __future__ import annotations

import datetime as dt
import decimal
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import sqlglot
from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.serde import dump, load

# an instance: sqlglot makes one anew for every statement that only names it
DIALECT = Dialect.get_or_raise("duckdb")


def column(name: str, table: str = "") -> exp.Column:
    """A quoted column reference."""
    return exp.column(name, table=table or None, quoted=True)


def identifier(name: str) -> exp.Identifier:
    """A quoted identifier."""
    return exp.to_identifier(name, quoted=True)


def table(name: str) -> exp.Table:
    """A quoted reference to a session's temporary table or view."""
    return exp.Table(this=identifier(name))


def alias(expression: exp.Expr, name: str) -> exp.Alias:
    """`expression AS "name"`."""
    return exp.Alias(this=expression, alias=identifier(name))


def literal(value: Any) -> exp.Expr:
    """A Python value as a typed SQL literal; None is NULL."""
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
    tree: exp.Expr = sqlglot.parse_one(text, dialect=DIALECT)
    # a template is copied often, and most of that time goes to where its words stood in the text, which nobody asks
    for node in tree.walk():
        node.meta.clear()
    return cast("exp.Expr", load(dump(tree)))


def query(template: str, /, **holes: Any) -> Any:
    """`template` with every `$name` replaced by `holes[name]`.

    Raises KeyError for a hole that is not given and TypeError for a given value that no hole takes.
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
    """`value` itself, or a copy of it where it has its place in another query already."""
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
    """Quoted references to `names`."""
    return [column(name, table) for name in names]


def conjunction(conditions: Iterable[exp.Expr]) -> exp.Expr:
    """All of `conditions`; TRUE when there are none."""
    found = list(conditions)
    return exp.and_(*found) if found else exp.true()


def values(rows: Sequence[Mapping[str, Any]], types: Mapping[str, str]) -> exp.Query:
    """A small relation of literal rows with the columns and SQL types of `types`; may be empty."""
    selects = [
        exp.select(*[alias(exp.cast(literal(row[name]), kind), name) for name, kind in types.items()]) for row in rows
    ]
    if not selects:
        empty = exp.select(*[alias(exp.cast(exp.null(), kind), name) for name, kind in types.items()])
        return empty.where(exp.false())
    result: exp.Query = selects[0]
    for following in selects[1:]:
        result = exp.union(result, following, distinct=False)
    return result
