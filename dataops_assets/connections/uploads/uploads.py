"""Stores pushed files in the folder of a source: parts first, and the whole file under its name at once.

Grain: one version of a file. Its parts are below `.uploads` in the landing area, where no look goes; their size says
where the sender goes on, because only proved bytes are written, one after another. A whole file whose SHA-256 is the
announced one gets its name in the folder of the source. Nothing there is ever replaced: another version under the same
name is stored as `versions/<time>_<id>/<name>`, so it is an input of its own, whether or not a look has seen the first
one. A record of each stored version remains, so it is stored once, also if the folder is cleaned.

Known limit: parts that power loss damaged are noticed at the end, and sent again from the begin.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path

from dataops_assets.config.receiving import Receive
from dataops_assets.config.receiving import Uploads as Settings
from dataops_assets.connections.uploads.upload import Upload
from dataops_assets.errors import InputError
from dataops_assets.storage import durable

_LOG = logging.getLogger(__name__)
_AREA = ".uploads"
_VERSIONS = "versions"


class State(Enum):
    """The state of an upload after a request. DIFFERS: the whole file has another digest than was announced."""

    GOES_ON = "goes on"
    STORED = "stored"
    WRONG_OFFSET = "wrong offset"
    DIFFERS = "differs"


@dataclass(frozen=True)
class Progress:
    """How far an upload is: the bytes that are safely stored. `is_new`: this request stored the file."""

    state: State
    offset: int
    is_new: bool = False


@dataclass(frozen=True)
class Uploads:
    """The pushed files of one source: `folder` is where they appear, `area` where their parts are."""

    source: str
    folder: Path
    area: Path
    receive: Receive
    settings: Settings

    @classmethod
    def of(cls, source: str, landing: Path, folder: Path, receive: Receive, settings: Settings) -> Uploads:
        """Return the uploads of a source whose files are below `landing`."""
        return cls(source, folder, landing / _AREA / source, receive, settings)

    def progress(self, upload: Upload) -> Progress:
        """Return how far an upload is. Raises OSError if the disk fails."""
        if self._record(upload).exists():
            return Progress(State.STORED, upload.length)
        try:
            return Progress(State.GOES_ON, self._part(upload).stat().st_size)
        except FileNotFoundError:
            return Progress(State.GOES_ON, 0)

    def add(self, upload: Upload, offset: int, content: bytes) -> Progress:
        """Add bytes at their offset, and store the file if they are its last ones. They are synced when this returns.

        Re-run: a request that is repeated finds another offset, and changes nothing. Raises InputError if the bytes are
        more than announced, and OSError if the disk fails: then bytes that were written remain, and `progress` says how
        many.
        """
        if offset + len(content) > upload.length:
            raise InputError(
                f"taking bytes of {upload.name}",
                received=f"{offset + len(content):,} bytes",
                known=[f"{upload.length:,} announced"],
                next_step="push the file again: it grew while it was sent",
            )
        if offset == 0:
            self.clean(time.time())
        with self._opened(upload) as part:
            if part is None:
                return Progress(State.STORED, upload.length)
            there = os.fstat(part).st_size
            if offset != there:
                return Progress(State.WRONG_OFFSET, there)
            _write(part, content, offset)
            if offset + len(content) < upload.length:
                return Progress(State.GOES_ON, offset + len(content))
            return self._store(upload, part)

    def clean(self, now: float) -> None:
        """Remove parts that got no bytes for longer than declared. Raises OSError if the disk fails."""
        keep = self.settings.keep_unfinished.total_seconds()
        with contextlib.suppress(FileNotFoundError):
            for part in (self.area / "parts").iterdir():
                # of the inode: the time of modification becomes that of the sender's file
                with contextlib.suppress(FileNotFoundError):
                    if now - part.stat().st_ctime > keep:
                        part.unlink()
                        _LOG.info("removed an unfinished upload for %s: %s", self.source, part.name)

    def _store(self, upload: Upload, part: int) -> Progress:
        """Give a whole file its name, if it is what was announced; else forget its bytes."""
        path = self._part(upload)
        if _digest_of(part) != upload.digest:
            path.unlink()
            return Progress(State.DIFFERS, 0)
        os.utime(part, ns=(upload.modified * 1000, upload.modified * 1000))
        os.fsync(part)
        target = self._named(upload, path)
        record = {**asdict(upload), "path": str(target.relative_to(self.folder))}
        with contextlib.suppress(FileExistsError):
            durable.write_new(self._record(upload), json.dumps(record).encode())
        path.unlink()
        _LOG.info("stored for %s: %s", self.source, target)
        return Progress(State.STORED, upload.length, is_new=True)

    def _named(self, upload: Upload, path: Path) -> Path:
        """Give the file at `path` its name in the folder; return where it is now."""
        own = self.folder / upload.name
        apart = self.folder / _VERSIONS / upload.version / upload.name
        for target in (own, apart):
            try:
                durable.link_new(path, target, self.folder)
                return target
            except (FileExistsError, NotADirectoryError):
                # the name is that of another version, or a file stands where a folder is needed
                if _is_version(target, path, upload):
                    durable.sync_folders(target.parent, self.folder)
                    return target
        raise FileExistsError(f"{apart} is there, and is not what was pushed")

    @contextlib.contextmanager
    def _opened(self, upload: Upload) -> Iterator[int | None]:
        """Open the parts of an upload for one writer at a time; None if the file is stored already."""
        path = self._part(upload)
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            if self._record(upload).exists():
                yield None
                return
            part = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(part, fcntl.LOCK_EX)
                if not _is_at(part, path):
                    # the writer before has stored or removed it
                    continue
                if not self._record(upload).exists():
                    yield part
                    return
                path.unlink()
            finally:
                os.close(part)

    def _part(self, upload: Upload) -> Path:
        return self.area / "parts" / upload.id

    def _record(self, upload: Upload) -> Path:
        return self.area / "stored" / upload.id


def _is_version(target: Path, path: Path, upload: Upload) -> bool:
    """Return whether the upload at `path` is at `target`, because a request was killed, or a record removed."""
    try:
        there, own = target.stat(), path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    if os.path.samestat(there, own):
        return True
    if not stat.S_ISREG(there.st_mode) or (there.st_size, there.st_mtime_ns) != (own.st_size, own.st_mtime_ns):
        return False
    with target.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == upload.digest


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _write(descriptor: int, content: bytes, offset: int) -> None:
    left = memoryview(content)
    while left:
        done = os.pwrite(descriptor, left, offset)
        left, offset = left[done:], offset + done
    os.fsync(descriptor)


def _digest_of(descriptor: int) -> str:
    os.lseek(descriptor, 0, os.SEEK_SET)
    with open(descriptor, "rb", closefd=False) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
