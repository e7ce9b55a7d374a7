"""Unpacks gzip, zip and zstd inputs into a plain file on the local disk."""

from __future__ import annotations

import errno
import gzip
import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, BinaryIO, Literal, cast

import zstandard

from dataops_assets.config.limits import Limits
from dataops_assets.connections.formats.signatures import HEAD_BYTES, kind_of
from dataops_assets.connections.formats.staging import DELIVER_AGAIN, RawFile
from dataops_assets.errors import EmptyFile

Compression = Literal["none", "gzip", "zip", "zstd"]

IN_STEPS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA)
"""The compression methods of a zip that are unpacked in bounded steps.

bzip2 is not one of them: Python unpacks 4 KB of it at once, and these can become 4 GB.
"""

ENDINGS: Mapping[str, Compression] = {".gz": "gzip", ".gzip": "gzip", ".zip": "zip", ".zst": "zstd", ".zstd": "zstd"}
_CHUNK = 1 << 20
# four bytes of zstd may become 128 KB, all at once
_ZSTD_STEP = 1 << 12
NEVER_TOO_MUCH = 100_000_000
"""Unpacked bytes that are never too many, whatever their ratio to the compressed ones."""
_LARGEST_WINDOW = 1 << 31
# Errors of the libraries about damaged bytes. For a damaged directory of a zip, Python raises nearly any of them.
_DAMAGED: dict[Compression, tuple[type[Exception], ...]] = {
    "none": (),
    "gzip": (gzip.BadGzipFile, zlib.error),
    "zstd": (zstandard.ZstdError,),
    "zip": (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, ValueError, LookupError, RuntimeError),
}
_DEFLATE = "compress it with deflate"


def compression_of(name: str, declared: Literal["infer", "none", "gzip", "zip", "zstd"]) -> Compression:
    """Return the compression of a file of this name."""
    if declared != "infer":
        return declared
    return ENDINGS.get(os.path.splitext(name.lower())[1], "none")


def unpack(
    file: RawFile, compression: Compression, target: Path, limits: Limits, password: str | None = None
) -> RawFile:
    """Return the file uncompressed; it is at `target` if it had to be unpacked. `password` is that of a zip.

    Raises InputError for bytes of another compression, for damaged or incomplete bytes, for a zip without exactly one
    file, and for a file that unpacks to more than the limits; EmptyFile for an empty file, compressed or not. Then the
    unpacked part is removed.
    """
    with file.path.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    if not head:
        raise _empty(file, "an empty file (0 bytes)")
    if compression == "none":
        found = kind_of(head)
        if found in ("gzip", "zstd"):
            raise file.refused(
                f"{found} bytes, declared as not compressed",
                f"set compression to {found}, or give the file's name its ending",
            )
        return file
    if kind_of(head) != compression:
        raise file.refused(
            f"{kind_of(head) or 'bytes of another kind'} instead of {compression}",
            "correct compression, or the file's name",
        )
    is_done = False
    try:
        with target.open("wb") as stream:
            out = _Bounded(stream, file, limits)
            _decompress(file, compression, out, password)
        if out.written == 0:
            raise _empty(file, f"an empty file inside {compression}")
        is_done = True
    finally:
        if not is_done:
            # the other inputs need the disk that this file has filled
            target.unlink(missing_ok=True)
    return RawFile(file.input_id, file.name, target)


class _Bounded:
    """Writes no more than the limits allow."""

    def __init__(self, out: BinaryIO, file: RawFile, limits: Limits) -> None:
        self.written = 0
        self._out = out
        self._file = file
        self._most = limits.unpacked_bytes
        self._why = f"limits.unpacked_bytes ({limits.unpacked_bytes:,})"
        by_ratio = max(limits.unpacked_ratio * file.path.stat().st_size, NEVER_TOO_MUCH)
        if by_ratio < self._most:
            self._most = by_ratio
            self._why = f"{by_ratio:,}, which is limits.unpacked_ratio ({limits.unpacked_ratio:,}) times its size"

    def write(self, chunk: bytes) -> int:
        self.written += len(chunk)
        if self.written > self._most:
            raise self._file.refused(
                f"a file that unpacks to more than {self._why}", "check the content of the file, or raise the limit"
            )
        return self._out.write(chunk)


