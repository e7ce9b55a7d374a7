"""Look at a table for a person: a few of its rows, and statistics of its columns.

A look reads at most `MOST_ROWS` rows and `MOST_COLUMNS` columns, so it costs about the same for a small and for a large
table. It takes no value of a hidden column out of the engine: of these it only counts nulls and distinct values.

The rows are few, so the statistics are computed here. A query of many aggregates would take longer to plan than to run.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from sqlglot import exp

from dataops_assets.engines.base import Session
from dataops_assets.masking import MASK
from dataops_assets.profiles import ColumnProfile, Profile
from dataops_assets.quality.families import family_of
from dataops_assets.sql import alias, all_rows, column, query
from dataops_assets.storage.delta import DataFile, TableVersion

MOST_ROWS = 5_000
"""How many rows a look reads."""
MOST_COLUMNS = 60
"""How many columns a look shows."""
PREVIEW_ROWS = 10
"""How many rows a look shows."""

_TOP = 5
_BINS = 10
# longer texts are cut in the preview anyway
_LONGEST_TEXT = 100
# the rows of a large table are read from so many of its files
_FILES = 5
# a range with larger numbers is no double any more
_LARGEST = 1e140
_MEASURED = ("integer", "double", "decimal", "boolean")


@dataclass(frozen=True)
class ColumnLook:
    """Statistics of one column.

    * `top`: the most frequent values with their number; empty if no value occurs twice.
    * `histogram`: number of values in parts of equal width between the least and the most value that was read; empty
      for what is neither number nor time.
    * `hidden`: its values may not be shown.
    """

    profile: ColumnProfile
    top: tuple[tuple[str, int], ...] = ()
    histogram: tuple[int, ...] = ()
    hidden: bool = False


@dataclass(frozen=True)
class Look:
    """A few rows as texts, and the statistics of columns.

    `seen`: number of rows that were read, of `total` rows. `profiled`: the statistics come from a profile of all rows,
    except for the most frequent values and the histogram.
    """

    rows: tuple[Mapping[str, str | None], ...]
    columns: tuple[ColumnLook, ...]
    seen: int
    total: int
    profiled: bool = False

    def with_profile(self, profile: Profile) -> Look:
        """Return the look of a sample with the statistics of a profile of all rows, for the columns that it has."""
        known = {item.name: item for item in profile.columns}
        if self.seen == self.total or not all(item.profile.name in known for item in self.columns):
            return self
        columns = tuple(replace(item, profile=known[item.profile.name]) for item in self.columns)
        return replace(self, columns=columns, profiled=True)


def look_at(
    session: Session, rows: exp.Query, types: Mapping[str, str], hidden: Collection[str] = (), total: int | None = None
) -> Look:
    """Read the first of `rows`, with the columns of `types` (name to SQL type; not s_input_id).

    `total` is the number of rows; without it, they are counted.
    """
    shown = dict(list(types.items())[:MOST_COLUMNS])
    read = session.fetch(_readable(rows, shown, hidden).limit(MOST_ROWS))
    if total is None:
        total = read.num_rows if read.num_rows < MOST_ROWS else _count(session, rows)
    values = {name: read.column(f"text_{place}").to_pylist() for place, name in enumerate(shown)}
    return Look(
        rows=tuple(
            {name: MASK if name in hidden and texts[number] else texts[number] for name, texts in values.items()}
            for number in range(min(read.num_rows, PREVIEW_ROWS))
        ),
        columns=tuple(
            _hidden_column(name, kind, values[name])
            if name in hidden
            else _column(name, kind, values[name], _numbers(read, place))
            for place, (name, kind) in enumerate(shown.items())
        ),
        seen=read.num_rows,
        total=total,
    )


def _count(session: Session, rows: exp.Query) -> int:
    counted = session.fetch(query("SELECT count(*) AS n FROM $rows AS r", rows=rows))
    return int(counted.column("n")[0].as_py())


def rows_of_table(session: Session, snapshot: TableVersion) -> exp.Query:
    """Return the rows of a table; of a large one the first rows of some of its files, the newest file first."""
    files = [file for file in reversed(snapshot.files) if file.rows > file.deleted]
    if snapshot.rows <= MOST_ROWS or len(files) == 1:
        everything: exp.Query = query("SELECT t.* FROM $rows AS t", rows=session.scan(snapshot))
        return everything
    chosen = _evenly(files)
    each = MOST_ROWS // len(chosen)
    parts = [
        query(
            "SELECT p.* FROM $part AS p",
            part=query("SELECT f.* FROM $rows AS f", rows=session.scan(snapshot, only={file.path})).limit(each),
        )
        for file in chosen
    ]
    return all_rows(parts)


def _evenly(files: Sequence[DataFile]) -> list[DataFile]:
    count = min(len(files), _FILES)
    return [files[round(number * (len(files) - 1) / max(count - 1, 1))] for number in range(count)]


def _readable(rows: exp.Expr, types: Mapping[str, str], hidden: Collection[str]) -> exp.Select:
    """Select for each column its text, and its number if it has one. Of a hidden column a hash, never the value."""
    selected: list[exp.Expr] = []
    for place, (name, kind) in enumerate(types.items()):
        value = column(name, "r")
        if name in hidden:
            text = query("CASE WHEN NOT $value IS NULL THEN CAST(hash($value) AS VARCHAR) END", value=value)
        else:
            text = query("left(CAST($value AS VARCHAR), $longest)", value=value, longest=_LONGEST_TEXT)
        selected.append(alias(text, f"text_{place}"))
        number = None if name in hidden else _number(value, kind)
        if number is not None:
            selected.append(alias(number, f"number_{place}"))
    read: exp.Select = query("SELECT $selected FROM $rows AS r", selected=selected, rows=rows)
    return read


def _number(value: exp.Expr, kind: str) -> exp.Expr | None:
    family = family_of(kind)
    if family in _MEASURED:
        number: exp.Expr = query("CAST($value AS DOUBLE)", value=value)
        return number
    if family in ("date", "timestamp", "timestamptz"):
        seconds: exp.Expr = query("epoch(CAST($value AS TIMESTAMP))", value=value)
        return seconds
    return None


def _numbers(read: pa.Table, place: int) -> list[float | None] | None:
    name = f"number_{place}"
    found: list[float | None] | None = read.column(name).to_pylist() if name in read.column_names else None
    return found


def _hidden_column(name: str, kind: str, hashes: Sequence[str | None]) -> ColumnLook:
    there = [value for value in hashes if value is not None]
    profile = ColumnProfile(name, kind, len(hashes) - len(there), len(set(there)), None, None, None, None)
    return ColumnLook(profile, hidden=True)


def _column(name: str, kind: str, texts: Sequence[str | None], numbers: Sequence[float | None] | None) -> ColumnLook:
    there = [text for text in texts if text is not None]
    counts = Counter(there)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    finite = np.array([number for number in numbers or () if number is not None and abs(number) < _LARGEST])
    family = family_of(kind)
    least, most = _ends(counts, texts, numbers)
    profile = ColumnProfile(
        name=name,
        type=kind,
        nulls=len(texts) - len(there),
        distinct=len(counts),
        min=least,
        max=most,
        mean=float(finite.mean()) if family in _MEASURED and finite.size else None,
        stddev=None,
    )
    top = tuple(ranked[:_TOP]) if ranked and ranked[0][1] > 1 else ()
    return ColumnLook(profile, top, _histogram(finite) if family != "boolean" else ())


def _ends(
    counts: Mapping[str, int], texts: Sequence[str | None], numbers: Sequence[float | None] | None
) -> tuple[str | None, str | None]:
    """Return the least and the most value as texts: by number if there is one, else by the order of characters."""
    if numbers is None:
        return min(counts, default=None), max(counts, default=None)
    # the text decides between numbers that are the same double
    pairs = [
        (number, text)
        for number, text in zip(numbers, texts, strict=True)
        if number is not None and text is not None and not math.isnan(number)
    ]
    return (min(pairs)[1], max(pairs)[1]) if pairs else (None, None)


def _histogram(finite: np.ndarray[Any, Any]) -> tuple[int, ...]:
    if finite.size == 0 or finite.min() == finite.max():
        return ()
    return tuple(int(count) for count in np.histogram(finite, bins=_BINS)[0])
