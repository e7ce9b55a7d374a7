"""Replaces the tokens of templates: `${price}` in a text becomes the value of `price`.

In an SQL expression a token outside quotes stands for one name (`price`, `store.price`, or a part of a name as in
`${prefix}_amount`), one number or one truth value. A token between quotes stands for characters of the text or quoted
name. The value is quoted accordingly, and the result must have the same structure as the template, so that a value can
never inject SQL.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from dataops_assets.errors import ConfigError, nearest
from dataops_assets.sql import DIALECT

Values = Mapping[str, str | int | float | bool]

_TOKEN = re.compile(r"\$\{(\w+)\}")
# a name with dots between its parts, in which tokens may be parts
_WORD = re.compile(r"(?:\w|\.(?=[\w$])|\$\{\w+\})+")
_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_QUOTED = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*\"""")
# fields of declarations with SQL
_SQL_FIELDS = frozenset(("expression", "compatible", "keep_when", "when", "delete_when", "delete_where", "default"))
# fields in which ${NAME} means an environment variable
_ENVIRONMENT_FIELDS = frozenset(("storage_options",))


def tokens_of(value: Any) -> frozenset[str]:
    """Return the names of all tokens in a declaration."""
    if isinstance(value, str):
        return frozenset(_TOKEN.findall(value))
    if isinstance(value, Mapping):
        return frozenset().union(*(tokens_of(part) for item in value.items() for part in item))
    if isinstance(value, (list, tuple)):
        return frozenset().union(*(tokens_of(item) for item in value))
    return frozenset()


def filled(value: Any, values: Values, field: str = "") -> Any:
    """Return a declaration (texts, lists, mappings) with all tokens replaced; `field` is the name of its field.

    A text that is only one token becomes the value itself. Raises ConfigError for an unknown token, and for a value in
    SQL that is not a name, number or text.
    """
    if field in _ENVIRONMENT_FIELDS:
        return value
    if isinstance(value, Mapping):
        return {filled(key, values): filled(item, values, str(key)) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [filled(item, values, field) for item in value]
    if not isinstance(value, str) or not _TOKEN.search(value):
        return value
    if field in _SQL_FIELDS:
        return filled_sql(value, values)
    whole = _TOKEN.fullmatch(value)
    if whole is not None:
        return _value(whole[1], values)
    return _TOKEN.sub(lambda match: str(_value(match[1], values)), value)


def filled_sql(text: str, values: Values) -> str:
    """Return an SQL expression with all tokens replaced. Raises ConfigError if a value would change its structure."""
    if "--" in text or "/*" in text:
        raise ConfigError("filling tokens", received=text, next_step="leave comments out of expressions with tokens")
    result = _replaced(text, lambda word: _bare(word, values, text), lambda part: _inside(part, values, text))
    model = _replaced(text, lambda word: _stand_in(word, values, text), lambda part: _TOKEN.sub("x", part))
    if _shape(result, text) != _shape(model, text):
        raise ConfigError("filling tokens", received=result, known=[text], next_step="give a name, number or text")
    return result


def _replaced(text: str, bare: Callable[[str], str], inside: Callable[[str], str]) -> str:
    """Return `text` with `bare` applied to each word with tokens, and `inside` to each quoted part."""
    found: list[str] = []
    end = 0
    for quoted in _QUOTED.finditer(text):
        found += [_words(text[end : quoted.start()], bare), inside(quoted[0])]
        end = quoted.end()
    return "".join((*found, _words(text[end:], bare)))


def _words(text: str, bare: Callable[[str], str]) -> str:
    return _WORD.sub(lambda match: bare(match[0]) if _TOKEN.search(match[0]) else match[0], text)


def _bare(word: str, values: Values, text: str) -> str:
    whole = _TOKEN.fullmatch(word)
    value = _value(whole[1], values) if whole else _TOKEN.sub(lambda match: str(_value(match[1], values)), word)
    if isinstance(value, (bool, int, float)):
        literal = exp.convert(value).sql(DIALECT)
        return f"({literal})" if literal.startswith("-") else literal
    if not _PATH.fullmatch(value):
        raise ConfigError(
            f"filling {word} in {text!r}",
            received=repr(value),
            known=["a name such as price or store.price", "a number"],
            next_step="if the value is a text, write the token in quotes in the template",
        )
    return ".".join(exp.to_identifier(part, quoted=True).sql(DIALECT) for part in value.split("."))


def _stand_in(word: str, values: Values, text: str) -> str:
    filled_word = _bare(word, values, text)
    if not filled_word.startswith('"'):
        return filled_word
    return ".".join(['"x"'] * (filled_word.count('"."') + 1))


def _inside(part: str, values: Values, text: str) -> str:
    quote = part[0]

    def replaced(match: re.Match[str]) -> str:
        value = str(_value(match[1], values))
        if not value.isprintable() or "\\" in value:
            raise ConfigError(
                f"filling {match[0]} in {text!r}", received=repr(value), known=["printable text without backslashes"]
            )
        return value.replace(quote, quote * 2)

    return _TOKEN.sub(replaced, part)


def _shape(text: str, template: str) -> list[Any]:
    try:
        return [token.token_type for token in sqlglot.tokenize(text, dialect=DIALECT)]
    except SqlglotError as error:
        raise ConfigError(f"filling tokens in {template!r}", received=str(error).splitlines()[0]) from error


def _value(name: str, values: Values) -> Any:
    if name not in values:
        hint = nearest(name, list(values))
        raise ConfigError(
            f"filling ${{{name}}}", received="no value", known=sorted(values), next_step=hint or "give it a value"
        )
    return values[name]


def unused(value: Any, values: Values) -> Iterator[str]:
    """Return the given values that no token uses."""
    return (name for name in values if name not in tokens_of(value))
