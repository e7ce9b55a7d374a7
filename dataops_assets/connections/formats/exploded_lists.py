"""Makes records of the items of lists: a record for each parent, and one for each item of its list.

A map is a list of items that have a key and a value.

The record of the parent comes first, without the list, at position 0. So a refresh knows that the parent was sent
again, also with fewer items or none. A record of an item is the parent with the item in place of the list. The
position, from 1, stands beside the list: `items#` beside `items`.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dataops_assets.config.connection import MAP
from dataops_assets.config.limits import Limits
from dataops_assets.connections.formats.exact_json import members_of, object_of, read_exactly, written_exactly
from dataops_assets.connections.formats.nested_names import parts_of
from dataops_assets.connections.formats.staging import RawFile, Staging

POSITION = "#"
"""What is added to the name of a list, for the name of the position."""


class Exploded(NamedTuple):
    """A new file with records, their number, and for each of them the line that it was made of, from 1."""

    path: Path
    records: int
    lines: array[int]


class _Level(NamedTuple):
    """Where a list or map is."""

    path: tuple[str, ...]
    is_map: bool


def exploded(
    staging: Staging, file: RawFile, paths: Sequence[str], limits: Limits, records: int | None = None
) -> Exploded:
    """Explode the lists at `paths` of JSON lines, each path within the items of the one before.

    The parents are counted by `records`, or by the lines with content, and the items apart from making them. A value
    that is no list is one item. A line that is no object stays as it is.

    Raises InputError for a line beyond the limits.
    """
    levels = [_Level(parts_of(path.removesuffix(MAP)), path.endswith(MAP)) for path in paths]
    # within an item, a path begins where the list is
    above = [0, *(len(level.path) for level in levels)]
    steps = [_Level(level.path[length:], level.is_map) for level, length in zip(levels, above, strict=False)]
    target = staging.path()
    parents = items = 0
    lines = array("q")
    with target.open("w", encoding="utf-8") as out:
        for number, line in _lines(file, limits):
            parents += 1
            try:
                value, mark = read_exactly(line)
                found = json.loads(line)
            except (ValueError, RecursionError):
                # the reader of the lines says what is wrong with it
                value = found = None
            if not isinstance(value, dict):
                out.write(line + "\n")
                lines.append(number)
                continue
            items += _number_of_items(found, steps)
            for record in _records(value, levels):
                out.write(written_exactly(record, mark) + "\n")
                lines.append(number)
    return Exploded(target, (parents if records is None else records) + items, lines)


def _lines(file: RawFile, limits: Limits) -> Iterator[tuple[int, str]]:
    """Yield the lines with content, with their numbers from 1."""
    number = 0
    try:
        with file.path.open(encoding="utf-8-sig") as stream:
            while line := stream.readline(limits.record_bytes + 1):
                number += 1
                if len(line) > limits.record_bytes:
                    raise file.refused(
                        f"a record of more than {limits.record_bytes:,} bytes (limits.record_bytes)", "raise the limit"
                    )
                if line.strip():
                    yield number, line.rstrip("\n")
    except UnicodeError as error:
        raise file.refused(f"text that is not utf-8: {error}", "deliver JSON in UTF-8") from error


def _records(value: dict[str, Any], levels: Sequence[_Level]) -> Iterator[dict[str, Any]]:
    if not levels:
        yield value
        return
    level, *deeper = levels
    path = level.path
    holder = _holder(value, path[:-1])
    if holder is None:
        yield value
        return
    name = path[-1]
    held = holder.get(name)
    others = [(key, item) for key, item in members_of(holder) if key != name]
    # a list that the parent does not have stays absent: a renamed list is no empty one
    nothing = [(name, None)] if name in holder else []
    yield _with(value, path[:-1], object_of([*others, *nothing, (name + POSITION, 0)]))
    for position, item in enumerate(_items(held, level), start=1):
        one = object_of([*others, (name, item), (name + POSITION, position)])
        yield from _records(_with(value, path[:-1], one), deeper)


def _items(held: Any, level: _Level) -> Sequence[Any]:
    if level.is_map and isinstance(held, dict):
        return [object_of([("key", key), ("value", item)]) for key, item in members_of(held)]
    return held if isinstance(held, list) else [] if held is None else [held]


def _holder(value: dict[str, Any], path: Sequence[str]) -> dict[str, Any] | None:
    """Return the object that has the list; an empty one if there is none, and None if another value is in its place."""
    found: Any = value
    for name in path:
        found = found.get(name)
        if found is None:
            return {}
        if not isinstance(found, dict):
            return None
    return found


def _with(value: dict[str, Any] | None, path: Sequence[str], inner: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of an object with another one at a path."""
    if not path:
        return inner
    value = value or {}
    changed = _with(value.get(path[0]), path[1:], inner)
    pairs = [(key, changed if key == path[0] else item) for key, item in members_of(value)]
    return object_of(pairs if path[0] in value else [*pairs, (path[0], changed)])


def _number_of_items(value: Any, steps: Sequence[_Level]) -> int:
    """Count the records that are made of an object besides its own."""
    if not steps:
        return 0
    for name in steps[0].path:
        value = value.get(name) if isinstance(value, dict) else None
    if steps[0].is_map and isinstance(value, dict):
        value = [{"value": item} for item in value.values()]
    if not isinstance(value, list):
        value = [] if value is None else [value]
    return len(value) + sum(_number_of_items(item, steps[1:]) for item in value)
