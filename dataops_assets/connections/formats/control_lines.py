"""Takes the declared first and last lines from text files, with the totals that they tell.

The last lines are cut off a copy of the file. The first ones stay, and are skipped, so that lines keep their numbers.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
from collections.abc import Sequence
from typing import NamedTuple

from dataops_assets.config.connection import CsvFormat, FixedWidthFormat
from dataops_assets.config.limits import Limits
from dataops_assets.config.text_lines import ControlLine, compiled
from dataops_assets.connections.formats.signatures import HEAD_BYTES, kind_of
from dataops_assets.connections.formats.staging import ControlTotal, RawFile, Staging
from dataops_assets.connections.formats.text_encoding import as_utf8, undecodable

_CHUNK = 1 << 20
_MOST_SHOWN = 80
_BOM = b"\xef\xbb\xbf"
_TextLayout = CsvFormat | FixedWidthFormat


class Records(NamedTuple):
    """A file without its control lines: in UTF-8, how it is read now, and the totals that its control lines tell."""

    file: RawFile
    layout: _TextLayout
    totals: tuple[ControlTotal, ...]


def records_of(staging: Staging, file: RawFile, layout: _TextLayout, limits: Limits) -> Records:
    """Return a file without its declared control lines. Raises InputError if a line of them is missing."""
    with file.path.open("rb") as stream:
        kind = kind_of(stream.read(HEAD_BYTES))
    if kind:
        raise file.refused(f"{kind}, not text", "correct format and compression, or deliver the right file")
    try:
        text = as_utf8(staging, file, layout.encoding)
        first = _first_lines(text, len(layout.header_lines), limits)
        last, size = _last_lines(text, len(layout.trailer_lines), limits)
    except UnicodeError as error:
        raise file.refused(
            undecodable(file, layout.encoding, error), "set the format's encoding to the file's"
        ) from error
    totals = [*_matched(file, layout.header_lines, first, "first", layout)]
    totals += _matched(file, layout.trailer_lines, last, "last", layout)
    if layout.trailer_lines:
        text = _cut(staging, text, size)
    skipped = layout.skip_rows + len(layout.header_lines)
    changed = {"encoding": "utf-8", "skip_rows": skipped, "header_lines": (), "trailer_lines": ()}
    return Records(text, layout.model_copy(update=changed), tuple(totals))


def _first_lines(file: RawFile, count: int, limits: Limits) -> list[str]:
    # as the readers break lines; a line is no longer than a record may be
    with file.path.open(encoding="utf-8-sig", newline="") as stream:
        lines = (stream.readline(limits.record_bytes) for _ in itertools.count())
        return [line.rstrip("\r\n") for line in itertools.islice(itertools.takewhile(bool, lines), count)]


def _last_lines(file: RawFile, count: int, limits: Limits) -> tuple[list[str], int]:
    """Return the last lines that are not blank, in order, and the size of the file before them."""
    if not count:
        return [], 0
    size = file.path.stat().st_size
    length = min(size, _CHUNK)
    while True:
        with file.path.open("rb") as stream:
            stream.seek(size - length)
            tail = stream.read(length)
        if length == size:
            tail = tail.removeprefix(_BOM)
        lines = [found for found in re.finditer(rb"[^\r\n]+", tail) if found[0].strip()]
        # the first line of a part of the file can be cut
        if len(lines) > count or length == size:
            break
        if length > count * limits.record_bytes:
            raise file.refused(
                f"a last line of more than {limits.record_bytes:,} bytes (limits.record_bytes)", "raise the limit"
            )
        length = min(size, 2 * length)
    taken = lines[-count:]
    before = size - len(tail) + (taken[0].start() if taken else 0)
    return [found[0].decode("utf-8") for found in taken], before


def _matched(
    file: RawFile,
    declared: Sequence[ControlLine],
    lines: Sequence[str],
    which: str,
    layout: _TextLayout,
) -> list[ControlTotal]:
    totals = []
    for place, (line, text) in enumerate(itertools.zip_longest(declared, lines), start=1):
        called = f"the {which} line" if len(declared) == 1 else f"line {place} of the {which} {len(declared)}"
        found = None if text is None else compiled(line.pattern).fullmatch(text)
        if found is None:
            told = "no such line" if text is None else f"{text[:_MOST_SHOWN]!r}"
            raise file.refused(
                f"{told} as {called}, which is declared as {line.pattern!r}",
                "the file is cut off or of another feed: deliver it again, or correct the format's "
                f"{'header_lines' if which == 'first' else 'trailer_lines'}",
            )
        totals += [
            ControlTotal(
                name,
                value,
                called,
                line.decimal_mark or layout.decimal_mark,
                line.thousands_mark or layout.thousands_mark,
            )
            for name, value in found.groupdict().items()
            if value is not None
        ]
    return totals


def _cut(staging: Staging, file: RawFile, size: int) -> RawFile:
    path = staging.path()
    shutil.copyfile(file.path, path)
    os.truncate(path, size)
    return RawFile(file.input_id, file.name, path)
