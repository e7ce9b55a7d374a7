"""The raw area of one source: the bytes of every input as received, never changed.

    objects/<sha256>/<file name>   the bytes, named by their digest
    inputs/<input id>.json         the manifest; an input is here when it has one
    temporary/                     local areas only: files that are being written

The layout is the same on a local disk and in an object store. An object appears under its name only when it is complete
and its digest is right. So a killed process or a full disk leaves no half-written object.

Durability, local: an object's bytes are on the disk before it gets its name (fsync, then an atomic rename), so no crash
shows torn bytes under a valid name. Names become durable with `sync`, once for a whole set of inputs instead of three
folders for each input. A step calls it before it reports success; inputs that a crash of the machine loses before that
are ingested again. A manifest is renamed but not synced by itself, which would double the cost of many small files: it
can always be made again, and a manifest damaged by a crash counts as missing. In an object store each put is durable.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import functools
import hashlib
import json
import os
import re
import tempfile
import time
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

import obstore
from obstore.exceptions import BaseError

from dataops_assets.errors import Damaged, InputError, StorageError
from dataops_assets.report import Input
from dataops_assets.storage.checksums import crc32
from dataops_assets.storage.objects import Folder, is_remote, open_store

# characters with a meaning in a shell, a URL or an engine's glob
_UNSAFE = re.compile(r"[^\w.\-+=@ ]")
_LONGEST_NAME = 200
_LEFTOVER = dt.timedelta(days=1)
_SUM = "crc32"
_SPOOL_BYTES = 8 << 20
GONE = "its bytes are gone"
"""What `RawArea.problem_of` says of an input whose object does not exist."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class RawManifest:
    """The origin of an input. `modified` is the origin's modification time, None if it has none.

    `object` is the object's path in the area, `size` in bytes, times are aware in UTC. `manifest` is the text of the
    manifest file that was delivered with it; '' without one.
    """

    input_id: str
    origin: str
    object: str
    extract_time: dt.datetime
    modified: dt.datetime | None
    size: int
    sha256: str
    manifest: str = ""


