"""The type of the fixture `drafted`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from dataops_assets.declaring.draft import Draft


class Drafting(Protocol):
    """Drafts a source from files, given by name."""

    def __call__(
        self, files: Mapping[str, str | bytes], explode: tuple[str, ...] = (), record_type: str = ""
    ) -> Draft: ...
