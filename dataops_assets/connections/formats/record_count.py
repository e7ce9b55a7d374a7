"""Counts the records of delimited text by its marks, without a reader.

The rows that a reader makes are compared with this count, so the count shares no code with `csv_text` or an engine. It
processes whole chunks: every second quote closes a field, and a line that ends outside of quotes ends a record. If a
quote is neither at the start nor at the end of a field, that record is read mark by mark.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

# small enough for the arrays made of a chunk to stay in the processor's cache
_CHUNK = 1 << 20
_FEED, _RETURN, _SPACE = 10, 13, 32
_LINE_END = re.compile(rb"\r\n?|\n")
_BOM = b"\xef\xbb\xbf"

_Places = npt.NDArray[np.intp]
_Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Marks:
    """The marks of the text, as UTF-8. `quote` and `escape` may be empty."""

    delimiter: bytes
    quote: bytes
    escape: bytes


def whole_lines(stream: BinaryIO, longest: int, too_long: Callable[[int], Exception]) -> Iterator[bytes]:
    r"""Yield the bytes in chunks that end where a line ends (\n, \r\n or \r), without a byte order mark.

    For a line of more than `longest` bytes, raises the error that `too_long` returns. So memory is bounded.
    """
    lines = 0
    rest = b""
    is_start = True
    while block := stream.read(_CHUNK):
        if is_start:
            block = block.removeprefix(_BOM)
            is_start = False
        data = rest + block if rest else block
        # the last \r may be the first half of a \r\n
        end = max(data.rfind(b"\n"), data.rfind(b"\r", 0, len(data) - 1)) + 1
        if end:
            lines += data.count(b"\n", 0, end)
            yield data[:end]
        rest = data[end:]
        if len(rest) > longest:
            raise too_long(lines + 1)
    if rest:
        yield rest


class RecordCount:
    """Counts the records of chunks from `whole_lines`.

    `filled` is the number of records with content. `blank` is the number of empty lines outside of quotes; `leading` of
    them come before the first other record. `longest` is the length of the longest record in bytes, `longest_at` its
    number. `open_bytes` is the length so far of a record that is not closed yet. If a quote is never closed, its line
    is one record, and every line after it is a separate record.
    """

    def __init__(self, marks: Marks, skip_lines: int = 0) -> None:
        self.filled = self.blank = self.leading = self.longest = self.longest_at = 0
        self._marks = marks
        self._skip = skip_lines
        self._record = _Record(marks) if marks.quote else None
        # the record that the last chunk left open, if any: in a quote, its bytes, and its lines
        self._in_quote = False
        self.open_bytes = 0
        self._open_filled = self._open_blank = 0

    def feed(self, chunk: bytes) -> None:
        """Count the records that end in this chunk."""
        data = np.frombuffer(chunk, np.uint8)
        starts, ends, is_blank = _lines(chunk, data)
        if self._skip:
            skipped = min(self._skip, len(starts))
            self._skip -= skipped
            if skipped == len(starts):
                return
            chunk = chunk[starts[skipped] :]
            data = np.frombuffer(chunk, np.uint8)
            starts, ends, is_blank = _lines(chunk, data)
        if self._record is None or (not self._in_quote and self._marks.quote not in chunk):
            self._take(0, len(ends), np.ones(len(ends), np.bool_), starts, ends, is_blank)
            return
        self._feed_quoted(chunk, data, starts, ends, is_blank)

    def records(self, *, has_header: bool, keeps_blank: bool) -> int:
        """Return the number of records after the header. With `keeps_blank`, empty lines are records."""
        filled, blank = self.filled, self.blank
        if self._in_quote:
            filled, blank = filled + self._open_filled, blank + self._open_blank
        if has_header:
            # lines before the header are no records
            filled, blank = filled - 1, blank - self.leading
        return filled + (blank if keeps_blank else 0)

    @property
    def following(self) -> int:
        """Return the number of the next record, or of the record that is not closed yet."""
        return self.filled + self.blank + 1

    def _feed_quoted(
        self, chunk: bytes, data: npt.NDArray[np.uint8], starts: _Places, ends: _Places, is_blank: _Flags
    ) -> None:
        closes = _closes(self._marks, data, starts, ends, in_quote=self._in_quote)
        if closes is not None:
            self._take(0, len(ends), closes, starts, ends, is_blank)
            return
        assert self._record is not None  # noqa: S101  there is a quote
        line_starts = starts.tolist()
        line_ends = ends.tolist()
        closes = np.ones(len(ends), np.bool_)
        place, in_quote = 0, self._in_quote
        while in_quote or (quote := chunk.find(self._marks.quote, place)) >= 0:
            line = bisect_right(line_ends, place if in_quote else quote)
            place, in_quote = self._record.follow(chunk, line_starts[line], in_quote)
            following = bisect_left(line_starts, place)
            # of the record's lines, only the last ends it
            closes[line : following - (not in_quote)] = False
            if place == len(chunk):
                break
        self._take(0, len(ends), closes, starts, ends, is_blank)

    def _take(
        self, line: int, following: int, closes: _Flags, starts: _Places, ends: _Places, is_blank: _Flags
    ) -> None:
        """Count the records in lines of a chunk; `closes` is true for each line that ends a record."""
        if line == following:
            return
        blank = is_blank[line:following]
        places = np.flatnonzero(closes)
        closed = int(places[-1]) + 1 if len(places) else 0
        if closed:
            bounds = ends[line + places]
            lengths = np.diff(bounds, prepend=starts[line] - self.open_bytes)
            place = int(np.argmax(lengths))
            if lengths[place] > self.longest:
                self.longest, self.longest_at = int(lengths[place]), self.filled + self.blank + place + 1
            # a record of several lines ends with its quote, so an empty line that ends a record is one
            alone = blank[places]
            blanks = int(np.count_nonzero(alone))
            if not self.filled:
                filled_places = np.flatnonzero(~alone)
                self.leading += int(filled_places[0]) if len(filled_places) else blanks
            self.filled += len(places) - blanks
            self.blank += blanks
            self.open_bytes = self._open_filled = self._open_blank = 0
        self._in_quote = closed < following - line
        if self._in_quote:
            rest = blank[closed:]
            self.open_bytes += int(ends[following - 1] - starts[line + closed])
            self._open_blank += int(np.count_nonzero(rest))
            self._open_filled += int(np.count_nonzero(~rest))


def _lines(chunk: bytes, data: npt.NDArray[np.uint8]) -> tuple[_Places, _Places, _Flags]:
    """Return for each line where it starts, where it ends (after its line end), and whether it is empty."""
    feeds = np.flatnonzero(data == _FEED)
    ends = feeds
    if b"\r" in chunk:
        returns = np.flatnonzero(data == _RETURN)
        following = np.append(data[1:], 0)[returns]
        ends = np.sort(np.concatenate((feeds, returns[following != _FEED])))
    ends = ends + 1
    if not len(ends) or ends[-1] != len(data):
        ends = np.append(ends, len(data))
    starts = np.concatenate((ends[:1] * 0, ends[:-1]))
    first = data[starts]
    is_blank = ((first == _FEED) | (first == _RETURN)) & (ends - starts <= 2)
    if len(is_blank):
        # of two bytes that start with \r, the second is the \n
        is_blank &= (ends - starts == 1) | (first == _RETURN)
    return starts, ends, is_blank


def _closes(
    marks: Marks, data: npt.NDArray[np.uint8], starts: _Places, ends: _Places, *, in_quote: bool
) -> _Flags | None:
    """Return for each line whether it ends a record; None if some quote neither opens nor closes a field."""
    if marks.escape != marks.quote or len(marks.delimiter) != 1 or marks.delimiter == b" ":
        return None
    is_quote = data == marks.quote[0]
    # two quotes beside each other are one quote of the text: one closes, the other opens again
    is_edge = is_quote | (data == marks.delimiter[0]) | (data == _FEED) | (data == _RETURN)
    is_inside = _inside(is_quote, in_quote=in_quote)
    if not _is_odd(is_quote, is_edge, is_inside):
        return ~is_inside[ends - 1]
    # outside of quotes, quotes that can open no field are text, as in 5" pipe
    can_open = is_quote.copy()
    can_open[1:] &= is_edge[:-1] | (data[:-1] == _SPACE)
    is_text = ~np.logical_or.reduceat(can_open, starts)
    opening = is_quote & ~np.repeat(is_text, ends - starts)
    is_inside = _inside(opening, in_quote=in_quote)
    if _is_odd(opening, is_edge, is_inside):
        return None
    closes = ~is_inside[ends - 1]
    is_wrong = is_text & np.logical_or.reduceat(is_quote, starts) & ~closes
    return None if is_wrong.any() else closes


def _inside(is_quote: _Flags, *, in_quote: bool) -> _Flags:
    """Return for each byte whether it is inside quotes. An opening quote is inside, a closing quote is not."""
    inside: _Flags = np.bitwise_xor.accumulate(is_quote)
    return ~inside if in_quote else inside


def _is_odd(is_quote: _Flags, is_edge: _Flags, is_inside: _Flags) -> bool:
    odd = is_quote.copy()
    odd[1:] &= ~(is_inside[1:] & is_edge[:-1])
    odd[:-1] &= is_inside[:-1] | ~is_edge[1:]
    odd[0] &= not is_inside[0]
    odd[-1] &= is_inside[-1]
    return bool(odd.any())


class _Record:
    """Follows one record of a chunk, mark by mark."""

    def __init__(self, marks: Marks) -> None:
        delimiter, quote, escape = (re.escape(mark) for mark in (marks.delimiter, marks.quote, marks.escape))
        spaces = b"" if marks.delimiter.startswith(b" ") else b" *"
        self._quote = marks.quote
        self._opening = re.compile(spaces + quote)
        self._mark = re.compile(b"(" + delimiter + rb")|\r\n?|\n")
        self._closed = re.compile(spaces + b"(?:(" + delimiter + rb")|\r\n?|\n|\Z)")
        if not marks.escape:
            inside = b"[^" + quote + b"]*+"
        elif marks.escape == marks.quote:
            inside = b"(?:[^" + quote + b"]++|" + quote + quote + b")*+"
        else:
            inside = b"(?:[^" + quote + escape + b"]++|" + escape + b"(?:" + quote + b"|" + escape + b")?+)*+"
        self._inside = re.compile(inside, re.DOTALL)

    def follow(self, chunk: bytes, place: int, in_quote: bool) -> tuple[int, bool]:
        """Return where the record at `place` ends, at most the end of the chunk, and whether a quote is open there."""
        while True:
            if not in_quote:
                opening = self._opening.match(chunk, place)
                if opening is None:
                    mark = self._mark.search(chunk, place)
                    if mark is None:
                        return len(chunk), False
                    if mark[1] is None:
                        return mark.end(), False
                    place = mark.end()
                    continue
                place = opening.end()
            inside = self._inside.match(chunk, place)
            end = inside.end() if inside else place
            if end >= len(chunk):
                return len(chunk), True
            closed = self._closed.match(chunk, end + len(self._quote))
            if closed is None:
                # text after the quote: the record ends with this line
                found = _LINE_END.search(chunk, end)
                return (found.end() if found else len(chunk)), False
            if closed[1] is None:
                return closed.end(), False
            place, in_quote = closed.end(), False
