"""Finds the files that an agent pushes: those of a folder, a pattern or a path, and the state that each has.

Links are not followed, and unfinished and hidden files are left out, as in the landing area.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from fsspec.implementations.local import LocalFileSystem

from dataops_assets.config.after_pickup import MAGIC, AfterPickup, fixed_part, folder_after
from dataops_assets.connections.names import Pattern, unfinished
from dataops_assets.connections.taking_away import take_away
from dataops_assets.connections.trees import local_tree
from dataops_assets.connections.uploads.upload import Upload, why_refused
from dataops_assets.errors import ConfigError, StorageError


@dataclass(frozen=True)
class FileState:
    """A file that may be pushed: `name` is its path below the chosen folder, `modified` in nanoseconds since 1970.

    `refused` says why it is not pushed; empty if it is. `is_unfinished`: its name says that it is hidden or temporary.
    """

    path: str
    folder: str
    name: str
    size: int
    modified: int
    refused: str = ""
    is_unfinished: bool = False


def chosen_files(chosen: str) -> list[FileState]:
    """Return the files that a path, a folder or a pattern names, the oldest first. Raises StorageError.

    A folder means all files below it; a pattern has *, ? and ** as connection.path has them.
    """
    path = os.path.abspath(chosen)
    # without wildcards, it is a folder or a file
    pattern = Pattern(path) if MAGIC.search(path) and not os.path.lexists(path) else None
    root = fixed_part(path) if pattern else path
    folder = root if os.path.isdir(root) else os.path.dirname(root)
    depth = None if pattern is None or "**" in path else path.count("/") - root.rstrip("/").count("/")
    not_read: list[FileState] = []

    def refuse(place: str, reason: str | Exception) -> None:
        not_read.append(FileState(place, folder, os.path.relpath(place, folder), 0, 0, f"it is not read: {reason}"))

    try:
        paths = [item for item in local_tree(root, depth, False, refuse) if pattern is None or pattern.matches(item)]
    except OSError as error:
        raise StorageError(
            f"listing {root}",
            received=f"{type(error).__name__}: {error.strerror}",
            next_step="correct the path, or let this user read it",
        ) from error
    found = [state for item in paths if (state := _state(item, folder)) is not None]
    return [*sorted(found, key=lambda item: (item.modified, item.name)), *not_read]


def _state(path: str, folder: str) -> FileState | None:
    """Return the state of a file; None if it is gone."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    name = os.path.relpath(path, folder).replace(os.sep, "/")
    refused = why_refused(name)
    if stat.S_ISLNK(status.st_mode):
        refused = "it is a link, and links are not followed"
    elif not stat.S_ISREG(status.st_mode):
        refused = "it is no regular file"
    elif status.st_mtime_ns < 0:
        refused = "its time of modification is before 1970"
    is_unfinished = any(map(unfinished, name.split("/")))
    return FileState(path, folder, name, status.st_size, status.st_mtime_ns, refused, is_unfinished)


def upload_of_file(state: FileState, stream: BufferedReader) -> Upload | None:
    """Read a file and return its announcement; None if it is no longer in this state."""
    digest = hashlib.file_digest(stream, "sha256").hexdigest()
    status = os.fstat(stream.fileno())
    if (status.st_size, status.st_mtime_ns) != (state.size, state.modified):
        return None
    return Upload(state.name, state.size, state.modified // 1000, digest)


def target_of(state: FileState, after: AfterPickup) -> str:
    """Return the path that a file is moved to; '' if it is deleted. Raises ConfigError if it would be pushed again."""
    try:
        folder = folder_after(state.folder, after, reads_all_below=True)
    except ValueError as error:
        raise ConfigError("moving files after the push", received=str(error)) from error
    return f"{folder}/{state.name}" if folder else ""


def move_away(state: FileState, after: AfterPickup) -> str:
    """Move or delete a file that was pushed, unless it was replaced since; return what was done.

    Raises ConfigError as `target_of` does, and StorageError.
    """
    target = target_of(state, after)

    def is_same(path: str) -> bool:
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            return False
        return (status.st_size, status.st_mtime_ns) == (state.size, state.modified)

    mark = str(state.modified // 1000)
    try:
        moved = take_away(LocalFileSystem(), Path(state.path).as_posix(), target, mark, is_same)
    except FileNotFoundError:
        return "replaced since"
    except OSError as error:
        raise StorageError(
            f"taking away {state.path}",
            received=f"{type(error).__name__}: {error.strerror}",
            next_step="let this user write into both folders, on one file system; the file is stored at the receiver",
        ) from error
    return f"moved to {moved}" if moved else "deleted"
