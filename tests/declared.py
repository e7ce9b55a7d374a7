"""Sources declared in a line, for tests of any part."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from dataops_assets.config.source import Source
from dataops_assets.report import Input

UNCHECKED = {kind: {"enabled": False} for kind in ("volume", "schema", "distribution")}


def source(name: str, kinds: Mapping[str, str], **declared: Any) -> Source:
    """A source of the given columns; append unless a refresh is declared."""
    return Source.model_validate(
        {
            "name": name,
            "area": "tests",
            "connection": {"type": "files", "path": f"{name}_*.csv"},
            "columns": [{"name": column, "type": kind} for column, kind in kinds.items()],
            "refresh": {"type": "append"},
            **declared,
        }
    )


def unchecked_source(name: str, kinds: Mapping[str, str], **declared: Any) -> Source:
    """The same without checks against earlier inputs, which would ask the metadata, unless they are declared."""
    return source(name, kinds, **{"checks": UNCHECKED, **declared})


def arrived(
    time: dt.datetime, input_id: str, digest: str, origin: str, size: int, *, arrival: dt.datetime | None = None
) -> Input:
    """The input of bytes that came uncompressed, by default at their extract time."""
    return Input(time, arrival or time, input_id, digest, origin, size, content=digest)
