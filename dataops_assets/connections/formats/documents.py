"""Reads files of nested records: each file is rewritten as JSON lines, and its lists are exploded where declared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from dataops_assets.config.limits import Limits
from dataops_assets.connections.formats.exploded_lists import exploded
from dataops_assets.connections.formats.json_records import read_json_lines
from dataops_assets.connections.formats.rewritten_files import read_rewritten
from dataops_assets.connections.formats.staging import RawFile, Reading, Staging, Wanted
from dataops_assets.sql import columns, query

AsLines = Callable[[RawFile], tuple[Path, int]]
"""Writes the records of a file to a new file as JSON lines. Returns it, and the number of records."""


def read_documents(
    staging: Staging,
    files: Sequence[RawFile],
    as_lines: AsLines | None,
    explode: Sequence[str],
    wanted: Wanted,
    limits: Limits,
) -> Reading:
    """Return the wanted members of the records of `files`, or of the items of their lists.

    With `as_lines` None, the files are JSON lines already. A file that cannot be rewritten gets its InputError.
    """
    lines: dict[str, Sequence[int]] = {}

    def rewritten(file: RawFile) -> tuple[Path, int]:
        if as_lines is None:
            found = exploded(staging, file, explode, limits)
            lines[file.input_id] = found.lines
            return found.path, found.records
        path, records = as_lines(file)
        if explode:
            path, records, _ = exploded(staging, replace(file, path=path), explode, limits, records)
        return path, records

    reading = read_rewritten(files, rewritten, lambda some: read_json_lines(staging, some, wanted, limits))
    # the lines of the rewritten file are not those of the delivered one
    told = _table_of_lines(lines)
    given = staging.session.register(told)
    reading.rows = [
        replace(
            rows,
            query=query(
                "SELECT r.s_input_id, r.s_row_id, n.s_line, r.s_problem, r.s_record, $fields FROM $rows AS r "
                "LEFT JOIN $lines AS n ON n.s_input_id = r.s_input_id AND n.s_row_id = r.s_row_id",
                fields=columns([item.column for item in rows.fields], "r"),
                rows=rows.query,
                lines=given,
            ),
        )
        for rows in reading.rows
    ]
    return reading


def _table_of_lines(lines: Mapping[str, Sequence[int]]) -> pa.Table:
    """Return the line of the delivered file that each record was made of: s_input_id, s_row_id, s_line."""
    parts = [
        pa.table(
            {
                "s_input_id": pa.repeat(pa.scalar(input_id, pa.string()), len(numbers)),
                "s_row_id": pa.array(range(len(numbers)), pa.int64()),
                "s_line": pa.array(numbers, pa.int64()),
            }
        )
        for input_id, numbers in lines.items()
    ]
    kinds = {"s_input_id": pa.string(), "s_row_id": pa.int64(), "s_line": pa.int64()}
    return pa.concat_tables([pa.schema(list(kinds.items())).empty_table(), *parts])


def of_whole_documents(limits: Limits) -> Limits:
    """Return the limits of records that are lines of a document: none is longer than the document may be."""
    return limits.model_copy(update={"record_bytes": 8 * limits.document_bytes})
