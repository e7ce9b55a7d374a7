"""Digests that identify an input: of the bytes as received, and of the unpacked content.

The same content can arrive in several forms: not compressed, compressed, or compressed again with another header or
level. It is one content in each form, so it has one digest.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, cast

from dataops_assets.connections.formats.compression import Compression, NotReadable, chunks_of, compression_of

_CHUNK = 1 << 20
_SPOOLED = 32 << 20
_LARGEST = 64 << 20
_LARGEST_RATIO = 200


@dataclass(frozen=True)
class Digests:
    """sha256 of the bytes as `received` and of the `content` that they unpack to, and how many bytes were received."""

    received: str
    content: str
    size: int


def digests_of(chunks: Iterable[bytes], size: int, compression: Compression) -> Digests:
    """Return the digests of bytes that arrive in `chunks`, with an expected total of `size`.

    Bytes that cannot be unpacked, or that unpack to more than 64 MiB and 200 times their size, are their own content.
    So a file that would fill the disk costs only its own size here. The parser refuses damaged files.
    """
    received = _Received(chunks)
    content = hashlib.sha256()
    unpacked = 0
    if compression != "none":
        try:
            for chunk in _unpacked(received, compression):
                content.update(chunk)
                unpacked += len(chunk)
                if unpacked > max(_LARGEST, _LARGEST_RATIO * size):
                    unpacked = 0
                    break
        except NotReadable:
            unpacked = 0
    received.drain()
    digest = received.digest()
    return Digests(digest, content.hexdigest() if unpacked else digest, received.size)


def digest_of_file(path: Path) -> str:
    """Return the sha256 of the bytes of a local file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digests_of_extract(name: str, content: bytes) -> Digests:
    """Return the digests of a hook's extract. The ending of its name sets the format, so it is part of the content."""
    compression = compression_of(name, "infer")
    found = digests_of([content], len(content), compression)
    ending = os.path.splitext(os.path.splitext(name)[0] if compression != "none" else name)[1].lower()
    return replace(found, content=hashlib.sha256(f"{ending}\n{found.content}".encode()).hexdigest())


class _Received:
    """A stream over chunks that digests the bytes as they are read."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.size = 0
        self._chunks = iter(chunks)
        self._rest = b""
        self._hashed = hashlib.sha256()

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes; fewer only at the end."""
        parts = []
        while size > 0 and (part := self._rest or self._next()):
            parts.append(part[:size])
            self._rest = part[size:]
            size -= len(parts[-1])
        return b"".join(parts)

    def drain(self) -> None:
        """Read to the end."""
        while self._next():
            pass

    def digest(self) -> str:
        return self._hashed.hexdigest()

    def _next(self) -> bytes:
        chunk = next((chunk for chunk in self._chunks if chunk), b"")
        self._hashed.update(chunk)
        self.size += len(chunk)
        return chunk


def _unpacked(received: _Received, compression: Compression) -> Iterator[bytes]:
    stream = cast(BinaryIO, received)
    if compression != "zip":
        yield from chunks_of(stream, compression)
        return
    # the directory of a zip file is at its end
    with tempfile.SpooledTemporaryFile(_SPOOLED) as spool:
        shutil.copyfileobj(stream, spool, _CHUNK)
        yield from chunks_of(cast(BinaryIO, spool), compression)
