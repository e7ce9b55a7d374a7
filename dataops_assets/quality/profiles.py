"""What one input looks like in numbers: the record that checks compare inputs by."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ColumnProfile:
    """One column of one input in one table.

    `min` and `max` are texts as the engine writes them; `mean` and `stddev` are None for what is not a number.
    `distinct` may be an estimate.
    """

    name: str
    type: str
    nulls: int
    distinct: int
    min: str | None
    max: str | None
    mean: float | None
    stddev: float | None


@dataclass(frozen=True)
class Profile:
    """One input in one table (`asset` is a key such as 'lake/sales'); `input_id` is '' for a whole table."""

    asset: str
    input_id: str
    rows: int
    columns: tuple[ColumnProfile, ...]
