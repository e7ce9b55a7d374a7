"""What a hub is, written from the definitions and nothing else: slow, small and obviously right.

An input is (extract time, arrival, id, rows); a row is a dict of columns. The reference replays the timeline of every
key.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True)
class GivenInput:
    """One arrival: its rows in order. `arrival` counts where extract times are equal."""

    time: dt.datetime
    input_id: str
    rows: tuple[Row, ...]
    arrival: int = 0
    content: str = ""


@dataclass(frozen=True)
class Version:
    """One version of one key."""

    key: Any
    row: Row
    input_id: str
    row_id: int
    order: Any
    created: dt.datetime
    updated: dt.datetime
    valid_to: Any
    is_deleted: bool = False
    told_from: Any = None

    @property
    def valid_from(self) -> Any:
        return self.order if self.told_from is None else self.told_from

    @property
    def is_current(self) -> bool:
        return self.valid_to is None and not self.is_deleted


def append(inputs: Iterable[GivenInput]) -> set[tuple[str, int]]:
    """All rows of all inputs, as (input id, row position); of inputs with one content, those of the first."""
    first: dict[str, GivenInput] = {}
    for item in sorted(inputs, key=place):
        first.setdefault(item.content or item.input_id, item)
    return {(item.input_id, position) for item in first.values() for position in range(len(item.rows))}


def place(item: GivenInput) -> tuple[dt.datetime, int, str]:
    """Where an input stands in the order."""
    return item.time, item.arrival, item.input_id


def keyed(
    inputs: Iterable[GivenInput],
    *,
    key: Sequence[str],
    tracked: Sequence[str],
    order_by: str | None = None,
    is_delete: Callable[[Row], bool] = lambda _row: False,
    covers: Callable[[GivenInput, Row], bool] = lambda _item, _row: False,
    fails: Callable[[Row], bool] = lambda _row: False,
    merge: Mapping[str, Merge] | None = None,
    in_place: Sequence[str] = (),
    groups: Sequence[tuple[Callable[[Row], bool], Sequence[str]]] = (),
    begins: str | None = None,
    ties: str | None = None,
) -> list[Version]:
    """Every version of every key.

    Observations of a key, sorted by (order, extract time, arrival, input id, row position), the last of equal order
    winning, are replayed: a row that differs from the present one in the tracked columns (or finds none) starts a
    version; a delete ends it and starts one that has nothing but the key. An input deletes a key that it covers and
    does not contain. A row that fails, and is no delete, is in its input and says nothing. A column of `merge` has the
    value that its function makes of the value so far and of the row, since the last delete. Columns `in_place` start
    no version, but the present one takes their values. A row for which the predicate of one of `groups` holds is no row
    of its key: it deletes, at its place, every key that has its values in the named columns. A version `begins` at the
    time in this column of its row, see `_begun`. `ties` says what wins at one order: a delete, a row, or the last.
    """

    def identity(_item: GivenInput, _nth: int, row: Row) -> Any:
        return tuple(row[name] for name in key)

    markers, rows = _without_markers(inputs, [marks for marks, _ in groups])
    observations = _observations(rows, identity, order_by, is_delete, covers, fails)
    for (_, by), marked in zip(groups, markers, strict=True):
        for item, position, row in marked:
            order = item.time if order_by is None else row[order_by]
            for name, found in observations.items():
                if all(name[key.index(part)] == row[part] for part in by):
                    found.append((order, place(item), position, GROUP))
    versions = _versions(
        {name: _merged(_sorted(found, ties), merge or {}) for name, found in observations.items()},
        tracked,
        key,
        in_place,
        ties,
    )
    return versions if begins is None else _begun(versions, begins)


def _begun(versions: Iterable[Version], begins: str) -> list[Version]:
    """The versions from the time in their rows on, until a later one of the key begins; some never were valid."""
    of_key: dict[Any, list[Version]] = defaultdict(list)
    for version in versions:
        told = None if version.is_deleted else version.row[begins]
        of_key[version.key].append(replace(version, told_from=told))
    found: list[Version] = []
    for some in of_key.values():
        some.sort(key=lambda version: version.order)
        for number, version in enumerate(some):
            end = min((later.valid_from for later in some[number + 1 :]), default=None)
            if end is None or version.valid_from < end:
                found.append(replace(version, valid_to=end))
    return found


GROUP: Row = MappingProxyType({})
"""In the place of a row: its key is deleted with its group."""
NO_ROW: Row = MappingProxyType({"s_no_row": True})


def _without_markers(
    inputs: Iterable[GivenInput], marks: Sequence[Callable[[Row], bool]]
) -> tuple[list[list[tuple[GivenInput, int, Row]]], list[GivenInput]]:
    """The rows that each predicate marks, with their input and position, and the inputs with NO_ROW in their places."""
    inputs = list(inputs)
    markers = [
        [(item, position, row) for item in inputs for position, row in enumerate(item.rows) if is_marked(row)]
        for is_marked in marks
    ]
    left = [
        replace(item, rows=tuple(NO_ROW if any(marked(row) for marked in marks) else row for row in item.rows))
        for item in inputs
    ]
    return markers, left


def whole_rows(
    inputs: Iterable[GivenInput],
    columns: Sequence[str],
    covers: Callable[[GivenInput, Row], bool],
    fails: Callable[[Row], bool] = lambda _row: False,
) -> list[Version]:
    """Every version of every row, where a row is its content: the n-th of equal rows of an input is another."""

    def identity(item: GivenInput, nth: int, row: Row) -> Any:
        content = tuple(row[name] for name in columns)
        before = [other for other in item.rows[:nth] if tuple(other[name] for name in columns) == content]
        return (*content, len(before))

    return _versions(_observations(inputs, identity, None, lambda _row: False, covers, fails), ())


def own_rows(inputs: Iterable[GivenInput], covers: Callable[[GivenInput, Row], bool]) -> list[Version]:
    """Every row of every input, where no row equals another, until an input comes that covers it."""

    def identity(item: GivenInput, nth: int, row: Row) -> Any:
        return item.input_id, nth, tuple(row.items())

    return _versions(_observations(inputs, identity, None, lambda _row: False, covers), ())


def range_of(item: GivenInput, column: str) -> tuple[Any, Any] | None:
    """Lowest and highest value of a column in an input; None where it is empty."""
    values = [row[column] for row in item.rows]
    return (min(values), max(values)) if values else None


def covers_range(column: str) -> Callable[[GivenInput, Row], bool]:
    """An input covers what lies between its lowest and its highest value."""

    def covers(item: GivenInput, row: Row) -> bool:
        ends = range_of(item, column)
        return ends is not None and ends[0] <= row[column] <= ends[1]

    return covers


def covers_days(column: str, days: int) -> Callable[[GivenInput, Row], bool]:
    """An input covers the day, or the days from Monday on, that have its extract time."""

    def covers(item: GivenInput, row: Row) -> bool:
        first = item.time.replace(hour=0, minute=0, second=0, microsecond=0)
        first -= dt.timedelta(days=first.weekday() if days == 7 else 0)
        return bool(first <= row[column] < first + dt.timedelta(days=days))

    return covers


Merge = Callable[[Any, Row], Any]


def _merged(found: list[Observation], merge: Mapping[str, Merge]) -> list[Observation]:
    """The observations of a key with merged values: every row counts, also one of several at an instant."""
    if not merge:
        return found
    result: list[Observation] = []
    so_far: dict[str, Any] = {}
    for order, when, position, row in found:
        if row is None or row is GROUP:
            so_far = {}
        else:
            so_far = {name: how(so_far.get(name), row) for name, how in merge.items()}
            row = {**row, **so_far}
        result.append((order, when, position, row))
    return result


def _sorted(found: list[Observation], ties: str | None) -> list[Observation]:
    """The observations of a key in order."""

    def rule(row: Row | None) -> int:
        is_delete = row is None or row is GROUP
        return 0 if ties is None else int(is_delete == (ties == "delete"))

    return sorted(found, key=lambda entry: (entry[0], rule(entry[3]), entry[1], entry[2]))


Observation = tuple[Any, tuple[dt.datetime, int, str], int, Row | None]


def _observations(
    inputs: Iterable[GivenInput],
    identity: Callable[[GivenInput, int, Row], Any],
    order_by: str | None,
    is_delete: Callable[[Row], bool],
    covers: Callable[[GivenInput, Row], bool],
    fails: Callable[[Row], bool] = lambda _row: False,
) -> dict[Any, list[Observation]]:
    """What each input says of each key: (order, place of the input, row position, row or None for a delete)."""
    inputs = sorted(inputs, key=place)
    observations: dict[Any, list[Observation]] = defaultdict(list)
    any_row: dict[Any, Row] = {}
    for item in inputs:
        seen = set()
        for position, row in enumerate(item.rows):
            if row is NO_ROW:
                continue
            name = identity(item, position, row)
            seen.add(name)
            any_row[name] = row
            if fails(row) and not is_delete(row):
                continue
            order = item.time if order_by is None else row[order_by]
            observations[name].append((order, place(item), position, None if is_delete(row) else row))
        for name, row in any_row.items():
            if name not in seen and covers(item, row):
                observations[name].append((item.time, place(item), -1, None))
    return observations


def _versions(
    observations: Mapping[Any, list[Observation]],
    tracked: Sequence[str],
    key: Sequence[str] = (),
    in_place: Sequence[str] = (),
    ties: str | None = None,
) -> list[Version]:
    versions: list[Version] = []
    for name, found in observations.items():
        versions.extend(_replayed(name, _sorted(found, ties), tracked, key, in_place))
    return versions


def _replayed(
    identity: Any, found: list[Observation], tracked: Sequence[str], key: Sequence[str], in_place: Sequence[str]
) -> list[Version]:
    versions: list[Version] = []
    last_of_order: dict[Any, Observation] = {}
    for observation in found:
        last_of_order[observation[0]] = observation
    present: Version | None = None
    gone: Version | None = None
    for order, (time, _, input_id), position, row in last_of_order.values():
        if row is None or row is GROUP:
            position = position if row is None else -2 - position
            if present is not None:
                versions.append(_ended(present, order))
                only_key = defaultdict(lambda: None, {name: present.row[name] for name in key})
                gone = Version(identity, only_key, input_id, position, order, present.created, time, None, True)
            present = None
            continue
        content = tuple(row[name] for name in tracked)
        if present is not None and tuple(present.row[name] for name in tracked) == content:
            newest = {name: row[name] for name in in_place}
            if newest != {name: present.row[name] for name in in_place}:
                present = replace(present, row={**present.row, **newest}, updated=time)
            continue
        if present is not None:
            versions.append(_ended(present, order))
        if gone is not None:
            versions.append(_ended(gone, order))
        created = present.created if present is not None else time
        present, gone = Version(identity, row, input_id, position, order, created, time, None), None
    versions += [version for version in (present, gone) if version is not None]
    # without a key, a row is known by its content alone: when it goes, it just ends
    return versions if key else [version for version in versions if not version.is_deleted]


def _ended(version: Version, order: Any) -> Version:
    return Version(**{**version.__dict__, "valid_to": order})
