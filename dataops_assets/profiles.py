"""Profiles: the statistics of an input, by which checks compare inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

SHARE = "share"
"""The type of a column that has a share (0 to 1) of the rows as its mean, such as the share of new rows."""

HOURS = "hours"
"""The type of a column that has a time in hours as its mean, such as the hours from the extract to the arrival."""

MOST_SAMPLED = 8192
"""Quantiles are of at most so many rows of an input, and of at least half as many, if it has them."""
MOST_TEXTS = 2048
"""Patterns are of at most so many rows of an input, and of at least half as many, if it has them."""


@dataclass(frozen=True)
class ColumnProfile:
    """The statistics of one column of one input in one table.

    * `min` and `max` are texts as the engine writes them; `mean` and `stddev` are None for what is not a number.
    * `distinct` may be an estimate.
    * `mean_length`: the mean number of characters of a text.
    * `frequent`: for a text with few different values, how many rows have each of them.
    * `low`, `median`, `high`: below these are 5 %, half and 95 % of the values of a number, of a sample of the rows.
    * `patterns`: for a text with many different values, the shares (0 to 1) of a sample that have the most frequent
      patterns, such as 'Aa-9'.
    """

    name: str
    type: str
    nulls: int
    distinct: int
    min: str | None
    max: str | None
    mean: float | None
    stddev: float | None
    mean_length: float | None = None
    frequent: Mapping[str, int] | None = None
    low: float | None = None
    median: float | None = None
    high: float | None = None
    patterns: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Profile:
    """The statistics of one input in one table; `input_id` is '' for a whole table.

    `asset` is a key such as 'lake/sales'.
    """

    asset: str
    input_id: str
    rows: int
    columns: tuple[ColumnProfile, ...]

    @cached_property
    def extracted(self) -> str:
        """Return the extract time with which the input's id begins, as text that sorts: '20240504T061500'.

        Ids are like `2024-05-04_5f54de` or `2024-05-04T061500_5f54de`; earlier ones like `20240504T061500Z-5f54de01`.
        """
        head = self.input_id.partition("_" if "_" in self.input_id else "-")[0]
        time = head.replace("-", "").removesuffix("Z")
        return time if "T" in time or not time else f"{time}T000000"
