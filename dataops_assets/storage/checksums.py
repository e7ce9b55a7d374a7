"""Checksums of the files of a table, so that a bit flipped by the disk is found and never read as a row.

A commit has the checksum of its own text. It also has the checksums of the data files that it adds and of their
deletion vectors, as tags, which checkpoints keep. The checksum of a checkpoint is in a small file beside it. CRC-32
finds every single flipped bit, and takes half the time of a cryptographic digest. It protects against disk faults, not
against an attacker. The Delta protocol uses it for deletion vectors. Other readers of Delta ignore these checksums.

On an object store data files get no checksum here, because the store has its own and checks it.
"""

from __future__ import annotations

import os
import re
import threading
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from dataops_assets.errors import StorageError
from dataops_assets.storage.objects import is_remote

DATA_TAG = "dataops.crc32"
VECTOR_TAG = "dataops.deletionVectorCrc32"
WRITER = "dataops-assets/2"
"""The writer's name in a commit; every commit with this name has a checksum."""

_CHUNK = 1 << 20
_SEAL = re.compile(rb'"dataopsCrc32":"([0-9a-f]{8})"')
_UNSEALED = b'"dataopsCrc32":"00000000"'
SEAL = {"dataopsCrc32": "0" * 8}
"""The placeholder in a commit's information, which `sealed` replaces by the checksum."""

NEXT_STEP = "dataops doctor --deep shows the damage, and dataops doctor --repair repairs it if raw data allow"


def crc32(content: bytes) -> str:
    """Return the checksum of bytes."""
    return f"{zlib.crc32(content):08x}"


def sealed(commit: bytes) -> bytes:
    """Return a commit's text with its checksum in the place of `SEAL`."""
    return commit.replace(_UNSEALED, _UNSEALED.replace(b"0" * 8, crc32(commit).encode()), 1)


def is_sound(commit: bytes) -> bool:
    """Return whether a commit's text is as it was written; a commit of another writer has no checksum and passes."""
    first = commit.partition(b"\n")[0]
    found = _SEAL.search(first)
    if found is None:
        return WRITER.encode() not in first
    start, end = found.span()
    return crc32(commit[:start] + _UNSEALED + commit[end:]) == found[1].decode()


def file_crc32(path: Path, *, durable: bool = False) -> str:
    """Return the checksum of a local file; with `durable`, the file is synced when this returns. Raises OSError."""
    found = 0
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            found = zlib.crc32(chunk, found)
        if durable:
            os.fsync(stream.fileno())
    return f"{found:08x}"


# files that this process has verified; they are written once and never changed, so one check is enough. The oldest are
# forgotten: a daemon lives long
_sound: dict[tuple[str, int, int, int, int], str] = {}
_sound_lock = threading.Lock()
_MOST_SOUND = 100_000


def require_sound(uri: str, parts: Mapping[str, str]) -> None:
    """Compare local files of the table at `uri`, given by path, with their checksums; each file once a process.

    Raises StorageError that names the first file that is gone or is not what was written.
    """
    if is_remote(uri):
        return
    named = [(path, expected) for path, expected in parts.items() if expected]
    if len(named) == 1:
        wrong = [_difference(uri, *named[0])]
    else:
        with ThreadPoolExecutor(2) as pool:
            wrong = list(pool.map(lambda item: _difference(uri, *item), named))
    for (path, _), received in zip(named, wrong, strict=True):
        if received:
            raise StorageError(f"reading {path} of {uri}", received=received, next_step=NEXT_STEP)


def written(path: Path) -> str:
    """Return the checksum of a local file that this process wrote; its bytes are on the disk when this returns.

    Raises OSError.
    """
    found = file_crc32(path, durable=True)
    _remember(_identity(path), found)
    return found


def difference(path: Path, expected: str) -> str:
    """Return a text about the damage of a file; '' if it has none. The file is read even if it was verified before."""
    try:
        found = file_crc32(path)
    except FileNotFoundError:
        return "no such file"
    except OSError as error:
        return f"{type(error).__name__}: {error}"
    return "" if found == expected else f"checksum {found}, where {expected} was written: the file is damaged"


def _difference(uri: str, path: str, expected: str) -> str:
    place = Path(uri, path)
    try:
        identity = _identity(place)
    except OSError as error:
        return "no such file" if isinstance(error, FileNotFoundError) else f"{type(error).__name__}: {error}"
    if _sound.get(identity) == expected:
        return ""
    received = difference(place, expected)
    if not received:
        _remember(identity, expected)
    return received


def _remember(identity: tuple[str, int, int, int, int], checksum: str) -> None:
    with _sound_lock:
        while len(_sound) >= _MOST_SOUND:
            del _sound[next(iter(_sound))]
        _sound[identity] = checksum


def _identity(path: Path) -> tuple[str, int, int, int, int]:
    status = path.stat()
    return str(path), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def tag(action: Mapping[str, Any], name: str) -> str:
    """Return the checksum in the tags of an action of the log; '' if it has none."""
    tags = action.get("tags") or {}
    return str(dict(tags).get(name) or "")
