"""Lists a folder, local or in an object store, with all folders that could not be read.

fsspec's own walk leaves out folders that it cannot read, without a report.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

from fsspec.spec import AbstractFileSystem

LINK_TO_FOLDER = "a link to a folder"
LINK_IN_A_CIRCLE = "a link to a folder that it is in"
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


def remote_tree(
    store: AbstractFileSystem, root: str, depth: int | None, refuse: _Refuse, *, at_once: bool
) -> Iterator[tuple[str, dict[str, Any]]]:
    """List the objects below `root`, at most `depth` levels down, with the store's information on each.

    `at_once` says that the store lists all levels in one listing. Raises FileNotFoundError if there is no object, and
    the errors of the store if the root cannot be listed.
    """
    if depth is None and at_once:
        # it raises whatever goes wrong
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
