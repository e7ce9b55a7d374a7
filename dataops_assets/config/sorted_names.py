"""Listings of large buckets that begin where the names of new objects begin."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field, field_validator

from dataops_assets.config.declared import Declared, Duration


class SortedNames(Declared):
    """Says that names of new objects sort after those of earlier ones, so that a look lists only the last names."""

    overlap: int = Field(
        1000, ge=1, description="Number of the last names that each look lists again, to find what comes late."
    )
    whole_every: Duration = Field(
        timedelta(days=1), description="List all objects again after this time. It finds what sorts before the overlap."
    )

    @field_validator("whole_every")
    @classmethod
    def _some_time(cls, value: timedelta) -> timedelta:
        if value <= timedelta(0):
            raise ValueError("whole_every is a time between two listings, such as 1 day")
        return value
