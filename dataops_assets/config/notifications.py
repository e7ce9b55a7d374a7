"""Notifications of a bucket: messages that name its new objects, so that a look does not list all."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field, field_validator

from dataops_assets.config.declared import Declared, Duration


class Notifications(Declared):
    """Says which queue has the notifications of a bucket, and how often all objects are listed nevertheless."""

    queue: str = Field(
        pattern=r"^https?://[^/\s]+/\S+$",
        description="URL of a queue of SQS, to which S3 (directly, by SNS or by EventBridge) sends a message for each "
        "new object. No other source or program may read it: a message is deleted after what it names is recorded.",
    )
    full_listing_every: Duration = Field(
        timedelta(days=1), description="List all objects again after this time. It finds what no message named."
    )

    @field_validator("full_listing_every")
    @classmethod
    def _some_time(cls, value: timedelta) -> timedelta:
        if value <= timedelta(0):
            raise ValueError("full_listing_every is a time between two listings, such as 1 day")
        return value
