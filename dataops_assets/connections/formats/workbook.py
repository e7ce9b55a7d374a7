"""Scans the XML of a workbook's sheet: counts rows with content, and finds cells without a readable value.

The rows of the workbook reader are compared with this count, so the count shares no code with that reader. The scan
also finds faults that the reader does not report: a formula that was saved without its value, and a sheet that is too
large to read.
"""

from __future__ import annotations

import posixpath
import zipfile
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

from dataops_assets.config.limits import Limits
from dataops_assets.connections.formats.compression import IN_STEPS
from dataops_assets.connections.formats.staging import DELIVER_AGAIN, RawFile
from dataops_assets.errors import InputError, nearest

_CHUNK = 1 << 20
_MOST_ROWS, _MOST_COLUMNS = 1_048_576, 16_384
_RELATION = "http://schemas.openxmlformats.org/officeDocument/2006/relationships id"
_STRICT_RELATION = "http://purl.oclc.org/ooxml/officeDocument/relationships id"


@dataclass(frozen=True)
class OddCell:
    """A cell without a value. `place` is its column (from 0), `error` the error that it shows (empty for a formula)."""

    reference: str
    place: int
    error: str = ""

    def __str__(self) -> str:
        if self.error:
            return f"cell {self.reference} holds the error {self.error}"
        return f"cell {self.reference} holds a formula that was saved without its value"


@dataclass
class Sheet:
    """A sheet: its name, the number of rows with content, and by row number the cells without a value."""

    name: str
    rows: int = 0
    odd: dict[int, list[OddCell]] = field(default_factory=dict)


def look_at_sheet(file: RawFile, name: str, skip_rows: int, limits: Limits) -> Sheet:
    """Scan the sheet of this name, or the first. Raises InputError for a damaged workbook or one beyond the limits."""
    with zipfile.ZipFile(file.path) as archive:
        unbounded = [item.filename for item in archive.infolist() if item.compress_type not in IN_STEPS]
        if unbounded:
            raise file.refused(f"a workbook with parts of an unknown compression: {unbounded[0]}", "save it as .xlsx")
        size = sum(item.file_size for item in archive.infolist())
        if size > limits.document_bytes:
            raise file.refused(
                f"a workbook that unpacks to {size:,} bytes, more than limits.document_bytes "
                f"({limits.document_bytes:,})",
                "deliver CSV or Parquet, or raise the limit",
            )
        try:
            sheet, part = _sheet_part(file, archive, name)
            found = _Cells(file, sheet, skip_rows)
            with archive.open(part) as stream:
                while chunk := stream.read(_CHUNK):
                    found.parser.Parse(chunk, False)
                found.parser.Parse(b"", True)
        except (expat.ExpatError, KeyError) as error:
            raise file.refused(f"a damaged workbook: {error}", DELIVER_AGAIN) from error
    return found.sheet


def _sheet_part(file: RawFile, archive: zipfile.ZipFile, name: str) -> tuple[str, str]:
    """Return the name of the sheet and its path in the archive."""
    office = [target for target, kind, _ in _relations(archive, "_rels/.rels", "") if kind.endswith("/officeDocument")]
    if not office:
        raise file.refused("a damaged workbook: it names no main part", DELIVER_AGAIN)
    folder, _, main = office[0].rpartition("/")
    relations = _relations(archive, posixpath.join(folder, "_rels", f"{main}.rels"), folder)
    parts = {key: target for target, kind, key in relations if kind.endswith("/worksheet")}
    sheets: dict[str, str] = {}

    def start(tag: str, attributes: dict[str, str]) -> None:
        if _local(tag) == "sheet":
            sheets[attributes["name"]] = attributes.get(_RELATION) or attributes.get(_STRICT_RELATION, "")

    _parse(archive.read(office[0]), start)
    if name and name not in sheets:
        known = list(sheets)
        raise InputError(
            f"reading {file.name}", received=f"no sheet {name!r}", known=known, next_step=nearest(name, known)
        )
    if not sheets:
        raise file.refused("a workbook without sheets", DELIVER_AGAIN)
    wanted = name or next(iter(sheets))
    if sheets[wanted] not in parts:
        raise file.refused(f"{wanted!r}, which is no sheet of cells", "set the format's sheet to one that has cells")
    return wanted, parts[sheets[wanted]]


