"""How the positions of databases, topics and logs are stored: as the JSON of their fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(frozen=True)
class StoredPosition:
    """A position in the metadata. Each field of a subclass has a default, for the first look."""

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """Return a stored position; unknown parts are left out."""
        return cls(**{name: value for name, value in stored.items() if name in cls.__dataclass_fields__})

    def as_json(self) -> dict[str, Any]:
        """Return the position as it is stored."""
        return asdict(self)