def chunks_of(stream: BinaryIO, compression: Compression, password: str | None = None) -> Iterator[bytes]:
    """Yield the unpacked bytes of a stream; a zip must be seekable.

    Raises NotReadable for bytes that are damaged, incomplete or of another compression, and for a zip without exactly
    one readable file. Errors of the stream itself are not changed.
    """
    try:
        yield from _unpacked(stream, compression, password)
    except EOFError as error:
        raise NotReadable(f"a {compression} file that is cut off", DELIVER_AGAIN) from error
    except _DAMAGED[compression] as error:
        raise NotReadable(f"a damaged {compression} file: {error}", DELIVER_AGAIN) from error


def _unpacked(stream: BinaryIO, compression: Compression, password: str | None) -> Iterator[bytes]:
    if compression == "zstd":
        yield from _zstd_chunks(stream)
    elif compression == "zip":
        yield from _zip_chunks(stream, password)
    elif compression == "gzip":
        with gzip.GzipFile(fileobj=stream) as unpacked:
            yield from _chunks(cast(BinaryIO, unpacked))
    else:
        yield from _chunks(stream)


class NotReadable(Exception):
    """Make the error of an archive that cannot be read, with the next step."""

    def __init__(self, received: str, next_step: str) -> None:
        super().__init__(received)
        self.received = received
        self.next_step = next_step


def _empty(file: RawFile, received: str) -> EmptyFile:
    return EmptyFile(f"reading {file.name}", received=received, next_step="deliver the file again with its content")


def _decompress(file: RawFile, compression: Compression, out: _Bounded, password: str | None) -> None:
    try:
        with file.path.open("rb") as stream:
            for chunk in chunks_of(stream, compression, password):
                out.write(chunk)
    except NotReadable as error:
        raise file.refused(error.received, error.next_step) from error


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    while chunk := stream.read(_CHUNK):
        yield chunk


def _zstd_chunks(stream: BinaryIO) -> Iterator[bytes]:
    # a decompression object tells whether the last frame ended; the stream reader takes a cut-off file for a whole one
    pending = b""
    while True:
        decompressor = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW).decompressobj()
        ended = False
        while not ended:
            chunk = pending or stream.read(_ZSTD_STEP)
            pending = b""
            if not chunk:
                raise EOFError
            yield decompressor.decompress(chunk)
            ended = decompressor.eof
        pending = decompressor.unused_data or stream.read(_ZSTD_STEP)
        if not pending:
            return


def _zip_chunks(stream: BinaryIO, password: str | None) -> Iterator[bytes]:
    try:
        yield from _zip_member(stream, password)
    except OSError as error:
        # a damaged directory leads to a place before the start of the file
        if error.errno != errno.EINVAL:
            raise
        raise zipfile.BadZipFile(str(error)) from error


def _zip_member(stream: BinaryIO, password: str | None) -> Iterator[bytes]:
    with _zip(stream, password) as archive:
        # macOS adds a folder of its own to the archives it makes
        files = (item for item in archive.infolist() if not item.is_dir())
        members = [item for item in files if not item.filename.startswith("__MACOSX/")]
        if len(members) != 1:
            names = ", ".join(member.filename for member in members[:5])
            raise NotReadable(f"a zip of {len(members)} files ({names})", "put exactly one file into each zip")
        member = members[0]
        is_encrypted = bool(member.flag_bits & 0x1)
        if is_encrypted and password is None:
            raise NotReadable(
                f"a zip with a password ({member.filename})",
                "declare connection.encryption with the password as a secret, or deliver it without a password",
            )
        if password is not None and not is_encrypted:
            raise NotReadable(
                f"a zip without a password ({member.filename}), declared as encrypted",
                "deliver it encrypted, or take encryption out of the connection",
            )
        if member.compress_type not in IN_STEPS:
            raise NotReadable(f"a zip of the compression method {member.compress_type}", _DEFLATE)
        try:
            unpacked = archive.open(member)
        except NotImplementedError as error:
            raise NotReadable(f"a zip that cannot be read: {error}", _DEFLATE) from error
        except RuntimeError as error:
            # all that tells a wrong password
            raise NotReadable(
                f"a zip that the password does not open, or a damaged one ({member.filename})",
                "correct the secret of encryption.password, or deliver the file again",
            ) from error
        with unpacked:
            yield from _chunks(unpacked)


def _zip(stream: BinaryIO, password: str | None) -> zipfile.ZipFile:
    if password is None:
        return zipfile.ZipFile(stream)
    # few sources have such files
    import pyzipper

    archive = pyzipper.AESZipFile(stream)
    archive.setpassword(password.encode())
    return archive
