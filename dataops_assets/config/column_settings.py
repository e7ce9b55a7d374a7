"""Checks the settings of single columns under `refresh`: merged, updated in place, ignored, or where versions begin."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dataops_assets.config.contract import Column
from dataops_assets.config.declared import Problem, hint
from dataops_assets.config.refresh import ALL_COLUMNS, Refresh
from dataops_assets.config.types import base_type

_SUMMED = ("integer", "decimal")


def column_problems(refresh: Refresh, columns: Sequence[Column]) -> Iterator[Problem]:
    """Yield the problems of `merge`, `update_in_place` and `valid_from`: path, given value and message."""
    kinds = {item.name: base_type(item.type) for item in columns}
    if not refresh.key:
        for field in ("merge", "update_in_place"):
            if given := getattr(refresh, field):
                yield ("refresh", field), given, "values are merged by key; declare refresh.key"
        if refresh.valid_from is not None:
            yield ("refresh", "valid_from"), refresh.valid_from, "versions are those of a key; declare refresh.key"
        return
    yield from _valid_from_problems(refresh, kinds)
    for name, how in refresh.merge.items():
        for problem in _merge_problems(refresh, kinds, name, how.take):
            yield ("refresh", "merge", name), how.take, problem
        if name == ALL_COLUMNS and how.when:
            yield ("refresh", "merge", name, "when"), how.when, "a condition is declared for one column, not for '*'"
    for index, name in enumerate(refresh.update_in_place):
        path = ("refresh", "update_in_place", index)
        if name in refresh.key:
            yield path, name, f"{name!r} is a column of the key, which never changes"
        if name in refresh.ignore_changes_in:
            yield path, name, f"{name!r} is in ignore_changes_in, too: there it keeps the value that it had first"


def _valid_from_problems(refresh: Refresh, kinds: dict[str, str]) -> Iterator[Problem]:
    name = refresh.valid_from
    if name is None:
        return
    path = ("refresh", "valid_from")
    if not refresh.history:
        yield path, name, "without history no version has a beginning; declare history: true"
    if name not in kinds:
        yield (
            path,
            name,
            f"refresh.valid_from names {name!r}{hint(name, list(kinds))}; known columns: {', '.join(kinds)}",
        )
    elif kinds[name] != "timestamptz":
        yield path, name, f"column {name!r} is {kinds[name]}; a version begins at a timestamptz, as extracts do"
    elif name in refresh.key:
        yield path, name, f"{name!r} is a column of the key, which never changes"
    elif name in refresh.update_in_place or name in refresh.merge:
        yield path, name, f"{name!r} is in update_in_place or merge, too: a version begins at the time of one row"


def _merge_problems(refresh: Refresh, kinds: dict[str, str], name: str, take: str) -> Iterator[str]:
    if name == ALL_COLUMNS:
        if take in ("sum", "counter", "union"):
            yield f"a {take} is declared for one column, not for '*'"
    elif name not in kinds:
        yield f"refresh.merge names {name!r}{hint(name, list(kinds))}; known columns: {', '.join(kinds)}, '*' for all"
    elif name in refresh.key or name == refresh.order_by:
        yield f"{name!r} is a column of the key or the order: it is that of the row"
    elif name in refresh.ignore_changes_in:
        yield f"{name!r} is in ignore_changes_in, too: a value that the hub does not show could not be merged later"
    elif take == "counter" and refresh.type == "full":
        yield "each extract would read all earlier ones: declare refresh type key for rows with counters"
    elif take in ("sum", "counter") and kinds[name] not in _SUMMED:
        yield f"column {name!r} is {kinds[name]}; a {take} needs integer or decimal, which have no rounding"
    elif take == "union" and kinds[name] != "text":
        yield f"column {name!r} is {kinds[name]}; lists are JSON text, in a column of type text"
    elif take in ("greatest", "least") and kinds[name] == "binary":
        yield f"column {name!r} is binary, which has no order"
