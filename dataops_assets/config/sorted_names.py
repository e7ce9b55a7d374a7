"""Listings of large buckets that begin where the names of new objects begin."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo

from dataops_assets.config.declared import Declared, Duration


def _some_time(value: timedelta, info: ValidationInfo) -> timedelta:
    if value <= timedelta(0):
        raise ValueError(f"{info.field_name} is a time between two listings, such as 1 day")
    return value


BetweenListings = Annotated[Duration, AfterValidator(_some_time)]
"""The time between two listings of all objects of a bucket."""


class SortedNames(Declared):
    """Says that names of new objects sort after those of earlier ones, so that a look lists only the last names."""

    overlap: int = Field(
        1000, ge=1, description="Number of the last names that each look lists again, to find objects that arrive late."
    )
    whole_every: BetweenListings = Field(
        timedelta(days=1),
        description="List all objects again after this time, to find those that sort before the overlap.",
    )
