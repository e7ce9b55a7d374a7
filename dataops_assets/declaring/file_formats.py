"""Finds the format that files share, by their content."""

from __future__ import annotations

import itertools
import json
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import openpyxl
from openpyxl.utils.exceptions import InvalidFileException

from dataops_assets.config.connection import (
    AvroFormat,
    CsvFormat,
    ExcelFormat,
    FileFormat,
    FixedWidthFormat,
    JsonFormat,
    JsonLinesFormat,
    NestedRecords,
    OrcFormat,
    ParquetFormat,
    TextFormat,
    XmlFormat,
    YamlFormat,
)
from dataops_assets.config.text_lines import FieldRecordType
from dataops_assets.connections.formats.signatures import HEAD_BYTES, kind_of
from dataops_assets.connections.formats.staging import RawFile
from dataops_assets.declaring.dialects import layout_of
from dataops_assets.declaring.encodings import encoding_of
from dataops_assets.declaring.fixed_places import fields_of
from dataops_assets.declaring.log_lines import form_of
from dataops_assets.declaring.record_kinds import record_kinds
from dataops_assets.declaring.trailer_lines import trailer_of
from dataops_assets.declaring.xml_paths import records_path
from dataops_assets.errors import ConfigError, InputError

_SAMPLE = 1 << 20
_SAMPLED_FILES = 3
_MOST_DEPTH = 4
_MOST_ROWS = 50
# a header can have a column without a name
_OF_WIDTH = 0.8
_DAMAGED_WORKBOOK = (zipfile.BadZipFile, InvalidFileException, KeyError, ValueError, EOFError)


def format_of_files(files: Sequence[RawFile], record_type: str = "") -> FileFormat:
    """Return the format that all files share, by their content. Raises ConfigError if there is none.

    Of files with records of several types, it takes those of `record_type`, or the most frequent ones.
    """
    kinds = {file.name: _kind(file) for file in files}
    if len(set(kinds.values())) > 1:
        raise ConfigError(
            "finding the format of the files",
            received="; ".join(f"{name}: {kind}" for name, kind in kinds.items()),
            next_step="declare a source for the files of each format",
        )
    if record_type and set(kinds.values()) != {"csv"}:
        raise ConfigError("choosing records by their type", received=f"files of the format {kinds[files[0].name]}")
    match next(iter(kinds.values())):
        case "parquet":
            return ParquetFormat(type="parquet")
        case "ORC":
            return OrcFormat(type="orc")
        case "Avro":
            return AvroFormat(type="avro")
        case "excel":
            return ExcelFormat(type="excel", skip_rows=_rows_above_header(files[0]))
        case "jsonl":
            return JsonLinesFormat(type="jsonl")
        case "json":
            return JsonFormat(type="json", records=_records_path(files[0]))
        case "yaml":
            return YamlFormat(type="yaml")
        case "xml":
            return XmlFormat(type="xml", records=records_path(files[0]))
    return _text_format(files, record_type)


def other_record_types(files: Sequence[RawFile], layout: FileFormat) -> tuple[str, ...]:
    """Return the types of records that a format of these files leaves to other sources."""
    if not isinstance(layout, CsvFormat) or layout.record_type is None:
        return ()
    found = record_kinds(_samples(files, layout.encoding))
    return tuple(name for name in found.types if name not in layout.record_type.values) if found else ()


def exploded(layout: FileFormat, lists: Sequence[str]) -> FileFormat:
    """Return a format that makes a record of each item of these lists. Raises ConfigError if it cannot."""
    if not lists:
        return layout
    if not isinstance(layout, NestedRecords):
        raise ConfigError(
            "reading the items of lists",
            received=f"files of the format {layout.type}",
            known=["json", "jsonl", "xml", "yaml", "parquet", "orc", "avro"],
            next_step="leave out --explode",
        )
    return layout.model_copy(update={"explode": tuple(lists)})


def _kind(file: RawFile) -> str:
    with file.path.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    kind = kind_of(head)
    if kind in ("parquet", "ORC", "Avro", "zip"):
        return "excel" if kind == "zip" else kind
    if kind:
        raise InputError(
            f"finding the format of {file.name}",
            received=kind,
            known=["delimited text", "json", "json lines", "yaml", "xml", "parquet", "orc", "avro", "excel (.xlsx)"],
        )
    if Path(file.name.lower().removesuffix(".gz").removesuffix(".zip").removesuffix(".zst")).suffix in (
        ".yaml",
        ".yml",
    ):
        # a table of one column and a list in YAML can look the same
        return "yaml"
    text = head.decode("utf-8-sig", "replace").lstrip()
    if text.startswith("{"):
        return "jsonl" if _is_object(text.partition("\n")[0]) and _has_more_lines(file) else _document(file)
    if text.startswith("<"):
        return "xml"
    return "json" if text.startswith("[") and _is_document(file) else "csv"


