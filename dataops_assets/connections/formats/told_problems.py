"""Reports records that could not be read: they become rejected rows with a reason, and do not stop other records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from dataops_assets.connections.formats.staging import Reading, Staging
from dataops_assets.sql import columns, query


@dataclass(frozen=True)
class ToldProblem:
    """A record that could not be made: its place in the input, the reason, and the record as text."""

    input_id: str
    row: int
    problem: str
    record: str


def tell_problems(staging: Staging, reading: Reading, problems: Sequence[ToldProblem]) -> None:
    """Add to the rows of a reading why records could not be made, and the records themselves."""
    if not problems:
        return
    table = staging.session.register(
        pa.table(
            {
                "s_input_id": [item.input_id for item in problems],
                "s_row_id": pa.array([item.row for item in problems], pa.int64()),
                "s_problem": [item.problem for item in problems],
                "s_record": [item.record for item in problems],
            }
        )
    )
    reading.rows = [
        replace(
            rows,
            query=query(
                "SELECT r.s_input_id, r.s_row_id, r.s_line, coalesce(p.s_problem, r.s_problem) AS s_problem, "
                "coalesce(p.s_record, r.s_record) AS s_record, $fields FROM $rows AS r LEFT JOIN $problems AS p "
                "ON p.s_input_id = r.s_input_id AND p.s_row_id = r.s_row_id",
                fields=columns([item.column for item in rows.fields], "r"),
                rows=rows.query,
                problems=table,
            ),
        )
        for rows in reading.rows
    ]