class RawArea:
    """The raw area at `uri`, a local path or an object store's URL. Safe for threads and concurrent processes."""

    def __init__(self, uri: str) -> None:
        """Opens nothing yet."""
        self.uri = uri.rstrip("/")
        self._folder = Folder(self.uri)
        self._is_remote = is_remote(self.uri)
        self._root = Path(self.uri)
        self._unsynced: set[Path] = set()

    @classmethod
    def of(cls, storage: str, source: str) -> RawArea:
        """Return the raw area of the source named `source` below an environment's storage."""
        return cls(f"{storage}/raw/{source}")

    # --- writing ---------------------------------------------------------------------------------------------------

    def add(self, item: Input, chunks: Iterable[bytes], modified: dt.datetime | None) -> bool:
        """Copy an input's bytes and write its manifest; return False if both exist already.

        `chunks` is only iterated when the object is missing. Raises InputError when the bytes are not those of
        `item` (the origin changed), StorageError when the store fails; nothing is visible then.
        """
        if self.holds(item):
            return False
        if not self._has_object(item):
            self._write(self.object_path(item), _verified(item, chunks), durable=True)
        place = item.origin, self.object_path(item)
        manifest = RawManifest(
            item.input_id, *place, item.extract_time, modified, item.size, item.digest, item.manifest
        )
        self._write(_manifest_path(item.input_id), [_to_json(manifest)], durable=False)
        return True

    def put(self, item: Input, chunks: Iterable[bytes]) -> None:
        """Store the bytes of an extract that cannot be read again; `add` makes them an input later.

        Without a manifest they belong to no input. Raises InputError and StorageError like `add`.
        """
        if not self._has_object(item):
            self._write(self.object_path(item), _verified(item, chunks), durable=True)

    def sync(self) -> None:
        """Sync the names of written files; see the module. Raises StorageError."""
        with self._storing("making names durable"):
            while self._unsynced:
                directory = os.open(self._unsynced.pop(), os.O_RDONLY)
                try:
                    os.fsync(directory)
                finally:
                    os.close(directory)
            self._remove_leftovers(_LEFTOVER)

    def vacuum(self, young: dt.timedelta = _LEFTOVER) -> int:
        """Remove half-written files of killed processes, if they are too old to belong to a running one.

        Returns the number of files. `sync` does it, too. Raises StorageError.
        """
        with self._storing("removing leftovers"):
            return self._remove_leftovers(young)

    def delete(self, input_ids: Collection[str]) -> int:
        """Remove inputs; an object is removed with its last input. A missing input is no error.

        Manifests are removed first, so a killed deletion leaves objects without an input. Returns the number of inputs
        that existed.
        """
        there = self.inputs()
        gone = [input_id for input_id in there if input_id in input_ids]
        if not gone:
            return 0
        objects = {found.object for input_id in gone if (found := self.manifest(input_id)) is not None}
        kept = {found.object for other in set(there).difference(gone) if (found := self.manifest(other)) is not None}
        self._folder.delete([_manifest_path(input_id) for input_id in gone])
        self._folder.delete(sorted(objects - kept))
        return len(gone)

    def discard_spoiled(self, item: Input) -> bool:
        """Remove the input's object if it is damaged; return whether it was.

        Raises StorageError when the store fails.
        """
        if self.problem_of(item) in ("", GONE):
            return False
        self._folder.delete([self.object_path(item)])
        if self._is_remote:
            # the fetched copy
            self.local_path(item).unlink()
        return True

    def problem_of(self, item: Input) -> str:
        """Return what is wrong with the stored bytes of an input that was ingested; '' if nothing is.

        Reads the bytes. Raises StorageError when the store fails.
        """
        if not self._is_there(item):
            return GONE
        is_same = self._digest(self.local_path(item)) == item.digest
        return "" if is_same else "its bytes differ from the received bytes: the copy is damaged"

    def gone(self, items: Iterable[Input]) -> list[Input]:
        """Return the inputs that were ingested and whose bytes are gone. Reads two listings. Raises StorageError."""
        ingested, objects = set(self.inputs()), set(self._folder.names("objects"))
        return [item for item in items if item.input_id in ingested and self.object_path(item) not in objects]

    # --- reading ---------------------------------------------------------------------------------------------------

    def holds(self, item: Input) -> bool:
        """Return whether the input's object and manifest exist."""
        content = self._folder.read(_manifest_path(item.input_id))
        manifest = None if content is None else _from_json(content)
        return manifest is not None and manifest.sha256 == item.digest and self._has_object(item)

    def manifest(self, input_id: str) -> RawManifest | None:
        """Return the manifest of an input, or None if it was not ingested. Raises StorageError."""
        content = self._folder.read(_manifest_path(input_id))
        if content is None:
            return None
        manifest = _from_json(content)
        if manifest is None:
            raise StorageError(
                f"reading the manifest of input {input_id} in {self.uri}",
                received=f"{len(content)} bytes that are no manifest",
                next_step="ingest the input again",
            )
        return manifest

    def inputs(self) -> list[str]:
        """Return the ids of the stored inputs, sorted. Raises StorageError."""
        names = (path.rpartition("/")[2] for path in self._folder.names("inputs"))
        return sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))

    def object_path(self, item: Input) -> str:
        """Return the path of the input's bytes, relative to the area.

        The name keeps its ending, which tells the format. Characters with a meaning in patterns are replaced.
        """
        return f"objects/{item.digest}/{_safe_name(item.origin.rpartition('/')[2])}"

    def local_path(self, item: Input) -> Path:
        """Return the path of the input's bytes as a local file, for reading only.

        From an object store they are fetched once a process; the copy is removed when the process ends. Raises
        StorageError when they are not here.
        """
        path = self._fetched(item) if self._is_remote else self._root / self.object_path(item)
        if not path.is_file():
            raise self._absent(item)
        return path

    def sound_path(self, item: Input) -> Path:
        """Return `local_path`, after the bytes were compared with the digest of the input.

        Raises StorageError if they do not exist, Damaged if they differ.
        """
        path = self.local_path(item)
        found = self._digest(path)
        if found != item.digest:
            raise Damaged(
                f"reading {self.object_path(item)} of {self.uri}",
                received=f"sha256 {found}, but {item.digest} was received: the copy is damaged",
                next_step=self._again(item),
            )
        return path

    def _digest(self, path: Path) -> str:
        with self._storing(f"reading {path}"), path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    def open(self, item: Input) -> BinaryIO:
        """Return the input's bytes as a stream. Raises StorageError when they are not here."""
        return self.local_path(item).open("rb")

    # --- the two kinds of store ------------------------------------------------------------------------------------

    def _is_there(self, item: Input) -> bool:
        """Return whether an object of the input's name exists, of any size."""
        if self._is_remote:
            return self._has_object(item)
        return (self._root / self.object_path(item)).is_file()

    def _has_object(self, item: Input) -> bool:
        path = self.object_path(item)
        with self._storing(f"looking at {path}"):
            try:
                if self._is_remote:
                    return bool(obstore.head(open_store(self.uri), path)["size"] == item.size)
                return (self._root / path).stat().st_size == item.size
            except FileNotFoundError:
                return False

    def _write(self, path: str, chunks: Iterable[bytes], *, durable: bool) -> None:
        with self._storing(f"writing {path}"):
            if self._is_remote:
                with tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as spool:
                    _fill(spool, chunks)
                    spool.seek(0)
                    obstore.put(open_store(self.uri), path, spool)
                return
            self._write_local(self._root / path, chunks, durable)

    def _write_local(self, target: Path, chunks: Iterable[bytes], durable: bool) -> None:
        temporary = self._root / "temporary" / uuid.uuid4().hex
        temporary.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as stream:
                _fill(stream, chunks)
                stream.flush()
                if durable:
                    os.fsync(stream.fileno())
            if not target.parent.is_dir():
                target.parent.mkdir(parents=True, exist_ok=True)
                self._unsynced.update((target.parent.parent, self._root, self._root.parent))
            temporary.replace(target)
            self._unsynced.add(target.parent)
        finally:
            # the file is gone already, unless the write failed or the process is being stopped
            with contextlib.suppress(OSError):
                temporary.unlink()

    def _fetched(self, item: Input) -> Path:
        target = Path(_downloads().name) / item.digest / self.object_path(item).rpartition("/")[2]
        if target.is_file():
            return target
        with self._storing(f"fetching {self.object_path(item)}"):
            try:
                content = obstore.get(open_store(self.uri), self.object_path(item))
            except FileNotFoundError as error:
                raise self._absent(item) from error
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f"{uuid.uuid4().hex}.part")
            with partial.open("xb") as stream:
                _fill(stream, (bytes(chunk) for chunk in content))
            partial.replace(target)
        return target

    def _remove_leftovers(self, young: dt.timedelta) -> int:
        temporary = self._root / "temporary"
        if self._is_remote or not temporary.is_dir():
            return 0
        removed = 0
        for leftover in temporary.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if time.time() - leftover.stat().st_mtime >= young.total_seconds():
                    leftover.unlink()
                    removed += 1
        return removed

    @contextlib.contextmanager
    def _storing(self, attempted: str) -> Iterator[None]:
        try:
            yield
        except (OSError, BaseError) as error:
            is_full = isinstance(error, OSError) and error.errno in _FULL
            raise StorageError(
                f"{attempted} in {self.uri}",
                received=f"{type(error).__name__}: {error}",
                next_step=("free space in the store" if is_full else "check that the store is there and may be written")
                + ", then run again; nothing half-written is visible",
            ) from error

    def _absent(self, item: Input) -> StorageError:
        return StorageError(
            f"reading input {item.input_id} in {self.uri}",
            received=f"no object {self.object_path(item)}",
            next_step=self._again(item),
        )

    def _again(self, item: Input) -> str:
        name = self.uri.rpartition("/")[2]
        return (
            f"copy {item.origin} again, if it is still there: dataops reset {name} ingest {item.input_id}; or restore "
            "the file from a backup"
        )


