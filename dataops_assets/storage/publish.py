"""Changes a table in one of two ways: replaces the rows of inputs, or removes and adds single rows.

Both write their data first and become visible by one commit.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlglot import exp

from dataops_assets.errors import CommitConflict
from dataops_assets.sql import DIALECT, Rows, alias, column, literal, query
from dataops_assets.storage.commit_retry import until_won
from dataops_assets.storage.delta import DataFile, Table, TableChange, TableVersion
from dataops_assets.storage.retyping import rows_cast_exactly
from dataops_assets.storage.session import TableSession

INPUT_ID = "s_input_id"
_WRITTEN = "written"
_MANY_SMALL = 16
_SMALL = 32 * 1024 * 1024


def replace_inputs(
    session: TableSession,
    table: Table,
    rows: exp.Expr,
    input_ids: Sequence[str],
    info: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
    *,
    keep_same: bool = False,
    keep_written: bool = False,
) -> TableVersion:
    """Replace the rows of exactly these inputs by `rows`, which must have `s_input_id`.

    Grain: one file has the rows of many inputs, so that a history of hundreds of inputs is not hundreds of files.
    Replaced rows are masked. With `keep_same`, equal rows are not written again; if only the information differs, the
    commit has no data. With `keep_written`, inputs keep their write ids: for rows that no step of these inputs made.
    Inputs are disjoint: after a lost race, the same data are committed on the new version and not written again. `info`
    makes the information of the new version from that of the version before. If a column has another type than in the
    table, or a dropped column returns, the same commit writes the rows of all other inputs again. Raises CommitConflict
    after many lost races, ConfigError if a value of another input would change.
    """
    attempted = f"publishing {len(input_ids)} input(s) in {table.uri}"
    if keep_same:
        same = until_won(lambda: _same_rows(session, table, rows, input_ids, info), attempted)
        if same is not None:
            return same
    columns = dict(session.schema(rows))
    write = uuid.uuid4().hex[:16]
    files = table.secured(session.write(rows, table.uri, columns))

    def attempt() -> TableVersion:
        base = table.snapshot()
        again = base is not None and must_rewrite(base, columns)
        after = merged_columns(base, columns)
        kept = _kept(session, base, columns, input_ids) if base and again else None
        change = TableChange(
            operation="WRITE",
            columns=after,
            add=[*files, *(session.write(kept, table.uri, after) if kept is not None else ())],
            remove=base.files if base and again else (),
            mask=_positions_of(session, base, input_ids) if base and not again else {},
            info={
                **info(base.info if base else {}),
                _WRITTEN: _written_after(base, input_ids, write, keep=keep_written),
            },
        )
        return table.commit(base, change)

    return compact(session, table, until_won(attempt, attempted))


def rows_of(rows: exp.Expr, input_ids: Sequence[str]) -> exp.Select:
    """Select the rows of these inputs."""
    ids = [literal(input_id) for input_id in input_ids] or [exp.null()]
    found: exp.Select = query("SELECT r.* FROM $rows AS r WHERE r.s_input_id IN ($ids)", rows=rows, ids=ids)
    return found


def input_ids_of(session: TableSession, rows: Rows) -> list[str]:
    """Return the inputs with rows, in no order."""
    found = session.fetch(query("SELECT DISTINCT r.s_input_id FROM $rows AS r", rows=rows))
    ids: list[str] = found.column(INPUT_ID).to_pylist()
    return ids


def scan_inputs(session: TableSession, snapshot: TableVersion, input_ids: Sequence[str]) -> exp.Select:
    """Return the rows of these inputs in a table, from the files that may hold them."""
    return rows_of(session.scan(snapshot, only={file.path for file in files_of(snapshot, input_ids)}), input_ids)


def written(info: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the write id by input: the id of the write that last replaced its rows, as the commit records it.

    It is not the number of a version: after a lost commit, another commit can get the same number.
    """
    found: Mapping[str, Any] = info.get(_WRITTEN, {})
    if {*map(type, found.values())} <= {str}:
        return found
    # older tables have version numbers instead of write ids
    return {input_id: str(write) for input_id, write in found.items()}


