"""The two ways a table changes: an input's partition is replaced, or single rows are removed and added.

Both write their data first and become visible by one commit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from dataops_assets.errors import CommitConflict
from dataops_assets.storage.delta import DataFile, Snapshot, Table

if TYPE_CHECKING:
    from dataops_assets.engines.base import Session

INPUT_ID = "s_input_id"
_ATTEMPTS = 50
_MANY_SMALL = 16
_SMALL = 32 * 1024 * 1024


def replace_inputs(
    session: Session,
    table: Table,
    query: exp.Expr,
    input_ids: Sequence[str],
    info: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
) -> Snapshot:
    """Replace the partitions of exactly these inputs by the rows of `query`, which must have `s_input_id`.

    Grain: one partition an input. Inputs are disjoint, so a lost race is committed again on the new version without
    writing the data a second time. `info` makes the information recorded with the version from the one before. Raises
    CommitConflict after many lost races.
    """
    columns = dict(session.schema(query))
    files = session.write(query, table.uri, partition_by=[INPUT_ID])
    replaced = set(input_ids)
    for _ in range(_ATTEMPTS):
        base = table.snapshot()
        old = [file for file in (base.files if base else ()) if file.partition_values.get(INPUT_ID) in replaced]
        try:
            return table.commit(
                base,
                operation="WRITE",
                columns=merged_columns(base, columns),
                partition_columns=[INPUT_ID],
                add=files,
                remove=old,
                info=info(base.info if base else {}),
            )
        except CommitConflict:
            continue
    raise CommitConflict(
        f"publishing {len(replaced)} input(s) in {table.uri}",
        received=f"{_ATTEMPTS} lost races",
        next_step="lower the number of concurrent runs of this source",
    )


def merged_columns(base: Snapshot | None, columns: Mapping[str, str]) -> dict[str, str]:
    """The table's columns with `columns` first: partitions written before a column existed read it as null."""
    return {**columns, **{name: kind for name, kind in (base.columns if base else {}).items() if name not in columns}}


def apply(
    session: Session,
    table: Table,
    base: Snapshot | None,
    *,
    columns: Mapping[str, str],
    remove: exp.Expr | None = None,
    insert: exp.Expr | None = None,
    info: Mapping[str, Any] | None = None,
    partition_by: Sequence[str] = (),
    replaced: Snapshot | None = None,
) -> Snapshot:
    """Remove and add single rows in one commit on top of `base`; or replace all rows of the version `replaced`.

    `remove` has `s_file` and `s_position` (from `session.scan(base, positions=True)`), `insert` the table's columns.
    Cost follows the change: removed rows are masked by deletion vectors, added rows go to new files. Raises
    CommitConflict when `base` is no longer the newest version; the caller must compute its change again.
    """
    mask = session.positions(base, remove) if base is not None and remove is not None else {}
    added: list[DataFile] = session.write(insert, table.uri, partition_by) if insert is not None else []
    return table.commit(
        replaced or base,
        operation="MERGE",
        columns=columns,
        partition_columns=partition_by,
        add=added,
        remove=replaced.files if replaced else (),
        mask=mask,
        info=info,
    )


def compact(session: Session, table: Table, snapshot: Snapshot) -> Snapshot:
    """Rewrite small and much-masked files when there are many, so that reading stays as fast as on a fresh table.

    A rule on files, not on time: more than `_MANY_SMALL` files below `_SMALL` bytes, or a file with over a third of its
    rows deleted. Rows, and so all readers' results, stay as they are. A lost race leaves the table as it is: whoever
    published first will compact the next time.
    """
    if snapshot.partition_columns:
        return snapshot
    small = [file for file in snapshot.files if file.size < _SMALL]
    chosen = {file.path for file in small} if len(small) > _MANY_SMALL else set()
    chosen |= {file.path for file in snapshot.files if file.deleted * 3 > file.rows}
    if not chosen:
        return snapshot
    old = [file for file in snapshot.files if file.path in chosen]
    rows = session.scan(snapshot, only=chosen)
    try:
        return table.commit(
            snapshot,
            operation="OPTIMIZE",
            columns=snapshot.columns,
            add=session.write(rows, table.uri),
            remove=old,
            info=snapshot.info,
            data_change=False,
        )
    except CommitConflict:
        return snapshot
