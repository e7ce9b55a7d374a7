"""The URL schemes of object stores, and the features that each supports."""

from __future__ import annotations

from collections.abc import Mapping

_S3 = ("s3", "s3a")
OBJECT_STORES = (*_S3, "gs", "gcs", "abfs", "abfss", "az")
"""Stores whose objects are copied and deleted on the condition that they are the version that was taken."""
LISTED_IN_PART: Mapping[str, tuple[str, ...]] = {"sorted_names": OBJECT_STORES, "notifications": _S3}
"""The stores of which a look lists a part, by the field that declares it."""
