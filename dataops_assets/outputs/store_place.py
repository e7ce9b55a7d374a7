"""Delivers files to an object store or an SFTP server.

Files are staged on this machine and sent one by one, the manifest last: there are no folders that get their name at
once. Each file appears at once with all its bytes. Older deliveries are archived by sending them again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from dataops_assets.config.outputs import FilesTarget
from dataops_assets.connections.stores import open_store, options_of, require_writable
from dataops_assets.errors import StorageError
from dataops_assets.outputs.file_place import STATE
from dataops_assets.outputs.manifest import ENDING, IN_FOLDER, Manifest, manifest_in, newest_of, state_in
from dataops_assets.storage.file_lock import waited_for


class StorePlace:
    """See `FilePlace`."""

    def __init__(self, url: str, output: str, target: FilesTarget, work: Path) -> None:
        """`work` is a folder of this machine. Raises ConfigError for a store that cannot be written."""
        require_writable(url, "to.path")
        self._fs, self._folder = open_store(url.rstrip("/"), options_of(target.storage_options, os.environ), "to.path")
        self.shown, self._output, self._target, self._work = url, output, target, work

    @property
    def staging(self) -> Path:
        """See `FilePlace`."""
        return self._work / f"{self._output}.staging"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """See `FilePlace`; other machines are not kept out."""
        with waited_for(self._work / f"{self._output}.lock"):
            yield
        shutil.rmtree(self.staging, ignore_errors=True)

    @property
    def _state(self) -> str:
        return f"{self._folder}/{STATE}/{self._output}.json"

    def newest(self) -> Manifest | None:
        """See `FilePlace`."""
        content = self._content(self._state)
        stored = None if content is None else state_in(content, self._state)
        newest = newest_of([*(manifest for _, manifest in self._deliveries()), stored])
        if newest is not None and newest != stored:
            # readers may take the delivery away, and the next one still has its number
            self._write(newest, self._state)
        return newest

    def has(self, manifest: Manifest) -> bool:
        """See `FilePlace`."""
        place = self._of(manifest)
        return all(self._size(f"{place}/{item.path}") == item.bytes for item in manifest.files)

    def publish(self, manifest: Manifest) -> str:
        """See `FilePlace`."""
        staged = {item.path: self.staging / item.path for item in manifest.files}
        if not self._target.partition_by:
            (file,) = manifest.files
            manifest = replace(manifest, files=(replace(file, path=f"{manifest.name}{self._target.ending}"),))
            staged = {manifest.files[0].path: self.staging / file.path}
            if self._target.archive:
                self._set_aside(manifest.files[0].path)
        place = self._of(manifest)
        for item in manifest.files:
            self._send(staged[item.path], f"{place}/{item.path}", item.bytes)
        if self._target.partition_by:
            self._write(manifest, f"{place}/{IN_FOLDER}")
        else:
            self._write(manifest, f"{place}/{manifest.files[0].path}{ENDING}")
        self._write(manifest, self._state)
        shown = place if self._target.partition_by else f"{place}/{manifest.files[0].path}"
        return str(self._fs.unstrip_protocol(shown))

    def keep_newest(self, number: int) -> None:
        """See `FilePlace`."""
        found = sorted(self._deliveries(), key=lambda item: -item[1].position.delivery)
        for path, manifest in found[number:]:
            folder = path.rpartition("/")[0]
            below = f"{manifest.name}/" if path.endswith(f"/{IN_FOLDER}") else ""
            if self._target.archive:
                for item in manifest.files:
                    self._copy(f"{folder}/{item.path}", f"{self._archive}/{below}{item.path}", item.bytes)
                self._write(manifest, f"{self._archive}/{below}{path.rpartition('/')[2]}")
            self._fs.rm_file(path)
            for item in manifest.files:
                if self._size(f"{folder}/{item.path}") is not None:
                    self._fs.rm_file(f"{folder}/{item.path}")

    def _set_aside(self, name: str) -> None:
        """Keep a copy of a file whose name the next delivery takes."""
        manifest = self._manifest(f"{self._folder}/{name}{ENDING}")
        if manifest is None or manifest.output != self._output or not self.has(manifest):
            return
        ending = self._target.ending
        copy = f"{name.removesuffix(ending)}_{manifest.position.delivery}{ending}"
        (file,) = manifest.files
        self._copy(f"{self._folder}/{name}", f"{self._archive}/{copy}", file.bytes)
        self._write(replace(manifest, files=(replace(file, path=copy),)), f"{self._archive}/{copy}{ENDING}")

    @property
    def _archive(self) -> str:
        return f"{self._folder}/{self._target.archive.strip('/')}"

    def _of(self, manifest: Manifest) -> str:
        return f"{self._folder}/{manifest.name}" if self._target.partition_by else self._folder

    def _deliveries(self) -> Iterator[tuple[str, Manifest]]:
        """Yield the manifests of the output, with their paths. Files of others are passed over."""
        for info in self._listed(self._folder):
            path = info["name"].rstrip("/")
            if path.rpartition("/")[2].startswith("."):
                continue
            place = path if info["type"] == "file" else f"{path}/{IN_FOLDER}"
            if not place.endswith((ENDING, f"/{IN_FOLDER}")):
                continue
            found = self._manifest(place)
            if found is not None and found.output == self._output:
                yield place, found

    def _listed(self, path: str) -> list[dict[str, str]]:
        try:
            return list(self._fs.ls(path, detail=True))
        except FileNotFoundError:
            return []

    def _manifest(self, path: str) -> Manifest | None:
        """Return the manifest at a path; None if there is none, or only something that others put there."""
        try:
            content = self._content(path)
        except (IsADirectoryError, PermissionError):
            return None
        return None if content is None else manifest_in(content)

    def _content(self, path: str) -> bytes | None:
        try:
            with self._fs.open(path, "rb") as stream:
                return bytes(stream.read())
        except FileNotFoundError:
            return None

    def _size(self, path: str) -> int | None:
        try:
            return int(self._fs.info(path)["size"])
        except FileNotFoundError:
            return None

    def _send(self, file: Path, path: str, size: int) -> None:
        """Send a file. Raises StorageError if the store does not have all of it afterwards."""
        self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        self._fs.put_file(str(file), path)
        if (there := self._size(path)) != size:
            raise StorageError(
                f"sending {path}",
                received=f"{there or 0:,} of {size:,} bytes are there",
                next_step="nothing: the next run delivers again",
            )

    def _copy(self, source: str, target: str, size: int) -> None:
        file = self.staging / "copied"
        file.parent.mkdir(parents=True, exist_ok=True)
        with self._fs.open(source, "rb") as stream, file.open("wb") as copy:
            shutil.copyfileobj(stream, copy)
        self._send(file, target, size)
        file.unlink()

    def _write(self, manifest: Manifest, path: str) -> None:
        file = self.staging / "manifest"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(manifest.to_text(), encoding="utf-8")
        self._send(file, path, file.stat().st_size)
        file.unlink()
