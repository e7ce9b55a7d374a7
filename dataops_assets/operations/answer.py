"""The answer of a command: its values for a program, and tables, items and lines for a person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Column:
    """A column of a table. `number`: its cells are aligned at the right."""

    name: str
    number: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of texts below named columns.

    `is_prose`: the cells are sentences. Plain text shows each row as 'first: second', with the other cells below.
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    is_prose: bool = False


@dataclass(frozen=True)
class Item:
    """One thing to read: its state in a word (failed, held, ...), what it is, and indented lines about it."""

    state: str
    what: str
    lines: Sequence[str] = ()


@dataclass(frozen=True)
class Raw:
    """A text that is written as it is, such as CSV: a program reads it, or a person pipes it into a file."""

    text: str


Shown = Table | Item | Raw | str


@dataclass(frozen=True)
class Answer:
    """The result of a command.

    * `data`: values of JSON, for `--json`.
    * `shown`: the same for a person.
    * `notes`: lines that go to the error stream, so that the standard output has only rows.
    * `found`: whether anything is held, failed or found; then the exit code is 1.
    """

    data: Any
    shown: Sequence[Shown] = ()
    notes: Sequence[str] = ()
    found: bool = False
