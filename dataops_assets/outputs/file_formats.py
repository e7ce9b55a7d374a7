"""Writes rows as a file of one format, and reads the file back to compare it with the rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from openpyxl import Workbook, load_workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
from sqlglot import exp

from dataops_assets.config.outputs import FilesTarget
from dataops_assets.engines.duckdb import DuckDBSession
from dataops_assets.errors import InputError
from dataops_assets.outputs.contents import Content, content_of, content_read
from dataops_assets.sql import DIALECT, alias, column, query

_ENDINGS = {"csv": "csv", "jsonl": "jsonl", "parquet": "parquet", "excel": "xlsx"}
_PACKED = {"none": "", "gzip": ".gz", "zstd": ".zst"}
# the most that a sheet of Excel can have, with its header
_MOST_ROWS = 1_048_575
_PORTION = 10_000
# a double has all decimals of so many digits
_EXACT_DIGITS = 15


def ending_of(target: FilesTarget) -> str:
    """Return how the name of a file ends, with the dot."""
    packed = "" if target.format == "parquet" else _PACKED[target.compression]
    return f".{_ENDINGS[target.format]}{packed}"


def write_file(
    session: DuckDBSession, rows: exp.Query, types: Mapping[str, str], target: FilesTarget, path: Path
) -> None:
    """Write rows as one file. Raises InputError if the format cannot hold them, StorageError if the disk fails."""
    if target.format == "excel":
        _write_workbook(session, rows, types, path)
        return
    if target.format == "jsonl":
        _refuse_not_finite(session, rows, types)
        rows = query("SELECT $values FROM $rows AS t", values=_as_json(types), rows=rows)
    options = {
        "csv": f"FORMAT csv, HEADER {str(target.header).lower()}, DELIMITER {_text(target.delimiter)}",
        "jsonl": "FORMAT json",
        "parquet": "FORMAT parquet",
    }[target.format]
    if target.format != "parquet" or target.compression != "none":
        options += f", COMPRESSION {target.compression}"
    session.execute(exp.Command(this="COPY", expression=f"({rows.sql(DIALECT)}) TO {_text(str(path))} ({options})"))


def content_in(session: DuckDBSession, types: Mapping[str, str], target: FilesTarget, path: Path) -> Content:
    """Return the content of a file as a reader gets it."""
    if target.format == "excel":
        return content_read(_workbook_texts(path, types), types)
    if target.format == "parquet":
        return content_of(session, query("SELECT * FROM read_parquet($path)", path=str(path)), types)
    texts = exp.Struct(
        expressions=[
            exp.PropertyEQ(this=exp.to_identifier(n, quoted=True), expression=exp.Literal.string("VARCHAR"))
            for n in types
        ]
    )
    if target.format == "csv":
        read: exp.Query = query(
            "SELECT * FROM read_csv($path, columns = $texts, header = $header, delim = $delimiter, quote = '\"', "
            "escape = '\"', nullstr = '', allow_quoted_nulls = FALSE, auto_detect = FALSE, compression = $packed, "
            "max_line_size = 100000000)",
            path=str(path),
            texts=texts,
            header=target.header,
            delimiter=target.delimiter,
            packed=target.compression,
        )
    else:
        read = query(
            "SELECT * FROM read_json($path, columns = $texts, format = 'newline_delimited', compression = $packed)",
            path=str(path),
            texts=texts,
            packed=target.compression,
        )
    typed = [alias(_from_text(column(name, "t"), kind), name) for name, kind in types.items()]
    return content_of(session, query("SELECT $typed FROM $rows AS t", typed=typed, rows=read), types)


def _from_text(value: exp.Expr, kind: str) -> exp.Expr:
    return exp.TryCast(this=value, to=exp.DataType.build(kind, dialect=DIALECT))


def _text(value: str) -> str:
    return exp.Literal.string(value).sql(DIALECT)


def _as_json(types: Mapping[str, str]) -> list[exp.Expr]:
    """Return the values for JSON: decimals that a double cannot hold are texts."""
    return [
        alias(exp.cast(column(name, "t"), "VARCHAR") if _is_long(kind) else column(name, "t"), name)
        for name, kind in types.items()
    ]


def _is_long(kind: str) -> bool:
    return kind.startswith("DECIMAL(") and int(kind[8:].partition(",")[0]) > _EXACT_DIGITS


def _refuse_not_finite(session: DuckDBSession, rows: exp.Query, types: Mapping[str, str]) -> None:
    for name in (name for name, kind in types.items() if kind == "DOUBLE"):
        asked = query("SELECT count_if(NOT isfinite($value)) AS n FROM $rows AS t", value=column(name, "t"), rows=rows)
        if count := session.fetch(asked).column("n")[0].as_py():
            raise InputError(
                f"writing column {name!r} as JSON",
                received=f"{count:,} values that are infinite or not a number",
                next_step="give the column the type text, or an expression; nothing was delivered",
            )


def _write_workbook(session: DuckDBSession, rows: exp.Query, types: Mapping[str, str], path: Path) -> None:
    book = Workbook(write_only=True)
    sheet = book.create_sheet("rows")
    sheet.append(list(types))
    count = 0
    for batch in session.execute(_for_excel(rows, types)).to_arrow_reader(_PORTION):
        count += batch.num_rows
        if count > _MOST_ROWS:
            raise InputError(
                f"writing {path.name}",
                received=f"more than {_MOST_ROWS:,} rows, the most of a sheet",
                next_step="divide the rows by partition_by, or choose another format; nothing was delivered",
            )
        for row in zip(*(item.to_pylist() for item in batch.columns), strict=True):
            sheet.append([_cell(sheet, value) for value in row])
    book.save(path)


def _cell(sheet: Any, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if illegal := ILLEGAL_CHARACTERS_RE.search(value):
        raise InputError(
            "writing a workbook",
            received=f"a text with the control character {illegal[0]!r}",
            next_step="remove it by an expression, or choose another format; nothing was delivered",
        )
    # a text stays a text, also if it looks like a formula
    cell = WriteOnlyCell(sheet, value)
    cell.data_type = "s"
    return cell


# Excel has doubles alone, and no zones
_IN_EXCEL = ("DOUBLE", "BOOLEAN", "DATE")


def _for_excel(rows: exp.Query, types: Mapping[str, str]) -> exp.Query:
    values = [
        alias(column(name, "t") if _is_cell(kind) else exp.cast(column(name, "t"), "VARCHAR"), name)
        for name, kind in types.items()
    ]
    found: exp.Query = query("SELECT $values FROM $rows AS t", values=values, rows=rows)
    return found


def _is_cell(kind: str) -> bool:
    return kind in _IN_EXCEL or (kind.startswith("DECIMAL(") and not _is_long(kind))


def _workbook_texts(path: Path, types: Mapping[str, str]) -> Iterator[pa.Table]:
    book = load_workbook(path, read_only=True)
    try:
        rows = book.worksheets[0].iter_rows(min_row=2, values_only=True)
        # a row ends with its last cell that has a value
        texts = [
            [*(None if value is None else str(value) for value in row), *[None] * (len(types) - len(row))]
            for row in rows
        ]
    finally:
        book.close()
    if texts:
        columns = [pa.array(values, pa.string()) for values in zip(*texts, strict=True)]
        yield pa.Table.from_arrays(columns, names=list(types))
