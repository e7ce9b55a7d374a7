"""Reads given files as one table of raw values, with the readers that parse uses."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlglot import exp

from dataops_assets.config.connection import (
    AvroFormat,
    CsvFormat,
    ExcelFormat,
    FileFormat,
    JsonFormat,
    JsonLinesFormat,
    OrcFormat,
    ParquetFormat,
    YamlFormat,
)
from dataops_assets.config.limits import Limits
from dataops_assets.connections.formats.compression import compression_of, unpack
from dataops_assets.connections.formats.null_words import present
from dataops_assets.connections.formats.reader import read
from dataops_assets.connections.formats.signatures import HEAD_BYTES, kind_of
from dataops_assets.connections.formats.staging import RawFile, RawRows, Reading, Staging, Wanted
from dataops_assets.declaring.dialects import layout_of
from dataops_assets.declaring.encodings import encoding_of
from dataops_assets.engines.base import Session
from dataops_assets.errors import ConfigError, InputError
from dataops_assets.sql import Relation, alias, column, query

_SAMPLE = 1 << 20
_SAMPLED_FILES = 3
_MOST_DEPTH = 4


@dataclass(frozen=True)
class RawColumn:
    """One column of the files: its raw name, its column in the table, its SQL type, and the files that have it."""

    name: str
    column: str
    kind: str
    files: int


@dataclass(frozen=True)
class DeliveredRows:
    """The raw rows of all files in one table.

    `table` has `s_file` (the place of the file, from 0), `s_row_id`, and the columns. A text that the format means as
    null is null. `malformed` are records that are no rows, with their reason and an example. `header`: the raw names.
    """

    layout: FileFormat
    names: tuple[str, ...]
    table: Relation
    columns: tuple[RawColumn, ...]
    headers: tuple[tuple[str, ...], ...]
    unnamed: frozenset[str]
    rows: int
    malformed: tuple[tuple[str, int, str], ...]
    is_typed: bool


@contextmanager
def delivered(session: Session, files: Sequence[Path]) -> Iterator[DeliveredRows]:
    """Yield the rows of files. Raises ConfigError if they have no common format, InputError if one cannot be read."""
    with TemporaryDirectory(prefix="declare-") as folder:
        staging = Staging(session, Path(folder))
        raw = [_unpacked(staging, place, path) for place, path in enumerate(files)]
        layout = format_of_files(raw)
        reading = read(staging, raw, layout, Wanted((), every=True), Limits())
        for error in reading.errors.values():
            raise error
        yield _together(session, layout, raw, reading)


def _unpacked(staging: Staging, place: int, path: Path) -> RawFile:
    # the engine takes some characters of a path for patterns
    link = staging.path()
    link.symlink_to(path.absolute())
    file = RawFile(f"{place:06}", path.name, link)
    return unpack(file, compression_of(path.name, "infer"), staging.path(), Limits())


def format_of_files(files: Sequence[RawFile]) -> FileFormat:
    """Return the format that all files share, by their content. Raises ConfigError if there is none."""
    kinds = {file.name: _kind(file) for file in files}
    if len(set(kinds.values())) > 1:
        raise ConfigError(
            "finding the format of the files",
            received="; ".join(f"{name}: {kind}" for name, kind in kinds.items()),
            next_step="declare a source for the files of each format",
        )
    match next(iter(kinds.values())):
        case "parquet":
            return ParquetFormat(type="parquet")
        case "ORC":
            return OrcFormat(type="orc")
        case "Avro":
            return AvroFormat(type="avro")
        case "excel":
            return ExcelFormat(type="excel")
        case "jsonl":
            return JsonLinesFormat(type="jsonl")
        case "json":
            return JsonFormat(type="json", records=_records_path(files[0]))
        case "yaml":
            return YamlFormat(type="yaml")
    return _csv_format(files)


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
            known=["delimited text", "json", "json lines", "yaml", "parquet", "orc", "avro", "excel (.xlsx)"],
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
    return "json" if text.startswith("[") and _is_document(file) else "csv"


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


def _csv_format(files: Sequence[RawFile]) -> CsvFormat:
    encoding = encoding_of(files)
    filled = [file for file in files if file.path.stat().st_size]
    step = max(len(filled) // _SAMPLED_FILES, 1)
    samples = [_sample(file, encoding) for file in filled[::step][:_SAMPLED_FILES]]
    found = layout_of(samples)
    return CsvFormat(
        delimiter=found.dialect.delimiter,
        quote=found.dialect.quote,
        escape=found.dialect.escape,
        encoding=encoding,
        header=found.header,
        skip_rows=found.skip_rows,
    )


def _sample(file: RawFile, encoding: str) -> str:
    with file.path.open(encoding="utf-8-sig" if encoding == "utf-8" else encoding, newline="") as stream:
        text = stream.read(_SAMPLE)
    if len(text) < _SAMPLE:
        return text
    end = max(text.rfind("\n"), text.rfind("\r"))
    return text[: end + 1] or text


def _together(session: Session, layout: FileFormat, files: Sequence[RawFile], reading: Reading) -> DeliveredRows:
    headers = tuple(reading.headers[file.input_id] for file in files)
    names = list(dict.fromkeys(name for header in headers for name in header))
    for file, header in zip(files, headers, strict=True):
        repeated = sorted({name for name in header if header.count(name) > 1})
        if repeated:
            raise InputError(
                f"reading {file.name}",
                received=f"more than one column {', '.join(repeated)}",
                next_step="give each column a name of its own",
            )
    kinds = {name: _kind_of(name, reading.rows) for name in names}
    columns = tuple(
        RawColumn(name, f"c{place}", kinds[name], sum(name in header for header in headers))
        for place, name in enumerate(names)
    )
    selects = [_selected(rows, columns) for rows in reading.rows if rows.fields]
    if not selects:
        raise InputError("reading the files", received="no rows", next_step="give files with rows")
    rows: exp.Query = selects[0]
    for following in selects[1:]:
        rows = exp.union(rows, following, distinct=False)
    everything = session.create(rows)
    table = session.create(
        query("SELECT * EXCLUDE (s_problem, s_record) FROM $all AS r WHERE s_problem IS NULL", all=everything)
    )
    bad = query(
        "SELECT s_problem, count(*) AS n, min(s_record) AS example FROM $all AS r WHERE s_problem IS NOT NULL "
        "GROUP BY s_problem ORDER BY n DESC LIMIT 5",
        all=everything,
    )
    (count,) = session.fetch(query("SELECT count(*) AS n FROM $rows AS r", rows=table)).column("n").to_pylist()
    # without a header, no column has a name
    has_header = getattr(layout, "header", True)
    unnamed = frozenset[str]().union(*reading.unnamed.values()) if has_header else frozenset()
    return DeliveredRows(
        layout,
        tuple(file.name for file in files),
        table,
        columns,
        headers,
        unnamed,
        count,
        tuple((row["s_problem"], row["n"], row["example"] or "") for row in session.fetch(bad).to_pylist()),
        any(some.is_typed for some in reading.rows),
    )


def _kind_of(name: str, rows: Sequence[RawRows]) -> str:
    """Return the SQL type that a column has in all files; text if they differ."""
    kinds = {some.by_name[name].type for some in rows if name in some.by_name}
    return kinds.pop() if len(kinds) == 1 else "VARCHAR"


def _selected(rows: RawRows, columns: Sequence[RawColumn]) -> exp.Query:
    selected: list[exp.Expr] = []
    for item in columns:
        field = rows.by_name.get(item.name)
        value: exp.Expr = exp.null()
        if field is not None:
            value = present(column(field.column, "r"), field)
        if field is None or field.type != item.kind:
            value = exp.cast(value, item.kind, dialect="duckdb")
        selected.append(alias(value, item.column))
    chosen: exp.Query = query(
        "SELECT CAST(r.s_input_id AS INTEGER) AS s_file, r.s_row_id, r.s_problem, r.s_record, $selected "
        "FROM $rows AS r",
        selected=selected,
        rows=rows.query,
    )
    return chosen
