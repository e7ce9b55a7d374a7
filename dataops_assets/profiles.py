"""Profiles: the statistics of an input, by which checks compare inputs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ColumnProfile:
    """The statistics of one column of one input in one table.

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
    """The statistics of one input in one table; `input_id` is '' for a whole table.

    `asset` is a key such as 'lake/sales'.
    """

    asset: str
    input_id: str
    rows: int
    columns: tuple[ColumnProfile, ...]
