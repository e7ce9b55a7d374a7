"""Moves a file away at its sender, or removes it, but never a file that was replaced since it was taken.

A file is renamed first and examined then. So what is examined is what was moved, also if the sender replaced the file
at that moment; then it gets its name back. A kill between two actions loses nothing: the next look moves what is still
there. A kill while a file is deleted may leave it under a hidden name in its folder.
"""

from __future__ import annotations

import itertools
import os
import posixpath
from collections.abc import Callable, Iterator

from fsspec.spec import AbstractFileSystem

from dataops_assets.connections.servers.sftp import SftpFiles


def take_away(store: AbstractFileSystem, path: str, target: str, mark: str, is_same: Callable[[str], bool]) -> str:
    """Move the file at `path` to `target`, or delete it if that is empty; return its new path, or '' if it is deleted.

    `is_same` returns whether the file at a path is the version that was taken. `mark` tells versions of one name apart
    if the target has the name already. Raises FileNotFoundError if it is not there or is another version, and the
    errors of the store.
    """
    if not is_same(path):
        raise FileNotFoundError(path)
    folder, _slash, name = path.rpartition("/")
    wanted = target or f"{folder}/.{name}.taken"
    store.makedirs(posixpath.dirname(wanted), exist_ok=True)
    moved = next(free for free in names_at(wanted, mark) if not store.lexists(free))
    _rename(store, path, moved)
    if not is_same(moved):
        _rename(store, moved, path)
        raise FileNotFoundError(path)
    if target:
        return moved
    store.rm_file(moved)
    return ""


def names_at(wanted: str, mark: str) -> Iterator[str]:
    """Yield the names that a file may have at its target, with the same ending."""
    stem, ending = posixpath.splitext(wanted)
    yield wanted
    yield f"{stem}.{mark}{ending}"
    yield from (f"{stem}.{mark}.{number}{ending}" for number in itertools.count(2))


def _rename(store: AbstractFileSystem, old: str, new: str) -> None:
    """Rename a file. Raises FileExistsError, or of a server another OSError, if there is one of the new name."""
    if isinstance(store, SftpFiles):
        store.rename(old, new)
        return
    if os.path.lexists(new):
        raise FileExistsError(new)
    os.rename(old, new)
