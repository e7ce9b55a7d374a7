"""Finds columns whose values identify a row in each file, and proves it on all rows."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dataops_assets.declaring.columns import SuggestedColumn
from dataops_assets.declaring.health.personal import named_kind
from dataops_assets.engines.base import Session
from dataops_assets.sql import Relation, column, query

MOST_COLUMNS = 3
"""A candidate key has at most so many columns."""
_KEY_TYPES = ("integer", "text", "date", "timestamp", "timestamptz")
_MOST_TRIED = 300
_SAMPLE = 2_000
_MOST_MEMBERS = 14
_LONGEST_CODE = 64
# so many pairs of rows that agree in the other columns would agree by chance: none does, so the column is of the key
_LEAST_EXPECTED = 3.0
_NAMED = re.compile(
    r"(^|[_\s.-])(id|key|uuid|guid|code|nr|no|num|number|sku|isbn|ean|iata|icao|pk|nummer|schluessel)$|"
    r"(?<=[a-z])(Id|ID|Key|Code|No|Nr|Number|Num|UUID)$",
    re.IGNORECASE,
)
_NAMED_CASE = re.compile(r"[a-z0-9](Id|ID|Key|Code|No|Nr|Num|Number|UUID|SKU)$")


@dataclass(frozen=True)
class CandidateKey:
    """Columns, by their names in the table, that identify a row in each file. `is_sure`: not only by chance."""

    names: tuple[str, ...]
    columns: tuple[str, ...]
    is_sure: bool
    why: str


def candidate_keys(session: Session, rows: Relation, columns: Sequence[SuggestedColumn]) -> tuple[CandidateKey, ...]:
    """Return the keys with the fewest columns, the most plausible first."""
    usable = [item for item in columns if _may_be_key(item)]
    found: list[CandidateKey] = []
    sample = _sample(session, rows, [item.facts.column for item in usable])
    for width in range(1, MOST_COLUMNS + 1):
        tried = (
            _combinations(usable, width, len(next(iter(sample.values()), ())))
            if width > 1
            else [(item,) for item in usable]
        )
        for members in itertools.islice(tried, _MOST_TRIED):
            names = [item.facts.column for item in members]
            if _is_unique_in(sample, names) and _is_unique(session, rows, names):
                found.append(_single(members[0], columns) if width == 1 else _compound(session, rows, members))
        if any(key.is_sure for key in found):
            break
    return tuple(sorted(found, key=lambda key: (not key.is_sure, len(key.names), _rank(key, columns))))


def is_named_as_key(name: str) -> bool:
    """Return whether a name says that its values identify something."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return bool(_NAMED.search(words)) or bool(_NAMED_CASE.search(name))


def _may_be_key(item: SuggestedColumn) -> bool:
    facts = item.facts
    if item.declared.type.partition("(")[0] not in _KEY_TYPES and item.declared.type != "decimal(20,0)":
        return False
    words = item.declared.null_words or ()
    return facts.nulls == 0 and not words and facts.distinct > 1 and facts.longest <= _LONGEST_CODE


def _sample(session: Session, rows: Relation, names: Sequence[str]) -> Mapping[str, Sequence[Any]]:
    """Return some rows of one file: most combinations are no key in these already."""
    if not names:
        return {}
    read = query(
        "SELECT $names FROM $rows AS r WHERE r.s_file = 0", names=[column(name, "r") for name in names], rows=rows
    )
    return dict(session.fetch(read.limit(_SAMPLE)).to_pydict())


def _is_unique_in(sample: Mapping[str, Sequence[Any]], names: Sequence[str]) -> bool:
    values = list(zip(*(sample[name] for name in names), strict=True))
    return len(set(values)) == len(values)


def _combinations(
    usable: Sequence[SuggestedColumn], width: int, len_of_file: int
) -> Iterator[tuple[SuggestedColumn, ...]]:
    """Yield combinations that have enough distinct values together, the first columns first."""
    members = [item for item in usable if _identifies_a_part(item)][:_MOST_MEMBERS]
    for chosen in sorted(itertools.combinations(range(len(members)), width), key=lambda places: (sum(places), places)):
        items = tuple(members[place] for place in chosen)
        if math.prod(item.facts.distinct for item in items) >= len_of_file:
            yield items


def _identifies_a_part(item: SuggestedColumn) -> bool:
    """Return whether values repeat, as those of a part of a key do."""
    return item.facts.distinct < item.facts.rows


def _is_unique(session: Session, rows: Relation, names: Sequence[str]) -> bool:
    repeated = query(
        "SELECT 1 AS one FROM $rows AS r GROUP BY r.s_file, $key HAVING count(*) > 1 LIMIT 1",
        rows=rows,
        key=[column(name, "r") for name in names],
    )
    return session.fetch(repeated).num_rows == 0


def _single(item: SuggestedColumn, columns: Sequence[SuggestedColumn]) -> CandidateKey:
    told = _told([item])
    is_first = item is columns[0] and not named_kind(item.declared.name)
    is_sure = is_named_as_key(item.declared.name) or is_first
    why = told if is_sure else f"{told}, but neither its name nor its place says that it is a key"
    return CandidateKey((item.declared.name,), (item.facts.column,), is_sure, why)


def _compound(session: Session, rows: Relation, members: Sequence[SuggestedColumn]) -> CandidateKey:
    """Return a key of several columns. It is sure if each column tells apart rows that chance would not tell apart."""
    expected = min(
        _pairs(session, rows, [other.facts.column for other in members if other is not item]) * _share_of_equals(item)
        for item in members
    )
    is_sure = expected >= _LEAST_EXPECTED
    told = _told(members)
    why = told if is_sure else f"{told}, which may be chance"
    names = tuple(item.declared.name for item in members)
    return CandidateKey(names, tuple(item.facts.column for item in members), is_sure, why)


def _told(members: Sequence[SuggestedColumn]) -> str:
    names = " and ".join(item.declared.name for item in members)
    return f"no two rows of a file have the same {names} ({members[0].facts.rows:,} rows)"


def _pairs(session: Session, rows: Relation, names: Sequence[str]) -> float:
    """Return the number of pairs of rows of a file that are equal in some columns."""
    counted = query(
        "SELECT sum(n * (n - 1) / 2) AS pairs FROM ("
        "SELECT count(*) AS n FROM $rows AS r GROUP BY r.s_file, $names) AS g",
        rows=rows,
        names=[column(name, "r") for name in names],
    )
    return float(session.fetch(counted).column("pairs")[0].as_py() or 0)


def _share_of_equals(item: SuggestedColumn) -> float:
    """Return the share of pairs of rows that have the same value."""
    return sum((count / item.facts.rows) ** 2 for count in item.facts.values.values())


def _rank(key: CandidateKey, columns: Sequence[SuggestedColumn]) -> tuple[int, ...]:
    places = {item.declared.name: place for place, item in enumerate(columns)}
    named = sum(not is_named_as_key(name) for name in key.names)
    return (named, *(places[name] for name in key.names))
