"""Delivers files to a folder of this machine, or to a mounted share.

For one file, the file gets its name first and the manifest second; several files and their manifest are in a folder
that gets its name at once.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from dataops_assets.config.outputs import FilesTarget
from dataops_assets.outputs.file_place import STATE
from dataops_assets.outputs.manifest import ENDING, IN_FOLDER, Manifest, manifest_at, manifests_in, newest_of, state_in
from dataops_assets.storage import durable
from dataops_assets.storage.file_lock import waited_for


@dataclass(frozen=True)
class LocalPlace:
    """See `FilePlace`."""

    folder: Path
    output: str
    target: FilesTarget

    @property
    def shown(self) -> str:
        """See `FilePlace`."""
        return str(self.folder)

    @property
    def staging(self) -> Path:
        """See `FilePlace`; it is on the same disk."""
        return self.folder / STATE / f"{self.output}.staging"

    @property
    def _state(self) -> Path:
        return self.folder / STATE / f"{self.output}.json"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """See `FilePlace`."""
        with waited_for(self.folder / STATE / f"{self.output}.lock"):
            yield

    def newest(self) -> Manifest | None:
        """See `FilePlace`."""
        content = self._state.read_bytes() if self._state.exists() else None
        stored = None if content is None else state_in(content, str(self._state))
        newest = newest_of([*(manifest for _, manifest in manifests_in(self.folder, self.output)), stored])
        if newest is not None and newest != stored:
            _replace_text(self._state, newest.to_text())
        return newest

    def has(self, manifest: Manifest) -> bool:
        """See `FilePlace`."""
        place = self.folder / manifest.name if self.target.partition_by else self.folder
        return all(_size(place / item.path) == item.bytes for item in manifest.files)

    def publish(self, manifest: Manifest) -> str:
        """See `FilePlace`."""
        if self.target.partition_by:
            place = self.folder / manifest.name
            _write_text(self.staging / IN_FOLDER, manifest.to_text())
            for folder in [self.staging, *(item for item in self.staging.rglob("*") if item.is_dir())]:
                durable.sync_folders(folder)
            self.staging.replace(place)
        else:
            (file,) = manifest.files
            place = self.folder / f"{manifest.name}{self.target.ending}"
            manifest = replace(manifest, files=(replace(file, path=place.name),))
            self._set_aside(place)
            (self.staging / file.path).replace(place)
            shutil.rmtree(self.staging)
            _replace_text(self.folder / f"{place.name}{ENDING}", manifest.to_text())
        durable.sync_folders(self.folder)
        _replace_text(self._state, manifest.to_text())
        return str(place)

    def _set_aside(self, place: Path) -> None:
        """Keep a copy of a file whose name the next delivery takes, where older deliveries are archived."""
        if not (self.target.archive and place.exists()):
            return
        manifest = manifest_at(place.with_name(f"{place.name}{ENDING}"))
        if manifest is None or manifest.output != self.output or not self.has(manifest):
            return
        number, ending = manifest.position.delivery, self.target.ending
        copy = self._archive / f"{place.name.removesuffix(ending)}_{number}{ending}"
        kept_as = copy.with_name(f"{copy.name}{ENDING}")
        if kept_as.exists():
            return
        staged = copy.with_name(f".{copy.name}")
        shutil.copy2(place, staged)
        # the next delivery replaces the original, so the copy must survive a crash of the machine
        durable.sync_file(staged)
        staged.replace(copy)
        kept = replace(manifest, files=(replace(manifest.files[0], path=copy.name),))
        _replace_text(kept_as, kept.to_text())

    @property
    def _archive(self) -> Path:
        path = Path(self.target.archive)
        archive = path if path.is_absolute() else self.folder / path
        if not archive.is_dir():
            archive.mkdir(parents=True, exist_ok=True)
            durable.sync_folders(archive.parent)
        return archive

    def keep_newest(self, number: int) -> None:
        """See `FilePlace`."""
        found = sorted(manifests_in(self.folder, self.output), key=lambda item: -item[1].position.delivery)
        for path, manifest in found[number:]:
            if path.name == IN_FOLDER:
                if self.target.archive:
                    path.parent.replace(self._archive / path.parent.name)
                else:
                    path.unlink()
                    shutil.rmtree(path.parent)
                continue
            places = [path, *(self.folder / item.path for item in manifest.files)]
            for place in places:
                if self.target.archive and place.exists():
                    place.replace(self._archive / place.name)
                place.unlink(missing_ok=True)


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    durable.sync_file(path)


def _replace_text(path: Path, text: str) -> None:
    """Replace a small file at once."""
    staged = path.with_name(f".{path.name}.staging")
    _write_text(staged, text)
    staged.replace(path)
    durable.sync_folders(path.parent)
