"""Delta tables: read a version, commit a version.

A commit is one JSON object created if absent in `_delta_log`, so it happens wholly or not at all, on a local disk and
on an object store. Data files and deletion vectors are written before it and are invisible without it. The platform
writes its own log entries because one commit must remove rows (by deletion vector), add files and say which inputs
the table is made of; `deltalake` offers no such commit. Standard readers (DuckDB, Spark, Polars,
deltalake) read the tables.

Source of the format: PROTOCOL.md of Delta Lake.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
import time
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from pyroaring import BitMap64

from dataops_assets.errors import StorageError
from dataops_assets.storage import checksums, deletion_vectors, durable, log, records
from dataops_assets.storage.objects import Folder, is_remote

CHECKPOINT_EVERY = 20
_LOG_ENTRY = re.compile(r"_delta_log/(\d{20})\.(json|checkpoint\.parquet)")
_CHECKPOINT_SUM = re.compile(r"_delta_log/(\d{20})\.checkpoint\.crc32")
INFO_KEY = "dataops"
_PARENT = "dataopsParent"
HINT = "_delta_log/_last_checkpoint"
"""The file in which readers look first for the newest checkpoint."""

_TO_DELTA = {
    "VARCHAR": "string",
    "BIGINT": "long",
    "INTEGER": "integer",
    "SMALLINT": "short",
    "TINYINT": "byte",
    "DOUBLE": "double",
    "FLOAT": "float",
    "BOOLEAN": "boolean",
    "BLOB": "binary",
    "DATE": "date",
    "TIMESTAMP": "timestamp_ntz",
    "TIMESTAMP WITH TIME ZONE": "timestamp",
}
_FROM_DELTA = {delta: sql for sql, delta in _TO_DELTA.items()}


def delta_type(sql_type: str) -> str:
    """Return the Delta type of an SQL type as DuckDB names it. Raises StorageError for a type Delta cannot hold."""
    if sql_type.startswith("DECIMAL"):
        return sql_type.lower()
    if sql_type not in _TO_DELTA:
        raise StorageError(
            "mapping an SQL type to Delta",
            received=sql_type,
            known=[*_TO_DELTA, "DECIMAL(p,s)"],
            next_step="cast the column to a known type",
        )
    return _TO_DELTA[sql_type]


def sql_type(delta: str) -> str:
    """Return the SQL type, as DuckDB names it, of a primitive Delta type."""
    return delta.upper() if delta.startswith("decimal") else _FROM_DELTA.get(delta, delta.upper())


@dataclass(frozen=True)
class DataFile:
    """One Parquet file of a table.

    `path` is relative to the table and as on disk; `rows` counts all rows, of which `deleted` are masked by
    `deletion_vector` (a Delta descriptor); `stats` is the Delta statistics object. `crc32` is the checksum of the file,
    `vector_crc32` that of the file with its deletion vector; '' where they are not known.
    """

    path: str
    size: int
    rows: int
    stats: Mapping[str, Any] = field(default_factory=dict)
    deletion_vector: Mapping[str, Any] | None = None
    crc32: str = ""
    vector_crc32: str = ""

    @property
    def deleted(self) -> int:
        """Rows masked by the deletion vector."""
        return int(self.deletion_vector["cardinality"]) if self.deletion_vector else 0

    def identity(self) -> tuple[str, str]:
        """Return the identity of a file in the log: its path and its deletion vector."""
        vector = self.deletion_vector
        return self.path, f"{vector['pathOrInlineDv']}@{vector.get('offset')}" if vector else ""


@dataclass(frozen=True)
class TableVersion:
    """One version of a table. `columns` maps names to SQL types in order; `info` is what the committer recorded.

    `records` says where the large mappings of `info` are stored. The `commit_id` identifies a version: after a lost
    commit, another commit can get the same number.
    """

    uri: str
    version: int
    columns: Mapping[str, str]
    files: tuple[DataFile, ...]
    info: Mapping[str, Any]
    metadata: Mapping[str, Any]
    commit_id: str = ""
    protocol: Mapping[str, Any] = field(default_factory=lambda: log.PROTOCOL)
    records: Mapping[str, records.Record] = field(default_factory=dict)

    @property
    def known_as(self) -> list[int | str]:
        """The number and the commit id of this version. The number finds it, and the id is unique."""
        return [self.version, self.commit_id]

    @property
    def rows(self) -> int:
        """Rows a reader of this version sees."""
        return sum(file.rows - file.deleted for file in self.files)

    def null_shares(self) -> dict[str, float]:
        """Each column's share of nulls (0 to 1), from the files' statistics; masked rows still count in them."""
        written = sum(file.rows for file in self.files)
        nulls = {
            name: sum(file.stats.get("nullCount", {}).get(name, 0) for file in self.files) for name in self.columns
        }
        return {name: count / written if written else 0.0 for name, count in nulls.items()}


@dataclass(frozen=True, kw_only=True)
class TableChange:
    """One commit's change of a table: files to add and to remove, rows to delete, columns.

    * `columns`: the table's columns and SQL types after the commit.
    * `mask`: by path of a data file, positions of further rows to delete.
    * `info`: what is recorded with the version.
    * `data_change`: whether readers of the table's changes see this commit; False where the rows stay the same.
    """

    operation: str
    columns: Mapping[str, str]
    add: Iterable[DataFile] = ()
    remove: Iterable[DataFile] = ()
    mask: Mapping[str, Iterable[int]] = field(default_factory=dict)
    info: Mapping[str, Any] = field(default_factory=dict)
    data_change: bool = True


@dataclass(frozen=True)
class Head:
    """The newest version of a table without its files: its number, the id of its commit, what was recorded with it."""

    version: int
    commit_id: str
    info: Mapping[str, Any]


def _log_path(version: int) -> str:
    return f"_delta_log/{version:020d}.json"


def checkpoint_path(version: int) -> str:
    """Return the path of a version's checkpoint, relative to the table."""
    return f"_delta_log/{version:020d}.checkpoint.parquet"


