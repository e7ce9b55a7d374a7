"""Lists and reads files in a folder, glob or object store prefix, or on a file server. Moves them only if declared.

A folder is read with all its subfolders, a glob is matched exactly. Files that are left out by name are reported.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fnmatch
import functools
import glob
import hashlib
import os
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from dataops_assets.config.after_pickup import MAGIC, AfterPickup, fixed_part, folder_after
from dataops_assets.config.connection import FileConnection
from dataops_assets.config.file_manifest import FileManifest
from dataops_assets.config.object_stores import LISTED_IN_PART, OBJECT_STORES
from dataops_assets.connections.archive_readings import Reading, failing, readings_of
from dataops_assets.connections.archives import Member, archive_of, is_archive, member_of, members_of, origin_in
from dataops_assets.connections.buckets.bucket import Bucket
from dataops_assets.connections.buckets.kinds import bucket_of
from dataops_assets.connections.buckets.s3 import S3Bucket
from dataops_assets.connections.file_manifests import MOST_BYTES, is_manifest, manifest_of, text_of
from dataops_assets.connections.names import Pattern, unfinished
from dataops_assets.connections.servers.server_files import ServerFiles
from dataops_assets.connections.servers.sftp import SftpFiles
from dataops_assets.connections.stores import (
    leads_out,
    missing_bucket,
    open_store,
    options_of,
    require_store,
    scheme_of,
    store_errors,
)
from dataops_assets.connections.taking_away import names_at, take_away
from dataops_assets.connections.taking_objects_away import TakenObject, take_object_away
from dataops_assets.connections.trees import LINK_TO_FOLDER, local_tree, remote_tree
from dataops_assets.errors import ConfigError, DataOpsError, InputError, StorageError
from dataops_assets.metadata.store import VersionKey, version_key

MOST_OTHERS = 1_000
_CHUNK = 1 << 20
_REMOTE_BLOCK = 8 << 20
_NEARLY = "its name nearly matches {!r}: letter case, blanks, Unicode form or a compression ending differ"
_FOLLOW = "or declare connection.follow_links: true"


@dataclass(frozen=True)
class FileVersion:
    """One state of a file. Once settled, two looks that see the same values see the same bytes.

    `origin` is an absolute path or URL, `size` in bytes, `modified` aware in UTC at microsecond precision. With a
    `manifest` (its path or URL), the size is that of both files, and the time that of the newer one.
    """

    origin: str
    size: int
    modified: dt.datetime
    manifest: str = ""
    manifest_size: int = 0

    @property
    def own_size(self) -> int:
        """Return the size of the file without its manifest."""
        return self.size - self.manifest_size

    @property
    def key(self) -> VersionKey:
        """Return what identifies the version among those that were taken."""
        return version_key(self.origin, self.size, self.modified)


@dataclass(frozen=True)
class LeftOut:
    """A file, or a folder of files, that is not taken because of its name."""

    version: FileVersion
    reason: str


@dataclass(frozen=True)
class Listing:
    """The files of a source: found, refused or left out (by origin, with the reason), and `alone`, without manifest.

    `others` are names of files beside them that the pattern does not name, below the folder of the pattern: the first
    MOST_OTHERS, because there can be millions.
    """

    versions: list[FileVersion] = field(default_factory=list)
    refused: dict[str, InputError] = field(default_factory=dict)
    left_out: dict[str, LeftOut] = field(default_factory=dict)
    alone: list[FileVersion] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Nearby:
    """The last folder on the way to the files that is there, the first names in it, and the name that it lacks."""

    folder: str
    names: list[str]
    missing: str


def file_name(origin: str) -> str:
    """Return the last part of an origin."""
    return origin.rsplit("/", 1)[-1]


class Files:
    """The files one connection names."""

    def __init__(self, connection: FileConnection, landing: str, variables: Mapping[str, str]) -> None:
        """A relative path is below `landing`; `variables` (usually `os.environ`) fill '${NAME}' in storage options.

        Raises ConfigError for a variable that is not set, for a store that is not known, and for a secret in a URL.
        """
        path, what = connection.path, "connection.path"
        require_store(path, what)
        magic = MAGIC.search(path)
        # where names are free: below this, hidden and unfinished names count; above it is the deployment's business
        fixed = fixed_part(path)
        is_below_landing = "://" not in path and not os.path.isabs(path)
        if is_below_landing:
            what = "connection.path below DATAOPS_LANDING"
            # the landing area is never a pattern, even with pattern characters in its name
            path = f"{glob.escape(landing) if magic else landing}/{path}"
            fixed = f"{landing}/{fixed}"
        options = options_of(connection.storage_options, variables)
        self._fs, self._path = open_store(path, options, what)
        self._fixed = open_store(fixed, options, what)[1]
        self.is_local = isinstance(self._fs, LocalFileSystem)
        self._bucket = bucket_of(self._fs)
        self._pattern = Pattern(self._path) if magic else None
        self._shown = connection.path
        self._follow_links = connection.follow_links
        self._members = connection.members
        self._manifest = connection.manifest
        self._after_pickup = connection.after_pickup
        self._sorted_names = connection.sorted_names is not None
        self._require_can_list_in_part(connection)
        if self._after_pickup is not None:
            self._require_can_take_away(connection.settle_seconds)
        self._manifests: dict[str, FileVersion] = {}
        self._limits = connection.limits
        self._depth = _depth(self._path, self._fixed) if magic else None
        self._place = ""
        if self.is_local and not connection.follow_links:
            below = open_store(landing, {}, "DATAOPS_LANDING")[1] if scheme_of(landing) in ("", "file", "local") else ""
            is_in_landing = is_below_landing or (below and f"{self._fixed}/".startswith(f"{below.rstrip('/')}/"))
            self._place = below if is_in_landing else self._fixed

    def list(self, taken: Collection[VersionKey] = frozenset(), after: str = "") -> Listing:
        """Find all files that may be taken, in no order, and those that are left out or refused.

        With `sorted_names`, only those whose URL sorts after `after`.

        Versions in `taken` are not in the listing: of many files nearly all are known, and a local one that is known
        costs only its status. Raises StorageError when the store cannot be reached, or has no such bucket.
        """
        listing = Listing()
        self._manifests.clear()
        try:
            if self.is_local:
                self._list_local(listing, taken)
            else:
                self._list_remote(listing, after)
            if self._members:
                self._expand(listing)
            if self._manifest is not None:
                self._pair(listing, self._manifest)
            listing.versions[:] = [item for item in listing.versions if item.key not in taken]
        except store_errors() as error:
            raise _unreadable(f"listing {self._path}", error) from error
        return listing

    def named(self, origins: Collection[str]) -> Listing:
        """Return the same as `list`, but only for these objects, and without listing the bucket.

        Those that are gone are left out. Raises StorageError when the store cannot be reached.
        """
        if not isinstance(self._bucket, S3Bucket):
            raise TypeError(f"objects of {self._path} are not looked at one by one")
        paths = sorted(origin.partition("://")[2] for origin in origins)
        # of the others, a listing would tell nothing
        concerned = [path for path in paths if not path.endswith("/") and self._may_be_named(path)]
        listing = Listing()
        try:
            for path, info in self._bucket.named(concerned, functools.partial(self._refuse_remote, listing)):
                self._judge(listing, path, info)
        except store_errors() as error:
            raise _unreadable(f"looking at objects of {self._path}", error) from error
        return listing

    def _may_be_named(self, path: str) -> bool:
        if self._pattern is not None:
            return self._pattern.matches(path) or self._pattern.nearly(path)
        return path == self._fixed or path.startswith(f"{self._fixed.rstrip('/')}/")

    @property
    def place(self) -> str:
        """Return path or URL of the files, as origins are written."""
        return self._path if self.is_local else str(self._fs.unstrip_protocol(self._path))

    def local_state(self) -> int:
        """Return a number that changes if the listing of local files changes. Raises StorageError as `list` does.

        It takes the status of each path and judges no name, so it costs a fraction of a listing.
        """
        found: set[tuple[object, ...]] = {(self._fixed, os.path.realpath(self._fixed))}
        if self._manifest is not None:
            # of a path that names one file
            found.add(_state_of(_beside(self._fixed, self._manifest)))
        try:
            for path in local_tree(self._fixed, self._depth, self._follow_links, lambda *told: found.add(told)):
                found.add(_state_of(path))
        except FileNotFoundError as error:
            found.add((type(error).__name__,))
        except OSError as error:
            raise _unreadable(f"listing {self._path}", error) from error
        return hash(frozenset(found))

    def nearby(self) -> Nearby:
        """Return the nearest existing folder above the files, with the names in it. Raises StorageError as `list`."""
        folder, missing = self._fixed.rstrip("/"), ""
        while True:
            try:
                names = sorted(file_name(name.rstrip("/")) for name in self._fs.ls(folder or "/", detail=False))
                return Nearby(folder or "/", names, missing)
            except FileNotFoundError:
                folder, slash, missing = folder.rpartition("/")
                if not slash:
                    return Nearby(folder, [], missing)
            except store_errors() as error:
                raise _unreadable(f"listing {folder}", error) from error

    def _pair(self, listing: Listing, declared: FileManifest) -> None:
        """Join files with their manifests; a file without one is not complete."""
        versions = [(version, _beside(version.origin, declared)) for version in listing.versions]
        if len(versions) == 1 and not self._manifests:
            # the path may name one file: then the tree has nothing else
            with contextlib.suppress(InputError):
                self._manifests[versions[0][1]] = self._state(versions[0][1])
        listing.versions[:] = [
            _joined(version, self._manifests[manifest]) for version, manifest in versions if manifest in self._manifests
        ]
        listing.alone[:] = [version for version, manifest in versions if manifest not in self._manifests]

    def _expand(self, listing: Listing) -> None:
        """Replace the archives of a listing by the files in them that are taken."""
        archives = [version for version in listing.versions if is_archive(version.origin)]
        listing.versions[:] = [version for version in listing.versions if not is_archive(version.origin)]
        for archive in archives:
            try:
                found = self._members_of(archive).values()
            except InputError as error:
                listing.refused[archive.origin] = error
                continue
            except FileNotFoundError:
                # gone between the listing and now
                continue
            except PermissionError as error:
                reason = f"{type(error).__name__}: {error}"
                listing.refused[archive.origin] = _refused(archive.origin, reason, "make the file readable")
                continue
            taken = [item for item in found if fnmatch.fnmatchcase(item.path, self._members)]
            if not taken:
                reason = f"none of its {len(found):,} files matches connection.members ({self._members!r})"
                listing.left_out[archive.origin] = LeftOut(archive, reason)
            for item in taken:
                version = FileVersion(origin_in(archive.origin, item.path), item.size, archive.modified)
                if reason := unfinished(file_name(item.path)):
                    listing.left_out[version.origin] = LeftOut(version, reason)
                elif item.refused:
                    listing.refused[version.origin] = _refused(version.origin, item.refused, "deliver it otherwise")
                else:
                    listing.versions.append(version)

    def _archive_of(self, origin: str) -> str:
        return archive_of(origin) if self._members else origin

    def _list_local(self, listing: Listing, taken: Collection[VersionKey]) -> None:
        if error := self._led_out(self._fixed):
            listing.refused[self._fixed] = error
            return

        def refuse(path: str, reason: str | Exception) -> None:
            told = reason if isinstance(reason, str) else f"{type(reason).__name__}: {reason}"
            next_step = "grant the permission to read it"
            if isinstance(reason, str):
                next_step = f"name the folder itself in connection.path, {_FOLLOW}"
            listing.refused[path] = _refused(path, told, next_step)

        # with a manifest, the state of a file alone is not that of the version that was taken
        may_be_known = bool(taken) and self._manifest is None
        try:
            for path in local_tree(self._fixed, self._depth, self._follow_links, refuse):
                if not may_be_known or _local_key(path) not in taken:
                    self._judge(listing, path, {})
        except FileNotFoundError:
            listing.refused[self._path] = self._missing()

    def _refuse_remote(self, listing: Listing, path: str, error: str | Exception) -> None:
        origin = self._fs.unstrip_protocol(path)
        listing.refused[origin] = _refused(origin, f"{type(error).__name__}: {error}", "grant the permission")

    def _list_remote(self, listing: Listing, after: str) -> None:
        refuse = functools.partial(self._refuse_remote, listing)
        at_once = isinstance(self._bucket, S3Bucket)
        try:
            paths = (
                self._bucket.names_after(self._fixed, after.partition("://")[2])
                if self._sorted_names and self._bucket is not None
                else remote_tree(self._fs, self._fixed, self._depth, refuse, at_once=at_once)
            )
            for path, info in paths:
                if info.get("type") != "directory" and not path.endswith("/"):
                    self._judge(listing, path, info)
        except FileNotFoundError as error:
            if isinstance(self._fs, ServerFiles):
                listing.refused[self._path] = self._missing()
            elif bucket := missing_bucket(self._fs, self._fixed):
                raise StorageError(
                    f"listing {self._path}",
                    received=f"there is no bucket {bucket!r}",
                    next_step="create it, or correct connection.path or DATAOPS_LANDING",
                ) from error
            # a prefix without objects is a folder without deliveries so far

    def _judge(self, listing: Listing, path: str, info: Mapping[str, Any]) -> None:
        """Add a path to the files, the manifests, or the files that are refused or left out; or ignore it."""
        if self._manifest is not None and is_manifest(self._manifest, file_name(path)):
            self._judge_manifest(listing, path, info)
            return
        is_named = self._pattern is None or self._pattern.matches(path)
        if not is_named and not (self._pattern is not None and self._pattern.nearly(path)):
            if len(listing.others) < MOST_OTHERS:
                listing.others.append(path[len(self._fixed) :].lstrip("/"))
            return
        below = [part for part in path[len(self._fixed) :].split("/") if part]
        parts = below or [file_name(path)]
        for number, part in enumerate(parts, start=1):
            if reason := unfinished(part):
                # of a folder that is left out all files are told as one
                rest = "/".join(parts[number:])
                self._leave_out(listing, path.removesuffix(f"/{rest}") if rest else path, path, info, reason)
                return
        if is_named:
            self._add(listing, path, info)
        else:
            self._leave_out(listing, path, path, info, _NEARLY.format(self._shown))

    def _judge_manifest(self, listing: Listing, path: str, info: Mapping[str, Any]) -> None:
        found = Listing()
        self._add(found, path, info)
        self._manifests |= {version.origin: version for version in found.versions}
        listing.refused.update(found.refused)
        is_named = self._pattern is None or self._pattern.matches(path)
        if is_named and self._manifest is not None and _beside(path, self._manifest) == path:
            self._leave_out(listing, path, path, info, "connection.manifest.name makes it a manifest of itself")

    def _leave_out(self, listing: Listing, told: str, path: str, info: Mapping[str, Any], reason: str) -> None:
        origin = told if self.is_local else self._fs.unstrip_protocol(told)
        readable = origin.encode("utf-8", "backslashreplace").decode()
        if readable in listing.left_out:
            return
        try:
            if self.is_local:
                status = os.lstat(path)
                version = FileVersion(readable, status.st_size, _utc(status.st_mtime))
            else:
                version = FileVersion(readable, int(info["size"]), self._modified(path, info))
        except (ValueError, OverflowError):
            # without a time
            return
        except store_errors():
            # gone: the next look may tell it
            return
        listing.left_out[readable] = LeftOut(version, reason)

    def version(self, origin: str) -> FileVersion:
        """Return the file's state now, with that of its manifest.

        Raises InputError when one of them is gone, StorageError when the store fails.
        """
        if self._manifest is None:
            return self._state(origin)
        return _joined(self._state(origin), self._state(_beside(origin, self._manifest)))

    def is_in_archive(self, origin: str) -> bool:
        """Return whether a file is one of an archive."""
        return self._archive_of(origin) != origin

    def versions_in_archives(self, origins: Iterable[str]) -> dict[str, FileVersion | DataOpsError]:
        """Return the state now of files in archives, or why it is not known; each archive is looked at once.

        Other files are left out.
        """
        found: dict[str, FileVersion | DataOpsError] = {}
        for path, wanted in self._by_archive(origins).items():
            if wanted == (path,):
                continue
            try:
                archive = self._state_at(path, path)
                with _reading(path):
                    members = self._members_of(archive)
            except (InputError, StorageError) as error:
                found |= dict.fromkeys(wanted, error)
                continue
            for origin in wanted:
                try:
                    with _reading(origin):
                        found[origin] = _in_archive(members, archive, origin)
                except InputError as error:
                    found[origin] = error
        return found

    def manifest(self, version: FileVersion) -> str:
        """Return the text of a file's manifest; empty without one. Raises InputError and StorageError."""
        if not version.manifest:
            return ""
        content = b""
        for chunk in self.chunks(version.manifest):
            content += chunk
            if len(content) > MOST_BYTES:
                break
        return text_of(version.manifest, content)

    def take_away(self, version: FileVersion, digest: str) -> str:
        """Move or delete a file as `after_pickup` declares; return what was done, '' if it is not this version now.

        `digest` is the SHA-256 of its bytes. Raises ConfigError if it would be read again there, or if the store cannot
        do it safely, and StorageError if it may not be moved.
        """
        if self._after_pickup is None:
            return ""
        path = version.origin if self.is_local else version.origin.partition("://")[2]
        if isinstance(self._fs, ServerFiles):
            path = self._fs.path_of(version.origin)
        target = self._target_of(path, self._after_pickup)
        mark = f"{version.modified:%Y%m%dT%H%M%S}"

        def is_same(path: str) -> bool:
            # a link here is not what it leads to, so it stays
            with contextlib.suppress(FileNotFoundError):
                if self.is_local:
                    status = os.lstat(path)
                    return (status.st_size, _utc(status.st_mtime)) == (version.size, version.modified)
                info = self._fs.info(path)
                return (int(info["size"]), self._modified(path, info)) == (version.size, version.modified)
            return False

        try:
            if self._bucket is not None:
                taken = TakenObject(path, version.size, version.modified)
                moved = self._take_object_away(self._bucket, taken, target, mark, digest)
            else:
                moved = take_away(self._fs, path, target, mark, is_same)
        except store_errors() as error:
            with contextlib.suppress(*store_errors()):
                if not is_same(path):
                    # moved by somebody else, or replaced: then it is found as a new version
                    return ""
            raise StorageError(
                f"taking away {version.origin}" + (f" to {target}" if target else ""),
                received=f"{type(error).__name__}: {error}",
                next_step="give the user the right to write into both folders, on one file system; the file was taken, "
                "and the next look tries again",
            ) from error
        return f"moved to {moved}" if moved else "deleted"

    def _target_of(self, path: str, after: AfterPickup) -> str:
        """Return where a file is moved to; '' if it is deleted. Raises ConfigError if it would be read again there."""
        bucket, folder = "", self._fixed
        if self._bucket is not None:
            # the path of an object begins with its bucket, which it does not leave
            bucket, _slash, prefix = self._fixed.partition("/")
            folder = f"/{prefix}"
        try:
            archive = folder_after(folder, after, reads_all_below=self._depth is None)
        except ValueError as error:
            raise ConfigError(f"moving files of {self._shown}", received=str(error)) from error
        return f"{bucket}{archive}/{path[len(self._fixed) :].strip('/') or file_name(path)}" if archive else ""

    def _take_object_away(self, bucket: Bucket, taken: TakenObject, target: str, mark: str, digest: str) -> str:
        def is_copy(path: str) -> bool:
            found = hashlib.sha256()
            for chunk in self.chunks(self._fs.unstrip_protocol(path)):
                found.update(chunk)
            return found.hexdigest() == digest

        return take_object_away(bucket, taken, self._fixed, names_at(target, mark) if target else iter(()), is_copy)

    def _require_can_list_in_part(self, connection: FileConnection) -> None:
        """Raise ConfigError if the store cannot list, or tell, a part of its objects as declared."""
        for name, can in (("sorted_names", self._bucket), ("notifications", isinstance(self._bucket, S3Bucket))):
            if getattr(connection, name) is not None and not can:
                raise ConfigError(
                    f"listing a part of {self._path}",
                    received=f"connection.{name}, for a place that can only be listed as a whole",
                    known=[f"{scheme}://" for scheme in LISTED_IN_PART[name]],
                    next_step="leave it out",
                )

    def _require_can_take_away(self, settle_seconds: float) -> None:
        """Raise ConfigError if `after_pickup` could remove another version of a file than the one that was taken."""
        if not self.is_local and self._bucket is None and not isinstance(self._fs, SftpFiles):
            raise ConfigError(
                f"taking files of {self._path} away",
                received="connection.after_pickup, for a place where a file can be replaced while it is moved",
                known=["a folder", "sftp://", *(f"{scheme}://" for scheme in OBJECT_STORES)],
                next_step="leave it out",
            )
        if self._bucket is not None and settle_seconds < self._bucket.time_step:
            raise ConfigError(
                f"taking objects of {self._path} away",
                received=f"connection.settle_seconds: {settle_seconds:g}; the times of the store have "
                f"steps of {self._bucket.time_step:g} seconds, so two versions within one step look the same",
                next_step=f"set it to {self._bucket.time_step:g} or more",
            )

    def _state(self, origin: str) -> FileVersion:
        path = self._archive_of(origin)
        found = self._state_at(path, origin)
        if path == origin:
            return found
        with _reading(origin):
            return _in_archive(self._members_of(found), found, origin)

    def _state_at(self, path: str, origin: str) -> FileVersion:
        """Return the current state of a file or archive. Errors name `origin`."""
        self._require_inside(path)
        with _reading(origin):
            if self.is_local:
                status = os.stat(path)
                return FileVersion(path, status.st_size, _utc(status.st_mtime))
            info = self._fs.info(path)
            return FileVersion(path, int(info["size"]), self._modified(path, info))

    def _members_of(self, archive: FileVersion) -> Mapping[str, Member]:
        return members_of(self._fs, archive.origin, archive.size, archive.modified, self._limits)

    def chunks(self, origin: str) -> Iterator[bytes]:
        """The file's bytes. Raises InputError when it is gone, StorageError when the store fails or ends too early."""
        for reading in self.readings([origin]):
            for _, chunks in reading.contents():
                yield from chunks

    def readings(self, origins: Sequence[str]) -> Sequence[Reading]:
        """Return the bytes of files, each origin once, in an order in which each archive is opened once for all of it.

        To read a file raises what `chunks` raises. All readings must be asked for their contents, the first ones first:
        an archive stays open until the last reading of it.
        """
        found = []
        for path, wanted in self._by_archive(origins).items():
            if wanted == (path,):
                found.append(Reading(wanted, functools.partial(self._content, path)))
                continue
            for reading in readings_of(self._fs, path, wanted):
                found.append(Reading(reading.origins, functools.partial(self._contents, path, reading)))
        return found

    def _by_archive(self, origins: Iterable[str]) -> Mapping[str, Sequence[str]]:
        """Return origins by the archive that they are in; a file in none by itself."""
        found: dict[str, dict[str, None]] = {}
        for origin in origins:
            found.setdefault(self._archive_of(origin), {})[origin] = None
        return {path: tuple(members) for path, members in found.items()}

    def _content(self, origin: str) -> Iterator[tuple[str, Iterator[bytes]]]:
        yield origin, self._chunks_of_file(origin)

    def _chunks_of_file(self, origin: str) -> Iterator[bytes]:
        self._require_inside(origin)
        with _reading(origin), self._fs.open(origin, "rb", block_size=_REMOTE_BLOCK) as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk

    def _contents(self, archive: str, reading: Reading) -> Iterator[tuple[str, Iterator[bytes]]]:
        """Yield what a reading of an archive yields; an error of the archive is that of the files that are left."""
        left = dict.fromkeys(reading.origins)
        try:
            self._require_inside(archive)
            with _reading(archive):
                for origin, chunks in reading.contents():
                    del left[origin]
                    yield origin, _read(origin, chunks)
        except (InputError, StorageError) as error:
            for origin in left:
                yield origin, failing(error)

    def _require_inside(self, origin: str) -> None:
        # a link may have been put there since the file was listed
        if self.is_local and (error := self._led_out(origin)):
            raise error

    def _add(self, listing: Listing, path: str, info: Mapping[str, Any]) -> None:
        origin = path if self.is_local else self._fs.unstrip_protocol(path)
        try:
            origin.encode()
        except UnicodeEncodeError:
            readable = origin.encode("utf-8", "backslashreplace").decode()
            listing.refused[readable] = _refused(readable, "its name is not UTF-8", "rename the file")
            return
        try:
            if self.is_local:
                self._add_local(listing, origin)
            elif isinstance(self._fs, ServerFiles):
                self._add_of_server(listing, origin, info)
            else:
                listing.versions.append(FileVersion(origin, int(info["size"]), self._modified(origin, info)))
        except FileNotFoundError:
            # gone between the listing and now; a link to nowhere stays
            if os.path.islink(origin):
                listing.refused[origin] = _refused(origin, "a link to nowhere", "remove or correct the link")
        except (ValueError, OverflowError) as error:
            listing.refused[origin] = _refused(origin, f"its modification time is {error}", "touch the file")
        except store_errors() as error:
            listing.refused[origin] = _refused(origin, f"{type(error).__name__}: {error}", "make the file readable")

    def _add_of_server(self, listing: Listing, origin: str, info: Mapping[str, Any]) -> None:
        if info["type"] == "link" and not self._follow_links:
            listing.refused[origin] = _refused(origin, "a link", f"deliver the file itself, {_FOLLOW}")
            return
        if info["type"] == "link" or info.get("size") is None or info.get("mtime") is None:
            info = self._fs.info(origin)
        if info["type"] == "file":
            listing.versions.append(FileVersion(origin, int(info["size"]), _utc(info["mtime"])))
        else:
            listing.refused[origin] = _refused(origin, "not a regular file", "remove it from the folder")

    def _add_local(self, listing: Listing, path: str) -> None:
        status = os.lstat(path)
        is_link = stat.S_ISLNK(status.st_mode)
        if is_link:
            # of the file itself, so that a change behind the link is seen
            status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            next_step = f"name the folder itself in connection.path, {_FOLLOW}"
            listing.refused[path] = _refused(path, LINK_TO_FOLDER, next_step)
        elif not stat.S_ISREG(status.st_mode):
            listing.refused[path] = _refused(path, "not a regular file", "remove it from the folder")
        elif is_link and (error := self._led_out(path)):
            listing.refused[path] = error
        else:
            listing.versions.append(FileVersion(path, status.st_size, _utc(status.st_mtime)))

    def _led_out(self, path: str) -> InputError | None:
        """Return why a local path may not be read: a link in it leads outside; empty if it may."""
        if not self._place:
            return None
        place = os.path.realpath(self._place)
        if self._place == self._fixed and not os.path.isdir(place):
            place = os.path.realpath(os.path.dirname(self._place))
        real = leads_out(path, place)
        if not real:
            return None
        return _refused(path, f"it leads to {real}, which is not below {place}", f"deliver the file itself, {_FOLLOW}")

    def _modified(self, path: str, info: Mapping[str, Any]) -> dt.datetime:
        for name in ("LastModified", "last_modified", "mtime", "updated", "created"):
            if info.get(name) is not None:
                return _utc(info[name])
        return _utc(self._fs.modified(path))

    def _missing(self) -> InputError:
        return InputError(
            f"looking for files in {self._path}",
            received="the folder or bucket does not exist",
            next_step="create it, or correct connection.path or DATAOPS_LANDING",
        )


