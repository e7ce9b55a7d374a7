"""The manifest of a delivery of files: what there is, its control totals, and which version of the table it has."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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

    @classmethod
    def read(cls, path: Path) -> Manifest | None:
        """Read a manifest; None if there is none. Raises StorageError if it cannot be read."""
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise _unreadable(str(path), error) from error
        return cls.of_text(text, str(path))

    @classmethod
    def of_text(cls, text: str, path: str) -> Manifest:
        """Return the manifest that a file at `path` has. Raises StorageError if it cannot be read."""
        try:
            found: dict[str, Any] = json.loads(text)
        except ValueError as error:
            raise _unreadable(path, error) from error
        found["position"] = Position.from_json(found["position"])
        found["files"] = tuple(DeliveredFile(**item) for item in found["files"])
        return cls(**found)


def newest_of(found: Iterable[Manifest | None]) -> Manifest | None:
    """Return the delivery with the highest number; None if there is none."""
    return max(filter(None, found), key=lambda item: item.position.delivery, default=None)


def _unreadable(path: str, error: Exception) -> StorageError:
    return StorageError(
        f"reading {path}", received=str(error), next_step="restore the file, or remove it for a full delivery"
    )


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
    """Yield the manifests of an output in a folder, with their paths."""
    for path in sorted([*folder.glob(f"*{ENDING}"), *folder.glob(f"*/{IN_FOLDER}")]):
        if path.name.startswith(".") or path.parent.name.startswith("."):
            continue
        found = Manifest.read(path)
        if found is not None and found.output == output:
            yield path, found
