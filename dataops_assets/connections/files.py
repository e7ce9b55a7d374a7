"""Files in a folder, glob or object store prefix: which are there, and their bytes. Reads only.

Everything goes through fsspec. A folder is read with all its subfolders; a glob says exactly what it says.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import glob
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import BotoCoreError
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from dataops_assets.config.connection import FileConnection
from dataops_assets.errors import ConfigError, InputError, StorageError

# Names under which writers and download tools keep what is not finished, and markers such as _SUCCESS
_UNFINISHED_START = (".", "_", "~")
_UNFINISHED_END = ("~", ".tmp", ".temp", ".part", ".partial", ".crdownload", ".download", ".filepart", ".inprogress")
_MAGIC = re.compile(r"[*?\[]")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_CHUNK = 1 << 20
_REMOTE_BLOCK = 8 << 20
# s3fs turns what a server answers into OSError; what never got an answer comes through as it is
_STORE_ERRORS = (OSError, BotoCoreError)


@dataclass(frozen=True)
class FileVersion:
    """One state of a file. Once settled, two looks that see the same values see the same bytes.

    `origin` is an absolute path or URL, `size` in bytes, `modified` aware in UTC at microsecond precision.
    """

    origin: str
    size: int
    modified: dt.datetime


@dataclass(frozen=True)
class Listing:
    """The files that are there; and by origin, those that cannot be taken, with the reason."""

    versions: list[FileVersion] = field(default_factory=list)
    refused: dict[str, InputError] = field(default_factory=dict)


def file_name(origin: str) -> str:
    """The last part of an origin."""
    return origin.rsplit("/", 1)[-1]


class Files:
    """The files one connection names."""

    def __init__(self, connection: FileConnection, landing: str, variables: Mapping[str, str]) -> None:
        """A relative path is below `landing`; `variables` (usually `os.environ`) fill '${NAME}' in storage options.

        Raises ConfigError for a variable that is not set and for a store that is not known.
        """
        path = connection.path
        magic = _MAGIC.search(path)
        # where names are free: below this, hidden and unfinished names count; above it is the deployment's business
        fixed = path[: magic.start()].rpartition("/")[0] or "/" if magic else path
        if "://" not in path and not os.path.isabs(path):
            # the landing area is a place and never a pattern, whatever characters it has
            path = f"{glob.escape(landing) if magic else landing}/{path}"
            fixed = f"{landing}/{fixed}"
        options = _options(connection, variables)
        try:
            self._fs, self._path = url_to_fs(path, **options)
            self._fixed = url_to_fs(fixed, **options)[1]
        except (ValueError, ImportError) as error:
            raise ConfigError(
                f"opening the store of connection.path {connection.path!r}",
                received=str(error),
                next_step="use a path or a URL that fsspec knows, and install the package it names",
            ) from error
        self._is_local = isinstance(self._fs, LocalFileSystem)
        self._is_pattern = magic is not None

    def list(self) -> Listing:
        """Every file that may be taken, in no order. Names that mean 'not finished' are left out without a word.

        Raises StorageError when the store cannot be reached.
        """
        # fsspec may keep listings: a new file must not hide behind an old one, nor a later look behind this one
        self._fs.invalidate_cache()
        try:
            found = self._found()
        except FileNotFoundError:
            return Listing(refused={self._path: self._missing()})
        except _STORE_ERRORS as error:
            raise _unreadable(f"listing {self._path}", error) from error
        finally:
            self._fs.invalidate_cache()
        listing = Listing()
        for path, info in found.items():
            below = [part for part in path[len(self._fixed) :].split("/") if part] or [file_name(path)]
            if not any(_is_unfinished(part) for part in below):
                self._add(listing, path, info)
        return listing

    def version(self, origin: str) -> FileVersion:
        """The file's state now. Raises InputError when it is gone, StorageError when the store fails."""
        with _reading(origin):
            if self._is_local:
                status = os.stat(origin)
                return FileVersion(origin, status.st_size, _utc(status.st_mtime))
            info = self._fs.info(origin)
            return FileVersion(origin, int(info["size"]), self._modified(origin, info))

    def chunks(self, origin: str) -> Iterator[bytes]:
        """The file's bytes. Raises InputError when it is gone, StorageError when the store fails."""
        with _reading(origin), self._fs.open(origin, "rb", block_size=_REMOTE_BLOCK) as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk

    def _found(self) -> dict[str, dict[str, Any]]:
        if self._is_pattern:
            found = self._fs.glob(self._path, detail=True)
        elif self._is_local:
            # with folders, so that one which cannot be read is told
            found = self._fs.find(self._path, detail=True, withdirs=True)
        else:
            found = self._fs.find(self._path, detail=True)
        if self._is_local and not found and not os.path.exists(self._fixed):
            raise FileNotFoundError(self._path)
        return dict(found)

    def _add(self, listing: Listing, path: str, info: Mapping[str, Any]) -> None:
        origin = path if self._is_local else self._fs.unstrip_protocol(path)
        try:
            origin.encode()
        except UnicodeEncodeError:
            readable = origin.encode("utf-8", "backslashreplace").decode()
            listing.refused[readable] = _refused(readable, "its name is not UTF-8", "rename the file")
            return
        try:
            if self._is_local:
                self._add_local(listing, origin)
            elif info.get("type") != "directory" and not path.endswith("/"):
                listing.versions.append(FileVersion(origin, int(info["size"]), self._modified(origin, info)))
        except FileNotFoundError:
            # gone between the listing and now; a link to nowhere stays
            if os.path.islink(origin):
                listing.refused[origin] = _refused(origin, "a link to nowhere", "remove or mend the link")
        except (ValueError, OverflowError) as error:
            listing.refused[origin] = _refused(origin, f"its modification time is {error}", "touch the file")
        except _STORE_ERRORS as error:
            listing.refused[origin] = _refused(origin, f"{type(error).__name__}: {error}", "make the file readable")

    def _add_local(self, listing: Listing, path: str) -> None:
        # of the file itself where the path is a link, so that a change behind the link is seen
        status = os.stat(path)
        if stat.S_ISREG(status.st_mode):
            listing.versions.append(FileVersion(path, status.st_size, _utc(status.st_mtime)))
        elif not stat.S_ISDIR(status.st_mode):
            listing.refused[path] = _refused(path, "not a regular file", "remove it from the folder")
        elif os.path.islink(path):
            listing.refused[path] = _refused(path, "a link to a folder", "name the folder itself in connection.path")
        elif not self._is_pattern and not os.access(path, os.R_OK | os.X_OK):
            listing.refused[path] = _refused(path, "a folder without permission to read", "grant it")

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


