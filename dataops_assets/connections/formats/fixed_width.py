"""Reads text with fixed positions as raw rows of texts: each line is a record, each field has its place in it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from dataops_assets.config.connection import FixedWidthFormat
from dataops_assets.connections.formats.isolated_input import attempt
from dataops_assets.connections.formats.record_types import RecordTypes
from dataops_assets.connections.formats.rewritten_files import require_kind
from dataops_assets.connections.formats.staging import RawFile, Reading, Record, Staging
from dataops_assets.errors import DataOpsError

_BYTE_ORDER_MARK = "\ufeff"


def read_fixed_width(staging: Staging, files: Sequence[RawFile], layout: FixedWidthFormat) -> Reading:
    """Return the fields of `files`, without the blanks around them. Blank lines are no records.

    Records of other types than the declared ones are counted as filtered.

    A line has a problem if it ends before the last field (unless `short_lines` is `pad`), or if characters other than
    blanks follow the last field. A file that is no text of the declared encoding gets an InputError.
    """
    reading = Reading()
    names = tuple(item.name for item in layout.fields)
    rewritten = []
    for file in files:
        written = attempt(file.name, _rewritten, staging, file, layout)
        if isinstance(written, DataOpsError):
            reading.errors[file.input_id] = written
            continue
        path, reading.records[file.input_id], reading.filtered[file.input_id] = written
        reading.headers[file.input_id] = names
        rewritten.append((path, file, names))
    reading.rows = staging.rewritten(rewritten)
    return reading


def _rewritten(staging: Staging, file: RawFile, layout: FixedWidthFormat) -> tuple[Path, int, int]:
    """Return the new file, the number of all records, and how many of them are filtered."""
    require_kind(file, "", "text")
    types = RecordTypes(layout.record_type)
    try:
        path = staging.rewrite(
            len(layout.fields),
            (_record(line, text, layout) for line, text in _lines(file, layout) if types.takes(_type_of(text, layout))),
        )
        return path, sum(1 for _ in _lines(file, layout)), types.filtered
    except UnicodeError as error:
        raise file.refused(
            f"bytes that are no {layout.encoding}: {error}", "correct format.encoding, or deliver the file again"
        ) from error


def _type_of(text: str, layout: FixedWidthFormat) -> str | None:
    """Return the type of a record; None if its line ends before the type does."""
    place = layout.record_type
    if place is None or len(text) < place.start - 1 + place.width:
        return None
    return text[place.start - 1 : place.start - 1 + place.width].strip()


def _lines(file: RawFile, layout: FixedWidthFormat) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line that is not blank."""
    with file.path.open(encoding=layout.encoding, newline="\n") as stream:
        for number, line in enumerate(itertools.islice(stream, layout.skip_rows, None), start=layout.skip_rows + 1):
            text = line.removesuffix("\n").removesuffix("\r")
            if number == 1:
                text = text.removeprefix(_BYTE_ORDER_MARK)
            if text.strip():
                yield number, text


def _record(number: int, text: str, layout: FixedWidthFormat) -> Record:
    end = max(item.start + item.width - 1 for item in layout.fields)
    problem = ""
    if len(text) < end and layout.short_lines == "reject":
        problem = f"the line has {len(text):,} characters, and its last field ends at {end:,}"
    elif text[end:].strip():
        problem = f"characters follow the last field, which ends at {end:,}"
    if problem:
        return Record(number, (), problem, json.dumps({"line": text}, ensure_ascii=False))
    return Record(number, [text[item.start - 1 : item.start - 1 + item.width].strip() for item in layout.fields])
