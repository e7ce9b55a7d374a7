"""Excel workbooks (.xlsx) as raw rows of texts."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

import openpyxl
from openpyxl.utils.exceptions import InvalidFileException

from dataops_assets.config.connection import ExcelFormat
from dataops_assets.connections.formats.signatures import HEAD_BYTES, kind_of
from dataops_assets.connections.formats.staging import RawFile, Reading, Record, Staging
from dataops_assets.errors import InputError

_DELIVER_AGAIN = "the file is damaged or incomplete: deliver it again"


def read_excel(staging: Staging, files: Sequence[RawFile], layout: ExcelFormat, names: Sequence[str]) -> Reading:
    """The rows of one sheet of each workbook. `names` name the fields where there is no header.

    Empty rows are no rows. Workbooks that are damaged or lack the sheet or the header get an InputError.
    """
    reading = Reading()
    rewritten = []
    for file in files:
        try:
            sheet = _sheet(file, layout)
            header, records = _table(file, sheet, layout, names)
        except InputError as error:
            reading.errors[file.input_id] = error
            continue
        reading.headers[file.input_id] = header
        rewritten.append((staging.rewrite(len(header), records), file, header))
    reading.rows = staging.rewritten(rewritten)
    return reading


def _sheet(file: RawFile, layout: ExcelFormat) -> list[tuple[Any, ...]]:
    """The values of the sheet's rows."""
    with file.path.open("rb") as stream:
        kind = kind_of(stream.read(HEAD_BYTES))
    if kind != "zip":
        raise file.refused(f"{kind or 'bytes of another kind'}, not an .xlsx workbook", "save it as .xlsx")
    try:
        with file.path.open("rb") as stream:
            workbook = openpyxl.load_workbook(stream, read_only=True, data_only=True)
            known = list(workbook.sheetnames)
            if layout.sheet and layout.sheet not in known:
                raise InputError(f"reading {file.name}", received=f"no sheet {layout.sheet!r}", known=known)
            sheet = workbook[layout.sheet or known[0]]
            # some programs write a wrong size into the sheet, and rows beyond it would be lost
            sheet.reset_dimensions()
            return list(sheet.iter_rows(values_only=True))
    except (zipfile.BadZipFile, InvalidFileException, KeyError, ValueError, EOFError, OSError) as error:
        raise file.refused(f"a damaged workbook: {error}", _DELIVER_AGAIN) from error


def _table(
    file: RawFile, sheet: Sequence[tuple[Any, ...]], layout: ExcelFormat, names: Sequence[str]
) -> tuple[tuple[str, ...], Iterator[Record]]:
    rows = ((number, [_text(value) for value in row]) for number, row in enumerate(sheet, start=1))
    filled = (
        (number, row)
        for number, row in itertools.islice(rows, layout.skip_rows, None)
        if any(value is not None for value in row)
    )
    if not layout.header:
        return tuple(names), _records(filled, len(names))
    first = next(filled, None)
    if first is None:
        raise file.refused("no header row", "deliver the workbook with its header, or correct sheet and skip_rows")
    header = [(value or "").strip() for value in first[1]]
    while header and not header[-1]:
        header.pop()
    return tuple(header), _records(filled, len(header))


def _records(rows: Iterator[tuple[int, list[str | None]]], width: int) -> Iterator[Record]:
    for number, row in rows:
        fields = row[:width] + [None] * (width - len(row))
        if any(value is not None for value in row[width:]):
            problem = f"values beyond the {width} columns of the sheet"
            yield Record(number, (), problem, json.dumps(row, ensure_ascii=False))
        else:
            yield Record(number, fields)


def _text(value: Any) -> str | None:
    """A cell as the text that the conversions read."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        # a workbook knows no integers
        return str(int(value))
    if isinstance(value, dt.datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    return str(value)
