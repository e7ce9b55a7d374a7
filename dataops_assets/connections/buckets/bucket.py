"""The protocol of a bucket: how a look lists, copies and deletes the objects of any store.

A store says which version of an object it has, and copies and deletes exactly this version. So nothing is lost if a
sender replaces an object between two requests.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class ObjectState:
    """One version of an object: its path (`bucket/key`), size in bytes, and modification time (aware).

    `version` is what the store tells it from others by: an ETag, or a generation. `version_id` names it in a bucket of
    S3 that keeps older versions; empty in others.
    """

    path: str
    size: int
    modified: dt.datetime
    version: str
    version_id: str = ""


class Bucket(Protocol):
    """A store with buckets. All methods raise the errors of the store, and FileNotFoundError for what is not there."""

    time_step: float
    """Versions of an object that are made within this time, in seconds, can have the same modification time."""

    def names_after(self, root: str, start: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """List the objects below `root` whose path sorts after `start` (all, if it is empty), of all levels."""

    def state(self, path: str) -> ObjectState:
        """Return the version of an object that is there now."""

    def require_can_delete(self, found: ObjectState, folder: str) -> None:
        """Raise ConfigError or StorageError if the store cannot delete exactly this version; `folder` is where."""

    def copy(self, found: ObjectState, target: str) -> None:
        """Copy an object, of any size, to a name that is free; it appears there at once with all its bytes.

        Raises FileNotFoundError if it is another version, FileExistsError if there is an object of the name.
        """

    def delete(self, found: ObjectState) -> None:
        """Delete an object, after `require_can_delete`. Raises FileNotFoundError if it is another version."""


def split(path: str) -> tuple[str, str]:
    """Return bucket and key of a path."""
    bucket, _slash, key = path.partition("/")
    return bucket, key


def folder_in(root: str) -> tuple[str, str]:
    """Return the bucket of a folder, and the prefix of the keys in it."""
    bucket, key = split(root.strip("/"))
    return bucket, f"{key}/" if key else ""
