"""Finds the rows that differ between two versions of a table, by the data files and deletion vectors that differ.

Data files never change, so files that both versions have are not read. The cost depends on what was written in between,
not on the size of the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
from pyroaring import BitMap64
from sqlglot import exp

from dataops_assets.engines.base import Session
from dataops_assets.errors import StorageError
from dataops_assets.sql import Relation, all_rows, query
from dataops_assets.steps.enriching.look_ups import Versions, nothing, rows_cast_or_null
from dataops_assets.storage import deletion_vectors
from dataops_assets.storage.delta import DataFile, Table, TableVersion


def differing_rows(
    session: Session,
    table: Table,
    before: Sequence[Any] | int | None,
    now: TableVersion | None,
    wanted: Mapping[str, str],
    which: Versions,
) -> Relation | None:
    """Return the rows that only one of two versions has, in the types of `wanted`.

    Version `before`, as `TableVersion.known_as` (None: there was no table), is compared with the version `now`. A row
    that both have equally often is left out, in whatever file it is. `which`: of a table with history, the versions
    to compare. Returns None if the older version can no longer be read or another commit has its number.
    """
    if isinstance(before, int):
        # recorded before versions were identified by their commits
        return None
    kind = _Wanted(table, wanted, which)
    try:
        old = table.snapshot(before[0]) if before is not None else None
        if old is not None and before is not None and old.known_as != list(before):
            return None
        gone = query("SELECT r.* FROM $rows AS r", rows=_only_here(session, kind, old, now))
        come = query("SELECT r.* FROM $rows AS r", rows=_only_here(session, kind, now, old))
    except StorageError:
        # the version was vacuumed; the present version is enough to compute all rows
        return None
    lost = query("SELECT d.* FROM $rows AS d", rows=exp.except_(gone, come, distinct=False))
    new = query("SELECT d.* FROM $rows AS d", rows=exp.except_(come.copy(), gone.copy(), distinct=False))
    return session.create(exp.union(lost, new, distinct=False))


@dataclass(frozen=True)
class _Wanted:
    """The rows that are compared: of this table, with these columns, and of some versions."""

    table: Table
    columns: Mapping[str, str]
    which: Versions


def _only_here(session: Session, wanted: _Wanted, here: TableVersion | None, there: TableVersion | None) -> Relation:
    """Return the rows at files and positions that version `here` has and `there` has not."""
    parts: list[exp.Query] = [nothing(wanted.columns)]
    if here is not None:
        other = {file.path: file for file in there.files} if there else {}
        whole = [file.path for file in here.files if file.path not in other]
        if whole:
            rows = rows_cast_or_null(session, here, wanted.columns, wanted.which, only=whole)
            parts.append(rows)
        for file, hidden in _masked(wanted.table, here, other):
            # one file at a time, so that a position identifies a row
            positions = session.register(pa.table({"s_position": pa.array(hidden, pa.int64())}))
            alone = replace(here, files=(replace(file, deletion_vector=None),))
            rows = rows_cast_or_null(session, alone, wanted.columns, wanted.which, only=[file.path], at=positions)
            parts.append(rows)
    return session.create(all_rows(parts))


def _masked(table: Table, here: TableVersion, other: Mapping[str, DataFile]) -> Iterator[tuple[DataFile, BitMap64]]:
    """Yield the files that both versions have, with the positions that only the other version masks."""
    for file in here.files:
        twin = other.get(file.path)
        if twin is None or twin.identity() == file.identity() or twin.deletion_vector is None:
            continue
        hidden = deletion_vectors.read(table.folder, twin.deletion_vector)
        if file.deletion_vector is not None:
            hidden -= deletion_vectors.read(table.folder, file.deletion_vector)
        if hidden:
            yield file, hidden
