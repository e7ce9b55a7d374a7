"""The manifest of a delivery of files: what there is, its control totals, and which version of the table it has."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from dataops_assets.connections.content import digest_of_file
from dataops_assets.errors import StorageError
from dataops_assets.outputs.position import Position

ENDING = ".manifest.json"
"""How the name of a manifest ends beside a file; in a folder it is `manifest.json`."""
IN_FOLDER = "manifest.json"


@dataclass(frozen=True)
class DeliveredFile:
    """A file with its control totals; `path` is relative to the folder of the manifest."""

    path: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """A delivery: `name` is that of the file or folder; totals are over all files.

    A delivery of mode 'full' has all rows and replaces what a reader has; 'incremental' has changed keys alone.
    """

    output: str
    name: str
    made_at: str
    mode: str
    position: Position
    files: tuple[DeliveredFile, ...]
    rows: int
    bytes: int
    columns: dict[str, str]

    def to_text(self) -> str:
        """Return the manifest as JSON."""
        return json.dumps(asdict(self), indent=2) + "\n"


_MANIFESTS: TypeAdapter[Manifest] = TypeAdapter(Manifest)


def manifest_in(content: bytes) -> Manifest | None:
    """Return the manifest that a file has; None if the file is something else, such as one of another program."""
    try:
        return _MANIFESTS.validate_json(content, strict=True)
    except ValidationError:
        return None


def state_in(content: bytes, path: str) -> Manifest:
    """Return the last manifest, which the output itself keeps at `path`. Raises StorageError if it cannot be read."""
    found = manifest_in(content)
    if found is None:
        raise StorageError(
            f"reading {path}",
            received="a file that is no manifest of a delivery",
            next_step="restore the file, or remove it for a full delivery",
        )
    return found


def newest_of(found: Iterable[Manifest | None]) -> Manifest | None:
    """Return the delivery with the highest number; None if there is none."""
    return max(filter(None, found), key=lambda item: item.position.delivery, default=None)


def described(folder: Path, path: Path, rows: int) -> DeliveredFile:
    """Return a file of a delivery with its control totals."""
    return DeliveredFile(path.relative_to(folder).as_posix(), rows, path.stat().st_size, digest_of_file(path))


def manifest_of(
    output: tuple[str, str], name: str, position: Position, files: Sequence[DeliveredFile], columns: dict[str, str]
) -> Manifest:
    """Return the manifest of some files; `output` is its name and mode."""
    return Manifest(
        output[0],
        name,
        dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        output[1],
        position,
        tuple(files),
        sum(item.rows for item in files),
        sum(item.bytes for item in files),
        columns,
    )


def manifests_in(folder: Path, output: str) -> Iterator[tuple[Path, Manifest]]:
    """Yield the manifests of an output in a folder, with their paths. Files of others are passed over."""
    for path in sorted([*folder.glob(f"*{ENDING}"), *folder.glob(f"*/{IN_FOLDER}")]):
        if path.name.startswith(".") or path.parent.name.startswith("."):
            continue
        found = manifest_at(path)
        if found is not None and found.output == output:
            yield path, found


def manifest_at(path: Path) -> Manifest | None:
    """Return the manifest at a path; None if there is none, or only something that others put there."""
    try:
        return manifest_in(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError):
        return None
