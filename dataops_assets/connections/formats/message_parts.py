"""The parts that all decoders of messages use: their form, their error, and the schema id before a key or a value."""

from __future__ import annotations

from collections.abc import Callable

SCHEMA_ID_BYTES = 5
"""A zero byte, and four bytes of the id."""


class Undecodable(Exception):
    """A key or a value cannot be decoded; the text says why."""


Decode = Callable[[bytes], str]
"""Returns the JSON text of bytes, in one line. Raises Undecodable."""


def schema_id(part: bytes | None) -> str:
    """Return the id of the schema that stands before a key or a value; empty if there is none."""
    if part is None or len(part) < SCHEMA_ID_BYTES or part[0]:
        return ""
    return str(int.from_bytes(part[1:SCHEMA_ID_BYTES], "big"))
