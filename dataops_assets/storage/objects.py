"""Small objects in a local folder or an object store, with create-if-absent, which commits need."""

from __future__ import annotations

import datetime as dt
import functools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from dataops_assets.errors import CommitConflict, StorageError
from dataops_assets.storage import durable


def is_remote(uri: str) -> bool:
    """Return whether `uri` names an object store rather than a local folder, which has an absolute path."""
    return len(urlsplit(uri).scheme) > 1


@functools.lru_cache(maxsize=256)
def open_store(uri: str) -> ObjectStore:
    """Return the store rooted at `uri`; credentials of object stores come from the usual environment variables."""
    if is_remote(uri):
        return from_url(uri)
    return LocalStore(Path(uri), mkdir=True)


@dataclass(frozen=True)
class StoredObject:
    """One object as a listing shows it: path relative to the folder, bytes, last change by the store's clock in UTC."""

    path: str
    size: int
    modified: dt.datetime


class Folder:
    """Objects below one URI: an absolute path of a local folder, or the URL of an object store."""

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")

    def read(self, path: str) -> bytes | None:
        """Return the object's bytes, or None when it does not exist. Raises StorageError when the store fails."""
        if not is_remote(self.uri):
            # a local read needs no store, and must not create the folder
            try:
                return Path(self.uri, path).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None
            except OSError as error:
                raise self._failed(f"reading {path}", error) from error
        try:
            return obstore.get(open_store(self.uri), path).bytes().to_bytes()
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as error:
            raise self._failed(f"reading {path}", error) from error

    def create(self, path: str, content: bytes) -> None:
        """Write a new object; on a local disk it is synced when this returns.

        `content` must be of this write alone: an object that has it already was made by a request whose answer was
        lost, and which the client of the store repeated. Raises CommitConflict when another object exists, StorageError
        when the store fails.
        """
        try:
            if is_remote(self.uri):
                obstore.put(open_store(self.uri), path, content, mode="create")
            else:
                durable.write_new(Path(self.uri, path), content)
        except (AlreadyExistsError, FileExistsError) as error:
            if is_remote(self.uri) and self.read(path) == content:
                return
            raise CommitConflict(
                f"creating {self.uri}/{path}",
                received="it exists already",
                next_step="read the new version and try again",
            ) from error
        except (BaseError, OSError) as error:
            raise self._failed(f"creating {path}", error) from error

    def names(self, prefix: str) -> list[str]:
        """Names of the objects below `prefix`, sorted; relative to this folder."""
        if not is_remote(self.uri):
            return sorted(_files_below(f"{self.uri}/{prefix}", prefix))
        return [item.path for item in self._listed(prefix)]

    def objects(self) -> list[StoredObject]:
        """Return all objects below this folder by path, with the temporary files of killed local writes.

        Raises StorageError when the store fails.
        """
        if is_remote(self.uri):
            return self._listed("")
        found = []
        try:
            for path in Path(self.uri).rglob("*"):
                try:
                    status = path.stat()
                except FileNotFoundError:
                    # another process removed it after the listing
                    continue
                if S_ISREG(status.st_mode):
                    changed = dt.datetime.fromtimestamp(status.st_mtime, dt.UTC)
                    found.append(StoredObject(str(path.relative_to(self.uri)), status.st_size, changed))
        except OSError as error:
            raise self._failed("listing", error) from error
        return sorted(found, key=lambda item: item.path)

    def _listed(self, prefix: str) -> list[StoredObject]:
        try:
            pages = obstore.list(open_store(self.uri), prefix=prefix or None)
            found = [StoredObject(item["path"], item["size"], item["last_modified"]) for page in pages for item in page]
        except (BaseError, OSError) as error:
            raise self._failed(f"listing {prefix}", error) from error
        return sorted(found, key=lambda item: item.path)

    def delete(self, paths: Sequence[str]) -> None:
        """Remove objects; those already gone are no error."""
        for path in paths:
            try:
                if is_remote(self.uri):
                    obstore.delete(open_store(self.uri), path)
                else:
                    # the local store refuses the names of its own temporary files
                    Path(self.uri, path).unlink()
            except FileNotFoundError:
                continue
            except (BaseError, OSError) as error:
                raise self._failed(f"deleting {path}", error) from error

    def _failed(self, what: str, error: Exception) -> StorageError:
        return StorageError(
            f"{what} in {self.uri}",
            # a dump of the error follows a blank line
            received=f"{type(error).__name__}: {error}".split("\n\n")[0],
            next_step="check that the store is reachable and has room; the last published version is untouched",
        )


def _files_below(folder: str, name: str) -> Iterator[str]:
    """Return the files below a local folder, each as a path below `name`; none if the folder does not exist."""
    # not pathlib: a raw area has as many files as inputs, and its objects take ten times as long
    try:
        with os.scandir(folder) as entries:
            found = list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in found:
        path = f"{name}/{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            yield from _files_below(entry.path, path)
        elif entry.is_file():
            yield path
