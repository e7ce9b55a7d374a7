"""Reading raw files of any declared format."""

from __future__ import annotations

import os
from collections.abc import Sequence

from dataops_assets.config.connection import (
    Connection,
    CsvFormat,
    ExcelFormat,
    FileConnection,
    FileFormat,
    JsonFormat,
    JsonLinesFormat,
    ParquetFormat,
)
from dataops_assets.connections.formats.compression import compression_of
from dataops_assets.connections.formats.delimited import read_delimited
from dataops_assets.connections.formats.excel import read_excel
from dataops_assets.connections.formats.json_records import read_json, read_json_lines
from dataops_assets.connections.formats.parquet import read_parquet
from dataops_assets.connections.formats.staging import RawFile, Reading, Staging, Wanted

_BY_ENDING: dict[str, FileFormat] = {
    ".csv": CsvFormat(),
    ".tsv": CsvFormat(delimiter="\t"),
    ".json": JsonFormat(type="json"),
    ".jsonl": JsonLinesFormat(type="jsonl"),
    ".ndjson": JsonLinesFormat(type="jsonl"),
    ".parquet": ParquetFormat(type="parquet"),
    ".xlsx": ExcelFormat(type="excel"),
}


def format_of(connection: Connection, name: str) -> FileFormat | None:
    """The format of a file of this name: as declared, or for a Python hook by the name's ending (None: not known)."""
    if isinstance(connection, FileConnection):
        return connection.format
    stem, ending = os.path.splitext(name.lower())
    if compression_of(name, "infer") != "none":
        ending = os.path.splitext(stem)[1]
    return _BY_ENDING.get(ending)


def read(staging: Staging, files: Sequence[RawFile], layout: FileFormat, wanted: Wanted) -> Reading:
    """The wanted fields of uncompressed `files` of one format, and perhaps others.

    A file that cannot be read gets an InputError and the others are read. Raises ConfigError for a format that
    cannot be.
    """
    match layout:
        case CsvFormat():
            return read_delimited(staging, files, layout, wanted.names)
        case JsonFormat():
            return read_json(staging, files, layout, wanted)
        case JsonLinesFormat():
            return read_json_lines(staging, files, wanted)
        case ParquetFormat():
            return read_parquet(staging, files, wanted)
        case ExcelFormat():
            return read_excel(staging, files, layout, wanted.names)
