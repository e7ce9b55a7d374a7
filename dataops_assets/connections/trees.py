"""Lists a folder, local or in an object store, with all folders that could not be read.

fsspec's own walk leaves out folders that it cannot read, without a report.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from botocore.exceptions import ClientError
from fsspec.spec import AbstractFileSystem

LINK_TO_FOLDER = "a link to a folder"
LINK_IN_A_CIRCLE = "a link to a folder that it is in"
_THREADS = 8
_Refuse = Callable[[str, str | Exception], None]


def local_tree(root: str, depth: int | None, follow_links: bool, refuse: _Refuse) -> Iterator[str]:
    """List the paths below `root` that are no folders, at most `depth` levels down; links are not followed.

    With `follow_links`, the paths behind links to folders are listed, too. `refuse` is called for folders that cannot
    be read, and for links to folders that are not followed. If the root is a file, it is the only path. Raises OSError
    if the root cannot be read.
    """
    if not os.path.isdir(root):
        os.stat(root)
        yield root
        return
    todo: list[tuple[str, int | None, tuple[str, ...]]] = [(root, depth, (os.path.realpath(root),))]
    while todo:
        folder, left, inside = todo.pop()
        try:
            with os.scandir(folder) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            if folder == root:
                raise
            refuse(folder, error)
            continue
        for entry in found:
            if not _is_folder(entry):
                yield entry.path
            elif left != 1:
                real = os.path.realpath(entry.path) if entry.is_symlink() else f"{inside[-1]}/{entry.name}"
                if entry.is_symlink() and not follow_links:
                    refuse(entry.path, LINK_TO_FOLDER)
                elif real in inside:
                    refuse(entry.path, LINK_IN_A_CIRCLE)
                else:
                    todo.append((entry.path, None if left is None else left - 1, (*inside, real)))
            elif entry.is_symlink():
                # only a pattern may mean it
                yield entry.path


def names_after(store: AbstractFileSystem, root: str, start: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """List the objects of S3 below `root` whose path sorts after `start` (all, if it is empty), of all levels.

    Raises the errors of the store.
    """
    bucket, _slash, prefix = root.strip("/").partition("/")
    asked = {"Bucket": bucket, "Prefix": f"{prefix}/" if prefix else ""}
    if start:
        asked["StartAfter"] = start.removeprefix(f"{bucket}/")
    while True:
        page = store.call_s3("list_objects_v2", **asked)
        for item in page.get("Contents", ()):
            yield f"{bucket}/{item['Key']}", {"type": "file", "size": item["Size"], **item}
        if not page.get("IsTruncated"):
            return
        asked["ContinuationToken"] = page["NextContinuationToken"]


def named_objects(
    store: AbstractFileSystem, paths: Sequence[str], refuse: _Refuse
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Look at single objects of S3, without a listing; those that are not there are left out.

    `refuse` is called for those that the store does not show. Raises the errors of a store that cannot be reached.
    """

    def shown(path: str) -> dict[str, Any] | OSError:
        try:
            found = store.call_s3("head_object", **object_at(path))
        except OSError as error:
            if not isinstance(error.__cause__, ClientError):
                # nobody answered
                raise
            return error
        return {"type": "file", "size": found["ContentLength"], "LastModified": found["LastModified"]}

    with ThreadPoolExecutor(_THREADS) as pool:
        for path, info in zip(paths, pool.map(shown, paths), strict=True):
            if isinstance(info, dict):
                yield path, info
            elif not isinstance(info, FileNotFoundError):
                refuse(path, info)


def object_at(path: str) -> dict[str, str]:
    """Return what a request to S3 names an object by; `path` is `bucket/key`."""
    bucket, _slash, key = path.partition("/")
    return {"Bucket": bucket, "Key": key}


def is_s3(store: AbstractFileSystem) -> bool:
    """Return whether a store is S3, or speaks its protocol."""
    return "s3" in (store.protocol if isinstance(store.protocol, tuple) else (store.protocol,))


def remote_tree(
    store: AbstractFileSystem, root: str, depth: int | None, refuse: _Refuse
) -> Iterator[tuple[str, dict[str, Any]]]:
    """List the objects below `root`, at most `depth` levels down, with the store's information on each.

    Raises FileNotFoundError if there is no object, and the errors of the store if the root cannot be listed.
    """
    if depth is None and is_s3(store):
        # one listing for all levels; it raises whatever goes wrong
        yield from store.find(root, detail=True).items()
        return
    todo = [(root.rstrip("/"), depth)]
    while todo:
        folder, left = todo.pop()
        try:
            found = store.ls(folder, detail=True)
        except (FileNotFoundError, PermissionError) as error:
            if folder == root.rstrip("/"):
                raise
            # one that is gone since it was listed is no fault
            if isinstance(error, PermissionError):
                refuse(folder, error)
            continue
        for info in found:
            path = info["name"]
            if info["type"] != "directory":
                yield path, info
            elif left != 1 and path.rstrip("/") != folder:
                todo.append((path.rstrip("/"), None if left is None else left - 1))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # a circle of links is no folder; the caller that opens it gets the error
        return False
