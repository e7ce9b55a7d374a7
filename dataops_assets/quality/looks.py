"""Look at a table for a person: a few of its rows, and statistics of its columns.

A look reads at most `MOST_ROWS` rows and `MOST_COLUMNS` columns, so it costs about the same for a small and for a large
table. It reads no value of a hidden column: of these it only counts nulls and distinct values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from sqlglot import exp

from dataops_assets.engines.base import Session
from dataops_assets.masking import MASK
from dataops_assets.profiles import ColumnProfile, Profile
from dataops_assets.quality.families import family_of
from dataops_assets.quality.profiling import profile_inputs
from dataops_assets.sql import Relation, alias, column, columns, query
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
_LARGEST = 1e140


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
    names = list(types)[:MOST_COLUMNS]
    shown = {name: types[name] for name in names}
    wanted = query("SELECT $names, '' AS s_input_id FROM $rows AS r", names=columns(names, "r"), rows=rows)
    sample = session.create(wanted.limit(MOST_ROWS))
    read = session.fetch(_readable(sample.reference, shown, hidden))
    if total is None:
        total = read.num_rows if read.num_rows < MOST_ROWS else _count(session, rows)
    return Look(
        rows=tuple(_row(read, names, number) for number in range(min(read.num_rows, PREVIEW_ROWS))),
        columns=tuple(
            _column(read, place, item, hidden=item.name in hidden)
            for place, item in enumerate(_statistics(session, sample, shown, hidden))
        ),
        seen=read.num_rows,
        total=total,
    )


def _count(session: Session, rows: exp.Query) -> int:
    counted = session.fetch(query("SELECT count(*) AS n FROM $rows AS r", rows=rows))
    return int(counted.column("n")[0].as_py())


def _statistics(
    session: Session, sample: Relation, types: Mapping[str, str], hidden: Collection[str]
) -> tuple[ColumnProfile, ...]:
    """Return the profile of each column of the rows that were read, with exact numbers of distinct values."""
    profiles = profile_inputs(session, query("SELECT s.* FROM $s AS s", s=sample), types, "", hidden)
    if not profiles:
        return tuple(ColumnProfile(name, kind, 0, 0, None, None, None, None) for name, kind in types.items())
    counts = [
        alias(query("count(DISTINCT $value)", value=column(name)), f"distinct_{place}")
        for place, name in enumerate(types)
    ]
    (found,) = session.fetch(query("SELECT $counts FROM $s AS s", counts=counts, s=sample)).to_pylist()
    return tuple(replace(item, distinct=found[f"distinct_{place}"]) for place, item in enumerate(profiles[0].columns))


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
    return exp.union(*parts, distinct=False)


def _evenly(files: Sequence[DataFile]) -> list[DataFile]:
    count = min(len(files), _FILES)
    return [files[round(number * (len(files) - 1) / max(count - 1, 1))] for number in range(count)]


def _readable(rows: exp.Expr, types: Mapping[str, str], hidden: Collection[str]) -> exp.Select:
    """Select for each column its text, and its number if it has one. Of a hidden column only whether it is null."""
    selected: list[exp.Expr] = []
    for place, (name, kind) in enumerate(types.items()):
        value = column(name, "r")
        if name in hidden:
            text = query("CASE WHEN $value IS NULL THEN NULL ELSE $mask END", value=value, mask=MASK)
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
    if family in ("integer", "double", "decimal"):
        number: exp.Expr = query("CAST($value AS DOUBLE)", value=value)
        return number
    if family in ("date", "timestamp", "timestamptz"):
        seconds: exp.Expr = query("epoch(CAST($value AS TIMESTAMP))", value=value)
        return seconds
    return None


def _row(read: pa.Table, names: Sequence[str], number: int) -> dict[str, str | None]:
    return {name: read.column(f"text_{place}")[number].as_py() for place, name in enumerate(names)}


def _column(read: pa.Table, place: int, profile: ColumnProfile, *, hidden: bool) -> ColumnLook:
    if hidden:
        return ColumnLook(profile, hidden=True)
    counts = Counter(read.column(f"text_{place}").drop_null().to_pylist())
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    top = tuple(ranked[:_TOP]) if ranked and ranked[0][1] > 1 else ()
    name = f"number_{place}"
    return ColumnLook(profile, top, _histogram(read.column(name)) if name in read.column_names else ())


def _histogram(numbers: pa.ChunkedArray) -> tuple[int, ...]:
    values = numbers.drop_null().to_numpy()
    # a range with larger numbers, or with infinity, is no double any more
    values = values[np.abs(values) < _LARGEST]
    if values.size == 0 or values.min() == values.max():
        return ()
    return tuple(int(count) for count in np.histogram(values, bins=_BINS)[0])
