"""Reads archives (zip and tar) as folders: the files in them, and the bytes of each.

The origin of a file in an archive is `<archive>!<path in the archive>`, with `!` instead of each slash. So its name
says from which archive it is, and a pattern of extract times can use the time in the archive's name.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import io
import lzma
import re
import shutil
import struct
import tarfile
import tempfile
import weakref
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import zstandard

from dataops_assets.config.limits import Limits
from dataops_assets.connections.formats.compression import IN_STEPS, NEVER_TOO_MUCH, Compression, NotReadable, chunks_of
from dataops_assets.errors import InputError

_INSIDE = "!"
# the compression of the whole archive, by the ending of its name; a zip compresses its files
_TARS: Mapping[str, Compression] = {
    ".tar": "none",
    ".tar.gz": "gzip",
    ".tgz": "gzip",
    ".tar.zst": "zstd",
}
_ENDINGS = "|".join(re.escape(ending) for ending in (".zip", *_TARS))
_ARCHIVE = re.compile(rf"^(.*?(?:{_ENDINGS}))!(.+)$", re.IGNORECASE | re.DOTALL)
_BLOCK = 512
_CHUNK = 1 << 20
_SPOOLED = 32 << 20
_MOST_FILES = 100_000
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
_DELIVER_AGAIN = "wait until it is written, or deliver the archive again"


@dataclass(frozen=True)
class Member:
    """A file in an archive: its path there, its size unpacked, and why it is refused ('' if it is not)."""

    path: str
    size: int
    refused: str


def is_archive(origin: str) -> bool:
    """Return whether a file of this name is taken for an archive."""
    return origin.lower().endswith((".zip", *_TARS))


def origin_in(archive: str, member: str) -> str:
    """Return the origin of a file in an archive."""
    return f"{archive}{_INSIDE}{member.replace('/', _INSIDE)}"


def archive_of(origin: str) -> str:
    """Return the archive that an origin is in; the origin itself if it is in none."""
    folder, slash, name = origin.rpartition("/")
    found = _ARCHIVE.match(name)
    return f"{folder}{slash}{found[1]}" if found else origin


@dataclass(frozen=True)
class _Store:
    """The key of a store in the cache of archives. It holds the store weakly, so the cache keeps no connection open."""

    same: int
    fs: weakref.ref[Any] = field(compare=False)


def members_of(fs: Any, archive: str, size: int, modified: dt.datetime, limits: Limits) -> tuple[Member, ...]:
    """Return the files in one version of an archive. Raises InputError for one that cannot be read.

    What is known of a version is kept, so a look does not read all archives again. Errors of the store are not changed.
    """
    return _members_of(_Store(hash(fs), weakref.ref(fs)), archive, size, modified, limits)


@functools.lru_cache(maxsize=4096)
def _members_of(store: _Store, archive: str, size: int, _modified: dt.datetime, limits: Limits) -> tuple[Member, ...]:
    fs = store.fs()
    if _compression_of(archive) is None:
        with _opened(fs, archive) as found:
            entries = [item for item in found.infolist() if not item.is_dir()]
            items = [Member(item.filename, item.file_size, _why_refused(item, limits)) for item in entries]
        # macOS adds a folder of its own to the archives it makes
        items = [item for item in items if not item.path.startswith("__MACOSX/")]
    else:
        with _entries(fs, archive, max(limits.unpacked_ratio * size, NEVER_TOO_MUCH)) as entries_of_tar:
            items = [_of_tar(entry, limits) for entry, _ in entries_of_tar if not entry.isdir()]
    if len(items) > _MOST_FILES:
        raise _refused(
            archive, f"an archive of {len(items):,} files", f"deliver at most {_MOST_FILES:,} in one archive"
        )
    names = [origin_in("", item.path) for item in items]
    if twice := sorted({name for name in names if names.count(name) > 1})[:1] if len(set(names)) < len(names) else []:
        raise _refused(archive, f"two files {twice[0].removeprefix(_INSIDE)!r} in one archive", _DELIVER_AGAIN)
    return tuple(items)


def chunks_in(fs: Any, origin: str) -> Iterator[bytes]:
    """Yield the bytes of a file in an archive. Raises InputError if it is gone or damaged."""
    archive = archive_of(origin)
    if _compression_of(archive) is not None:
        yield from _chunks_in_tar(fs, archive, origin)
        return
    with _opened(fs, archive) as found:
        item = next((item for item in found.infolist() if origin_in(archive, item.filename) == origin), None)
        if item is None:
            raise _gone(origin)
        with found.open(item) as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk


@contextlib.contextmanager
def _opened(fs: Any, archive: str) -> Iterator[zipfile.ZipFile]:
    try:
        with fs.open(archive, "rb") as stream, _by_place(stream) as whole, zipfile.ZipFile(whole) as found:
            yield found
    except _DAMAGED as error:
        raise _refused(archive, f"a damaged archive, or one that is not complete: {error}", _DELIVER_AGAIN) from error


@contextlib.contextmanager
def _by_place(stream: Any) -> Iterator[Any]:
    """Give a stream that can be read at any place: the directory of a zip is at its end."""
    if stream.seekable():
        yield stream
        return
    with tempfile.SpooledTemporaryFile(_SPOOLED) as spool:
        shutil.copyfileobj(stream, spool, _CHUNK)
        yield spool


def _why_refused(item: zipfile.ZipInfo, limits: Limits) -> str:
    if item.flag_bits & 0x1:
        return "it has a password; archives of several files are read without one"
    if item.compress_type not in IN_STEPS:
        return f"its compression method is {item.compress_type}; known: none, deflate, lzma"
    most = min(limits.unpacked_bytes, max(limits.unpacked_ratio * max(item.compress_size, 1), NEVER_TOO_MUCH))
    if item.file_size > most:
        return f"it unpacks to {item.file_size:,} bytes, more than limits.unpacked_bytes or its ratio allow ({most:,})"
    return ""


def _compression_of(archive: str) -> Compression | None:
    """Return the compression of a tar; None for a zip."""
    name = archive.lower()
    return next((kind for ending, kind in _TARS.items() if name.endswith(ending)), None)


class _Unpacked(io.RawIOBase):
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
            raise _refused(
                self._archive,
                f"an archive that unpacks to more than {self._most:,} bytes",
                "check its content, or raise limits.unpacked_ratio",
            )
        self._end = (self._end + self._chunk)[-_BLOCK:]
        return bool(self._chunk)

    def require_end(self) -> None:
        """Raise InputError if the stream does not end as a tar does, with zeros: the rest is missing."""
        while self.read(_CHUNK):
            pass
        if self._end != bytes(_BLOCK):
            raise _refused(self._archive, "an archive without its end", _DELIVER_AGAIN)


@contextlib.contextmanager
def _entries(fs: Any, archive: str, most: int | None) -> Iterator[Iterator[tuple[tarfile.TarInfo, tarfile.TarFile]]]:
    """Open a tar, and give its entries in order; each is read before the next one."""
    try:
        with fs.open(archive, "rb") as stream:
            unpacked = _Unpacked(archive, chunks_of(stream, _compression_of(archive) or "none"), most)
            with tarfile.open(fileobj=unpacked, mode="r|") as found:
                yield ((entry, found) for entry in found)
            unpacked.require_end()
    except NotReadable as error:
        raise _refused(archive, error.received, _DELIVER_AGAIN) from error
    except _DAMAGED as error:
        raise _refused(archive, f"a damaged archive, or one that is not complete: {error}", _DELIVER_AGAIN) from error


def _of_tar(entry: tarfile.TarInfo, limits: Limits) -> Member:
    refused = ""
    if not entry.isfile():
        refused = "it is no file, but a link or a device"
    elif entry.size > limits.unpacked_bytes:
        refused = f"it has {entry.size:,} bytes, more than limits.unpacked_bytes ({limits.unpacked_bytes:,})"
    return Member(entry.name.removeprefix("./"), entry.size, refused)


def _chunks_in_tar(fs: Any, archive: str, origin: str) -> Iterator[bytes]:
    with _entries(fs, archive, None) as entries:
        for entry, found in entries:
            if origin_in(archive, entry.name.removeprefix("./")) == origin and (stream := found.extractfile(entry)):
                while chunk := stream.read(_CHUNK):
                    yield chunk
                return
    raise _gone(origin)


def _gone(origin: str) -> InputError:
    return _refused(origin, "an archive that no longer has this file", "deliver it again")


def _refused(origin: str, received: str, next_step: str) -> InputError:
    return InputError(f"taking the file {origin}", received=received, next_step=next_step)