def _verified(item: Input, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the chunks; raise InputError at the end if they are not the discovered bytes."""
    hashed = hashlib.sha256()
    size = 0
    for chunk in chunks:
        hashed.update(chunk)
        size += len(chunk)
        if size > item.size:
            break
        yield chunk
    if size != item.size or hashed.hexdigest() != item.digest:
        more = "more than " if size > item.size else ""
        raise InputError(
            f"copying {item.origin} as input {item.input_id}",
            received=f"{more}{min(size, item.size):,} bytes, sha256 {hashed.hexdigest()[:12]}..., but discovery saw "
            f"{item.size:,} bytes, sha256 {item.digest[:12]}...: the origin changed since",
            next_step="nothing: the changed file is found as a new input. Remove this input if its bytes are lost",
        )


def _fill(stream: IO[bytes], chunks: Iterable[bytes]) -> None:
    for chunk in chunks:
        stream.write(chunk)


def _safe_name(name: str) -> str:
    safe = _UNSAFE.sub("_", name)
    while len(safe.encode()) > _LONGEST_NAME:
        safe = safe[1:]
    # readers would ignore a hidden or empty name
    return f"_{safe}" if not safe or safe.startswith(".") else safe


def _manifest_path(input_id: str) -> str:
    return f"inputs/{input_id}.json"


def _to_json(manifest: RawManifest) -> bytes:
    fields = {name: value for name, value in asdict(manifest).items() if value or name != "manifest"}
    return json.dumps({**fields, _SUM: _sum_of(fields)}, indent=2, default=_iso).encode() + b"\n"


def _sum_of(fields: Mapping[str, Any]) -> str:
    return crc32(json.dumps(dict(fields), default=_iso).encode())


def _iso(time: dt.datetime) -> str:
    return time.isoformat()


def _from_json(content: bytes) -> RawManifest | None:
    """Return the manifest; None if the bytes are no manifest."""
    try:
        fields = dict(json.loads(content))
        # older manifests have no checksum
        if fields.pop(_SUM, None) not in (None, _sum_of(fields)):
            return None
        for name in ("extract_time", "modified"):
            fields[name] = dt.datetime.fromisoformat(fields[name]) if fields[name] is not None else None
        return RawManifest(**fields)
    except (ValueError, KeyError, TypeError):
        return None


@functools.cache
def _downloads() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="dataops-raw-")