def _relations(archive: zipfile.ZipFile, part: str, folder: str) -> list[tuple[str, str, str]]:
    """Return target, kind and id of each relation of a part of the archive."""
    found: list[tuple[str, str, str]] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        if _local(tag) == "Relationship":
            target = attributes["Target"]
            path = target[1:] if target.startswith("/") else posixpath.normpath(posixpath.join(folder, target))
            found.append((path, attributes["Type"], attributes["Id"]))

    _parse(archive.read(part), start)
    return found


def _parse(content: bytes, start: Any) -> None:
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = start
    parser.Parse(content, True)


def _local(tag: str) -> str:
    return tag.rpartition(" ")[2]


class _Cells:
    """Goes over the elements of a sheet."""

    def __init__(self, file: RawFile, name: str, skip_rows: int) -> None:
        self.sheet = Sheet(name)
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.buffer_text = True
        self._file = file
        self._skip = skip_rows
        self._row = self._place = 0
        self._is_filled = self._has_formula = self._in_value = self._is_cell = False
        self._kind = self._value = ""
        self._has_inline = False

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        name = _local(tag)
        if name == "row":
            self._start_row(attributes)
        elif name == "c":
            reference = attributes.get("r", "")
            before = self._place
            self._place = _column(reference) if reference else before + 1
            # the reader would put a cell that is out of order over another one
            is_here = not reference or reference.upper() == cell_name(self._row, self._place)
            if not (before < self._place <= _MOST_COLUMNS and is_here):
                raise self._refused(f"a cell {reference!r} after column {before} of row {self._row:,}")
            self._kind = attributes.get("t", "n")
            self._has_formula = self._has_inline = False
            self._value = ""
            self._is_cell = True
        elif self._is_cell and name == "f":
            self._has_formula = True
        elif self._is_cell and name == "is":
            self._has_inline = True
        elif self._is_cell and name == "v":
            self._in_value = True

    def _start_row(self, attributes: dict[str, str]) -> None:
        try:
            row = int(attributes.get("r", self._row + 1))
        except ValueError:
            raise self._refused(f"a row numbered {attributes['r']!r}") from None
        if not self._row < row <= _MOST_ROWS:
            raise self._refused(f"a row numbered {row:,} after row {self._row:,}")
        self._row, self._place, self._is_filled = row, 0, False

    def _text(self, text: str) -> None:
        if self._in_value:
            self._value += text

    def _end(self, tag: str) -> None:
        name = _local(tag)
        if name == "v":
            self._in_value = False
        elif name == "c":
            self._end_cell()
        elif name == "row" and self._is_filled and self._row > self._skip:
            self.sheet.rows += 1

    def _end_cell(self) -> None:
        self._is_cell = False
        is_error = self._kind == "e" and bool(self._value)
        # a formula that gives an empty text has a value
        is_missing = self._has_formula and not self._value and self._kind != "str"
        if self._value or is_missing or (self._has_inline and self._kind == "inlineStr"):
            self._is_filled = True
        if (is_error or is_missing) and self._row > self._skip:
            cell = OddCell(cell_name(self._row, self._place), self._place - 1, self._value if is_error else "")
            self.sheet.odd.setdefault(self._row, []).append(cell)

    def _refused(self, received: str) -> InputError:
        return self._file.refused(f"a damaged workbook: {received}", DELIVER_AGAIN)


def _column(reference: str) -> int:
    """Return the number of a cell's column, from 1; 0 where the reference has none."""
    place = 0
    for letter in reference.upper():
        if not "A" <= letter <= "Z":
            break
        place = place * 26 + ord(letter) - 64
    return place


def cell_name(row: int, place: int) -> str:
    """Return the name of a cell of row and column, both from 1: `B2`."""
    letters = ""
    while place:
        place, rest = divmod(place - 1, 26)
        letters = chr(65 + rest) + letters
    return f"{letters}{row}"
