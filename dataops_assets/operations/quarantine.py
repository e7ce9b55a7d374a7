"""The `dataops quarantine` commands: list rows that are kept out of a hub, repair rows, replay inputs."""

from __future__ import annotations

import argparse
import csv
import datetime as dt
import getpass
import io
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from dataops_assets.errors import InputError
from dataops_assets.operations.rerun import Say, run_again
from dataops_assets.report import Input
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.upkeep.quarantine import KeptOut, inputs_with_rows_kept_out, kept_out, repair, still_kept_out
from dataops_assets.storage.corrections import Values

_LIMIT = 20
_CELL = ("input", "row", "column", "value")
Places = Mapping[tuple[str, int], Values | None]


def add_commands(commands: Any) -> None:
    """Add the commands to the parser."""
    quarantine = commands.add_parser("quarantine", help="rows that are kept out of a hub")
    acts = quarantine.add_subparsers(dest="act", required=True)
    listing = acts.add_parser("list", help="show rows that are kept out, with the rule and the place in the input")
    listing.add_argument("source")
    listing.add_argument("--input", action="append", default=[], help="only this input; can be repeated")
    listing.add_argument("--rule", default="", help="only rows that this rule keeps out of the hub")
    listing.add_argument(
        "--limit", type=int, default=_LIMIT, help="maximum number of rows of a step; 0: all (default: %(default)s)"
    )
    listing.add_argument(
        "--format",
        choices=("text", "csv", "json"),
        default="text",
        help="output format; csv and json are input for repair --from",
    )
    replay = acts.add_parser("replay", help="run the steps again for inputs with rows that are kept out")
    replay.add_argument("source")
    replay.add_argument("--input", action="append", default=[], help="this input; default: all inputs with such rows")
    mend = acts.add_parser("repair", help="correct rows, and run the steps of their inputs again")
    mend.add_argument("source")
    mend.add_argument("--input", help="the input's id")
    mend.add_argument("--row", type=int, help="position of the row in the input, from 0")
    mend.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="COLUMN=VALUE",
        help="new value of a column; nothing after = is null",
    )
    mend.add_argument("--withdraw", action="store_true", help="withdraw the earlier corrections of the row")
    mend.add_argument(
        "--from",
        dest="file",
        type=Path,
        help="a .csv or .json file with input, row, column and value of each correction",
    )
    mend.add_argument("--by", default="", help="name of the person; default: the user of the operating system")


@dataclass(frozen=True)
class Quarantine:
    """The commands for one source. `say` shows a line to a person, `write` prints rows that can be piped."""

    context: SourceContext
    say: Say
    write: Say

    def run(self, given: argparse.Namespace) -> int:
        """Run the command and return the exit status. Raises DataOpsError."""
        if given.act == "list":
            return self.list(given)
        if given.act == "repair":
            return self.repair(given)
        inputs = inputs_with_rows_kept_out(self.context)
        if given.input:
            inputs = self.context.metadata.inputs(self.context.source.name, given.input)
        return self.replay(inputs)

    def list(self, given: argparse.Namespace) -> int:
        """Show rows, and the number of rows that each rule keeps out."""
        limit = given.limit if given.limit > 0 else None
        found = kept_out(self.context, input_ids=given.input, rule=given.rule, limit=limit)
        if given.format == "csv":
            self.write(_as_csv(found.rows))
        elif given.format == "json":
            self.write(json.dumps([_cell(item) for item in found.rows], indent=2, ensure_ascii=False))
        else:
            for item in found.rows:
                self.write(_as_text(item))
        for rule, count in sorted(found.totals.items(), key=lambda item: (-item[1], item[0])):
            self.say(f"{count:,} rows: {rule}")
        if not found.totals:
            self.say(f"no row is kept out of hub/{self.context.source.name}")
        return 0

    def repair(self, given: argparse.Namespace) -> int:
        """Record corrections and run the steps of their inputs again."""
        rows = _corrections(given)
        made_by = given.by or getpass.getuser()
        inputs = repair(self.context, rows, made_by=made_by, made_at=dt.datetime.now(dt.UTC))
        self.say(f"recorded: {len(rows):,} rows of {len(inputs):,} inputs, by {made_by}")
        status = self.replay(inputs)
        left = still_kept_out(self.context, rows)
        for input_id, row in left[:_LIMIT]:
            self.say(f"still kept out: row {row} of input {input_id}")
        return 1 if left else status

    def replay(self, inputs: Sequence[Input]) -> int:
        """Run the steps of inputs again, from parse to the hub."""
        if not inputs:
            self.say(f"no row is kept out of hub/{self.context.source.name}")
            return 0
        return run_again(self.context, inputs, "parse", "dataops quarantine", self.say)


# --- what is shown ---------------------------------------------------------------------------------------------------


def _cell(item: KeptOut) -> dict[str, Any]:
    named = asdict(item)
    return {"input": named.pop("input_id"), "row": named.pop("row_id"), **named}


def _as_csv(rows: Sequence[KeptOut]) -> str:
    names = ["input", "row", *[field.name for field in fields(KeptOut)[2:]]]
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_cell(item) for item in rows)
    return text.getvalue().rstrip("\n")


def _as_text(item: KeptOut) -> str:
    line = f", line {item.line}" if item.line is not None else ""
    # escaped, because a value may contain control characters of a terminal
    shown = "" if item.value is None and item.column is None else f": {item.column or 'record'} = {item.value!r}"
    return f"{item.input_id} row {item.row_id} ({item.origin}{line}): {item.rule}{shown}"


# --- what is given ---------------------------------------------------------------------------------------------------


def _corrections(given: argparse.Namespace) -> Places:
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


def say_to_person(text: str) -> None:
    """Write a line to the error stream, so that the piped output has only rows."""
    sys.stderr.write(f"{text}\n")
