"""Reads JSON texts and writes them again with all members of their objects and with numbers as they were written."""

from __future__ import annotations

import json
import re
from typing import Any

NUMBER = r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
"""The pattern of a number in JSON; any digits may come first."""


class Repeated(dict[str, Any]):
    """An object with two members of one name; `pairs` are all its members."""

    pairs: list[tuple[str, Any]]


def read_exactly(text: str) -> tuple[Any, str]:
    """Return the value of a JSON text, and a character. Each number is a text that starts with this character.

    Raises ValueError for a text that is no JSON, RecursionError for one that is nested too deeply.
    """
    mark = _absent(text)
    found = json.loads(text, parse_float=mark.__add__, parse_int=mark.__add__, object_pairs_hook=object_of)
    return found, mark


def written_exactly(value: Any, mark: str) -> str:
    """Return a value of `read_exactly` as one line of JSON, with its numbers as they were written."""
    escaped = json.dumps(mark).strip('"')
    return re.sub(rf'"{re.escape(escaped)}({NUMBER})"', r"\1", _line(value))


def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of these members; `Repeated` if two have one name."""
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    repeated = Repeated(found)
    repeated.pairs = pairs
    return repeated


def members_of(value: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return all members of an object."""
    return value.pairs if isinstance(value, Repeated) else list(value.items())


def _absent(text: str) -> str:
    """Return a character that occurs nowhere in a text, not even as an escape."""
    lower = text.lower()
    return next(
        sign
        for sign in map(chr, range(0xE000, 0xF8FF))
        if sign not in text and json.dumps(sign).strip('"') not in lower
    )


def _line(value: Any) -> str:
    """Return a value as one line of JSON, with all members of its objects."""
    if not _has_repeated(value):
        return json.dumps(value, separators=(",", ":"))
    if isinstance(value, list):
        return "[" + ",".join(map(_line, value)) + "]"
    return "{" + ",".join(f"{json.dumps(name)}:{_line(inner)}" for name, inner in members_of(value)) + "}"


def _has_repeated(value: Any) -> bool:
    if isinstance(value, dict):
        return isinstance(value, Repeated) or any(map(_has_repeated, value.values()))
    return isinstance(value, list) and any(map(_has_repeated, value))