def _rows_above_header(file: RawFile) -> int:
    """Return how many rows of the first sheet are above its header: titles and empty rows."""
    with file.path.open("rb") as stream:
        try:
            workbook = openpyxl.load_workbook(stream, read_only=True, data_only=True)
            sheet = workbook.worksheets[0]
            sheet.reset_dimensions()
            rows = list(itertools.islice(sheet.iter_rows(values_only=True), _MOST_ROWS))
        except (*_DAMAGED_WORKBOOK, IndexError):
            # the reader says what is wrong
            return 0
    filled = [sum(value is not None for value in row) for row in rows]
    widths = Counter(count for count in filled if count > 1)
    if not widths:
        return 0
    width = max(widths, key=lambda count: (widths[count], count))
    return next(place for place, count in enumerate(filled) if count >= max(2, _OF_WIDTH * width))


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _is_document(file: RawFile) -> bool:
    try:
        with file.path.open(encoding="utf-8-sig") as stream:
            return isinstance(json.load(stream), dict | list)
    except (ValueError, RecursionError):
        return False


def _document(file: RawFile) -> str:
    return "json" if _is_document(file) else "jsonl"


def _has_more_lines(file: RawFile) -> bool:
    """Return whether the file has several lines, or one that holds no array of records."""
    with file.path.open(encoding="utf-8-sig", errors="replace") as stream:
        lines = [line for line, _ in zip((line for line in stream if line.strip()), range(2), strict=False)]
    return len(lines) > 1 or not _paths(json.loads(lines[0]), ())


def _records_path(file: RawFile) -> str:
    with file.path.open(encoding="utf-8-sig") as stream:
        document = json.load(stream)
    if isinstance(document, list):
        return ""
    found = _paths(document, ())
    if len(found) != 1:
        raise ConfigError(
            f"finding the records of {file.name}",
            received=f"{len(found)} arrays of objects",
            known=[".".join(path) for path in found],
            next_step="declare the source by hand, with the path of the array in the format's records",
        )
    return ".".join(found[0])


def _paths(value: object, above: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return the paths of all arrays of objects in a document."""
    if not isinstance(value, dict) or len(above) > _MOST_DEPTH:
        return []
    found = []
    for name, item in value.items():
        if isinstance(item, list) and item and all(isinstance(record, dict) for record in item):
            found.append((*above, str(name)))
        found += _paths(item, (*above, str(name)))
    return found


def _samples(files: Sequence[RawFile], encoding: str) -> list[str]:
    filled = [file for file in files if file.path.stat().st_size]
    step = max(len(filled) // _SAMPLED_FILES, 1)
    return [_sample(file, encoding) for file in filled[::step][:_SAMPLED_FILES]]


def _text_format(files: Sequence[RawFile], record_type: str) -> FileFormat:
    encoding = encoding_of(files)
    samples = _samples(files, encoding)
    if kinds := record_kinds(samples):
        return CsvFormat(
            delimiter=kinds.dialect.delimiter,
            encoding=encoding,
            header=False,
            record_type=FieldRecordType(values=(kinds.chosen(record_type),)),
        )
    if record_type:
        raise ConfigError("choosing records by their type", received="files whose records have one type")
    if form := form_of(samples):
        # so logs tell of a missing value
        return TextFormat(type="text", pattern=form, encoding=encoding, null_words=("", "-"))
    found = layout_of(samples)
    if found.width <= 1 and (fields := fields_of([line for text in samples for line in text.splitlines()])):
        return FixedWidthFormat(type="fixed_width", fields=fields, encoding=encoding)
    filled = [file for file in files if file.path.stat().st_size]
    last = trailer_of([_last_line(file, encoding) for file in filled], found.dialect, found.width)
    return CsvFormat(
        delimiter=found.dialect.delimiter,
        quote=found.dialect.quote,
        escape=found.dialect.escape,
        encoding=encoding,
        header=found.header,
        skip_rows=found.skip_rows,
        trailer_lines=(last,) if last else (),
    )


def _last_line(file: RawFile, encoding: str) -> str:
    """Return the last line that is not blank."""
    size = file.path.stat().st_size
    with file.path.open("rb") as stream:
        # an even place, so that no sign of UTF-16 is cut
        stream.seek(max(size - _SAMPLE, 0) // 2 * 2)
        lines = stream.read().decode(encoding, "replace").splitlines()
    return next((line for line in reversed(lines) if line.strip()), "")


def _sample(file: RawFile, encoding: str) -> str:
    with file.path.open(encoding="utf-8-sig" if encoding == "utf-8" else encoding, newline="") as stream:
        text = stream.read(_SAMPLE)
    if len(text) < _SAMPLE:
        return text
    end = max(text.rfind("\n"), text.rfind("\r"))
    return text[: end + 1] or text
