"""Reads zip archives as folders: the files in them, and the bytes of each.

The origin of a file in an archive is `<archive>!<path in the archive>`, with `!` instead of each slash. So its name
says from which archive it is, and a pattern of extract times can use the time in the archive's name.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dataops_assets.config.limits import Limits
from dataops_assets.connections.formats.compression import IN_STEPS, NEVER_TOO_MUCH
from dataops_assets.errors import InputError

_INSIDE = "!"
_ARCHIVE = re.compile(r"^(.*?\.zip)!(.+)$", re.IGNORECASE | re.DOTALL)
_CHUNK = 1 << 20
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
    return origin.lower().endswith(".zip")


def origin_in(archive: str, member: str) -> str:
    """Return the origin of a file in an archive."""
    return f"{archive}{_INSIDE}{member.replace('/', _INSIDE)}"


def archive_of(origin: str) -> str:
    """Return the archive that an origin is in; the origin itself if it is in none."""
    folder, slash, name = origin.rpartition("/")
    found = _ARCHIVE.match(name)
    return f"{folder}{slash}{found[1]}" if found else origin


@functools.lru_cache(maxsize=4096)
def members_of(fs: Any, archive: str, _size: int, _modified: dt.datetime, limits: Limits) -> tuple[Member, ...]:
    """Return the files in one version of an archive. Raises InputError for one that cannot be read.

    What is known of a version is kept, so a look does not read all archives again. Errors of the store are not changed.
    """
    with _opened(fs, archive) as found:
        items = [item for item in found.infolist() if not item.is_dir() and not item.filename.startswith("__MACOSX/")]
    if len(items) > _MOST_FILES:
        raise _refused(
            archive, f"an archive of {len(items):,} files", f"deliver at most {_MOST_FILES:,} in one archive"
        )
    names = [origin_in("", item.filename) for item in items]
    if twice := sorted({name for name in names if names.count(name) > 1})[:1] if len(set(names)) < len(names) else []:
        raise _refused(archive, f"two files {twice[0].removeprefix(_INSIDE)!r} in one archive", _DELIVER_AGAIN)
    return tuple(Member(item.filename, item.file_size, _why_refused(item, limits)) for item in items)


def chunks_in(fs: Any, origin: str) -> Iterator[bytes]:
    """Yield the bytes of a file in an archive. Raises InputError if it is gone or damaged."""
    archive = archive_of(origin)
    with _opened(fs, archive) as found:
        item = next((item for item in found.infolist() if origin_in(archive, item.filename) == origin), None)
        if item is None:
            raise _refused(origin, "an archive that no longer has this file", "deliver it again")
        with found.open(item) as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk


@contextlib.contextmanager
def _opened(fs: Any, archive: str) -> Iterator[zipfile.ZipFile]:
    try:
        with fs.open(archive, "rb") as stream, zipfile.ZipFile(stream) as found:
            yield found
    except _DAMAGED as error:
        raise _refused(archive, f"a damaged archive, or one that is not complete: {error}", _DELIVER_AGAIN) from error


def _why_refused(item: zipfile.ZipInfo, limits: Limits) -> str:
    if item.flag_bits & 0x1:
        return "it has a password; archives of several files are read without one"
    if item.compress_type not in IN_STEPS:
        return f"its compression method is {item.compress_type}; known: none, deflate, lzma"
    most = min(limits.unpacked_bytes, max(limits.unpacked_ratio * max(item.compress_size, 1), NEVER_TOO_MUCH))
    if item.file_size > most:
        return f"it unpacks to {item.file_size:,} bytes, more than limits.unpacked_bytes or its ratio allow ({most:,})"
    return ""


def _refused(origin: str, received: str, next_step: str) -> InputError:
    return InputError(f"taking the file {origin}", received=received, next_step=next_step)
