"""What cannot be computed is null: division by zero, a cast that does not fit, overflow, a logarithm of zero, ...

Stated once here, so that no row can stop an input and every engine can be made to agree. It is the smallest part that
is null, and nulls go through all but what asks for them, so parts are attempted where something asks.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from dataops_assets.sql import DIALECT, query

_DIVISIONS = (exp.Div, exp.IntDiv, exp.Mod)
# what may give a value where a part of it is null, or compare a part without computing it
_ASKING_FOR_NULLS = (
    *(exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE),
    *(exp.Coalesce, exp.Nullif, exp.Concat, exp.ConcatWs, exp.Greatest, exp.Least),
    *(exp.Case, exp.If, exp.Is, exp.NullSafeEQ, exp.NullSafeNEQ, exp.And, exp.Or, exp.Between, exp.In),
)


def total(expression: exp.Expr) -> exp.Expr:
    """`expression` with divisions that are null where the divisor is zero, and casts that are null where they fail.

    So is every part that is asked whether it is null.
    """

    def replaced(node: exp.Expr) -> exp.Expr:
        if isinstance(node, _DIVISIONS) and not _is_nonzero_number(node.expression):
            node.set("expression", query("NULLIF($divisor, 0)", divisor=node.expression))
        if type(node) is exp.Cast and not isinstance(node.this, exp.Literal):
            # a cast of a literal is how a date is written; a wrong one is refused when the rule is compiled
            return exp.TryCast(this=node.this, to=node.to)
        if isinstance(node, _ASKING_FOR_NULLS):
            for part in list(node.iter_expressions()):
                # the cases of CASE are no values, and what has a window in it cannot be attempted as it stands
                if not isinstance(part, exp.If) and part.find(exp.Window) is None:
                    part.replace(attempt(part.copy()))
        return node

    return rewritten(expression, replaced)


def rewritten(expression: exp.Expr, replaced: Callable[[exp.Expr], exp.Expr]) -> exp.Expr:
    """A copy of `expression` with each node replaced by `replaced` of it, which may be the node itself.

    Children come before parents, so a node that is wrapped takes its finished children with it.
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
    """`expression`, or null where computing it fails for any other reason."""
    if isinstance(expression, (exp.Column, exp.Literal, exp.Null, exp.Boolean, exp.Star)):
        return expression
    return exp.Try(this=expression)


def of_type(value: exp.Expr, kind: str) -> exp.Expr:
    """A value in the type that it has in DuckDB; other engines may compute it in a wider or narrower one."""
    found = exp.TryCast(this=value.copy(), to=exp.DataType.build(kind, dialect=DIALECT))
    # an engine need not ask how such a cast is to be made
    found.meta["same"] = True
    return found


def _is_nonzero_number(node: exp.Expr) -> bool:
    return isinstance(node, exp.Literal) and not node.is_string and float(node.this) != 0
