"""Durable files on a local disk: first the bytes are synced, then the name.

A crash of the machine may lose what was written and not synced. So a file is synced before it gets its name, and the
folder of the name is synced before the write is reported as done.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

_CHUNK = 1 << 20


def write_new(target: Path, content: bytes, hidden: str = "") -> None:
    """Write a file that does not exist yet; it appears complete or not at all, and is synced when this returns.

    `hidden` is put before the name that it has while it is written, where readers would take it otherwise.

    Raises FileExistsError where there is one of that name, OSError where the disk fails.
    """
    with _written(target, content, hidden) as staged:
        _link(staged, target)


def replace_file(target: Path, content: bytes) -> None:
    """Write a file, also where there is one: readers see the old content or the new one, and it is synced.

    Raises OSError where the disk fails.
    """
    with _written(target, content, ".") as staged:
        staged.replace(target)


def link_new(content: Path, target: Path, up_to: Path) -> None:
    """Give a synced file a second name, which is synced when this returns, with the folders above it to `up_to`.

    Raises FileExistsError where there is a file or folder of that name, OSError where the disk fails.
    """
    first_there = min(_nearest_folder(target.parent), up_to, key=lambda folder: len(folder.parts))
    target.parent.mkdir(parents=True, exist_ok=True)
    _link(content, target)
    sync_folders(target.parent, first_there)


def sync_file(file: Path) -> None:
    """Make the bytes of a file durable; its name is not, see `sync_folders`. Raises OSError where the disk fails."""
    with file.open("rb") as stream:
        os.fsync(stream.fileno())


def sync_files(folder: Path) -> None:
    """Sync the files and names in a folder and below it, before the folder gets its name."""
    for path in folder.rglob("*"):
        if path.is_file():
            sync_file(path)
        elif path.is_dir():
            sync_folders(path)
    sync_folders(folder)


def sync_folders(folder: Path, up_to: Path | None = None) -> None:
    """Make the names in a folder durable; with `up_to`, also those of the folders above it, to that one."""
    while True:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if up_to is None or folder in (up_to, folder.parent):
            return
        folder = folder.parent


@contextlib.contextmanager
def _written(target: Path, content: bytes, hidden: str) -> Iterator[Path]:
    """Give a synced file beside the target, to which the block gives the target's name; then that name is synced."""
    first_there = _nearest_folder(target.parent)
    target.parent.mkdir(parents=True, exist_ok=True)
    # a name that readers ignore, and by which vacuum finds the files of killed processes
    staged = target.with_name(f"{hidden}{target.name}#{uuid.uuid4().int}")
    try:
        with staged.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        yield staged
    finally:
        with contextlib.suppress(FileNotFoundError):
            staged.unlink()
    sync_folders(target.parent, first_there)


def _link(content: Path, target: Path) -> None:
    """Give a file a second name. Unlike a rename, this does not replace a file of that name."""
    try:
        os.link(content, target)
    except FileExistsError:
        # NFS says so, too, if the answer to the first request was lost and the system repeated it
        if not os.path.samestat(content.lstat(), target.lstat()):
            raise


def _nearest_folder(folder: Path) -> Path:
    while not folder.is_dir() and folder.parent != folder:
        folder = folder.parent
    return folder
