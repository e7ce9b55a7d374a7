"""Small objects in a local folder or an object store, with create-if-absent: the one primitive commits need."""

from __future__ import annotations

import functools
from pathlib import Path
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from dataops_assets.errors import CommitConflict, StorageError


def is_remote(uri: str) -> bool:
    """Whether `uri` names an object store rather than a local folder."""
    return len(urlsplit(uri).scheme) > 1 and not uri.startswith("file://")


@functools.lru_cache(maxsize=256)
def open_store(uri: str) -> ObjectStore:
    """The store rooted at `uri`; credentials of object stores come from the usual environment variables."""
    if is_remote(uri):
        return from_url(uri)
    return LocalStore(Path(uri), mkdir=True)


class Folder:
    """Objects below one URI."""

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")

    def read(self, path: str) -> bytes | None:
        """The object's bytes, or None when it does not exist. Raises StorageError when the store fails."""
        if not is_remote(self.uri):
            # a local read needs no store, and must not create the folder it looks into
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
        """Write a new object. Raises CommitConflict when it exists, StorageError when the store fails."""
        try:
            obstore.put(open_store(self.uri), path, content, mode="create")
        except AlreadyExistsError as error:
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
            root = Path(self.uri, prefix)
            if not root.is_dir():
                return []
            return sorted(str(path.relative_to(self.uri)) for path in root.rglob("*") if path.is_file())
        try:
            return sorted(item["path"] for page in obstore.list(open_store(self.uri), prefix=prefix) for item in page)
        except (BaseError, OSError) as error:
            raise self._failed(f"listing {prefix}", error) from error

    def delete(self, paths: list[str]) -> None:
        """Remove objects; those already gone are no error."""
        for path in paths:
            try:
                obstore.delete(open_store(self.uri), path)
            except FileNotFoundError:
                continue
            except (BaseError, OSError) as error:
                raise self._failed(f"deleting {path}", error) from error

    def _failed(self, what: str, error: Exception) -> StorageError:
        return StorageError(
            f"{what} in {self.uri}",
            received=f"{type(error).__name__}: {error}",
            next_step="check that the store is reachable and has room; the last published version is untouched",
        )