def _beside(origin: str, declared: FileManifest) -> str:
    """Return the path or URL of the manifest of a file."""
    folder, slash, name = origin.rpartition("/")
    return f"{folder}{slash}{manifest_of(declared, name)}"


def _joined(file: FileVersion, manifest: FileVersion) -> FileVersion:
    """Return the state of a file and its manifest."""
    newer = max(file.modified, manifest.modified)
    return FileVersion(file.origin, file.size + manifest.size, newer, manifest.origin, manifest.size)


def _local_key(path: str) -> VersionKey | None:
    """Return the key of a local file as it is now; None for a link, and for a path that cannot be looked at."""
    try:
        status = os.lstat(path)
        return version_key(path, status.st_size, _utc(status.st_mtime)) if stat.S_ISREG(status.st_mode) else None
    except (OSError, ValueError, OverflowError):
        return None


def _state_of(path: str) -> tuple[object, ...]:
    """Return a state that changes if a local file is replaced or written; for a link, also if its target changes."""
    try:
        status = os.lstat(path)
        leads_to = ""
        if stat.S_ISLNK(status.st_mode):
            status, leads_to = os.stat(path), os.path.realpath(path)
    except OSError as error:
        return path, type(error).__name__
    return path, leads_to, status.st_size, status.st_mtime_ns, status.st_mode


