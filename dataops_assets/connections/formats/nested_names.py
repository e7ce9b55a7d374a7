"""Names of values within nested data: `after.id` is the member `id` of the member `after`.

A part that has a dot or a quote itself stands in double quotes: `after."a.b"`. A column whose whole name has a dot is
still read by that name, where the data have it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_PART = re.compile(r'"((?:[^"]|"")*)"|([^".]+)')
_PLAIN = re.compile(r'[^".]+')


def parts_of(name: str) -> tuple[str, ...]:
    """Return the parts of a name from the outermost to the innermost; one part if the name is no path."""
    parts, place = [], 0
    while True:
        found = _PART.match(name, place)
        if found is None:
            return (name,)
        quoted, plain = found.groups()
        parts.append(plain if quoted is None else quoted.replace('""', '"'))
        place = found.end()
        if place == len(name):
            return tuple(parts)
        if name[place] != ".":
            return (name,)
        place += 1


def joined(parts: Iterable[str]) -> str:
    """Return the name of a path; a path of one part has that name, whatever signs it has."""
    first, *inner = parts = tuple(parts)
    if not inner:
        return first
    return ".".join(part if _PLAIN.fullmatch(part) else '"' + part.replace('"', '""') + '"' for part in parts)


def parents_of(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Return the paths above the named values, outer ones first, each once."""
    found = {parts[:length] for parts in map(parts_of, names) for length in range(1, len(parts))}
    return sorted(found, key=lambda path: (len(path), path))