def written_as(snapshot: TableVersion | None, input_id: str) -> str:
    """Return the write id of an input in a table; '' if the table has no rows of it."""
    write = snapshot.info.get(_WRITTEN, {}).get(input_id) if snapshot else None
    return "" if write is None else str(write)


def _written_after(base: TableVersion | None, input_ids: Sequence[str], write: str, *, keep: bool) -> dict[str, str]:
    known = written(base.info) if base else {}
    now = dict.fromkeys(input_ids, write)
    return {**now, **known} if keep else {**known, **now}


def _same_rows(
    session: TableSession,
    table: Table,
    rows: exp.Expr,
    input_ids: Sequence[str],
    info: Callable[[Mapping[str, Any]], Mapping[str, Any]],
) -> TableVersion | None:
    """Return the table's version that has equal `rows` of these inputs and this information; None if rows differ."""
    before = table.snapshot()
    if before is None or not _is_same(session, before, rows, input_ids):
        return None
    known, after = dict(before.info), dict(info(before.info))
    if after == known:
        return before
    return table.commit(before, TableChange(operation="WRITE", columns=before.columns, info=after, data_change=False))


def _is_same(session: TableSession, snapshot: TableVersion, rows: exp.Expr, input_ids: Sequence[str]) -> bool:
    """Return whether the table's rows of these inputs equal `rows`."""
    if not written(snapshot.info).keys() >= set(input_ids):
        return False
    columns = dict(session.schema(rows))
    if any(snapshot.columns.get(name) != kind for name, kind in columns.items()):
        return False
    # rows are equal if they are null in all columns that the new rows lack
    absent = {name: kind for name, kind in snapshot.columns.items() if name not in columns}
    given = [column(name, "r") for name in columns]
    there = query(
        "SELECT $names FROM $rows AS r",
        names=[*given, *(column(name, "r") for name in absent)],
        rows=rows_of(session.scan(snapshot), input_ids),
    )
    nothing = [alias(exp.cast(exp.null(), kind, dialect=DIALECT), name) for name, kind in absent.items()]
    here = query("SELECT $names FROM $rows AS r", names=[*given, *nothing], rows=rows)
    # one at a time: set operations in a row are taken from left to right
    differences = (exp.except_(here, there, distinct=False), exp.except_(there.copy(), here.copy(), distinct=False))
    return not any(
        session.fetch(query("SELECT 1 AS one FROM $rows AS r LIMIT 1", rows=difference)).num_rows
        for difference in differences
    )


def _kept(session: TableSession, base: TableVersion, columns: Mapping[str, str], input_ids: Sequence[str]) -> exp.Expr:
    """Return the rows of all other inputs in the types of `columns`. Raises ConfigError where a value would be lost."""
    own = exp.In(this=column(INPUT_ID, "r"), expressions=[literal(input_id) for input_id in input_ids] or [exp.null()])
    # none of no ids is every row
    others = exp.true() if not input_ids else exp.not_(own)
    return rows_cast_exactly(session, base, columns, others)


def files_of(snapshot: TableVersion, input_ids: Sequence[str]) -> list[DataFile]:
    """Return the data files that may hold rows of these inputs, by their statistics."""
    found = []
    for file in snapshot.files:
        low, high = (file.stats.get(end, {}).get(INPUT_ID) for end in ("minValues", "maxValues"))
        if low is None or high is None or any(low <= input_id <= high for input_id in input_ids):
            found.append(file)
    return found


def _positions_of(
    session: TableSession, snapshot: TableVersion, input_ids: Sequence[str]
) -> Mapping[str, Sequence[int]]:
    """Find the positions of the rows of these inputs."""
    candidates = files_of(snapshot, input_ids)
    if not candidates:
        return {}
    rows = session.scan(snapshot, positions=True, only=[file.path for file in candidates])
    places = query("SELECT r.s_file, r.s_position FROM $rows AS r", rows=rows_of(rows, input_ids))
    return session.positions(snapshot, places)


