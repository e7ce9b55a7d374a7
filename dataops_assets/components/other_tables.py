"""The facts about a table of another code location: its columns, and the tables it reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Column = tuple[str, str]
"""Asset key and name of a column."""


@dataclass(frozen=True)
class OtherTable:
    """A table that no declaration here makes.

    * `reads`: the tables that its newest version was made of.
    * `columns`: the origins of each column; empty if the event has no lineage.
    * `conditions`: the columns that decide its rows; None if the event does not tell.
    """

    table: str
    reads: Sequence[str]
    columns: Mapping[str, Sequence[Column]]
    conditions: Sequence[Column] | None
