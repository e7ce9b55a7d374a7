"""A second name for every file below a folder: the same tables at another place, without a copy of their data.

Files of the storage are written once and never changed, and a file lives as long as it has any name. So both places can
write, vacuum and drop what is theirs, and neither sees it in the other.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dataops_assets.errors import StorageError

PRIVATE = "environment.json"
"""The file in the home of a private environment that says what it is."""

_LOG = "_delta_log"
# the temporary files of killed writers
_UNFINISHED = "#"
_HINTS: Mapping[int | None, str] = {
    errno.EXDEV: "put both on one disk",
    errno.ENOENT: "something else removes files there; end it, then run the command again",
}


@dataclass(frozen=True)
class Linked:
    """The number of files that got a second name, and their bytes."""

    files: int
    bytes: int


def is_private(home: Path) -> bool:
    """Return whether a home is that of a private environment: nothing leaves it, neither rows nor messages."""
    return (home / PRIVATE).exists()


def link_tree(origin: Path, target: Path) -> Linked:
    """Give every file below `origin` a second name below `target`, which does not exist yet.

    The logs of tables are listed first and linked last. So each commit that is there has all its files, although
    writers go on; a file that a vacuum removes meanwhile is left out. Raises StorageError where the two are on
    different disks, or the disk fails.
    """
    attempted = f"linking the files of {origin} to {target}"
    try:
        logs = [path for path in _files(origin, "") if _LOG in path.split("/")]
        data = [path for path in _files(origin, "") if _LOG not in path.split("/")]
        target.mkdir(parents=True)
        linked = size = 0
        folders = {""}
        for path in (*data, *logs):
            folder = path.rpartition("/")[0]
            if folder not in folders:
                (target / folder).mkdir(parents=True, exist_ok=True)
                folders.add(folder)
            try:
                os.link(origin / path, target / path)
            except FileNotFoundError:
                # also said if the folder of the target is gone
                if (origin / path).exists():
                    raise
                continue
            linked += 1
            size += (target / path).stat().st_size
    except OSError as error:
        hint = _HINTS.get(error.errno, "check that the disk is there and has room")
        raise StorageError(attempted, received=f"{type(error).__name__}: {error}", next_step=hint) from error
    return Linked(linked, size)


def own_bytes(folder: Path) -> int:
    """Return the bytes of the files below a folder that have no other name: dropping it frees as many."""
    found = 0
    for path in _files(folder, ""):
        try:
            status = (folder / path).stat()
        except FileNotFoundError:
            continue
        found += status.st_size if status.st_nlink == 1 else 0
    return found


def _files(folder: Path, below: str) -> Iterator[str]:
    """Return the files below a folder, as paths relative to it."""
    try:
        with os.scandir(folder / below) as entries:
            found = list(entries)
    except FileNotFoundError:
        return
    for entry in found:
        path = f"{below}/{entry.name}" if below else entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from _files(folder, path)
        elif entry.is_file(follow_symlinks=False) and _UNFINISHED not in entry.name:
            yield path
