"""Makes records of the items of lists: a record for each parent, and one for each item of its list.

The record of the parent comes first, without the list, at position 0. So a refresh knows that the parent was sent
again, also with fewer items or none. A record of an item is the parent with the item in place of the list. The
position, from 1, stands beside the list: `items#` beside `items`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dataops_assets.config.limits import Limits
from dataops_assets.connections.formats.exact_json import members_of, object_of, read_exactly, written_exactly
from dataops_assets.connections.formats.nested_names import parts_of
from dataops_assets.connections.formats.staging import RawFile, Staging

POSITION = "#"
"""What is added to the name of a list, for the name of the position."""


def exploded(
    staging: Staging, file: RawFile, paths: Sequence[str], limits: Limits, records: int | None = None
) -> tuple[Path, int]:
    """Explode the lists at `paths` of JSON lines, each path within the items of the one before.

    Return the new file and the number of its records: of the parents (`records`, or the lines with content), plus the
    items, which are counted apart from making them. A value that is no list is one item. A line that is no object stays
    as it is. Raises InputError for a line beyond the limits.
    """
    levels = [parts_of(path) for path in paths]
    # within an item, a path begins where the list is
    steps = [level[len(above) :] for level, above in zip(levels, [(), *levels], strict=False)]
    target = staging.path()
    parents = items = 0
    with target.open("w", encoding="utf-8") as out:
        for line in _lines(file, limits):
            parents += 1
            try:
                value, mark = read_exactly(line)
                found = json.loads(line)
            except (ValueError, RecursionError):
                # the reader of the lines says what is wrong with it
                value = found = None
            if not isinstance(value, dict):
                out.write(line + "\n")
                continue
            items += _number_of_items(found, steps)
            out.writelines(written_exactly(record, mark) + "\n" for record in _records(value, levels))
    return target, (parents if records is None else records) + items


def _lines(file: RawFile, limits: Limits) -> Iterator[str]:
    try:
        with file.path.open(encoding="utf-8-sig") as stream:
            while line := stream.readline(limits.record_bytes + 1):
                if len(line) > limits.record_bytes:
                    raise file.refused(
                        f"a record of more than {limits.record_bytes:,} bytes (limits.record_bytes)", "raise the limit"
                    )
                if line.strip():
                    yield line.rstrip("\n")
    except UnicodeError as error:
        raise file.refused(f"text that is not utf-8: {error}", "deliver JSON in UTF-8") from error


def _records(value: dict[str, Any], levels: Sequence[tuple[str, ...]]) -> Iterator[dict[str, Any]]:
    if not levels:
        yield value
        return
    path, *deeper = levels
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
    for position, item in enumerate(_items(held), start=1):
        one = object_of([*others, (name, item), (name + POSITION, position)])
        yield from _records(_with(value, path[:-1], one), deeper)


def _items(held: Any) -> Sequence[Any]:
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


def _number_of_items(value: Any, steps: Sequence[tuple[str, ...]]) -> int:
    """Count the records that are made of an object besides its own."""
    if not steps:
        return 0
    for name in steps[0]:
        value = value.get(name) if isinstance(value, dict) else None
    if not isinstance(value, list):
        value = [] if value is None else [value]
    return len(value) + sum(_number_of_items(item, steps[1:]) for item in value)
