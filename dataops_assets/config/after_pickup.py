"""Settings that move or delete a file at its sender after pick-up."""

from __future__ import annotations

import posixpath
import re

from pydantic import Field, model_validator

from dataops_assets.config.declared import Declared
from dataops_assets.config.object_stores import OBJECT_STORES

MAGIC = re.compile(r"[*?\[]")
"""What makes a path a pattern."""
_CAN_MOVE = ("", "file", "local", "sftp", *OBJECT_STORES)


class AfterPickup(Declared):
    """Moves or deletes a file at its sender, after its bytes are stored and its ingest is recorded."""

    move_to: str = Field(
        "",
        description="Folder that the file is moved to, on the same file system or server, or in the same bucket. A "
        "relative one is below the folder of `path`; '../done' is beside it.",
    )
    delete: bool = Field(False, description="Delete the file. Then the raw area has its only copy.")

    @model_validator(mode="after")
    def _one_of_both(self) -> AfterPickup:
        if bool(self.move_to) == self.delete:
            raise ValueError("declare one of move_to and delete")
        if "://" in self.move_to or MAGIC.search(self.move_to):
            raise ValueError(f"move_to is {self.move_to!r}: write a folder on the same server, such as ../done")
        return self


def fixed_part(path: str) -> str:
    """Return the folder of a pattern, before its first wildcard; a path without wildcards itself."""
    magic = MAGIC.search(path)
    return path[: magic.start()].rpartition("/")[0] or "/" if magic else path


def folder_after(folder: str, after: AfterPickup, *, reads_all_below: bool) -> str:
    """Return the folder that files of `folder` (within its server) are moved to; '' if they are deleted.

    Raises ValueError if files there would be read again; `reads_all_below` says that files of all levels are read.
    """
    if after.delete:
        return ""
    folder = posixpath.normpath(folder)
    found = posixpath.normpath(posixpath.join(folder, after.move_to))
    is_below = found.startswith(f"{folder.rstrip('/')}/")
    if found == folder or (is_below and reads_all_below):
        raise ValueError(
            f"after_pickup.move_to leads to {found!r}, where files would be taken again; use one beside {folder!r}, "
            "such as ../done"
        )
    return found


def require_can_move(path: str, after: AfterPickup) -> None:
    """Raise ValueError if files at `path`, a path or a URL, cannot be moved as declared."""
    scheme, has_scheme, rest = path.rpartition("://")
    scheme = scheme.lower()
    if scheme not in _CAN_MOVE:
        raise ValueError(
            f"after_pickup: files of {scheme}:// cannot be moved safely; known: folders, sftp://, and the object "
            f"stores {', '.join(f'{name}://' for name in OBJECT_STORES)}"
        )
    if scheme in OBJECT_STORES and MAGIC.search(rest.partition("/")[0]):
        raise ValueError(f"after_pickup: write the name of the bucket in {path!r}, without wildcards")
    path = f"/{rest.partition('/')[2]}" if has_scheme and scheme in ("sftp", *OBJECT_STORES) else rest
    folder_after(fixed_part(path), after, reads_all_below="**" in path or not MAGIC.search(path))
