"""Tells which files are in an archive (zip or tar), and under which origins they are known.

The origin of a file in an archive is `<archive>!<path in the archive>`, with `!` instead of each slash. So its name
says from which archive it is, and a pattern of extract times can use the time in the archive's name.
"""

from __future__ import annotations

import datetime as dt
import functools
import re
import tarfile
import weakref
import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dataops_assets.config.limits import Limits
from dataops_assets.connections.formats.compression import IN_STEPS, NEVER_TOO_MUCH, Compression
from dataops_assets.connections.opened_archives import DELIVER_AGAIN, opened_tar, opened_zip, refused

_INSIDE = "!"
# the compression of the whole archive, by the ending of its name
_TARS: Mapping[str, Compression] = {
    ".tar": "none",
    ".tar.gz": "gzip",
    ".tgz": "gzip",
    ".tar.zst": "zstd",
}
_ENDINGS = "|".join(re.escape(ending) for ending in (".zip", *_TARS))
_ARCHIVE = re.compile(rf"^(.*?(?:{_ENDINGS}))!(.+)$", re.IGNORECASE | re.DOTALL)
_MOST_FILES = 100_000


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


def path_in_tar(entry: tarfile.TarInfo) -> str:
    """Return the path of a file in a tar, as its origin has it."""
    return entry.name.removeprefix("./")


def compression_of_tar(archive: str) -> Compression | None:
    """Return the compression of a tar; None for a zip, which compresses its files."""
    name = archive.lower()
    return next((kind for ending, kind in _TARS.items() if name.endswith(ending)), None)


@dataclass(frozen=True)
class _Store:
    """The key of a store in the cache of archives. It holds the store weakly, so the cache keeps no connection open."""

    same: int
    fs: weakref.ref[Any] = field(compare=False)


def members_of(fs: Any, archive: str, size: int, modified: dt.datetime, limits: Limits) -> Mapping[str, Member]:
    """Return the files in one version of an archive, by what follows the archive in their origins, in its order.

    What is known of a version is kept, so a look does not read all archives again. Raises InputError for an archive
    that cannot be read. Errors of the store are not changed.
    """
    return _members_of(_Store(hash(fs), weakref.ref(fs)), archive, size, modified, limits)


def member_of(members: Mapping[str, Member], origin: str) -> Member | None:
    """Return the file of this origin among those of its archive; None if it is not there."""
    return members.get(origin.removeprefix(archive_of(origin)))


@functools.lru_cache(maxsize=4096)
def _members_of(store: _Store, archive: str, size: int, _modified: dt.datetime, limits: Limits) -> Mapping[str, Member]:
    fs = store.fs()
    compression = compression_of_tar(archive)
    if compression is None:
        with opened_zip(fs, archive) as found:
            entries = [item for item in found.infolist() if not item.is_dir()]
            items = [Member(item.filename, item.file_size, _why_refused(item, limits)) for item in entries]
        # macOS adds a folder of its own to the archives it makes
        items = [item for item in items if not item.path.startswith("__MACOSX/")]
    else:
        most = max(limits.unpacked_ratio * size, NEVER_TOO_MUCH)
        with opened_tar(fs, archive, compression, most) as (tar, unpacked):
            items = [_of_tar(entry, limits) for entry in tar if not entry.isdir()]
            unpacked.require_end(tar)
    if len(items) > _MOST_FILES:
        raise refused(archive, f"an archive of {len(items):,} files", f"deliver at most {_MOST_FILES:,} in one archive")
    by_name = {origin_in("", item.path): item for item in items}
    if len(by_name) < len(items):
        times = Counter(origin_in("", item.path) for item in items)
        twice = min(name for name, count in times.items() if count > 1)
        raise refused(archive, f"two files {twice.removeprefix(_INSIDE)!r} in one archive", DELIVER_AGAIN)
    return by_name


def _why_refused(item: zipfile.ZipInfo, limits: Limits) -> str:
    if item.flag_bits & 0x1:
        return "it has a password; archives of several files are read without one"
    if item.compress_type not in IN_STEPS:
        return f"its compression method is {item.compress_type}; known: none, deflate, lzma"
    most = min(limits.unpacked_bytes, max(limits.unpacked_ratio * max(item.compress_size, 1), NEVER_TOO_MUCH))
    if item.file_size > most:
        return f"it unpacks to {item.file_size:,} bytes, more than limits.unpacked_bytes or its ratio allow ({most:,})"
    return ""


def _of_tar(entry: tarfile.TarInfo, limits: Limits) -> Member:
    why = ""
    if not entry.isfile():
        why = "it is no file, but a link or a device"
    elif entry.size > limits.unpacked_bytes:
        why = f"it has {entry.size:,} bytes, more than limits.unpacked_bytes ({limits.unpacked_bytes:,})"
    return Member(path_in_tar(entry), entry.size, why)
