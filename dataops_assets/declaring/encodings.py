"""Finds the text encoding of files: by the byte order mark, else UTF-8 if it fits, else Windows-1252 or Latin-1."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from dataops_assets.connections.formats.staging import RawFile
from dataops_assets.errors import ConfigError

_CHUNK = 1 << 20
# bytes that latin-1 has control characters for, and Windows has letters and quotes for
_OF_WINDOWS = frozenset(range(0x80, 0xA0))
_NOT_OF_WINDOWS = frozenset((0x81, 0x8D, 0x8F, 0x90, 0x9D))
_ANY = "ascii"


def encoding_of(files: Sequence[RawFile]) -> str:
    """Return the encoding that all files share. Raises ConfigError if they have different ones."""
    found = {file.name: _encoding(file) for file in files}
    # a text without other letters is of each encoding
    kinds = {encoding for encoding in found.values() if encoding != _ANY}
    if not kinds:
        return "utf-8"
    if kinds <= {"latin-1", "cp1252"}:
        return "cp1252" if "cp1252" in kinds else "latin-1"
    if len(kinds) > 1:
        raise ConfigError(
            "finding the encoding of the files",
            received="; ".join(f"{name}: {encoding}" for name, encoding in found.items()),
            next_step="declare a source for the files of each encoding",
        )
    return kinds.pop()


def _encoding(file: RawFile) -> str:
    with file.path.open("rb") as stream:
        head = stream.read(4096)
        if head.startswith(codecs.BOM_UTF8):
            return "utf-8"
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "utf-16"
        if guessed := _without_mark(head):
            return guessed
        stream.seek(0)
        decoder = codecs.getincrementaldecoder("utf-8")()
        is_ascii = is_utf8 = True
        others: set[int] = set()
        while chunk := stream.read(_CHUNK):
            if chunk.isascii() and is_ascii:
                continue
            is_ascii = False
            others |= {byte for byte in set(chunk) if byte > 0x7F}
            is_utf8 = is_utf8 and _decodes(decoder, chunk)
        if is_utf8 and not is_ascii:
            is_utf8 = _decodes(decoder, b"", final=True)
    if is_ascii:
        return _ANY
    if is_utf8:
        return "utf-8"
    return "cp1252" if others & _OF_WINDOWS and not others & _NOT_OF_WINDOWS else "latin-1"


def _without_mark(head: bytes) -> str:
    """Return the UTF-16 encoding of a text without a byte order mark; empty if it is none."""
    even, odd = head[0::2].count(0), head[1::2].count(0)
    half = max(len(head) // 2, 1)
    if len(head) >= 4 and odd / half > 0.4 and even == 0:
        return "utf-16-le"
    if len(head) >= 4 and even / half > 0.4 and odd == 0:
        return "utf-16-be"
    return ""


def _decodes(decoder: codecs.IncrementalDecoder, chunk: bytes, *, final: bool = False) -> bool:
    try:
        decoder.decode(chunk, final)
    except UnicodeDecodeError:
        return False
    return True
