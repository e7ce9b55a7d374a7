"""Notifications of a bucket: messages that name its new objects, so that a look does not list all."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from dataops_assets.config.declared import Declared
from dataops_assets.config.sorted_names import BetweenListings


class Notifications(Declared):
    """Says which queue has the notifications of a bucket, and how often all objects are listed nevertheless."""

    queue: str = Field(
        pattern=r"^https?://[^/\s]+/\S+$",
        description="URL of a queue of SQS, to which S3 (directly, by SNS or by EventBridge) sends a message for each "
        "new object. No other source or program may read it: a look deletes the messages.",
    )
    full_listing_every: BetweenListings = Field(
        timedelta(days=1), description="List all objects again after this time, to find those that no message named."
    )
