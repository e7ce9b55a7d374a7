"""Reads many files of one archive, which is opened once for all of them and closed after the last.

A zip is read at any place, by several threads at a time. A tar is a stream: one thread reads its files in the order in
which they lie. Nothing is unpacked to a disk or held in memory.
"""

from __future__ import annotations

import contextlib
import functools
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dataops_assets.connections.archives import compression_of_tar, origin_in, path_in_tar
from dataops_assets.connections.formats.compression import Compression
from dataops_assets.connections.opened_archives import CHUNK, opened_tar, opened_zip, refused, refusing_damaged
from dataops_assets.connections.stores import store_errors
from dataops_assets.errors import InputError


@dataclass(frozen=True)
class Reading:
    """Files that one thread reads one after the other.

    `contents` yields each of `origins` once, with its bytes, which must be read before the next one is asked for. What
    is wrong with a file is raised where its bytes are read.
    """

    origins: Sequence[str]
    contents: Callable[[], Iterator[tuple[str, Iterator[bytes]]]]


def readings_of(fs: Any, archive: str, origins: Sequence[str]) -> list[Reading]:
    """Return readings of these files of an archive. All of them must be asked for their contents, in any thread.

    Reading raises InputError for a file that is gone or damaged. Errors of the store are not changed; if a tar cannot
    be read on, `contents` itself raises the error.
    """
    compression = compression_of_tar(archive)
    if compression is not None:
        return [Reading(origins, functools.partial(_contents_of_tar, fs, archive, compression, origins))]
    shared = _SharedZip(fs, archive, len(origins))
    return [Reading([origin], functools.partial(shared.contents, origin)) for origin in origins]


def failing(error: Exception) -> Iterator[bytes]:
    """Return the bytes of a file that cannot be read: to ask for them raises the error."""
    yield from ()
    raise error


class _SharedZip:
    """A zip that is opened by the first of several readings, and closed by the last one."""

    def __init__(self, fs: Any, archive: str, readings: int) -> None:
        self._fs, self._archive, self._readings = fs, archive, readings
        self._lock = threading.Lock()
        self._stack = contextlib.ExitStack()
        self._found: zipfile.ZipFile | None = None
        self._items: dict[str, zipfile.ZipInfo] = {}
        self._failed: Exception | None = None

    def contents(self, origin: str) -> Iterator[tuple[str, Iterator[bytes]]]:
        """Yield one file with its bytes."""
        try:
            yield origin, self._chunks(origin)
        finally:
            with self._lock:
                self._readings -= 1
                if not self._readings:
                    self._stack.close()

    def _chunks(self, origin: str) -> Iterator[bytes]:
        found = self._opened()
        if origin not in self._items:
            raise _gone(origin)
        with refusing_damaged(self._archive), found.open(self._items[origin]) as stream:
            while chunk := stream.read(CHUNK):
                yield chunk

    def _opened(self) -> zipfile.ZipFile:
        with self._lock:
            if self._failed is not None:
                # or each of many files would try again
                raise self._failed
            if self._found is None:
                try:
                    self._found = self._stack.enter_context(opened_zip(self._fs, self._archive))
                except _faults() as error:
                    self._failed = error
                    raise
                items = self._found.infolist()
                self._items = {origin_in(self._archive, item.filename): item for item in reversed(items)}
            return self._found


def _contents_of_tar(
    fs: Any, archive: str, compression: Compression, origins: Sequence[str]
) -> Iterator[tuple[str, Iterator[bytes]]]:
    wanted = set(origins)
    failed: list[Exception] = []

    def chunks(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> Iterator[bytes]:
        try:
            with refusing_damaged(archive):
                stream = tar.extractfile(entry)
                while stream is not None and (chunk := stream.read(CHUNK)):
                    yield chunk
        except _faults() as error:
            failed.append(error)
            raise

    with opened_tar(fs, archive, compression, None) as (tar, unpacked):
        for entry in tar:
            origin = origin_in(archive, path_in_tar(entry))
            if origin not in wanted or not entry.isfile():
                continue
            wanted.remove(origin)
            yield origin, chunks(tar, entry)
            if failed:
                # what lies behind it cannot be reached; the stream would only seem to end here
                raise failed[0]
            if not wanted:
                return
        unpacked.require_end(tar)
    for origin in sorted(wanted):
        yield origin, failing(_gone(origin))


def _gone(origin: str) -> InputError:
    return refused(origin, "an archive that no longer has this file", "deliver it again")


def _faults() -> tuple[type[Exception], ...]:
    """Return what reading an archive may raise."""
    return (InputError, *store_errors())