def _checkpoint_sum_path(version: int) -> str:
    return f"_delta_log/{version:020d}.checkpoint.crc32"


@dataclass(frozen=True)
class Kept:
    """The data files and deletion vectors that the versions to keep need, and the log entries that they do not need.

    All relative to the table.
    """

    paths: frozenset[str]
    log_before: frozenset[str]


class Table:
    """A Delta table at a URI; it need not exist yet."""

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        self.folder = Folder(self.uri)

    def snapshot(self, version: int | None = None) -> TableVersion | None:
        """Return the newest version (or the given one); None when the table does not exist.

        Raises StorageError when the version is unknown or the log cannot be read.
        """
        entries = _entries(self.folder.names("_delta_log"))
        commits = {number: name for name, (number, kind) in entries.items() if kind == "json"}
        if not commits:
            return None
        target = max(commits) if version is None else version
        checkpoints = [number for number, kind in entries.values() if kind != "json"]
        start = max((number for number in checkpoints if number <= target), default=-1)
        state = _State()
        if start >= 0:
            state.apply(self._checkpoint(start))
        for number in range(start + 1, target + 1):
            if number not in commits:
                raise StorageError(
                    f"reading version {target} of {self.uri}",
                    received=f"no commit {number}",
                    known=[f"versions {min(commits)} to {max(commits)}"],
                )
            self._replay(state, number)
        if not state.commit:
            state.commit = self._last_commit(commits, min(start, target))
        if not state.commit_id:
            state.commit_id = self.commit_id(target) or ""
        return state.snapshot(self.folder, target)

    def newest(self) -> Head | None:
        """Return the newest version; None when the table does not exist. Reads only its commit, if possible.

        Raises StorageError when the log cannot be read.
        """
        names = [name for name, (_, kind) in _entries(self.folder.names("_delta_log")).items() if kind == "json"]
        if not names:
            return None
        path = max(names)
        content = self._read(path)
        actions = self._sound_actions(path, content)
        told = [action["commitInfo"] for action in actions if INFO_KEY in action.get("commitInfo", {})]
        version = _entries([path])[path][0]
        if told:
            return Head(version, _commit_id(content, actions), _info_of(self.folder, told[0]))
        snapshot = self.snapshot(version)
        return Head(snapshot.version, snapshot.commit_id, snapshot.info) if snapshot else None

    def commit_id(self, version: int) -> str | None:
        """Return the id of the commit that made a version; None where the log has none of that number.

        Raises StorageError when the log cannot be read.
        """
        content = self.folder.read(_log_path(version))
        return None if content is None else _commit_id(content, self._sound_actions(_log_path(version), content))

    def _replay(self, state: _State, number: int) -> None:
        path = _log_path(number)
        content = self._read(path)
        actions = self._sound_actions(path, content)
        parent = next((item["commitInfo"].get(_PARENT) for item in actions if "commitInfo" in item), None)
        if parent and state.commit_id and parent != state.commit_id:
            raise StorageError(
                f"reading {path} of {self.uri}",
                received=f"a commit that was made after commit {parent}, but version {number - 1} is commit "
                f"{state.commit_id}: the log has commits of two histories",
                next_step=checksums.NEXT_STEP,
            )
        state.apply(actions)
        state.commit_id = _commit_id(content, actions)

    def kept_since(self, moment: dt.datetime, pinned: Collection[int] = ()) -> Kept | None:
        """Find the files of all versions that were the newest at `moment` or later; None if there is no table.

        The newest version is always among them, and the versions `pinned` are, too, if the log still has them. The log
        is kept without a gap from the first of all these versions. Raises StorageError when the log cannot be read.
        """
        newest = self.snapshot()
        if newest is None:
            return None
        names = set(self.folder.names("_delta_log"))
        found = {*_paths(newest.files), *records.paths(newest.records)}
        oldest = newest.version
        while (name := _log_path(oldest)) in names:
            actions = self._actions(name)
            # files that a version added serve later versions, too; those of the first kept version are in its state
            found.update(_paths(_file(action["add"]) for action in actions if "add" in action))
            found.update(_record_paths(actions))
            if _commit_time(actions) <= moment or _log_path(oldest - 1) not in names:
                break
            oldest -= 1
        there = {version for version in pinned if _log_path(version) in names}
        for version in {oldest, *there}:
            kept = self.snapshot(version)
            if kept is not None:
                found.update(_paths(kept.files), records.paths(kept.records))
        return Kept(frozenset(found), frozenset(_log_before(min([oldest, *there]), names)))

    def paths_of(self, version: int) -> frozenset[str]:
        """Return the data files, deletion vectors and records of one version; none if the log has no such version.

        Raises StorageError when the log cannot be read.
        """
        if self.folder.read(_log_path(version)) is None:
            return frozenset()
        found = self.snapshot(version)
        return frozenset({*_paths(found.files), *records.paths(found.records)}) if found else frozenset()

    def restore(self, wanted: TableVersion, info: Mapping[str, Any]) -> TableVersion:
        """Publish the files, columns and information of the version `wanted` as the newest version, and return it.

        `info` is recorded in addition. No data are copied: the commit names the same files, so they must still be
        there. Raises CommitConflict when another writer published first; then nothing is published.
        """
        base = self.snapshot()
        known = {file.identity() for file in base.files} if base else set()
        again = {file.identity() for file in wanted.files}
        change = TableChange(
            operation="RESTORE",
            columns=wanted.columns,
            add=[file for file in wanted.files if file.identity() not in known],
            remove=[file for file in base.files if file.identity() not in again] if base else (),
            info={**wanted.info, **info},
        )
        return self.commit(base, change)

    def _last_commit(self, commits: Mapping[int, str], newest: int) -> Mapping[str, Any]:
        # commits before a checkpoint are read only if the later ones, made by other tools, recorded no information
        for number in range(newest, -1, -1):
            if number not in commits:
                break
            for action in self._actions(commits[number]):
                if INFO_KEY in action.get("commitInfo", {}):
                    return dict(action["commitInfo"])
        return {}

    def _read(self, path: str) -> bytes:
        content = self.folder.read(path)
        if content is None:
            raise StorageError(
                f"reading {path} of {self.uri}", received="no such file", next_step="restore the file from a backup"
            )
        return content

    def logged(self) -> tuple[list[int], list[int]]:
        """Return the versions with a commit in the log, and the versions with a checkpoint, in order."""
        entries = _entries(self.folder.names("_delta_log")).values()
        commits = sorted(number for number, kind in entries if kind == "json")
        return commits, sorted(number for number, kind in entries if kind != "json")

    def actions(self, version: int) -> list[log.Action]:
        """Return the actions of a version's commit. Raises StorageError when the log cannot be read."""
        return self._actions(_log_path(version))

    def _actions(self, path: str) -> list[log.Action]:
        return self._sound_actions(path, self._read(path))

    def _sound_actions(self, path: str, content: bytes) -> list[log.Action]:
        """Return the actions of a commit's text. Raises StorageError if it is damaged."""
        attempted = f"reading {path} of {self.uri}"
        if not checksums.is_sound(content):
            raise StorageError(
                attempted, received="a commit whose checksum is wrong: it is damaged", next_step=checksums.NEXT_STEP
            )
        try:
            return log.of_commit(content)
        except ValueError as error:
            raise StorageError(
                attempted, received=f"a file that is not a commit: {error}", next_step=checksums.NEXT_STEP
            ) from error

    def _checkpoint(self, version: int) -> list[log.Action]:
        """Return the actions of a checkpoint. Raises StorageError if it is damaged."""
        path = checkpoint_path(version)
        attempted, content = f"reading {path} of {self.uri}", self._read(path)
        if self.checkpoint_sums(version).get(path) not in (None, checksums.crc32(content)):
            raise StorageError(
                attempted,
                received="a checkpoint whose checksum is wrong: it is damaged",
                next_step=checksums.NEXT_STEP,
            )
        try:
            return list(log.of_checkpoint(content))
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            # a checkpoint without a checksum
            raise StorageError(
                attempted, received=f"a file that is not a checkpoint: {error}", next_step=checksums.NEXT_STEP
            ) from error

    def commit(self, base: TableVersion | None, change: TableChange) -> TableVersion:
        """Publish the version after `base`, and return it.

        Raises CommitConflict when another writer published that version first (nothing is published then), StorageError
        for a change that removes and adds the same file, which readers of Delta tables read in different ways.
        """
        if base is not None:
            log.require_writable(base.protocol, self.uri)
        before = {file.path: file for file in base.files} if base else {}
        removed = {file.path: file for file in change.remove}
        added = self.secured(change.add)
        masked = self._masked(before, {path: rows for path, rows in change.mask.items() if path not in removed})
        added.extend(file for file in masked if file.rows > file.deleted)
        removed.update({file.path: before[file.path] for file in masked})
        _require_apart(self.uri, removed.values(), added)
        info, recorded = records.split(
            self.folder, base.records if base else {}, base.info if base else {}, change.info
        )
        now = int(time.time() * 1000)
        after = TableVersion(
            uri=self.uri,
            version=base.version + 1 if base else 0,
            columns=dict(change.columns),
            files=(*(file for path, file in before.items() if path not in removed), *added),
            info=dict(change.info),
            metadata=_metadata(base, change.columns, now),
            commit_id=str(uuid.uuid4()),
            protocol=base.protocol if base else log.PROTOCOL,
            records=recorded,
        )
        actions = [
            *_head_actions(base, after, change.operation, now, info),
            *({"remove": _remove_action(file, now, change.data_change)} for file in removed.values()),
            *({"add": _add_action(file, now, change.data_change)} for file in added),
        ]
        body = "\n".join(json.dumps(action, ensure_ascii=False, separators=(",", ":")) for action in actions) + "\n"
        self.folder.create(_log_path(after.version), checksums.sealed(body.encode("utf-8")))
        if after.version and after.version % CHECKPOINT_EVERY == 0:
            self.checkpoint()
        return after

    def secured(self, files: Iterable[DataFile]) -> list[DataFile]:
        """Return data files with their checksums; on a local disk the files are synced when this returns.

        Raises StorageError when the disk fails.
        """
        found = list(files)
        unsynced = [] if is_remote(self.uri) else [file for file in found if not file.crc32]
        try:
            sums = {file.path: checksums.written(Path(self.uri, file.path)) for file in unsynced}
            if sums:
                folder = Path(self.uri)
                # if the table is new, the folders above it may be new, too
                is_new = not (folder / "_delta_log").is_dir()
                durable.sync_folders(folder, Path(*folder.parts[:-3]) if is_new else None)
        except OSError as error:
            raise StorageError(
                f"writing data files of {self.uri}",
                received=f"{type(error).__name__}: {error}",
                next_step="check that the disk is there and has room, then run again; nothing was published",
            ) from error
        return [replace(file, crc32=sums.get(file.path, file.crc32)) for file in found]

    def _masked(self, current: Mapping[str, DataFile], mask: Mapping[str, Iterable[int]]) -> list[DataFile]:
        """Return the files of `mask` with deletion vectors that also delete these row positions."""
        vectors = {}
        for path, positions in mask.items():
            bitmap = BitMap64(positions)
            previous = current[path].deletion_vector
            if previous:
                bitmap |= deletion_vectors.read(self.folder, previous)
            vectors[path] = bitmap
        partial = {path: bitmap for path, bitmap in vectors.items() if len(bitmap) < current[path].rows}
        descriptors = deletion_vectors.write_all(self.folder, partial)
        # one file has the checksums of all
        vectors_file = next(map(deletion_vectors.path_of, descriptors.values()), None)
        is_local = vectors_file is not None and not is_remote(self.uri)
        written = checksums.file_crc32(Path(self.uri, vectors_file or "")) if is_local else ""
        result = []
        for path, bitmap in vectors.items():
            file = current[path]
            whole = {"storageType": "i", "pathOrInlineDv": "", "cardinality": len(bitmap)}
            result.append(replace(file, deletion_vector=descriptors.get(path, whole), vector_crc32=written))
        return result

    def checkpoint(self) -> None:
        """Write a checkpoint so that readers need not replay the whole log; a failure here harms nothing."""
        try:
            table = DeltaTable(self.uri)
            table.create_checkpoint()
            self._sum_up(table.version())
        except (DeltaError, OSError, StorageError):
            # the log itself is complete; the next checkpoint will do
            return

    def checkpoint_sums(self, version: int) -> Mapping[str, str]:
        """Return the checksums of a checkpoint by path; none if another tool wrote it.

        Raises StorageError where they are damaged themselves.
        """
        path = _checkpoint_sum_path(version)
        content = self.folder.read(path)
        try:
            return {} if content is None else dict(json.loads(content))
        except (ValueError, TypeError) as error:
            raise StorageError(
                f"reading {path} of {self.uri}",
                received="a file without readable checksums",
                next_step=checksums.NEXT_STEP,
            ) from error

    def _sum_up(self, version: int) -> None:
        """Write the checksums of a checkpoint, and of the hint at the newest one, beside it."""
        sums = {}
        for path in (checkpoint_path(version), HINT):
            if not is_remote(self.uri):
                checksums.file_crc32(Path(self.uri, path), durable=True)
            sums[path] = checksums.crc32(self._read(path))
        # a lost commit may have had this number
        self.folder.delete([_checkpoint_sum_path(version)])
        self.folder.create(_checkpoint_sum_path(version), json.dumps(sums).encode())


