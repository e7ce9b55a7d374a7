"""The one place that writes: tables and a spinner on a terminal, plain stable text elsewhere, one JSON document.

Plain text has no colours, no frames and no line breaks that depend on a width: cron, CI and pipes get it. With JSON,
everything else goes to the error stream.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TextIO

from dataops_assets.operations.answer import Answer, Item, Raw, Shown, Table

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.status import Status

# all but tab and line feed: text of a file or an error can hold the commands of a terminal
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_WIDEST = 1_000_000
_STYLES = {
    "done": "green",
    "stopped": "bold red",
    "failed": "bold red",
    "refused": "bold red",
    "held": "bold yellow",
    "waiting": "cyan",
    "running": "cyan",
    "to do": "cyan",
}
_CURRENT: ContextVar[Output] = ContextVar("output")


def output() -> Output:
    """Return the output of the command that runs."""
    return _CURRENT.get()


class Output:
    """Writes what a command does and answers.

    `stop_if_told` is called before a piece of work begins; it raises KeyboardInterrupt if the command shall end.
    """

    def __init__(
        self, out: TextIO, err: TextIO, *, as_data: bool = False, stop_if_told: Callable[[], None] = lambda: None
    ) -> None:
        self.as_data = as_data
        self._out, self._err = out, err
        # what is told on the way belongs to the result that a person reads, and never to the document
        self._told = err if as_data else out
        self._stop_if_told = stop_if_told
        self._status: Status | None = None

    @contextmanager
    def current(self) -> Iterator[Output]:
        """Let `output()` return this one in the block, and end the spinner after it."""
        token = _CURRENT.set(self)
        try:
            yield self
        finally:
            self._rest()
            _CURRENT.reset(token)

    def begin(self, what: str) -> None:
        """Show what is being done: a spinner on a terminal, else a line. Raises KeyboardInterrupt if asked to stop."""
        self._stop_if_told()
        console = _console(self._told)
        if console is None:
            self._line(self._told, f"  {what} ...")
        elif self._status is None:
            self._status = console.status(_text(what))
            self._status.start()
        else:
            self._status.update(_text(what))

    def say(self, *shown: Shown) -> None:
        """Tell a person what was done."""
        for item in shown:
            self._show(item, self._told)

    def note(self, text: str) -> None:
        """Write a line to the error stream."""
        self._line(self._err, text)

    def answer(self, answer: Answer) -> None:
        """Write the result."""
        self._rest()
        for text in answer.notes:
            self.note(text)
        if self.as_data:
            _put(self._out, as_json(answer.data))
            return
        for item in answer.shown:
            self._show(item, self._out)

    def _show(self, item: Shown, stream: TextIO) -> None:
        if isinstance(item, Raw):
            _put(stream, item.text)
            return
        console = None if self._status is None else self._status.console
        console = console or _console(stream)
        if console is None:
            self._line(stream, _plain(item))
        else:
            _print(console, item)

    def _line(self, stream: TextIO, text: str) -> None:
        _put(stream, _visible(text))

    def _rest(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None


def _put(stream: TextIO, text: str) -> None:
    """Write a line. If the reader wants no more, as `head` does, the work goes on and the rest is written nowhere."""
    try:
        stream.write(text + "\n")
        stream.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _console(stream: TextIO) -> Console | None:
    """Return a console for a terminal, None for anything else."""
    if not stream.isatty():
        return None
    # takes a tenth of a second to import
    from rich.console import Console

    return Console(file=stream, highlight=False, markup=False, emoji=False)


def _visible(text: str) -> str:
    """Return the text with control characters written out."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def _in_a_line(text: str) -> str:
    """Return the text with control characters and line feeds written out: a row of a table is a line."""
    return _visible(text).replace("\n", "\\n")


# --- plain text ------------------------------------------------------------------------------------------------------


def _plain(item: Table | Item | str) -> str:
    if isinstance(item, str):
        return item
    if isinstance(item, Item):
        return "\n".join((f"{item.state}  {item.what}".strip(), *(f"  {line}" for line in item.lines)))
    if item.is_prose:
        return "\n".join(line for row in item.rows for line in _prose(item, row))
    rows = [[_in_a_line(cell) for cell in row] for row in ([column.name for column in item.columns], *item.rows)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(item.columns))]
    return "\n".join(_plain_row(item, row, widths) for row in rows)


def _prose(table: Table, row: Sequence[str]) -> Iterator[str]:
    yield f"{row[0]}: {row[1]}"
    yield from (f"  {column.name}: {cell}" for column, cell in zip(table.columns[2:], row[2:], strict=True))


def _plain_row(table: Table, row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        cell.rjust(width) if column.number else cell.ljust(width)
        for column, cell, width in zip(table.columns, row, widths, strict=True)
    ]
    return "  ".join(cells).rstrip()


# --- a terminal ------------------------------------------------------------------------------------------------------


def _print(console: Console, item: Table | Item | str) -> None:
    if isinstance(item, Table):
        framed = _rich_table(item)
        unbounded = console.options.update(max_width=_WIDEST)
        if console.measure(framed, options=unbounded).maximum <= console.width:
            console.print(framed)
            return
    # the terminal breaks lines that are too long, so that a command or a path can still be copied as a whole
    text = _text(_plain(item))
    if isinstance(item, Item):
        text.stylize(_STYLES.get(item.state, "bold"), 0, len(item.state))
    console.print(text, soft_wrap=True)


def _rich_table(table: Table) -> RenderableType:
    from rich import box
    from rich.table import Table as RichTable

    made = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in table.columns:
        made.add_column(column.name, justify="right" if column.number else "left", no_wrap=True)
    for row in table.rows:
        made.add_row(*(_cell(table, place, cell) for place, cell in enumerate(row)))
    return made


def _cell(table: Table, place: int, cell: str) -> Any:
    text = _text(cell)
    style = _STYLES.get(table.columns[place].name, "")
    if style and cell not in ("0", ""):
        text.stylize(style)
    return text


def _text(text: str) -> Any:
    from rich.text import Text

    return Text(_visible(text))


def plain_text(shown: Sequence[Shown]) -> str:
    """Return the output as plain text, as for a pipe."""
    return "".join(item.text if isinstance(item, Raw) else f"{_plain(item)}\n" for item in shown)


def as_json(data: Any) -> str:
    """Return values as the text of a JSON document."""
    return json.dumps(data, indent=2, ensure_ascii=False, default=str)


def standard(*, as_data: bool, stop_if_told: Callable[[], None]) -> Output:
    """Return the output to the streams of this process."""
    return Output(sys.stdout, sys.stderr, as_data=as_data, stop_if_told=stop_if_told)
