"""Names the values within nested records, so that each becomes a column: `customer.email` of `{"customer": {...}}`.

An object whose members differ from record to record is a map: it stays one column of JSON text.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from dataops_assets.connections.formats.nested_names import joined, parts_of
from dataops_assets.engines.base import Session
from dataops_assets.sql import Relation, column, query

_MOST_RECORDS = 10_000
_MOST_DEPTH = 4
_MOST_MEMBERS = 100
# a member that fewer objects have is a key of a map
_LEAST_SHARE = 0.1


def names_within(session: Session, rows: Relation, names: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Return the names of all values in `rows`, objects opened. `names` are the raw name and the column of each field.

    At most 10,000 records are looked at, so a member that only others have is not named.
    """
    found: list[str] = []
    for name, in_table in names:
        values = _objects(session, rows, in_table)
        found += [joined(path) for path in _opened((name,), values)] if values else [name]
    return tuple(found)


def nested_name(name: str) -> str:
    """Return the name of the column for a nested value, without the dots of a path and the marks of XML and lists."""
    parts = [part.removeprefix("@") for part in parts_of(name) if part != "#text"] or ["text"]
    last = parts[-1]
    return "_".join([*parts[:-1], f"{last[:-1]}_position" if len(last) > 1 and last.endswith("#") else last])


def hold_records(values: Iterable[str]) -> bool:
    """Return whether texts are JSON lists of objects. Some lists may be empty."""
    lists = []
    for value in values:
        try:
            lists.append(json.loads(value) if value.startswith("[") else None)
        except ValueError:
            return False
    items = [item for some in lists if isinstance(some, list) for item in some]
    return bool(items) and None not in lists and all(isinstance(item, dict) for item in items)


def _objects(session: Session, rows: Relation, in_table: str) -> list[dict[str, Any]]:
    """Return some values of a column; nothing if not all of its values are objects."""
    value = column(in_table, "r")
    counts = query(
        "SELECT count($value) AS present, count_if(starts_with(CAST($value AS VARCHAR), '{')) AS objects "
        "FROM $rows AS r",
        value=value,
        rows=rows,
    )
    row = session.fetch(counts).to_pylist()[0]
    if not row["present"] or row["present"] != row["objects"]:
        return []
    texts = session.fetch(
        query(
            "SELECT CAST($value AS VARCHAR) AS text FROM $rows AS r WHERE NOT $value IS NULL LIMIT $most",
            value=value,
            rows=rows,
            most=_MOST_RECORDS,
        )
    )
    try:
        found = [json.loads(text) for text in texts.column("text").to_pylist()]
    except ValueError:
        # a text that only begins like an object
        return []
    return [item for item in found if isinstance(item, dict)]


def _opened(path: tuple[str, ...], objects: Sequence[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    members = Counter(name for item in objects for name in item)
    if not members or len(path) > _MOST_DEPTH or _is_map(members, len(objects)):
        yield path
        return
    for name in members:
        within = [item[name] for item in objects if item.get(name) is not None]
        if within and all(isinstance(value, dict) for value in within):
            yield from _opened((*path, name), within)
        else:
            yield (*path, name)


def _is_map(members: Counter[str], objects: int) -> bool:
    if len(members) > _MOST_MEMBERS or any(not name for name in members):
        return True
    return sum(members.values()) < _LEAST_SHARE * len(members) * objects


def below(names: Iterable[str], path: str) -> list[str]:
    """Return the names of the values below a path, without the path and its dot."""
    return [name.removeprefix(f"{path}.") for name in names if name.startswith(f"{path}.")]
