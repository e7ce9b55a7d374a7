"""Mappings that a version records and that grow with the inputs, such as the inputs of a hub.

A commit does not repeat them: it names the files that hold them, and has only the newest entries itself. So the size of
a commit follows its change, and not the number of inputs before it.

    _records/<unique name>-<digest>.json.gz    entries by key, and the keys that are gone

Each file is written before the commit that names it and is never changed, so a mapping is as atomic as the commit, and
each version keeps its own. A killed writer leaves a file that no commit names; vacuum removes it. Files are merged by
size: each is at least four times as large as the next, so there are few, and an entry is written again a few times in
all. The folder's name begins with `_`, which the vacuum of other Delta tools leaves alone.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import json
import uuid
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dataops_assets.errors import StorageError
from dataops_assets.storage import checksums
from dataops_assets.storage.objects import Folder

KEY = "dataopsRecords"
"""The key in a commit under which the files of its mappings are named."""

PATTERN = r"_records/[0-9a-f]{16}-[0-9a-f]{32}\.json\.gz"
"""Paths of the files, relative to the table."""

# a mapping that is smaller is written whole
_SMALL = 32
# entries that a commit has itself; more are written to a file
_RECENT = 16
_LARGER = 4


@dataclass(frozen=True)
class Record:
    """Where the entries of one mapping are: in files, oldest first with their number of entries, and in the commit."""

    files: tuple[tuple[str, int], ...] = ()
    recent: Mapping[str, Any] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Record:
        """Return the record that `as_json` wrote."""
        files = tuple((str(path), int(entries)) for path, entries in found["files"])
        return cls(files, found["recent"], frozenset(found["gone"]))

    def as_json(self) -> dict[str, Any]:
        """Return the record as it is written to a commit."""
        return {"files": [list(file) for file in self.files], "recent": dict(self.recent), "gone": sorted(self.gone)}

    def entries(self, folder: Folder) -> dict[str, Any]:
        """Return the whole mapping. Raises StorageError for a file that is missing or damaged."""
        found: dict[str, Any] = {}
        for path, _ in self.files:
            content = _content(folder.uri, path)
            _remove(found, content["gone"])
            found.update(content["entries"])
        _remove(found, self.gone)
        return {**found, **self.recent}

    def after(self, folder: Folder, changed: Mapping[str, Any], gone: Collection[str]) -> Record:
        """Return the record after some entries changed and others are gone; writes a file if there are many."""
        recent = {**self.recent, **changed}
        _remove(recent, gone)
        absent = {*self.gone, *gone} - recent.keys() if self.files else set()
        if len(recent) + len(absent) <= _RECENT:
            return Record(self.files, recent, frozenset(absent))
        files = list(self.files)
        while files and files[-1][1] < _LARGER * (len(recent) + len(absent)):
            older = _content(folder.uri, files.pop()[0])
            merged = dict(older["entries"])
            _remove(merged, absent)
            absent = {*absent, *older["gone"]} - recent.keys()
            recent = merged | recent
        if not files:
            absent = set()
        written = _write(folder, recent, absent)
        return Record((*files, (written, len(recent) + len(absent))))


def split(
    folder: Folder, base: Mapping[str, Record], before: Mapping[str, Any], info: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Record]]:
    """Return `info` as the commit stores it, and the records of its large mappings. Writes the files of the records.

    `base` and `before` are the records and the information of the version before. Raises StorageError when storage
    fails.
    """
    rest: dict[str, Any] = {}
    records: dict[str, Record] = {}
    for name, value in info.items():
        if not isinstance(value, Mapping) or (name not in base and len(value) <= _SMALL):
            rest[name] = value
            continue
        known: Mapping[str, Any] = before[name] if name in base else {}
        changed = {key: item for key, item in value.items() if key not in known or known[key] != item}
        gone = known.keys() - value.keys()
        records[name] = base.get(name, Record()).after(folder, changed, gone)
    return rest, records


class Info(Mapping[str, Any]):
    """The information of a version. A large mapping is read when it is asked for.

    So a version can be used without it, also an old one whose files are gone. Raises StorageError for a file that is
    missing or damaged.
    """

    def __init__(self, folder: Folder, info: Mapping[str, Any], records: Mapping[str, Record]) -> None:
        """`info` is what the commit has itself."""
        self._folder = folder
        self._known = dict(info)
        self._records = dict(records)

    def __getitem__(self, name: str) -> Any:
        """Return what is recorded under a name."""
        if name not in self._known and name in self._records:
            self._known[name] = self._records[name].entries(self._folder)
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        """Return the names."""
        return iter({**self._known, **self._records})

    def __len__(self) -> int:
        """Return the number of names."""
        return len({**self._known, **self._records})


def named(commit: Mapping[str, Any]) -> dict[str, Record]:
    """Return the records that a commit's `commitInfo` names."""
    return {name: Record.of(found) for name, found in commit.get(KEY, {}).items()}


def paths(records: Mapping[str, Record]) -> Iterator[str]:
    """Return the files of records."""
    return (path for record in records.values() for path, _ in record.files)


def difference(folder: Folder, path: str) -> str:
    """Return the fault of a file; '' if it is as it was written. Always reads the file, even if it was read before."""
    content = folder.read(path)
    if content is None:
        return "no such file"
    return "" if _is_sound(path, content) else "its checksum is wrong: the file is damaged"


def _write(folder: Folder, entries: Mapping[str, Any], gone: Collection[str]) -> str:
    text = json.dumps({"entries": entries, "gone": sorted(gone)}, ensure_ascii=False, separators=(",", ":"))
    # the highest level takes seven times as long for a twentieth less
    content = gzip.compress(text.encode(), compresslevel=6, mtime=0)
    # unique, although the digest is in it: a vacuum may be removing an equal file that a killed writer left
    path = f"_records/{uuid.uuid4().hex[:16]}-{hashlib.sha256(content).hexdigest()[:32]}.json.gz"
    folder.create(path, content)
    return path


@functools.lru_cache(maxsize=128)
def _content(uri: str, path: str) -> Mapping[str, Any]:
    """Read a file, once a process: it never changes."""
    folder, attempted = Folder(uri), f"reading {path} of {uri}"
    content = folder.read(path)
    if content is None:
        raise StorageError(attempted, received="no such file", next_step="restore the file from a backup")
    if not _is_sound(path, content):
        raise StorageError(
            attempted, received="its checksum is wrong: the file is damaged", next_step=checksums.NEXT_STEP
        )
    try:
        found: Mapping[str, Any] = json.loads(gzip.decompress(content))
    except (OSError, ValueError, zlib.error) as error:
        raise StorageError(attempted, received=f"no record: {error}", next_step=checksums.NEXT_STEP) from error
    return found


def _is_sound(path: str, content: bytes) -> bool:
    return hashlib.sha256(content).hexdigest()[:32] == path.removesuffix(".json.gz").rpartition("-")[2]


def _remove(entries: dict[str, Any], keys: Collection[str]) -> None:
    for key in keys:
        entries.pop(key, None)