def _utc(time: dt.datetime | float | str) -> dt.datetime:
    if isinstance(time, str):
        time = dt.datetime.fromisoformat(time)
    if isinstance(time, (int, float)):
        return dt.datetime.fromtimestamp(time, dt.UTC)
    return time.replace(tzinfo=dt.UTC) if time.tzinfo is None else time.astimezone(dt.UTC)


def _depth(pattern: str, fixed: str) -> int | None:
    """Return how many levels a pattern reaches below its fixed part; None for all."""
    return None if "**" in pattern else pattern.rstrip("/").count("/") - fixed.rstrip("/").count("/")


def _refused(origin: str, reason: str, next_step: str) -> InputError:
    return InputError(f"taking the file {origin}", received=reason, next_step=next_step)


def _unreadable(attempted: str, error: Exception) -> StorageError:
    next_step = "check that the place is reachable and may be read; the next tick tries again"
    if isinstance(error, PermissionError):
        next_step = (
            "correct user, key or host key in connection.storage_options, or give the user the right to read; the next "
            "tick tries again"
        )
    return StorageError(attempted, received=f"{type(error).__name__}: {error}", next_step=next_step)


@contextlib.contextmanager
def _reading(origin: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(
            f"reading {origin}",
            received="the file is gone",
            next_step="deliver it again; it is found as the same input when its bytes are the same",
        ) from error
    except store_errors() as error:
        raise _unreadable(f"reading {origin}", error) from error


def _in_archive(members: Mapping[str, Member], archive: FileVersion, origin: str) -> FileVersion:
    """Return the state of a file in a version of its archive. Raises FileNotFoundError if it has none."""
    item = member_of(members, origin)
    if item is None:
        # the archive was written again without it
        raise FileNotFoundError(origin)
    return FileVersion(origin, item.size, archive.modified)


def _read(origin: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
    with _reading(origin):
        yield from chunks
