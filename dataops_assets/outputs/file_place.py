"""The interface of places for delivered files: a folder, or a store."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from dataops_assets.outputs.manifest import Manifest

STATE = ".dataops"
"""Hidden folder with the last manifest of each output, beside its deliveries."""


class FilePlace(Protocol):
    """The place of one output's deliveries. Faults of the disk or the wire are OSError."""

    @property
    def shown(self) -> str:
        """The place, as people write it."""

    @property
    def staging(self) -> Path:
        """A folder of this machine for files that are not delivered yet."""

    def alone(self) -> AbstractContextManager[None]:
        """Hold a lock: no other delivery of the same output runs in this block."""

    def newest(self) -> Manifest | None:
        """Return the last complete delivery, also if its run was killed right after it."""

    def has(self, manifest: Manifest) -> bool:
        """Return whether the files of a delivery are there."""

    def publish(self, manifest: Manifest) -> str:
        """Give the staged files their names, then the manifest; return where they are."""

    def keep_newest(self, number: int) -> None:
        """Archive or remove all but so many deliveries. The manifest leaves first."""