def merged_columns(base: TableVersion | None, columns: Mapping[str, str]) -> dict[str, str]:
    """Return `columns`, then the table's other columns. Files written before a column existed read it as null."""
    return {**columns, **{name: kind for name, kind in (base.columns if base else {}).items() if name not in columns}}


def must_rewrite(base: TableVersion, columns: Mapping[str, str]) -> bool:
    """Return whether all rows of the table must be written again.

    This is necessary if a column gets another type, because one table has one type for each column. It is also
    necessary if a dropped column returns: old files still have it, and its old values would be shown again.
    """
    if any(base.columns.get(name, kind) != kind for name, kind in columns.items()):
        return True
    new = [name for name in columns if name not in base.columns]
    return any(name in file.stats.get("nullCount", {}) for file in base.files for name in new)


@dataclass(frozen=True)
class RowChange:
    """The rows that one commit removes from a table and adds to it.

    * `columns`: the columns of the table after the commit, and of `insert`.
    * `remove`: `s_file` and `s_position` of rows, from `session.scan(base, positions=True)`.
    * `info`: the information recorded with the version.
    * `replaced`: a version of which all rows are replaced.
    """

    columns: Mapping[str, str]
    remove: exp.Expr | None = None
    insert: exp.Expr | None = None
    info: Mapping[str, Any] | None = None
    replaced: TableVersion | None = None


def apply(session: TableSession, table: Table, base: TableVersion | None, change: RowChange) -> TableVersion:
    """Remove and add single rows in one commit on top of `base`; or replace all rows of the version `change.replaced`.

    Cost follows the change: removed rows are masked by deletion vectors, added rows go to new files. Raises
    CommitConflict when `base` is no longer the newest version; the caller must compute its change again.
    """
    remove, insert, replaced = change.remove, change.insert, change.replaced
    mask = session.positions(base, remove) if base is not None and remove is not None else {}
    added: list[DataFile] = session.write(insert, table.uri, change.columns) if insert is not None else []
    commit = TableChange(
        operation="MERGE",
        columns=change.columns,
        add=added,
        remove=replaced.files if replaced else (),
        mask=mask,
        info=change.info or {},
    )
    return table.commit(replaced or base, commit)


def compact(session: TableSession, table: Table, snapshot: TableVersion) -> TableVersion:
    """Rewrite small and much-masked files when there are many, so that reading stays as fast as on a fresh table.

    A rule on files, not on time: more than `_MANY_SMALL` files below `_SMALL` bytes (then the smallest of them), or a
    file with over a third of its rows deleted. Rows, and so all readers' results, stay as they are. After a lost race
    the table stays as it is: the other writer compacts the next time.
    """
    small = [file for file in snapshot.files if file.size < _SMALL]
    chosen = {file.path for file in _smallest(small)} if len(small) > _MANY_SMALL else set()
    chosen |= {file.path for file in snapshot.files if file.deleted * 3 > file.rows}
    if not chosen:
        return snapshot
    old = [file for file in snapshot.files if file.path in chosen]
    rows = session.scan(snapshot, only=chosen)
    change = TableChange(
        operation="OPTIMIZE",
        columns=snapshot.columns,
        add=session.write(rows, table.uri, snapshot.columns),
        remove=old,
        info=snapshot.info,
        data_change=False,
    )
    try:
        return table.commit(snapshot, change)
    except CommitConflict:
        return snapshot


def _smallest(files: Sequence[DataFile]) -> list[DataFile]:
    """Choose the smallest half of some files, and then each file that is no larger than all chosen ones together.

    So a row is written again only together with at least as many other rows, not after every few small inputs.
    """
    chosen: list[DataFile] = []
    size = 0
    for file in sorted(files, key=lambda file: file.size):
        if len(chosen) >= _MANY_SMALL // 2 and file.size > size:
            break
        chosen.append(file)
        size += file.size
    return chosen
