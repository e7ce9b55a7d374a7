"""Reads files of nested records: each file is rewritten as JSON lines, and its lists are exploded where declared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

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

    def rewritten(file: RawFile) -> tuple[Path, int]:
        if as_lines is None:
            return exploded(staging, file, explode, limits)
        path, records = as_lines(file)
        return exploded(staging, replace(file, path=path), explode, limits, records) if explode else (path, records)

    reading = read_rewritten(files, rewritten, lambda some: read_json_lines(staging, some, wanted, limits))
    # the lines of the rewritten file are not those of the delivered one
    reading.rows = [
        replace(
            rows,
            query=query(
                "SELECT r.s_input_id, r.s_row_id, CAST(NULL AS BIGINT) AS s_line, r.s_problem, r.s_record, $fields "
                "FROM $rows AS r",
                fields=columns([item.column for item in rows.fields], "r"),
                rows=rows.query,
            ),
        )
        for rows in reading.rows
    ]
    return reading


def of_whole_documents(limits: Limits) -> Limits:
    """Return the limits of records that are lines of a document: none is longer than the document may be."""
    return limits.model_copy(update={"record_bytes": 8 * limits.document_bytes})
