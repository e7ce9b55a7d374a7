"""Repair rows that are kept out of a hub, and replay the inputs that have such rows."""

from __future__ import annotations

import csv
import datetime as dt
import getpass
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataops_assets.errors import InputError
from dataops_assets.operations.rerun import Begin, run_again
from dataops_assets.report import Input
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.upkeep import quarantine
from dataops_assets.storage.corrections import Values

if TYPE_CHECKING:
    from dataops_assets.components.by_hand import Done

_CELL = ("input", "row", "column", "value")
Places = Mapping[tuple[str, int], Values | None]


@dataclass(frozen=True)
class Correction:
    """The options of a correction: a row with its new values or without corrections, or a file of corrections."""

    input: str | None = None
    row: int | None = None
    set: Sequence[str] = ()
    withdraw: bool = False
    file: Path | None = None


@dataclass(frozen=True)
class Replayed:
    """Inputs whose steps were run again; `done` is None if no input has rows that are kept out."""

    inputs: Sequence[Input]
    done: Done | None


@dataclass(frozen=True)
class Repaired:
    """A recorded correction: the number of rows, who made it, the replay, and the rows that are still kept out."""

    rows: int
    by: str
    replayed: Replayed
    left: Sequence[tuple[str, int]]


def repair(context: SourceContext, correction: Correction, by: str, begin: Begin) -> Repaired:
    """Record corrections and run the steps of their inputs again.

    `by` is a person; default: the user of the operating system. Raises DataOpsError.
    """
    rows = _corrections(correction)
    made_by = by or getpass.getuser()
    inputs = quarantine.repair(context, rows, made_by=made_by, made_at=dt.datetime.now(dt.UTC))
    replayed = _again(context, inputs, begin)
    return Repaired(len(rows), made_by, replayed, quarantine.still_kept_out(context, rows))


def replay(context: SourceContext, input_ids: Sequence[str], begin: Begin) -> Replayed:
    """Run the steps of inputs again, from parse to the hub; default: all inputs with rows that are kept out."""
    inputs = quarantine.inputs_with_rows_kept_out(context)
    if input_ids:
        inputs = context.metadata.inputs(context.source.name, input_ids)
    return _again(context, inputs, begin)


def _again(context: SourceContext, inputs: Sequence[Input], begin: Begin) -> Replayed:
    done = run_again(context, inputs, "parse", "dataops quarantine", begin) if inputs else None
    return Replayed(inputs, done)


# --- what is given ---------------------------------------------------------------------------------------------------


def _corrections(given: Correction) -> Places:
    """Return the corrections by input and row. Raises InputError for invalid options or files."""
    if given.file is not None:
        if given.input or given.row is not None or given.set or given.withdraw:
            raise _wrong("--from together with --input, --row, --set or --withdraw", "give one of the two")
        return _from_file(given.file)
    if not given.input or given.row is None or bool(given.set) == given.withdraw:
        raise _wrong("no row or no correction", "give --input, --row and --set (or --withdraw), or --from a file")
    place = (given.input, given.row)
    if given.withdraw:
        return {place: None}
    cells = [text.partition("=") for text in given.set]
    if without := [name for name, sign, _ in cells if not sign]:
        raise _wrong(f"--set {without[0]}", "write column=value; nothing after = is null")
    return {place: {name: value or None for name, _, value in cells}}


def _from_file(path: Path) -> Places:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong(f"{path}: {error}", "give a readable file in UTF-8") from error
    if path.suffix.lower() == ".json":
        try:
            cells = json.loads(text)
        except ValueError as error:
            raise _wrong(f"{path}: {error}", "give JSON: a list of corrections") from error
    else:
        cells = [{**cell, "value": cell.get("value") or None} for cell in csv.DictReader(io.StringIO(text, newline=""))]
    if not isinstance(cells, list) or not cells:
        raise _wrong(f"{path}: no corrections", f"give a list with {', '.join(_CELL)} each")
    rows: dict[tuple[str, int], dict[str, str | None]] = {}
    for number, cell in enumerate(cells, 1):
        place, name, value = _checked(path, number, cell)
        if rows.setdefault(place, {}).setdefault(name, value) != value:
            raise _wrong(f"{path}, correction {number}: {name} of row {place[1]} has two values", "give it once")
    return rows


def _checked(path: Path, number: int, cell: Any) -> tuple[tuple[str, int], str, str | None]:
    where = f"{path}, correction {number}"
    if not isinstance(cell, Mapping) or any(name not in cell for name in _CELL):
        raise _wrong(f"{where}: {cell!r}", f"give each correction {', '.join(_CELL)}")
    input_id, row, name, value = (cell[key] for key in _CELL)
    if not str(row).isdecimal():
        raise _wrong(f"{where}: row {row!r}", "give the row's position, a number from 0")
    if not input_id or not name:
        raise _wrong(f"{where}: {cell!r}", "name an input and a column of the contract")
    if value is not None and not isinstance(value, str):
        value = json.dumps(value)
    return (str(input_id), int(row)), str(name), value


def _wrong(received: str, next_step: str) -> InputError:
    return InputError("reading corrections", received=received, next_step=next_step)
