"""Chooses what speaks to the buckets of a store."""

from __future__ import annotations

from fsspec.spec import AbstractFileSystem

from dataops_assets.connections.buckets.azure import AzureBucket
from dataops_assets.connections.buckets.bucket import Bucket
from dataops_assets.connections.buckets.gcs import GcsBucket
from dataops_assets.connections.buckets.s3 import S3Bucket


def bucket_of(store: AbstractFileSystem) -> Bucket | None:
    """Return the client for the buckets of a store; None if it has no buckets, such as a folder or a file server."""
    protocols = store.protocol if isinstance(store.protocol, tuple) else (store.protocol,)
    if "s3" in protocols:
        return S3Bucket(store)
    if "gs" in protocols:
        return GcsBucket(store)
    return AzureBucket(store) if "abfs" in protocols else None
