"""Moves an object of S3 away at its sender, or deletes it, but never an object that was replaced since it was taken.

S3 has no rename. An object is copied, and then deleted on the condition that it is still the version that was taken:
the store compares its ETag while it deletes. A kill between the two requests leaves both; the next look finds the copy
and deletes the object. A store that compares no ETags must keep versions: then this one version is deleted by its id.
If it has neither, nothing is taken away.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError
from fsspec.spec import AbstractFileSystem

from dataops_assets.connections.trees import object_at
from dataops_assets.errors import ConfigError, StorageError

_DONE, _FORBIDDEN, _NOT_THERE, _CONFLICT, _OTHER_VERSION = 204, 403, 404, 409, 412
_UNVERSIONED = (None, "", "null")
_NO_OBJECT = ".dataops-has-no-such-object"


@dataclass(frozen=True)
class TakenObject:
    """An object as it was taken: its path (`bucket/key`), size in bytes, and modification time (aware)."""

    path: str
    size: int
    modified: dt.datetime


def take_object_away(
    store: AbstractFileSystem,
    taken: TakenObject,
    names: Iterator[str],
    is_copy: Callable[[str], bool],
    compares: Callable[[], bool],
) -> str:
    """Copy an object to the first free one of `names` and delete it; without names, delete it. Return its new path.

    `is_copy` returns whether an object at a path, of the same size, has the bytes that were taken; `compares` whether
    the store deletes on a condition. Raises FileNotFoundError if it is not there or is another version, ConfigError
    or StorageError if the store cannot delete it safely, and the errors of the store.
    """
    found = _version(store, taken)
    by_id = not compares()
    if by_id:
        _require_only_version(store, taken.path, found)
    moved = _copied(store, taken, found, names, is_copy)
    condition = {"VersionId": found["VersionId"]} if by_id else {"IfMatch": found["ETag"]}
    try:
        store.call_s3("delete_object", **object_at(taken.path), **condition)
    except OSError as error:
        if status_of(error) in (_NOT_THERE, _CONFLICT, _OTHER_VERSION):
            # a copy stays: it is of the version that was taken, and perhaps a lost answer hid that this was deleted
            raise FileNotFoundError(taken.path) from error
        raise
    return moved


def deletes_on_condition(store: AbstractFileSystem, folder: str) -> bool:
    """Return whether a store compares the ETag when it deletes; it is asked with an object that is not there.

    `folder` is where the right to delete is. Raises the errors of the store.
    """
    asked = object_at(f"{folder.rstrip('/')}/{_NO_OBJECT}")
    with_condition = _deletes(store, asked, IfMatch='"0"')
    if with_condition != _NOT_THERE:
        return with_condition == _OTHER_VERSION
    # a store that also misses it without the condition has said nothing about conditions; a bucket may have a policy
    # that allows conditional deletes alone
    return _deletes(store, asked) in (_DONE, _FORBIDDEN)


def _deletes(store: AbstractFileSystem, asked: Mapping[str, str], **condition: str) -> int:
    """Try to delete an object that is not there; return the status that tells what the store made of it."""
    try:
        answer = store.call_s3("delete_object", **asked, **condition)
    except OSError as error:
        status = status_of(error)
        if status in (_NOT_THERE, _OTHER_VERSION) or (status == _FORBIDDEN and not condition):
            return status
        raise
    if answer.get("VersionId") not in _UNVERSIONED:
        # a bucket with versions has made a delete marker
        store.call_s3("delete_object", **asked, VersionId=answer["VersionId"])
    return _DONE


def status_of(error: OSError) -> int:
    """Return the status of HTTP that an error of S3 has; 0 without one."""
    cause = error.__cause__
    answer: Mapping[str, Any] = cause.response if isinstance(cause, ClientError) else {}
    return int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _version(store: AbstractFileSystem, taken: TakenObject) -> Mapping[str, Any]:
    """Return what the store says of an object. Raises FileNotFoundError if it is not the version that was taken."""
    found: Mapping[str, Any] = store.call_s3("head_object", **object_at(taken.path))
    if (found["ContentLength"], found["LastModified"]) != (taken.size, taken.modified):
        raise FileNotFoundError(taken.path)
    return found


def _require_only_version(store: AbstractFileSystem, path: str, found: Mapping[str, Any]) -> None:
    """Raise StorageError if an older version would be there again without this one, ConfigError if it has no id."""
    if found.get("VersionId") in _UNVERSIONED:
        raise ConfigError(
            f"taking away {path}",
            received="a store that deletes without a condition, in a bucket without versions: an object that is "
            "replaced at this moment would be lost",
            next_step="switch on versioning of the bucket, or leave out after_pickup and let lifecycle rules delete "
            "old objects",
        )
    place = object_at(path)
    asked = {"Bucket": place["Bucket"], "Prefix": place["Key"], "MaxKeys": 2}
    versions = store.call_s3("list_object_versions", **asked).get("Versions", ())
    if len([item for item in versions if item["Key"] == place["Key"]]) > 1:
        raise StorageError(
            f"taking away {path}",
            received="an older version of it, which would be there again; the store deletes without a condition",
            next_step="delete the older version; the next look tries again",
        )


def _copied(
    store: AbstractFileSystem,
    taken: TakenObject,
    found: Mapping[str, Any],
    names: Iterator[str],
    is_copy: Callable[[str], bool],
) -> str:
    """Copy an object to the first free name and return it; that of an earlier copy, or '' if there are no names."""
    for name in names:
        try:
            there = store.call_s3("head_object", **object_at(name))
        except FileNotFoundError:
            pass
        else:
            if there["ContentLength"] == taken.size and is_copy(name):
                return name
            continue
        try:
            store.call_s3(
                "copy_object",
                **object_at(name),
                CopySource=object_at(taken.path),
                CopySourceIfMatch=found["ETag"],
                IfNoneMatch="*",
            )
        except OSError as error:
            if status_of(error) != _OTHER_VERSION:
                raise
            _version(store, taken)
            # the name was taken by somebody else at this moment
            continue
        if store.call_s3("head_object", **object_at(taken.path))["ETag"] != found["ETag"]:
            # a store may ignore the condition of a copy: then this can be a copy of something else
            store.call_s3("delete_object", **object_at(name))
            raise FileNotFoundError(taken.path)
        return name
    return ""
