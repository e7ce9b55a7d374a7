"""Translates the expressions of DataForge, which are Spark SQL with `[This].column` and `[source].column`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import sqlglot
from sqlglot import Token, TokenType, exp
from sqlglot.errors import SqlglotError

from dataops_assets.errors import InputError
from dataops_assets.sql import DIALECT

_READ = "spark"
THIS, RELATED = "This", "Related"


def translated(text: str, named: Callable[[str, str], Sequence[str]]) -> exp.Expr:
    """Return an expression as this platform reads it.

    `named` returns for a source (empty: this one) and its column the relations that lead there and the column's name.
    Raises InputError for an expression that cannot be read.
    """
    try:
        tree = sqlglot.parse_one(_marked(text), dialect=_READ)

        def replaced(node: exp.Expr) -> exp.Expr:
            if not isinstance(node, exp.Column):
                return node
            return _chain([exp.to_identifier(part) for part in named(node.table, node.name.lower())])

        # what it means in Spark, written for the engine that reads it here
        return sqlglot.parse_one(tree.transform(replaced).sql(dialect=DIALECT), dialect=DIALECT)
    except SqlglotError as error:
        raise InputError(f"reading the expression {text!r}", received=str(error).splitlines()[0]) from error


def sources_in(text: str) -> set[str]:
    """Return the names in brackets. Raises InputError for an expression that cannot be read."""
    return {name for name, _, _ in _references(text)}


def _chain(parts: Sequence[exp.Identifier]) -> exp.Expr:
    if len(parts) <= 4:
        names = dict(zip(("this", "table", "db", "catalog"), reversed(parts), strict=False))
        return exp.Column(**names)
    found: exp.Expr = _chain(parts[:4])
    return exp.Dot.build([found, *parts[4:]])


def _marked(text: str) -> str:
    """Return the text with `[name].` as a name in backticks, which Spark reads; `[This].` is left out."""
    made, end = "", 0
    for name, start, stop in _references(text):
        made += text[end:start] + ("" if name == THIS else f"`{name}`.")
        end = stop
    return made + text[end:]


def _references(text: str) -> Iterator[tuple[str, int, int]]:
    """Return each name in brackets before a dot, with the place of brackets and dot. Text in quotes has none."""
    try:
        tokens = sqlglot.tokenize(text, dialect=_READ)
    except SqlglotError as error:
        raise InputError(f"reading the expression {text!r}", received=str(error).splitlines()[0]) from error
    for at, token in enumerate(tokens):
        close = next((i for i in range(at + 1, len(tokens)) if tokens[i].token_type == TokenType.R_BRACKET), None)
        if token.token_type == TokenType.L_BRACKET and close is not None and _is_name(tokens, at, close):
            yield text[token.end + 1 : tokens[close].start].strip(), token.start, tokens[close + 1].end + 1


def _is_name(tokens: Sequence[Token], at: int, close: int) -> bool:
    """Return whether brackets have a name and not the place in an array, and a dot follows."""
    dotted = close + 1 < len(tokens) and tokens[close + 1].token_type == TokenType.DOT
    return dotted and close > at + 1 and tokens[at + 1].token_type != TokenType.NUMBER
