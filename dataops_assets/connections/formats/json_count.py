"""Counts the records of a JSON document by its brackets and commas, without parsing values.

The rows that the readers make are compared with this count, so it shares no code with them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

_CHUNK = 1 << 20
_QUOTE, _COMMA, _COLON = 34, 44, 58
_OPENING, _CLOSING = (91, 123), (93, 125)
_ESCAPE = re.compile(rb"\\.", re.DOTALL)
_BLANK = b" \t\r\n"


def count_records(path: Path, names: Sequence[str]) -> int | None:
    """Count the elements of the array at the path `names` of a well-formed document; None if there is none."""
    marks, depths, kinds, _ = _marks(path, len(names) + 1)
    with path.open("rb") as stream:
        content = memoryview(stream.read())
    place = _array(content, marks, depths, kinds, names)
    if place is None:
        return None
    inside = len(names) + 1
    end = place + 1
    closing = np.flatnonzero(np.isin(kinds[end:], _CLOSING) & (depths[end:] == inside - 1))
    last = end + int(closing[0]) if len(closing) else len(kinds)
    commas = int(np.count_nonzero((kinds[end:last] == _COMMA) & (depths[end:last] == inside)))
    start, stop = int(marks[place]) + 1, int(marks[last]) if last < len(marks) else len(content)
    is_empty = not commas and not bytes(content[start:stop]).strip(_BLANK)
    return 0 if is_empty else commas + 1


def levels(path: Path) -> int:
    """Return how many objects and arrays of a well-formed document are in one another, at most."""
    return _marks(path, 0)[3]


def _marks(path: Path, deepest: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.uint8], int]:
    """Return place, depth and kind of the brackets, commas and colons outside of texts, down to the depth `deepest`.

    The last result is the greatest depth of the document.
    An opening bracket has the depth of its content, a closing bracket has the depth of the value around it.
    """
    places, depths, kinds = [], [], []
    depth = offset = most = 0
    in_text = False
    rest = b""
    with path.open("rb") as stream:
        while read := stream.read(_CHUNK):
            block = rest + read
            # an escape is two bytes: both of them in one chunk
            ends_in_escape = (len(block) - len(block.rstrip(b"\\"))) % 2
            rest = block[len(block) - ends_in_escape :]
            chunk = block[: len(block) - ends_in_escape]
            if not chunk:
                continue
            data = np.frombuffer(_ESCAPE.sub(b"..", chunk) if b"\\" in chunk else chunk, np.uint8)
            inside = np.bitwise_xor.accumulate(data == _QUOTE)
            if in_text:
                inside = ~inside
            in_text = bool(inside[-1])
            found = np.flatnonzero(np.isin(data, (*_OPENING, *_CLOSING, _COMMA, _COLON)) & ~inside)
            kind = data[found]
            steps = np.isin(kind, _OPENING).astype(np.int64) - np.isin(kind, _CLOSING)
            reached = depth + np.cumsum(steps)
            depth = int(reached[-1]) if len(reached) else depth
            most = max(most, int(reached.max(initial=0)))
            kept = reached <= deepest
            places.append(found[kept] + offset)
            depths.append(reached[kept])
            kinds.append(kind[kept])
            offset += len(chunk)
    if not places:
        nothing = np.zeros(0, np.int64)
        return nothing, nothing, nothing.astype(np.uint8), most
    return np.concatenate(places), np.concatenate(depths), np.concatenate(kinds), most


def _array(
    content: memoryview,
    marks: npt.NDArray[np.int64],
    depths: npt.NDArray[np.int64],
    kinds: npt.NDArray[np.uint8],
    names: Sequence[str],
) -> int | None:
    """Return the index of the mark that opens the array."""
    place = 0
    for level, name in enumerate(names, start=1):
        for colon in np.flatnonzero((kinds[place:] == _COLON) & (depths[place:] == level)) + place:
            key = bytes(content[int(marks[colon - 1]) + 1 : int(marks[colon])])
            if json.loads(key) == name:
                place = int(colon) + 1
                break
        else:
            return None
    is_array = place < len(kinds) and kinds[place] == _OPENING[0] and depths[place] == len(names) + 1
    return place if is_array else None