def _is_unfinished(name: str) -> bool:
    return name.startswith(_UNFINISHED_START) or name.lower().endswith(_UNFINISHED_END)


def _utc(time: dt.datetime | float | str) -> dt.datetime:
    if isinstance(time, str):
        time = dt.datetime.fromisoformat(time)
    if isinstance(time, (int, float)):
        return dt.datetime.fromtimestamp(time, dt.UTC)
    return time.replace(tzinfo=dt.UTC) if time.tzinfo is None else time.astimezone(dt.UTC)


def _options(connection: FileConnection, variables: Mapping[str, str]) -> dict[str, Any]:
    return {name: _option(name, value, variables) for name, value in connection.storage_options.items()}


def _option(name: str, value: str, variables: Mapping[str, str]) -> str | bool:
    def filled(match: re.Match[str]) -> str:
        if match[1] not in variables:
            raise ConfigError(
                f"reading connection.storage_options.{name}",
                received=f"{match[0]}, which is not set",
                next_step=f"set {match[1]} in the environment",
            )
        return variables[match[1]]

    text = _VARIABLE.sub(filled, value)
    return {"true": True, "false": False}.get(text.lower(), text)


def _refused(origin: str, reason: str, next_step: str) -> InputError:
    return InputError(f"taking the file {origin}", received=reason, next_step=next_step)


def _unreadable(attempted: str, error: Exception) -> StorageError:
    return StorageError(
        attempted,
        received=f"{type(error).__name__}: {error}",
        next_step="check that the place is reachable and may be read; trying again is free",
    )


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
    except _STORE_ERRORS as error:
        raise _unreadable(f"reading {origin}", error) from error
