"""Opens the files that a source is drafted from: unpacked, and those in archives one by one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from pathlib import Path

import fsspec

from dataops_assets.config.limits import Limits
from dataops_assets.connections.archive_readings import readings_of
from dataops_assets.connections.archives import is_archive, members_of, origin_in
from dataops_assets.connections.formats.compression import compression_of, unpack
from dataops_assets.connections.formats.staging import RawFile, Staging
from dataops_assets.errors import InputError


def opened(staging: Staging, files: Sequence[Path]) -> tuple[list[RawFile], tuple[int, ...]]:
    """Return the files unpacked, those in archives one by one, and for each the place of the file it came in.

    Raises InputError for bytes that cannot be unpacked.
    """
    found: list[RawFile] = []
    origins: list[int] = []
    for origin, path in enumerate(files):
        # the engine takes some characters of a path for patterns
        link = staging.path()
        link.symlink_to(path.absolute())
        for name, file in _members(staging, path, link):
            item = RawFile(f"{len(found):06}", name, file)
            found.append(unpack(item, compression_of(name, "infer"), staging.path(), Limits()))
            origins.append(origin)
    return found, tuple(origins)


def _members(staging: Staging, path: Path, link: Path) -> Iterator[tuple[str, Path]]:
    """Yield name and path of each file in an archive of several; of another file its own."""
    if not is_archive(path.name):
        yield path.name, link
        return
    local = fsspec.filesystem("file")
    state = path.stat()
    modified = dt.datetime.fromtimestamp(state.st_mtime, dt.UTC)
    archive = str(path.absolute())
    members = members_of(local, archive, state.st_size, modified, Limits())
    if len(members) < 2:
        yield path.name, link
        return
    by_origin = {origin_in(archive, member.path): member for member in members.values()}
    for member in by_origin.values():
        if member.refused:
            raise InputError(f"reading {member.path} in {path.name}", received=member.refused)
    for reading in readings_of(local, archive, list(by_origin)):
        for origin, chunks in reading.contents():
            target = staging.path()
            with target.open("wb") as stream:
                stream.writelines(chunks)
            yield by_origin[origin].path, target