def _require_apart(uri: str, removed: Iterable[DataFile], added: Iterable[DataFile]) -> None:
    both = {file.identity() for file in removed} & {file.identity() for file in added}
    if both:
        raise StorageError(
            f"publishing a version of {uri}",
            received=f"a change that removes and adds the same file: {sorted(both)[0][0]}",
            next_step="run again: then the change is made from the newest version; nothing was published",
        )


def _head_actions(
    base: TableVersion | None, after: TableVersion, operation: str, now: int, info: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return the actions of a commit that are not about files: who commits what, protocol and metadata if new.

    `info` is what is recorded in the commit itself.
    """
    commit = {
        "timestamp": now,
        "operation": operation,
        "operationParameters": {},
        "engineInfo": checksums.WRITER,
        **checksums.SEAL,
        "txnId": after.commit_id,
        **({_PARENT: base.commit_id} if base and base.commit_id else {}),
        INFO_KEY: dict(info),
        **({records.KEY: {name: item.as_json() for name, item in after.records.items()}} if after.records else {}),
    }
    actions: list[dict[str, Any]] = [{"commitInfo": commit}]
    if base is None:
        actions.append({"protocol": log.PROTOCOL})
    if base is None or after.metadata != base.metadata:
        actions.append({"metaData": after.metadata})
    return actions


def _metadata(base: TableVersion | None, columns: Mapping[str, str], now: int) -> dict[str, Any]:
    if base is not None and list(base.columns.items()) == list(columns.items()):
        return dict(base.metadata)
    # metadata of other tools, such as a column comment, stay as long as the column has the same type
    known = {item["name"]: item for item in json.loads(base.metadata["schemaString"])["fields"]} if base else {}
    fields = [
        known[name]
        if name in known and known[name]["type"] == delta_type(kind)
        else {"name": name, "type": delta_type(kind), "nullable": True, "metadata": {}}
        for name, kind in columns.items()
    ]
    schema = json.dumps({"type": "struct", "fields": fields}, ensure_ascii=False)
    if base is not None:
        return {**base.metadata, "schemaString": schema}
    return {
        "id": str(uuid.uuid4()),
        "format": {"provider": "parquet", "options": {}},
        "schemaString": schema,
        "partitionColumns": [],
        "configuration": {"delta.enableDeletionVectors": "true"},
        "createdTime": now,
    }


def _add_action(file: DataFile, now: int, data_change: bool) -> dict[str, Any]:
    stats = {"numRecords": file.rows, **file.stats}
    if file.deletion_vector:
        stats["tightBounds"] = False
    sums = {checksums.DATA_TAG: file.crc32, checksums.VECTOR_TAG: file.vector_crc32 if file.deletion_vector else ""}
    tags = {name: value for name, value in sums.items() if value}
    action = {
        "path": quote(file.path),
        "partitionValues": {},
        "size": file.size,
        "modificationTime": now,
        "dataChange": data_change,
        "stats": json.dumps(stats, ensure_ascii=False, separators=(",", ":")),
        **({"tags": tags} if tags else {}),
    }
    if file.deletion_vector:
        action["deletionVector"] = dict(file.deletion_vector)
    return action


def _remove_action(file: DataFile, now: int, data_change: bool) -> dict[str, Any]:
    action = {
        "path": quote(file.path),
        "deletionTimestamp": now,
        "dataChange": data_change,
        "extendedFileMetadata": True,
        "partitionValues": {},
        "size": file.size,
    }
    if file.deletion_vector:
        action["deletionVector"] = dict(file.deletion_vector)
    return action


def _log_before(version: int, names: Iterable[str]) -> Iterator[str]:
    """Return the log entries that readers of `version` and later ones do not need: those before its checkpoint."""
    entries = _entries(names)
    checkpoints = [number for number, kind in entries.values() if kind != "json" and number <= version]
    sums = {name: found for name in names if (found := _CHECKPOINT_SUM.fullmatch(name))}
    numbers = {**{name: number for name, (number, _) in entries.items()}, **{k: int(v[1]) for k, v in sums.items()}}
    return (name for name, number in numbers.items() if number < max(checkpoints, default=0))


def _entries(names: Iterable[str]) -> dict[str, tuple[int, str]]:
    """Return version and kind of each commit and checkpoint among the names of a log's objects."""
    found = {name: _LOG_ENTRY.fullmatch(name) for name in names}
    return {name: (int(entry[1]), entry[2]) for name, entry in found.items() if entry}


def _paths(files: Iterable[DataFile]) -> Iterator[str]:
    """The objects that hold these files' rows and deletion vectors."""
    for file in files:
        yield file.path
        vector = deletion_vectors.path_of(file.deletion_vector) if file.deletion_vector else None
        if vector is not None:
            yield vector


def _info_of(folder: Folder, commit: Mapping[str, Any]) -> records.Info:
    """Return what was recorded with a commit, from its `commitInfo`."""
    return records.Info(folder, commit.get(INFO_KEY, {}), records.named(commit))


def _record_paths(actions: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Return the files with the large mappings of a commit."""
    for action in actions:
        yield from records.paths(records.named(action.get("commitInfo", {})))


def _commit_time(actions: Iterable[Mapping[str, Any]]) -> dt.datetime:
    """Return when a version was committed, by its writer's clock; the earliest time if it is not recorded."""
    told = (action["commitInfo"].get("timestamp", 0) for action in actions if "commitInfo" in action)
    return dt.datetime.fromtimestamp(next(told, 0) / 1000, dt.UTC)


def require_sound(snapshot: TableVersion, files: Iterable[DataFile]) -> None:
    """Compare files of a version, and those with their deletion vectors, with the checksums they were written with.

    Local files, each once a process. Raises StorageError that names the table and the first one that is damaged.
    """
    checksums.require_sound(snapshot.uri, parts_of(files))


def parts_of(files: Iterable[DataFile]) -> dict[str, str]:
    """Return the data files and deletion vectors of these files, with their checksums ('' if not known)."""
    parts = {}
    for file in files:
        parts[file.path] = file.crc32
        vector = deletion_vectors.path_of(file.deletion_vector) if file.deletion_vector else None
        if vector is not None:
            parts[vector] = file.vector_crc32
    return parts


def records_named(table: Table, version: int) -> list[str]:
    """Return the files with the large mappings that a version names. Raises StorageError as `files_added`."""
    return list(_record_paths(table.actions(version)))


def files_added(table: Table, version: int) -> list[DataFile]:
    """Return the data files that a version added. Raises StorageError when the log cannot be read."""
    return [_file(action["add"]) for action in table.actions(version) if "add" in action]


def _commit_id(content: bytes, actions: Iterable[Mapping[str, Any]]) -> str:
    """Return the id in a commit; for another writer's commit without an id, the hash of its text."""
    told = (action["commitInfo"].get("txnId") for action in actions if "commitInfo" in action)
    return str(next(told, None) or hashlib.sha256(content).hexdigest()[:32])


class _State:
    """The log replayed so far."""

    def __init__(self) -> None:
        self.files: dict[tuple[str, str], DataFile] = {}
        self.metadata: Mapping[str, Any] = {}
        self.protocol: Mapping[str, Any] = {}
        # the last `commitInfo` with information of this platform
        self.commit: Mapping[str, Any] = {}
        self.commit_id = ""

    def apply(self, actions: Iterable[log.Action]) -> None:
        for action in actions:
            if "metaData" in action:
                self.metadata = action["metaData"]
            elif "protocol" in action:
                self.protocol = action["protocol"]
            elif "remove" in action:
                file = _file(action["remove"])
                self.files.pop(file.identity(), None)
            elif "add" in action:
                file = _file(action["add"])
                self.files[file.identity()] = file
            elif INFO_KEY in action.get("commitInfo", {}):
                self.commit = action["commitInfo"]

    def snapshot(self, folder: Folder, version: int) -> TableVersion:
        uri = folder.uri
        log.require_readable(self.protocol, uri)
        fields = json.loads(self.metadata["schemaString"])["fields"]
        return TableVersion(
            uri=uri,
            version=version,
            columns={item["name"]: sql_type(str(item["type"])) for item in fields},
            files=tuple(self.files.values()),
            info=_info_of(folder, self.commit),
            metadata=self.metadata,
            commit_id=self.commit_id,
            protocol=self.protocol,
            records=records.named(self.commit),
        )


def _file(action: Mapping[str, Any]) -> DataFile:
    stats = json.loads(action["stats"]) if action.get("stats") else {}
    rows = int(stats.pop("numRecords", 0))
    stats.pop("tightBounds", None)
    vector = action.get("deletionVector")
    return DataFile(
        path=unquote(action["path"]),
        size=int(action.get("size") or 0),
        rows=rows,
        stats=stats,
        deletion_vector=vector,
        crc32=checksums.tag(action, checksums.DATA_TAG),
        vector_crc32=checksums.tag(action, checksums.VECTOR_TAG),
    )
