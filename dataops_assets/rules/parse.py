"""Parses the text of an expression to a tree that contains only the rule language."""

from __future__ import annotations

import sqlglot
from sqlglot import Token, TokenType, exp
from sqlglot.errors import SqlglotError

from dataops_assets.errors import RuleError, nearest
from dataops_assets.rules.functions import AGGREGATES, CAST_TYPES, FUNCTIONS, NEEDS_WINDOW, REASONS, STRUCTURE
from dataops_assets.rules.source_text import Place, TextSpan, span_of
from dataops_assets.sql import DIALECT

_MOST_CHARACTERS = 10_000
# walks over a tree recurse, and Python's own limit is a thousand calls
_MOST_LEVELS = 250
# words before a parenthesis that are not calls
_KEYWORDS = frozenset(
    (
        *("AND", "AS", "BETWEEN", "BY", "CASE", "DISTINCT", "ELSE", "ESCAPE", "FILTER", "FOR", "FROM", "ILIKE", "IN"),
        *("INTERVAL", "IS", "LIKE", "NOT", "OR", "OVER", "THEN", "WHEN"),
        *("DEC", "DECIMAL", "NUMERIC", "VARCHAR", "CHAR"),
    )
)
_CAST_NAMES = ("varchar", "boolean", "bigint", "double", "decimal(p,s)", "date", "timestamp", "timestamptz", "blob")
_QUERIES = (exp.Query, exp.Subquery, exp.Exists, exp.SubqueryPredicate, exp.Table, exp.From)
_ALLOWED = frozenset((*STRUCTURE, *FUNCTIONS.values()))


def parse(place: Place) -> exp.Expr:
    """Return the tree of `place.text`, without comments.

    Raises RuleError, pointing at the part, for wrong syntax, for a query or statement instead of an expression, for a
    function or construct outside the language, and for an aggregate or window function without OVER.
    """
    if not place.text.strip():
        raise place.error("the expression is empty", next_step="write one SQL expression")
    if len(place.text) > _MOST_CHARACTERS:
        raise place.error(f"the expression has {len(place.text):,} characters", known=[f"at most {_MOST_CHARACTERS:,}"])
    too_deep = place.error("the expression is nested too deeply", next_step="split it into several rules")
    try:
        tokens = sqlglot.tokenize(place.text, dialect=DIALECT)
        tree = sqlglot.parse_one(place.text, dialect=DIALECT)
    except RecursionError as error:
        raise too_deep from error
    except SqlglotError as error:
        raise _syntax_error(place, error) from error
    except TypeError as error:
        # sqlglot's answer to an operator without its left side, such as '-> 1'
        raise place.error("syntax error, something is missing") from error
    if _depth(tree) > _MOST_LEVELS:
        raise too_deep
    for node in tree.walk():
        node.comments = None
    _refuse_queries(place, tree)
    _check_calls(place, tokens)
    for node in tree.walk():
        _check_node(place, node)
    return tree


def _depth(tree: exp.Expr) -> int:
    deepest, level = 0, [tree]
    while level:
        deepest += 1
        level = [child for node in level for child in node.iter_expressions()]
    return deepest


def _syntax_error(place: Place, error: SqlglotError) -> RuleError:
    details = getattr(error, "errors", None)
    if not details:
        return place.error("the expression cannot be read", received=str(error).splitlines()[0])
    first = details[0]
    lines = place.text.split("\n")
    line = min(max(first["line"] or 1, 1), len(lines))
    begin = sum(len(previous) + 1 for previous in lines[: line - 1])
    marked = first["highlight"] or ""
    end = begin + max((first["col"] or 1) - 1, 0)
    if "missing" in first["description"]:
        problem = "something is missing"
    elif first["description"].startswith("Expecting"):
        problem = f"{first['description'].lower()} after {marked!r}"
    else:
        problem = f"unexpected {marked!r}"
    return place.error(f"syntax error, {problem}", (end - max(len(marked), 1) + 1, end))


def _refuse_queries(place: Place, tree: exp.Expr) -> None:
    for node in tree.walk():
        if isinstance(node, _QUERIES):
            raise place.error(
                "a rule is one expression over a row, without queries or tables",
                span_of(node),
                next_step="declare a relation and write 'relation.column'",
            )


