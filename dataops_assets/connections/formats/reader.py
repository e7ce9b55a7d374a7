"""Reads raw files of any declared format."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sqlglot import exp

from dataops_assets.config.connection import (
    AvroFormat,
    Connection,
    CsvFormat,
    ExcelFormat,
    FileConnection,
    FileFormat,
    FixedWidthFormat,
    JsonFormat,
    JsonLinesFormat,
    OrcFormat,
    ParquetFormat,
    PythonFormat,
    RawFormat,
    TextFormat,
    XmlFormat,
    YamlFormat,
)
from dataops_assets.config.kafka import KafkaConnection, MessagesFormat
from dataops_assets.config.limits import Limits
from dataops_assets.connections.formats.compression import compression_of
from dataops_assets.connections.formats.control_lines import records_of
from dataops_assets.connections.formats.delimited import read_delimited
from dataops_assets.connections.formats.documents import of_whole_documents, read_documents
from dataops_assets.connections.formats.fixed_width import read_fixed_width
from dataops_assets.connections.formats.isolated_input import attempt
from dataops_assets.connections.formats.json_records import json_as_lines, read_json_lines
from dataops_assets.connections.formats.messages import read_messages
from dataops_assets.connections.formats.null_words import NullWords
from dataops_assets.connections.formats.orc import orc_as_parquet, read_orc
from dataops_assets.connections.formats.own_records import read_own
from dataops_assets.connections.formats.parquet import read_parquet, rows_of_parquet
from dataops_assets.connections.formats.parquet_values import rows_as_json
from dataops_assets.connections.formats.staging import (
    RawFile,
    Reading,
    Staging,
    Wanted,
    presence_fields,
)
from dataops_assets.connections.formats.text_records import read_text
from dataops_assets.errors import DataOpsError
from dataops_assets.sql import alias, query

_BY_ENDING: dict[str, FileFormat] = {
    ".csv": CsvFormat(),
    ".tsv": CsvFormat(delimiter="\t"),
    ".json": JsonFormat(type="json"),
    ".jsonl": JsonLinesFormat(type="jsonl"),
    ".ndjson": JsonLinesFormat(type="jsonl"),
    ".yaml": YamlFormat(type="yaml"),
    ".yml": YamlFormat(type="yaml"),
    ".parquet": ParquetFormat(type="parquet"),
    ".orc": OrcFormat(type="orc"),
    ".avro": AvroFormat(type="avro"),
    ".xlsx": ExcelFormat(type="excel"),
}


def format_of(connection: Connection, name: str) -> RawFormat | None:
    """Return the format of a file: as declared, or for extracts by the name's ending (None if unknown)."""
    if isinstance(connection, FileConnection | KafkaConnection):
        return connection.format
    stem, ending = os.path.splitext(name.lower())
    if compression_of(name, "infer") != "none":
        ending = os.path.splitext(stem)[1]
    return _BY_ENDING.get(ending)


def read(staging: Staging, files: Sequence[RawFile], layout: RawFormat, wanted: Wanted, limits: Limits) -> Reading:
    """Read the wanted fields of uncompressed `files` of one format, and perhaps other fields.

    A file that cannot be read gets an error, and the other files are read. If files that are read together fail, the
    faulty one is found by reading halves. Raises ConfigError for an impossible format.
    """
    if not files:
        return Reading()
    reading = attempt(files[0].name, _read, staging, files, layout, wanted, limits)
    if not isinstance(reading, DataOpsError):
        return reading
    if len(files) == 1:
        return Reading(errors={files[0].input_id: reading})
    middle = len(files) // 2
    reading = read(staging, files[:middle], layout, wanted, limits)
    reading.join(read(staging, files[middle:], layout, wanted, limits))
    return reading


def _read(staging: Staging, files: Sequence[RawFile], layout: RawFormat, wanted: Wanted, limits: Limits) -> Reading:
    if not (isinstance(layout, CsvFormat | FixedWidthFormat) and layout.control_lines):
        return _read_records(staging, files, layout, wanted, limits)
    reading = Reading()
    for file in files:
        found = attempt(file.name, records_of, staging, file, layout, limits)
        if isinstance(found, DataOpsError):
            reading.errors[file.input_id] = found
            continue
        reading.join(_read_records(staging, [found.file], found.layout, wanted, limits))
        reading.totals[file.input_id] = found.totals
    return reading


