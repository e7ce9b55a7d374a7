"""Makes values that cannot be computed null: division by zero, a failing cast, overflow, a logarithm of zero, ...

This is implemented only here, so that no row can stop an input and all engines agree. The smallest part that cannot be
computed is null. Most functions return null for a null argument. Where a function handles nulls itself (such as
`coalesce`), its arguments are computed with TRY.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from dataops_assets.sql import DIALECT, query

_DIVISIONS = (exp.Div, exp.IntDiv, exp.Mod)
# expressions that can have a value although a part of them is null, or that use a part without computing it
_ASKING_FOR_NULLS = (
    *(exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE),
    *(exp.Coalesce, exp.Nullif, exp.Concat, exp.ConcatWs, exp.Greatest, exp.Least),
    *(exp.Case, exp.If, exp.Is, exp.NullSafeEQ, exp.NullSafeNEQ, exp.And, exp.Or, exp.Between, exp.In),
)


def total(expression: exp.Expr) -> exp.Expr:
    """Return `expression` with divisions by zero and failing casts as null.

    The same holds for every part of it whose null is handled, such as the arguments of `coalesce`.
    """

    def replaced(node: exp.Expr) -> exp.Expr:
        if isinstance(node, _DIVISIONS) and not _is_nonzero_number(node.expression):
            node.set("expression", query("NULLIF($divisor, 0)", divisor=node.expression))
        if type(node) is exp.Cast and not isinstance(node.this, exp.Literal):
            # a cast of a literal is a date constant; a wrong one is refused when the rule is compiled
            return exp.TryCast(this=node.this, to=node.to)
        if isinstance(node, _ASKING_FOR_NULLS):
            for part in list(node.iter_expressions()):
                # the branches of CASE are no values, and TRY cannot contain a window
                if not isinstance(part, exp.If) and part.find(exp.Window) is None:
                    part.replace(attempt(part.copy()))
        return node

    return rewritten(expression, replaced)


def rewritten(expression: exp.Expr, replaced: Callable[[exp.Expr], exp.Expr]) -> exp.Expr:
    """Return a copy of `expression` with each node replaced by `replaced(node)`, which may be the node itself.

    Children are replaced before their parents.
    """
    tree = expression.copy()
    for node in reversed(list(tree.walk())):
        settled = replaced(node)
        if settled is node:
            continue
        if node is tree:
            return settled
        node.replace(settled)
    return tree


def attempt(expression: exp.Expr) -> exp.Expr:
    """Return `expression` in TRY, so that it is null if it fails for any other reason."""
    if isinstance(expression, (exp.Column, exp.Literal, exp.Null, exp.Boolean, exp.Star)):
        return expression
    return exp.Try(this=expression)


def of_type(value: exp.Expr, kind: str) -> exp.Expr:
    """Return a value in the type that it has in DuckDB; other engines may use a wider or narrower type."""
    found = exp.TryCast(this=value.copy(), to=exp.DataType.build(kind, dialect=DIALECT))
    # an engine need not ask how such a cast is to be made
    found.meta["same"] = True
    return found


def _is_nonzero_number(node: exp.Expr) -> bool:
    return isinstance(node, exp.Literal) and not node.is_string and float(node.this) != 0
