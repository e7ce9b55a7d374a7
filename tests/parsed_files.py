"""Parses a file under a declaration as step 2 does, without storage."""

from __future__ import annotations

import datetime as dt
import tempfile
from pathlib import Path
from typing import Any

from dataops_assets.config.source import Source
from dataops_assets.connections.formats.compression import compression_of, unpack
from dataops_assets.connections.formats.reader import read
from dataops_assets.connections.formats.staging import RawFile, Staging, Wanted
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.sql import query
from dataops_assets.steps.merging.input_periods import Told
from dataops_assets.steps.parsing.corrections import Corrected
from dataops_assets.steps.parsing.raw_inputs import RawInputs
from dataops_assets.steps.parsing.typed_rows import type_rows
from dataops_assets.steps.parsing.typed_values import marks_of

EXTRACT_TIME = dt.datetime(2024, 3, 31, 23, 30, tzinfo=dt.UTC)


def parsed(engine: DuckDBEngine, path: Path, source: Source) -> tuple[list[dict[str, Any]], int]:
    """The rows that step 2 makes of the file under the declaration, in order, and the number of rejected ones."""
    rows = typed(engine, path, source)
    return [row for row in rows if row["s_fault"] is None], sum(row["s_fault"] is not None for row in rows)


def typed(engine: DuckDBEngine, path: Path, source: Source) -> list[dict[str, Any]]:
    """All typed rows of the file under the declaration, in order, with their faults."""
    connection = source.connection
    with tempfile.TemporaryDirectory() as folder, engine.session() as session:
        staging = Staging(session, Path(folder))
        file = RawFile("one", path.name, path)
        file = unpack(file, compression_of(path.name, "infer"), staging.path(), connection.limits)
        null_words = {item.raw_name: item.null_words for item in source.columns if item.null_words is not None}
        wanted = Wanted([item.raw_name for item in source.columns if not item.expression], null_words=null_words)
        found = read(staging, [file], connection.format, wanted, connection.limits)
        for error in found.errors.values():
            raise error
        marks = marks_of(connection.format)
        rows = [(rows, marks) for rows in found.rows]
        times = {"one": Told(EXTRACT_TIME)}
        raw = RawInputs(rows, found.headers, {"one": path.name}, found.records, {}, told=times)
        made = type_rows(session, source, raw, Corrected())
        return session.fetch(query("SELECT * FROM $rows AS r ORDER BY s_row_id", rows=made.table)).to_pylist()
