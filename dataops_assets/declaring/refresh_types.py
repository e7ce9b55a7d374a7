"""Suggests a refresh type: how the files of a feed follow each other, seen in their keys and times."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dataops_assets.declaring.candidate_keys import CandidateKey, is_named_as_key
from dataops_assets.declaring.columns import SuggestedColumn
from dataops_assets.engines.base import Session
from dataops_assets.sql import Relation, column, query

_TIMES = ("date", "timestamp", "timestamptz")
_SAME_KEYS = 0.8
_UPDATED = re.compile(r"updat|modif|chang|last|version|stand|geaendert", re.IGNORECASE)


@dataclass(frozen=True)
class SuggestedRefresh:
    """A refresh as it is declared, the reason in a sentence, and what could be set beside it."""

    declared: dict[str, Any]
    why: str


@dataclass(frozen=True)
class _Step:
    """One file after another: its rows or keys, those of them that the file before it has, and that file's number."""

    rows: int
    common: int
    before: int


@dataclass(frozen=True)
class _Range:
    """The least and most value of a time column in each file, in order."""

    item: SuggestedColumn
    least: tuple[Any, ...]
    most: tuple[Any, ...]

    @property
    def is_disjoint(self) -> bool:
        return all(most < least for most, least in zip(self.most, self.least[1:], strict=False))

    @property
    def advances(self) -> bool:
        """Return whether both ends of each file are later than those of the file before."""
        return all(a < b for a, b in zip(self.least, self.least[1:], strict=False)) and all(
            a < b for a, b in zip(self.most, self.most[1:], strict=False)
        )


def suggest_refresh(
    session: Session,
    rows: Relation,
    columns: Sequence[SuggestedColumn],
    keys: Sequence[CandidateKey],
    order: Sequence[int],
) -> SuggestedRefresh:
    """Return the refresh type that fits the files. `order` are the places of the files, the oldest first."""
    key = next((item for item in keys if item.is_sure), None)
    declared: dict[str, Any] = {"key": list(key.names)} if key else {}
    if len(order) < 2:
        return SuggestedRefresh(
            {"type": "full", **declared},
            "one file does not show how files follow each other. With full the newest file is the table; if files "
            "bring only changes, take key, and if they bring only new rows, append",
        )
    rows = _numbered(session, rows, order)
    ranges = [found for item in columns if (found := _range(session, rows, item)) is not None]
    if key is None:
        return _without_key(session, rows, columns, ranges)
    steps = _steps(session, rows, [column(name, "r") for name in key.columns])
    repeated = sum(step.common for step in steps)
    told = " and ".join(key.names)
    if not repeated:
        return _new_rows(ranges, declared, told)
    return _repeated_rows(session, rows, ranges, key, steps)


def of_change_feed(envelope: str, columns: Sequence[SuggestedColumn], keys: Sequence[CandidateKey]) -> SuggestedRefresh:
    """Return the refresh of a feed of changes. `keys` are those of its insertions."""
    # a row that is deleted and inserted again has its key twice among the insertions
    named = [key for key in keys if all(map(is_named_as_key, key.names))]
    by_name = next((item for item in columns if not item.facts.nulls and is_named_as_key(item.declared.name)), None)
    if not named and by_name is not None:
        names, why = [by_name.declared.name], f"{by_name.declared.name} is named like a key: check it"
    else:
        names, why = _key_or_first(columns, named or keys, "the insertions")
    told = f"the files have the changes of rows, as {envelope} tells them; {why}"
    return SuggestedRefresh({"type": "key", "key": names}, told)


def of_items(path: str, columns: Sequence[SuggestedColumn], keys: Sequence[CandidateKey]) -> SuggestedRefresh:
    """Return the refresh of the items of a list. `keys` are those of their parents."""
    position = next(item.declared.name for item in columns if item.facts.name == f"{path}#")
    of_parents = [item for item in columns if item.declared.name != position]
    names, why = _key_or_first(of_parents, keys, "the parents")
    replaced = {"when": f"{column(position).sql('duckdb')} = 0", "by": names}
    return SuggestedRefresh(
        {"type": "key", "key": [*names, position], "group_deletes": [replaced]},
        f"each item has its place in a parent; {why}. A parent that is sent again replaces its items",
    )


def of_parts(found: SuggestedRefresh, keys: Sequence[CandidateKey]) -> SuggestedRefresh:
    """Return the refresh for files of which several have one time: each is a part, so none may replace the others."""
    if found.declared["type"] not in ("full", "timestamp"):
        return found
    first = "several files have one time, so each is a part of an extract"
    key = next((item for item in keys if item.is_sure), None)
    if key is None:
        return SuggestedRefresh({"type": "append"}, f"{first}, and no column identifies a row")
    told = f"{first}. A row that is sent again is replaced; no row is deleted because it is missing"
    return SuggestedRefresh({"type": "key", "key": list(key.names)}, told)


def _key_or_first(columns: Sequence[SuggestedColumn], keys: Sequence[CandidateKey], what: str) -> tuple[list[str], str]:
    key = next((item for item in keys if item.is_sure), None) or next(iter(keys), None)
    if key is not None:
        return list(key.names), f"{' and '.join(key.names)} is a key of {what}: {key.why}"
    first = columns[0].declared.name
    return [first], f"no column is a key of {what}, so it is the first one: check it"


