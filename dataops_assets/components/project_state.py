"""The files that a code location is made of. What was loaded from them is valid as long as they do not change."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Set
from pathlib import Path

_FOLDERS = ("dataops_assets", "dbt_project")
# what Python and dbt write themselves
_NOT_SOURCE = {"__pycache__", "target", "logs"}

FileState = tuple[str, int, int]


def project_files(project: Path) -> Set[FileState]:
    """Return the path, time and size of each file of the project's code, declarations and models."""
    return {found for folder in _FOLDERS for found in _files(project / folder)}


def other_modules() -> Set[FileState]:
    """Return the same for loaded modules that are not installed, such as contracts in another folder."""
    installed = (sys.prefix, sys.base_prefix)
    files = {getattr(module, "__file__", None) or "" for module in list(sys.modules.values())}
    return {_state(file, os.stat(file)) for file in files if not file.startswith(installed) and Path(file).is_file()}


def _files(folder: Path) -> Iterator[FileState]:
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name in _NOT_SOURCE or entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _files(Path(entry.path))
            elif entry.is_file():
                yield _state(entry.path, entry.stat())


def _state(file: str, status: os.stat_result) -> FileState:
    return file, status.st_mtime_ns, status.st_size
