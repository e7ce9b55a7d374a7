"""Reads Excel workbooks (.xlsx) as raw rows of texts."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import openpyxl
from openpyxl.utils.escape import unescape
from openpyxl.utils.exceptions import InvalidFileException

from dataops_assets.config.connection import ExcelFormat
from dataops_assets.config.limits import Limits
from dataops_assets.connections.formats.header import named
from dataops_assets.connections.formats.isolated_input import attempt
from dataops_assets.connections.formats.null_words import NullWords
from dataops_assets.connections.formats.signatures import HEAD_BYTES, kind_of
from dataops_assets.connections.formats.staging import DELIVER_AGAIN, RawFile, Reading, Record, Staging, Wanted
from dataops_assets.connections.formats.workbook import OddCell, Sheet, cell_name, look_at_sheet
from dataops_assets.errors import DataOpsError

# how the reader shows a number that has the format of a date and is none
_NO_DATE = "#VALUE!"


def read_excel(
    staging: Staging, files: Sequence[RawFile], layout: ExcelFormat, wanted: Wanted, limits: Limits
) -> Reading:
    """Return the rows of one sheet of each workbook. The contract names the fields where there is no header.

    Empty rows are no rows. A row in which a wanted column holds a formula without its value, or an error such as
    #DIV/0!, has a problem. Workbooks that are damaged or lack the sheet or the header get an InputError.
    """
    reading = Reading()
    rewritten = []
    for file in files:
        found = attempt(file.name, _rewritten, staging, file, layout, wanted, limits)
        if isinstance(found, DataOpsError):
            reading.errors[file.input_id] = found
            continue
        path, header, unnamed, records = found
        reading.headers[file.input_id] = header
        reading.unnamed[file.input_id] = unnamed
        reading.records[file.input_id] = records
        rewritten.append((path, file, header))
    reading.rows = staging.rewritten(rewritten)
    return reading


def _rewritten(
    staging: Staging, file: RawFile, layout: ExcelFormat, wanted: Wanted, limits: Limits
) -> tuple[Path, tuple[str, ...], frozenset[str], int]:
    with file.path.open("rb") as stream:
        kind = kind_of(stream.read(HEAD_BYTES))
    if kind != "zip":
        raise file.refused(f"{kind or 'bytes of another kind'}, not an .xlsx workbook", "save it as .xlsx")
    try:
        sheet = look_at_sheet(file, layout.sheet, layout.skip_rows, limits)
        with file.path.open("rb") as stream:
            workbook = openpyxl.load_workbook(stream, read_only=True, data_only=True)
            cells = workbook[sheet.name]
            # some programs write a wrong size into the sheet, and rows beyond it would be lost
            cells.reset_dimensions()
            header, unnamed, records = _table(file, cells.iter_rows(values_only=True), sheet, layout, wanted)
            path = staging.rewrite(len(header), records)
    except (zipfile.BadZipFile, InvalidFileException, KeyError, ValueError, EOFError) as error:
        raise file.refused(f"a damaged workbook: {error}", DELIVER_AGAIN) from error
    except IndexError as error:
        # so says that reader of a cell whose number leads nowhere
        missing = "a damaged workbook: a cell refers to a shared text or a style that is not in it"
        raise file.refused(missing, DELIVER_AGAIN) from error
    return path, header, unnamed, sheet.rows - layout.header


def _table(
    file: RawFile, rows: Iterable[tuple[Any, ...]], sheet: Sheet, layout: ExcelFormat, wanted: Wanted
) -> tuple[tuple[str, ...], frozenset[str], Iterator[Record]]:
    texts = ((number, [_text(value) for value in row]) for number, row in enumerate(rows, start=1))
    filled = (
        (number, row)
        for number, row in itertools.islice(texts, layout.skip_rows, None)
        if number in sheet.odd or any(value is not None for value in row)
    )
    if not layout.header:
        names = tuple(wanted.names)
        return names, frozenset(), _records(filled, sheet, layout, names, wanted)
    first = next(filled, None)
    if first is None:
        raise file.refused("no header row", "deliver the workbook with its header, or correct sheet and skip_rows")
    if first[0] in sheet.odd:
        raise file.refused(
            f"a header that cannot be read: {sheet.odd[first[0]][0]}", "save the workbook with its values"
        )
    header = [*first[1]]
    while header and not (header[-1] or "").strip():
        header.pop()
    names, unnamed = named(header)
    return names, unnamed, _records(filled, sheet, layout, names, wanted)


def _records(
    rows: Iterator[tuple[int, list[str | None]]],
    sheet: Sheet,
    layout: ExcelFormat,
    names: Sequence[str],
    wanted: Wanted,
) -> Iterator[Record]:
    width = len(names)
    words = NullWords(layout, wanted)
    for number, row in rows:
        fields = row[:width] + [None] * (width - len(row))
        problem = None
        if any(value is not None for value in row[width:]):
            problem = f"values beyond the {width} columns of the sheet"
        for cell in (*sheet.odd.get(number, ()), *_no_dates(number, fields, sheet)):
            is_read = cell.place >= width or wanted.has(names[cell.place])
            is_null = bool(cell.error) and cell.place < width and cell.error in words.of(names[cell.place])
            if problem is None and is_read and not is_null:
                problem = str(cell)
        if problem is None:
            yield Record(number, fields)
        else:
            yield Record(number, (), problem, json.dumps(row, ensure_ascii=False))


def _no_dates(number: int, fields: Sequence[str | None], sheet: Sheet) -> list[OddCell]:
    """Return the cells that the reader shows as an error and the sheet does not: a date beyond the calendar.

    A text of the same letters cannot be told apart from it, so it counts as an error, too.
    """
    if _NO_DATE not in fields:
        return []
    known = {cell.place for cell in sheet.odd.get(number, ())}
    places = [place for place, value in enumerate(fields) if value == _NO_DATE and place not in known]
    return [OddCell(cell_name(number, place + 1), place, _NO_DATE) for place in places]


def _unescaped(text: str) -> str:
    """Return a text with its escapes as signs; a workbook stores a carriage return as _x000D_."""
    try:
        # a sign beyond four digits is two escapes
        return unescape(text).encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError:
        return text


def _text(value: Any) -> str | None:
    """Return a cell as the text that the conversions read."""
    if isinstance(value, str):
        return _unescaped(value) if "_x" in value else value
    if value is None:
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        # a workbook has no integers
        return str(int(value))
    if isinstance(value, dt.datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    return str(value)