def _numbered(session: Session, rows: Relation, order: Sequence[int]) -> Relation:
    """Return the rows with `s_no`, the number of their file in the order of the extract times."""
    places = query("list_position($order, r.s_file)", order=query("[$order]", order=list(order)))
    return session.create(query("SELECT r.*, $place AS s_no FROM $rows AS r", place=places, rows=rows))


def _range(session: Session, rows: Relation, item: SuggestedColumn) -> _Range | None:
    if item.declared.type not in _TIMES or item.facts.nulls or item.declared.null_words:
        return None
    value = column(item.facts.column, "r")
    found = session.fetch(
        query(
            "SELECT r.s_no, min($value) AS least, max($value) AS most, count(*) - count($value) AS nulls "
            "FROM $rows AS r GROUP BY r.s_no ORDER BY r.s_no",
            value=value,
            rows=rows,
        )
    ).to_pylist()
    if any(row["nulls"] for row in found):
        return None
    return _Range(item, tuple(row["least"] for row in found), tuple(row["most"] for row in found))


def _steps(session: Session, rows: Relation, key: Sequence[Any]) -> list[_Step]:
    found = session.fetch(
        query(
            "SELECT s_no, count(*) AS n, coalesce(count_if(s_before = s_no - 1), 0) AS common FROM ("
            "SELECT s_no, lag(s_no) OVER (PARTITION BY s_key ORDER BY s_no) AS s_before FROM ("
            "SELECT DISTINCT r.s_no, hash($key) AS s_key FROM $rows AS r) AS d) AS k GROUP BY s_no ORDER BY s_no",
            key=list(key),
            rows=rows,
        )
    ).to_pylist()
    counts = [row["n"] for row in found]
    return [_Step(row["n"], row["common"], before) for row, before in zip(found[1:], counts, strict=False)]


def _without_key(
    session: Session, rows: Relation, columns: Sequence[SuggestedColumn], ranges: Sequence[_Range]
) -> SuggestedRefresh:
    moving = next((item for item in ranges if item.is_disjoint), None) or next(
        (item for item in ranges if item.advances), None
    )
    if moving is not None:
        return _by_time(moving, "no column identifies a row")
    steps = _steps(session, rows, [column(item.facts.column, "r") for item in columns])
    if steps and all(step.common >= _SAME_KEYS * step.before for step in steps):
        return SuggestedRefresh({"type": "full"}, "each file has the rows of the file before it; no column is a key")
    return SuggestedRefresh({"type": "append"}, "no column identifies a row, and the files have different rows")


def _by_time(moving: _Range, first: str) -> SuggestedRefresh:
    name = moving.item.declared.name
    how = "its own range" if moving.is_disjoint else "a later range, which overlaps the one before,"
    return SuggestedRefresh(
        {"type": "timestamp", "range_by": name},
        f"{first}; each file has {how} of {name}. A file that is sent again replaces its range",
    )


def _new_rows(ranges: Sequence[_Range], declared: dict[str, Any], told: str) -> SuggestedRefresh:
    first = f"no {told} is in two files"
    moving = next((item for item in ranges if item.is_disjoint), None)
    if moving is not None:
        return _by_time(moving, first)
    return SuggestedRefresh(
        {"type": "key", **declared}, f"{first}. A corrected file replaces its rows; with append it would add them again"
    )


def _repeated_rows(
    session: Session, rows: Relation, ranges: Sequence[_Range], key: CandidateKey, steps: Sequence[_Step]
) -> SuggestedRefresh:
    told = " and ".join(key.names)
    moved = _moves(session, rows, ranges, key)
    window = next((item for item in ranges if item.advances and moved[item.item.declared.name] == (0, 0)), None)
    if window is not None and all(step.common < step.before for step in steps):
        return _by_time(window, f"files share some {told}")
    if all(step.common >= _SAME_KEYS * step.before for step in steps):
        return SuggestedRefresh(
            {"type": "full", "key": list(key.names)},
            f"each file has (nearly) every {told} of the file before it, so a file is the whole table",
        )
    later = [name for name, (earlier, after) in moved.items() if not earlier and after]
    # a name that tells of a change is surer than another time
    later.sort(key=lambda name: not _UPDATED.search(name))
    declared = {"type": "key", "key": list(key.names)}
    if later:
        return SuggestedRefresh(
            {**declared, "order_by": later[0]},
            f"some {told} come again, never with an earlier {later[0]}: the row with the latest one counts",
        )
    return SuggestedRefresh(
        declared, f"some {told} come again, and a file has only a part of them: the newest row counts"
    )


def _moves(session: Session, rows: Relation, ranges: Sequence[_Range], key: CandidateKey) -> dict[str, tuple[int, int]]:
    """Return by time column how often its value goes back, and forth, when a key comes again."""
    found = {}
    for item in ranges:
        value = column(item.item.facts.column, "r")
        counted = query(
            "SELECT coalesce(count_if(s_value < s_before), 0) AS earlier, "
            "coalesce(count_if(s_value > s_before), 0) AS later FROM ("
            "SELECT $value AS s_value, lag($value) OVER (PARTITION BY $key ORDER BY r.s_no) AS s_before "
            "FROM $rows AS r) AS m",
            value=value,
            key=[column(name, "r") for name in key.columns],
            rows=rows,
        )
        row = session.fetch(counted).to_pylist()[0]
        found[item.item.declared.name] = (row["earlier"], row["later"])
    return found
