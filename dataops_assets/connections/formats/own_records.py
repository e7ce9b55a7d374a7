"""Reads files of a format of one's own: a function in Python makes their records.

It is called as `function(path, **arguments)` with the path of the file, unpacked and decrypted, and yields its records
in order: a mapping of fields, or a `Rejected` record. What it raises stops the input of that file alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataops_assets.config.connection import PythonFormat
from dataops_assets.config.limits import Limits
from dataops_assets.connections.formats.documents import of_whole_documents, read_documents
from dataops_assets.connections.formats.json_text import json_text
from dataops_assets.connections.formats.staging import RawFile, Reading, Staging, Wanted
from dataops_assets.connections.formats.told_problems import ToldProblem, tell_problems
from dataops_assets.connections.python import function_of
from dataops_assets.errors import InputError


@dataclass(frozen=True)
class Rejected:
    """A record that a function could not make: it goes to the quarantine with the reason."""

    reason: str
    record: str


Records = Callable[..., Iterable[Mapping[str, Any] | Rejected]]
"""A function that makes the records of a file."""


def read_own(
    staging: Staging, files: Sequence[RawFile], layout: PythonFormat, wanted: Wanted, limits: Limits
) -> Reading:
    """Return the wanted fields of the records that the declared function makes of `files`.

    The number of records of a file is what the function `count` returns, or the number that it made.
    """
    problems: list[ToldProblem] = []
    made = function_of(layout.function, "connection.format.function")
    count = function_of(layout.count, "connection.format.count") if layout.count else None

    def as_lines(file: RawFile) -> tuple[Path, int]:
        target, number = staging.path(), 0
        with target.open("w", encoding="utf-8", newline="\n") as out:
            for record in made(file.path, **layout.arguments):
                if isinstance(record, Rejected):
                    problems.append(ToldProblem(file.input_id, number, record.reason, record.record))
                    out.write("{}\n")
                else:
                    out.write(_line(file, number, record) + "\n")
                number += 1
        return target, number if count is None else count(file.path, **layout.arguments)

    reading = read_documents(staging, files, as_lines, (), wanted, of_whole_documents(limits))
    tell_problems(staging, reading, problems)
    return reading


def _line(file: RawFile, number: int, record: Any) -> str:
    if not isinstance(record, Mapping) or not all(isinstance(name, str) for name in record):
        raise InputError(
            f"reading {file.name}",
            received=f"record {number + 1:,} is a {type(record).__name__}, or has a key that is no text",
            known=["a mapping of names and values", "Rejected(reason, record)"],
            next_step="yield one of these in connection.format.function",
        )
    try:
        return json_text({name: _known(value) for name, value in record.items()})
    except TypeError as error:
        raise InputError(
            f"reading {file.name}",
            received=f"record {number + 1:,}: {error}",
            known=["texts, numbers, booleans, dates, times, None, lists and mappings of them"],
            next_step="make one of these of the value",
        ) from error


def _known(value: Any) -> Any:
    # numbers that JSON does not know are read as texts
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
