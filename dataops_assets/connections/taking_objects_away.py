"""Moves an object away at its sender, or deletes it, but never an object that was replaced since it was taken.

Object stores have no rename. An object is copied, and then deleted on the condition that it is still the version that
was taken: the store compares while it deletes. A kill between the two requests leaves both; the next look finds the
copy and deletes the object.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dataops_assets.connections.buckets.bucket import Bucket, ObjectState


@dataclass(frozen=True)
class TakenObject:
    """An object as it was taken: its path (`bucket/key`), size in bytes, and modification time (aware)."""

    path: str
    size: int
    modified: dt.datetime


def take_object_away(
    bucket: Bucket, taken: TakenObject, folder: str, names: Iterator[str], is_copy: Callable[[str], bool]
) -> str:
    """Copy an object to the first free one of `names` and delete it; without names, delete it. Return its new path.

    `folder` is where objects are taken. `is_copy` returns whether an object at a path, of the same size, has the bytes
    that were taken. Raises FileNotFoundError if the object is not there or is another version, ConfigError or
    StorageError if the store cannot delete it safely, and the errors of the store.
    """
    found = bucket.state(taken.path)
    if (found.size, found.modified) != (taken.size, taken.modified):
        raise FileNotFoundError(taken.path)
    bucket.require_can_delete(found, folder)
    moved = _copied(bucket, found, names, is_copy)
    # if it is another version now, a copy stays: it is of the version that was taken, and perhaps a lost answer hid
    # that this was deleted
    bucket.delete(found)
    return moved


def _copied(bucket: Bucket, found: ObjectState, names: Iterator[str], is_copy: Callable[[str], bool]) -> str:
    """Copy an object to the first free name and return it; that of an earlier copy, or '' if there are no names."""
    for name in names:
        there = _size_of(bucket, name)
        if there is None:
            try:
                bucket.copy(found, name)
            except FileExistsError:
                # somebody took the name at this moment; or it was this copy, and its answer was lost
                there = _size_of(bucket, name)
            else:
                return name
        if there == found.size and is_copy(name):
            return name
    return ""


def _size_of(bucket: Bucket, path: str) -> int | None:
    """Return the size of an object; None if there is none."""
    try:
        return bucket.state(path).size
    except FileNotFoundError:
        return None