def _check_calls(place: Place, tokens: list[Token]) -> None:
    """Raise RuleError for a call of a function outside the language, by the name as it was written."""
    for previous, token, following in zip([None, *tokens], tokens, tokens[1:], strict=False):
        if following.token_type is not TokenType.L_PAREN:
            continue
        quoted = token.token_type is TokenType.IDENTIFIER
        if not quoted and (not token.text.isidentifier() or token.text.upper() in _KEYWORDS):
            continue
        span = (token.start, token.end)
        if previous is not None and previous.token_type is TokenType.DOT:
            raise place.error(f"{token.text!r} is called with a dot", span, next_step="write function(argument)")
        if token.text.lower() not in FUNCTIONS:
            raise _unknown_function(place, token.text.lower(), span)


def _unknown_function(place: Place, name: str, span: TextSpan | None) -> RuleError:
    if name in REASONS:
        return place.error(f"{name}() is not part of the rule language: {REASONS[name]}", span)
    hint = nearest(name, list(FUNCTIONS))
    return place.error(
        f"unknown function {name!r}" + (f", {hint}" if hint else ""), span, known=() if hint else sorted(FUNCTIONS)
    )


def _check_node(place: Place, node: exp.Expr) -> None:
    if isinstance(node, exp.Dot):
        raise place.error("a path has too many parts", span_of(node), known=["at most three relations, then a column"])
    if isinstance(node, exp.Star) and isinstance(node.parent, exp.Count):
        return
    if type(node) not in _ALLOWED:
        name = node.key.replace("current", "current_") if node.key.startswith("current") else node.key
        if name in REASONS:
            raise _unknown_function(place, name, span_of(node))
        raise place.error(f"{_written(node)} is not part of the rule language", span_of(node))
    if isinstance(node, exp.In) and not node.expressions:
        raise place.error("IN takes a list of values", span_of(node), next_step="write x IN ('a', 'b')")
    if isinstance(node, exp.Cast):
        _check_cast(place, node)
    if isinstance(node, exp.Window):
        _check_window(place, node)
    if isinstance(node, NEEDS_WINDOW) and not is_windowed(node) and not _is_over_relation(node):
        raise place.error(
            f"{_written(node)} needs OVER (...)",
            span_of(node),
            next_step="a rule gives one value a row and keeps the grain; write e.g. sum(x) OVER (PARTITION BY y), or "
            "aggregate the rows of a to-many relation",
        )


def _written(node: exp.Expr) -> str:
    text = node.sql(DIALECT)
    return repr(text if len(text) <= 40 else text[:37] + "...")


def _check_cast(place: Place, node: exp.Cast) -> None:
    target = node.to
    if target.args.get("nested") or target.this not in CAST_TYPES:
        raise place.error(
            f"cast to unknown type {target.sql(DIALECT)!r}",
            span_of(node),
            known=_CAST_NAMES,
        )


def _check_window(place: Place, node: exp.Window) -> None:
    if node.args.get("alias"):
        raise place.error("a named window is not known here", span_of(node), next_step="write the window in OVER (...)")
    function = windowed(node)
    if not isinstance(function, NEEDS_WINDOW):
        raise place.error(f"{_written(function)} takes no window", span_of(function))
    inner = next((part for part in node.walk() if isinstance(part, exp.Window) and part is not node), None)
    if inner is not None:
        raise place.error(
            "a window inside a window", span_of(inner), next_step="make the inner one a rule and use that rule here"
        )


def windowed(window: exp.Window) -> exp.Expr:
    """Return the function of a window, without its FILTER and IGNORE NULLS."""
    function = window.this
    while isinstance(function, (exp.Filter, exp.IgnoreNulls, exp.RespectNulls)):
        function = function.this
    return function


def filtered(node: exp.Expr) -> exp.Expr:
    """Return an aggregate with its FILTER, if it has one."""
    return node.parent if isinstance(node.parent, exp.Filter) and node.arg_key == "this" else node


def _is_over_relation(node: exp.Expr) -> bool:
    """Whether an aggregate reads columns by a path. The relations are checked later, when names are resolved."""
    if not isinstance(node, tuple(AGGREGATES.values())):
        return False
    return any(len(column.parts) > 1 for column in filtered(node).find_all(exp.Column))


def is_windowed(node: exp.Expr) -> bool:
    """Whether a function is the function of a window."""
    holder = node.parent
    while isinstance(holder, (exp.Filter, exp.IgnoreNulls, exp.RespectNulls)):
        holder = holder.parent
    return isinstance(holder, exp.Window) and windowed(holder) is node