def _read_records(
    staging: Staging, files: Sequence[RawFile], layout: RawFormat, wanted: Wanted, limits: Limits
) -> Reading:
    match layout:
        case CsvFormat():
            reading = read_delimited(staging, files, layout, wanted, limits)
        case JsonFormat() | JsonLinesFormat() | XmlFormat() | YamlFormat():
            reading = _read_nested(staging, files, layout, wanted, limits)
        case FixedWidthFormat():
            reading = read_fixed_width(staging, files, layout)
        case TextFormat():
            reading = read_text(staging, files, layout, limits)
        case ParquetFormat() | OrcFormat() | AvroFormat():
            reading = _read_tables(staging, files, layout, wanted, limits)
        case MessagesFormat():
            reading = read_messages(staging, files, layout, wanted, limits)
        case PythonFormat():
            reading = read_own(staging, files, layout, wanted, limits)
        case ExcelFormat():
            # the library of workbooks takes long to import, and few sources have them
            from dataops_assets.connections.formats.excel import read_excel

            reading = read_excel(staging, files, layout, wanted, limits)
    if wanted.presences and not _is_read_as_json(layout):
        _tell_presences(reading, wanted)
    NullWords(layout, wanted).tell(reading)
    if isinstance(layout, CsvFormat | FixedWidthFormat | TextFormat | ExcelFormat):
        _count_undeclared(staging, reading, wanted)
    return reading


def _is_read_as_json(layout: RawFormat) -> bool:
    """Whether the records may have different fields, and are read as JSON lines."""
    if isinstance(layout, ParquetFormat | OrcFormat | AvroFormat):
        return bool(layout.explode)
    return isinstance(layout, JsonFormat | JsonLinesFormat | XmlFormat | YamlFormat | MessagesFormat | PythonFormat)


def _read_tables(
    staging: Staging,
    files: Sequence[RawFile],
    layout: ParquetFormat | OrcFormat | AvroFormat,
    wanted: Wanted,
    limits: Limits,
) -> Reading:
    if layout.explode:
        return read_documents(
            staging, files, lambda file: _table_as_lines(staging, file, layout), layout.explode, wanted, limits
        )
    match layout:
        case ParquetFormat():
            return read_parquet(staging, files, wanted, limits)
        case OrcFormat():
            return read_orc(staging, files, wanted, limits)
        case AvroFormat():
            # few sources have such files, and the libraries take time to import
            from dataops_assets.connections.formats.avro import read_avro

            return read_avro(staging, files, wanted, limits)


def _table_as_lines(
    staging: Staging, file: RawFile, layout: ParquetFormat | OrcFormat | AvroFormat
) -> tuple[Path, int]:
    """Return the rows of a file as JSON lines, and their number."""
    match layout:
        case ParquetFormat():
            path, records = file.path, rows_of_parquet(file)
        case OrcFormat():
            path, records = orc_as_parquet(staging, file)
        case AvroFormat():
            from dataops_assets.connections.formats.avro import avro_as_parquet

            path, records = avro_as_parquet(staging, file)
    target = staging.path()
    with target.open("w", encoding="utf-8") as out:
        out.writelines(row + "\n" for row in rows_as_json(path))
    return target, records


def _read_nested(
    staging: Staging,
    files: Sequence[RawFile],
    layout: JsonFormat | JsonLinesFormat | XmlFormat | YamlFormat,
    wanted: Wanted,
    limits: Limits,
) -> Reading:
    whole = of_whole_documents(limits)
    match layout:
        case JsonLinesFormat() if layout.explode:
            return read_documents(staging, files, None, layout.explode, wanted, limits)
        case JsonLinesFormat():
            return read_json_lines(staging, files, wanted, limits)
        case JsonFormat():
            return read_documents(
                staging, files, lambda file: json_as_lines(staging, file, layout, limits), layout.explode, wanted, whole
            )
        case XmlFormat():
            # few sources have such files, and the libraries take time to import
            from dataops_assets.connections.formats.xml_records import xml_as_lines

            return read_documents(
                staging, files, lambda file: xml_as_lines(staging, file, layout, limits), layout.explode, wanted, limits
            )
        case YamlFormat():
            from dataops_assets.connections.formats.yaml_records import yaml_as_lines

            return read_documents(
                staging, files, lambda file: yaml_as_lines(staging, file, layout, limits), layout.explode, wanted, whole
            )


def _tell_presences(reading: Reading, wanted: Wanted) -> None:
    """Add whether fields are there, for formats in which all records of an input have the same fields."""
    fields = presence_fields(wanted.presences)
    for index, rows in enumerate(reading.rows):
        known = [alias(exp.convert(wanted.presences[item.name] in rows.by_name), item.column) for item in fields]
        told = query("SELECT r.*, $known FROM $rows AS r", known=known, rows=rows.query)
        reading.rows[index] = replace(rows, fields=(*rows.fields, *fields), query=told)
    reading.headers = {input_id: (*names, *wanted.presences) for input_id, names in reading.headers.items()}


def _count_undeclared(staging: Staging, reading: Reading, wanted: Wanted) -> None:
    """Count the values of columns that are not wanted. A column with neither name nor value is ignored."""
    for rows in reading.rows:
        unknown = [item for item in rows.fields if not wanted.knows(item.name)]
        held = staging.held(rows.query, rows.input_ids, unknown)
        for input_id in rows.input_ids:
            empty = {name for name in reading.unnamed.get(input_id, ()) if not held[input_id].get(name, 1)}
            reading.headers[input_id] = tuple(name for name in reading.headers[input_id] if name not in empty)
            reading.undeclared[input_id] = {name: count for name, count in held[input_id].items() if name not in empty}
