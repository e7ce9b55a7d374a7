"""Reads text as raw rows of texts: a record is a line of a declared form, and the lines after it belong to it."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from dataops_assets.config.connection import TextFormat
from dataops_assets.config.limits import Limits
from dataops_assets.config.text_lines import compiled
from dataops_assets.connections.formats.isolated_input import attempt
from dataops_assets.connections.formats.rewritten_files import require_kind
from dataops_assets.connections.formats.staging import RawFile, Reading, Record, Staging
from dataops_assets.errors import DataOpsError, InputError

_BYTE_ORDER_MARK = "\ufeff"


def read_text(staging: Staging, files: Sequence[RawFile], layout: TextFormat, limits: Limits) -> Reading:
    """Return the fields of `files`: the groups of the pattern, and the lines after the first one.

    A line before the first record, and a record whose first line does not match the pattern, have a problem. Blank
    lines before the first record and at the end of a record are left out. A file that is no text of the declared
    encoding, or has a record beyond the limits, gets an InputError.
    """
    reading = Reading()
    names = layout.field_names
    rewritten = []
    for file in files:
        written = attempt(file.name, _rewritten, staging, file, layout, limits)
        if isinstance(written, DataOpsError):
            reading.errors[file.input_id] = written
            continue
        path, reading.records[file.input_id] = written
        reading.headers[file.input_id] = names
        rewritten.append((path, file, names))
    reading.rows = staging.rewritten(rewritten)
    return reading


def _rewritten(staging: Staging, file: RawFile, layout: TextFormat, limits: Limits) -> tuple[Path, int]:
    require_kind(file, "", "text")
    try:
        path = staging.rewrite(len(layout.field_names), _records(file, layout, limits))
        return path, _count(file, layout, limits)
    except UnicodeError as error:
        raise file.refused(
            f"bytes that are no {layout.encoding}: {error}", "correct format.encoding, or deliver the file again"
        ) from error


def _lines(file: RawFile, layout: TextFormat, limits: Limits) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line."""
    with file.path.open(encoding=layout.encoding, newline="\n") as stream:
        for number in itertools.count(1):
            line = stream.readline(limits.record_bytes + 1)
            if not line:
                return
            if len(line) > limits.record_bytes:
                raise _too_long(file, number, limits)
            if number > layout.skip_rows:
                text = line.removesuffix("\n").removesuffix("\r")
                yield number, text.removeprefix(_BYTE_ORDER_MARK) if number == 1 else text


def _records(file: RawFile, layout: TextFormat, limits: Limits) -> Iterator[Record]:
    pattern, starts = compiled(layout.pattern), _starts(layout)
    first: tuple[int, str] | None = None
    following: list[str] = []
    size = 0
    for number, text in _lines(file, layout, limits):
        if starts(text):
            if first is not None:
                yield _record(first, following, pattern, layout)
            first, following, size = (number, text), [], len(text)
        elif first is not None:
            following.append(text)
            size += len(text) + 1
            if size > limits.record_bytes:
                raise _too_long(file, first[0], limits)
        elif text.strip():
            yield Record(number, (), "a line before the first record", _raw(text))
    if first is not None:
        yield _record(first, following, pattern, layout)


def _count(file: RawFile, layout: TextFormat, limits: Limits) -> int:
    """Count the first lines of records, and the lines before them."""
    starts = _starts(layout)
    found = begun = 0
    for _, text in _lines(file, layout, limits):
        is_first = bool(starts(text))
        found += is_first or not (begun or not text.strip())
        begun += is_first
    return found


def _starts(layout: TextFormat) -> Callable[[str], object]:
    """Return what says whether a line is the first one of a record."""
    return compiled(layout.start).match if layout.start else compiled(layout.pattern).fullmatch


def _record(first: tuple[int, str], following: Sequence[str], pattern: re.Pattern[str], layout: TextFormat) -> Record:
    number, text = first
    while following and not following[-1].strip():
        following = following[:-1]
    found = pattern.fullmatch(text)
    if found is None:
        problem = "the first line of the record does not match the pattern"
        return Record(number, (), problem, _raw("\n".join([text, *following])))
    fields = found.groupdict()
    groups = list(fields)
    rest = layout.rest or groups[-1]
    if following:
        own = fields.get(rest)
        fields[rest] = "\n".join(following if own is None else [own, *following])
    return Record(number, [fields.get(name) for name in layout.field_names])


def _raw(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _too_long(file: RawFile, line: int, limits: Limits) -> InputError:
    return file.refused(
        f"a record of more than {limits.record_bytes:,} bytes (limits.record_bytes) at line {line:,}",
        "look at the pattern and at the line ends, or raise the limit",
    )
