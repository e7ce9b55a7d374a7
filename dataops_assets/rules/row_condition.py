"""Conditions on one row that a declaration states as SQL, such as `delete_when` and `keep_when`."""

from __future__ import annotations

from collections.abc import Iterable

from sqlglot import exp

from dataops_assets.rules.semantics import attempt, total
from dataops_assets.sql import DIALECT, column, query


def row_condition(predicate: str, names: Iterable[str], table: str) -> exp.Expr:
    """Return the condition that a declared predicate is true for a row of `table`.

    It is false where the predicate is null or cannot be computed. `names` are the columns as they are declared.
    """
    spelled = {name.lower(): name for name in names}

    def qualified(node: exp.Expr) -> exp.Expr:
        if isinstance(node, exp.Column) and not node.table:
            return column(spelled.get(node.name.lower(), node.name), table)
        return node

    found = total(_parsed(predicate).transform(qualified))
    return query("coalesce($predicate, FALSE)", predicate=attempt(query("CAST($found AS BOOLEAN)", found=found)))


def columns_read(predicate: str, names: Iterable[str]) -> frozenset[str]:
    """Return the columns that a declared predicate reads, as they are declared."""
    spelled = {name.lower(): name for name in names}
    read = (node.name for node in _parsed(predicate).find_all(exp.Column))
    return frozenset(spelled.get(name.lower(), name) for name in read)


def _parsed(predicate: str) -> exp.Expr:
    found: exp.Expr = exp.maybe_parse(predicate, dialect=DIALECT)
    return found
