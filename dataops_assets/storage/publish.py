"""The two ways a table changes: an input's partition is replaced, or single rows are removed and added.

Both write their data first and become visible by one commit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from dataops_assets.errors import CommitConflict
from dataops_assets.storage.delta import DataFile, Snapshot, Table

if TYPE_CHECKING:
    from dataops_assets.engines.base import Session

INPUT_ID = "s_input_id"
_ATTEMPTS = 50


def replace_inputs(
    session: Session, table: Table, query: exp.Expression, input_ids: Sequence[str], info: Mapping[str, Any] | None = None
) -> Snapshot:
    """Replace the partitions of exactly these inputs by the rows of `query`, which must have `s_input_id`.

    Grain: one partition an input. Inputs are disjoint, so a lost race is committed again on the new version without
    writing the data a second time. Raises CommitConflict after many lost races.
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
                info=info,
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
    remove: exp.Expression | None = None,
    insert: exp.Expression | None = None,
    info: Mapping[str, Any] | None = None,
    partition_by: Sequence[str] = (),
) -> Snapshot:
    """Remove and add single rows in one commit on top of `base`.

    `remove` has `s_file` and `s_position` (from `session.scan(base, positions=True)`), `insert` the table's columns.
    Cost follows the change: removed rows are masked by deletion vectors, added rows go to new files. Raises
    CommitConflict when `base` is no longer the newest version; the caller must compute its change again.
    """
    mask = session.positions(base, remove) if base is not None and remove is not None else {}
    added: list[DataFile] = session.write(insert, table.uri, partition_by) if insert is not None else []
    return table.commit(
        base, operation="MERGE", columns=columns, partition_columns=partition_by, add=added, mask=mask, info=info
    )
