"""Splits delimited text into records: the reference definition of a record for all readers.

The engine's reader is faster, and is used for files that it reads in the same way. This reader is for all other files,
and for headers. It never fails: a record that it cannot read becomes a record with a problem, and reading continues at
the next line.
"""

from __future__ import annotations

import csv
import json
import re
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from dataops_assets.connections.formats.staging import Record

_NOT_CLOSED = "a quoted field is not closed before the end of the file"
_TEXT_AFTER_QUOTE = "text follows the closing quote of a field"


@dataclass(frozen=True)
class Dialect:
    """The marks of delimited text. `quote` and `escape` may be empty: no quoting, no escaping."""

    delimiter: str
    quote: str
    escape: str


def records(
    lines: Iterable[str],
    dialect: Dialect,
    first_line: int = 1,
    *,
    keeps_blank: bool = False,
    if_quoted: Collection[str] = (),
) -> Iterator[Record]:
    r"""Yield the records of a text, given by lines with their endings (\n, \r\n or \r).

    An empty line is no record. With `keeps_blank` it is a record with one empty field, because in a text of one column
    it cannot be distinguished from an empty value. A field is quoted if it starts with the quote, after spaces. A
    quoted field may contain delimiters, line breaks and quotes; each quote in it has the escape before it. A quote
    inside an unquoted field is text. If a quote is never closed, only its line is lost: every line after it is a
    separate record. So the time is linear in the text. If a record contains one of the texts `if_quoted`, its `quoted`
    lists the fields that were in quotes.
    """
    splitter = _Splitter(dialect) if dialect.quote else None
    numbered = enumerate(lines, start=first_line)
    waiting: deque[tuple[int, str]] = deque()

    def following() -> tuple[int, str] | None:
        return waiting.popleft() if waiting else next(numbered, None)

    is_line_by_line = False
    while (item := following()) is not None:
        number, line = item
        body = _without_ending(line)
        if not body:
            if keeps_blank:
                yield Record(number, ("",))
            continue
        if splitter is None or dialect.quote not in line:
            yield Record(number, body.split(dialect.delimiter))
            continue
        simple = splitter.simple(line)
        if simple is not None and not any(text in if_quoted for text in simple):
            yield Record(number, simple)
            continue
        taken = [item]
        splitter.start()
        while splitter.feed(line):
            item = None if is_line_by_line else following()
            if item is None:
                # the quote swallowed the rest of the text: give its lines back
                waiting.extend(taken[1:])
                is_line_by_line = True
                yield Record(number, (), _NOT_CLOSED, json.dumps(body, ensure_ascii=False))
                break
            line = item[1]
            taken.append(item)
        else:
            if splitter.malformed:
                raw = _without_ending("".join(text for _, text in taken))
                yield Record(number, (), _TEXT_AFTER_QUOTE, json.dumps(raw, ensure_ascii=False))
            else:
                yield Record(number, splitter.fields, quoted=splitter.quoted)


class _Splitter:
    """Splits one record that contains quotes, line by line."""

    def __init__(self, dialect: Dialect) -> None:
        quote, escape = re.escape(dialect.quote), re.escape(dialect.escape)
        self._escaped: re.Pattern[str] | None = None
        spaces = "" if dialect.delimiter.startswith(" ") else " *"
        self._delimiter = dialect.delimiter
        self._quote = dialect.quote
        self._standard = None
        if dialect.quote and len(dialect.delimiter) == 1 and dialect.escape == dialect.quote:
            # made once: it costs more than reading a line with it
            self._standard = csv.reader((), delimiter=dialect.delimiter, quotechar=dialect.quote, strict=True).dialect
        self._spaced = re.compile(f" {quote}|{quote} ")
        self._opening = re.compile(spaces + quote)
        self._closed = re.compile(f"{spaces}(?:{re.escape(dialect.delimiter)}|[\r\n]*$)")
        if dialect.escape and dialect.escape != dialect.quote:
            # an escape before anything else is text
            self._inside = re.compile(f"(?:[^{quote}{escape}]++|{escape}{quote}|{escape}{escape}|{escape})*+")
            self._escaped = re.compile(f"{escape}({quote}|{escape})")
        elif dialect.escape:
            self._inside = re.compile(f"(?:[^{quote}]++|{quote}{quote})*+")
            self._escaped = re.compile(f"{quote}({quote})")
        else:
            self._inside = re.compile(f"[^{quote}]*+")
        self.fields: list[str] = []
        self.quoted: list[int] = []
        self.malformed = False
        self._open: list[str] | None = None

    def simple(self, line: str) -> list[str] | None:
        """Return the fields of a record on one line, by Python's reader; None if the line is ambiguous."""
        if self._standard is None or self._spaced.search(line):
            return None
        try:
            return next(csv.reader((line,), self._standard))
        except csv.Error:
            return None

    def start(self) -> None:
        """Begin a new record."""
        self.fields = []
        self.quoted = []
        self.malformed = False
        self._open = None

    def feed(self, line: str) -> bool:
        """Add one line of the record. Return whether a quoted field continues in the next line."""
        position = 0
        while True:
            if self._open is None:
                opening = self._opening.match(line, position)
                if opening is None:
                    end = line.find(self._delimiter, position)
                    if end < 0:
                        self.fields.append(_without_ending(line[position:]))
                        return False
                    self.fields.append(line[position:end])
                    position = end + len(self._delimiter)
                    continue
                self._open = []
                position = opening.end()
            inside = self._inside.match(line, position)
            # it matches anywhere, if only the empty text
            end = inside.end() if inside else position
            self._open.append(line[position:end])
            if not line.startswith(self._quote, end):
                return True
            text = "".join(self._open)
            self.quoted.append(len(self.fields))
            self.fields.append(self._escaped.sub(r"\1", text) if self._escaped else text)
            self._open = None
            closed = self._closed.match(line, end + len(self._quote))
            if closed is None:
                self.malformed = True
                return False
            position = closed.end()
            if not closed[0].endswith(self._delimiter):
                return False


def _without_ending(line: str) -> str:
    if line.endswith("\r\n"):
        return line[:-2]
    return line[:-1] if line.endswith(("\n", "\r")) else line
