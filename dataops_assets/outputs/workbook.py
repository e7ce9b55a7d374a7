"""Writes workbooks of Excel and reads them back. Its library is imported only where a workbook is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from openpyxl import Workbook, load_workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
from sqlglot import exp

from dataops_assets.engines.duckdb import DuckDBSession
from dataops_assets.errors import InputError
from dataops_assets.outputs.long_decimals import is_long
from dataops_assets.sql import alias, column, query

# the most that a sheet of Excel can have, with its header
_MOST_ROWS = 1_048_575
_PORTION = 10_000


def write_workbook(session: DuckDBSession, rows: exp.Query, types: Mapping[str, str], path: Path) -> None:
    """Write rows as one workbook. Raises InputError if a sheet cannot hold them."""
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
    return kind in _IN_EXCEL or (kind.startswith("DECIMAL(") and not is_long(kind))


def texts_of_workbook(path: Path, types: Mapping[str, str]) -> Iterator[pa.Table]:
    """Yield the rows of a workbook as texts."""
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
