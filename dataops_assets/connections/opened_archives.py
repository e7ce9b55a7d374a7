"""Opens zips and tars of a store, and refuses those that are damaged."""

from __future__ import annotations

import contextlib
import io
import lzma
import shutil
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from tarfile import HeaderError, ReadError
from typing import Any, Self

import zstandard

from dataops_assets.connections.formats.compression import Compression, NotReadable, chunks_of
from dataops_assets.errors import InputError

DELIVER_AGAIN = "wait until it is written, or deliver the archive again"
CHUNK = 1 << 20
_BLOCK = 512
_SPOOLED = 32 << 20
# for a damaged directory, Python raises nearly any of them
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    ValueError,
    LookupError,
    RuntimeError,
    NotImplementedError,
    EOFError,
    tarfile.TarError,
    zstandard.ZstdError,
)


@contextlib.contextmanager
def opened_zip(fs: Any, archive: str) -> Iterator[zipfile.ZipFile]:
    """Open a zip; any thread may read files of it. Raises InputError for a damaged one, and the errors of the store."""
    with (
        refusing_damaged(archive),
        fs.open(archive, "rb") as stream,
        _by_place(stream) as whole,
        zipfile.ZipFile(whole) as found,
    ):
        yield found


@contextlib.contextmanager
def opened_tar(
    fs: Any, archive: str, compression: Compression, most: int | None
) -> Iterator[tuple[tarfile.TarFile, UnpackedTar]]:
    """Open a tar as a stream: its files are read in the order in which they lie, each before the next one.

    `most` is the limit of unpacked bytes. Raises InputError for a damaged one, and the errors of the store.
    """
    with refusing_damaged(archive), fs.open(archive, "rb") as stream:
        unpacked = UnpackedTar(archive, chunks_of(stream, compression), most)
        with tarfile.open(fileobj=unpacked, mode="r|", tarinfo=_Entry) as found:
            yield found, unpacked


@contextlib.contextmanager
def refusing_damaged(archive: str) -> Iterator[None]:
    """Raise InputError for what reading a damaged archive raises. Errors of the store are not changed."""
    try:
        yield
    except NotReadable as error:
        raise refused(archive, error.received, DELIVER_AGAIN) from error
    except _DAMAGED as error:
        raise refused(archive, f"a damaged archive, or one that is not complete: {error}", DELIVER_AGAIN) from error


def refused(origin: str, received: str, next_step: str) -> InputError:
    """Return the error of an archive, or of a file in one, that is not taken."""
    return InputError(f"taking the file {origin}", received=received, next_step=next_step)


@contextlib.contextmanager
def _by_place(stream: Any) -> Iterator[Any]:
    """Give a stream that can be read at any place: the directory of a zip is at its end."""
    if stream.seekable():
        yield stream
        return
    with tempfile.SpooledTemporaryFile(_SPOOLED) as spool:
        shutil.copyfileobj(stream, spool, CHUNK)
        yield spool


class _Entry(tarfile.TarInfo):
    """The header of a file in a tar. Python takes a damaged one for the end of the archive, unless it is the first."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Read a header. Raises ReadError for a damaged one, HeaderError at the end of the archive."""
        try:
            return super().frombuf(buf, encoding, errors)
        except HeaderError as error:
            if not buf.strip(b"\0"):
                raise
            raise ReadError(str(error)) from error


class UnpackedTar(io.RawIOBase):
    """The unpacked bytes of a tar, as a stream that knows how it ends."""

    def __init__(self, archive: str, chunks: Iterator[bytes], most: int | None) -> None:
        self._archive, self._chunks, self._most = archive, chunks, most
        self._chunk, self._place = b"", 0
        self._end = b""
        self._read = 0

    def read(self, size: int = -1) -> bytes:
        """Return `size` bytes, or fewer at the end. Raises InputError beyond the limit."""
        parts: list[bytes] = []
        wanted = size
        while size < 0 or wanted > 0:
            if self._place == len(self._chunk) and not self._next():
                break
            part = self._chunk[self._place :] if size < 0 else self._chunk[self._place : self._place + wanted]
            self._place += len(part)
            wanted -= len(part)
            parts.append(part)
        return b"".join(parts)

    def _next(self) -> bool:
        # zstd gives nothing for the first bytes of a block
        self._chunk, self._place = next((chunk for chunk in self._chunks if chunk), b""), 0
        self._read += len(self._chunk)
        if self._most is not None and self._read > self._most:
            raise refused(
                self._archive,
                f"an archive that unpacks to more than {self._most:,} bytes",
                "check its content, or raise limits.unpacked_ratio",
            )
        self._end = (self._end + self._chunk)[-_BLOCK:]
        return bool(self._chunk)

    def require_end(self, found: tarfile.TarFile) -> None:
        """Raise InputError if nothing but zeros ends the tar: the rest is missing, or there is more.

        `found` is the tar of this stream, after its last file.
        """
        while found.fileobj is not None and (chunk := found.fileobj.read(CHUNK)):
            if chunk.strip(b"\0"):
                raise refused(
                    self._archive,
                    "more bytes behind the end of the archive",
                    "deliver each archive as a file of its own",
                )
        if self._end != bytes(_BLOCK):
            raise refused(self._archive, "an archive without its end", DELIVER_AGAIN)
