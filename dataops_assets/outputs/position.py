"""The position of an output: which version of its table the target has, and by which declaration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Position:
    """How far a target is.

    * `source`: asset key of the table. `version` and `commit_id` identify its version; None and '' for a model.
    * `mapping`: the digest of the declaration. Another one needs a full delivery.
    * `delivery`: counts the deliveries, from 1. `rows`: rows of the table as it was delivered.
    """

    source: str
    version: int | None
    commit_id: str
    mapping: str
    delivery: int
    rows: int

    @property
    def known_as(self) -> list[int | str] | None:
        """The version as `TableVersion.known_as`; None for a model."""
        return None if self.version is None else [self.version, self.commit_id]

    def is_at(self, other: Position) -> bool:
        """Return whether another position is of the same version, table and declaration; never for a model."""
        here, there = ((item.source, item.version, item.commit_id, item.mapping) for item in (self, other))
        return self.version is not None and here == there

    def to_json(self) -> dict[str, Any]:
        """Return the position as values of JSON."""
        return dict(self.__dict__)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Position:
        """Read what `to_json` returned."""
        return cls(**{name: found[name] for name in cls.__dataclass_fields__})
