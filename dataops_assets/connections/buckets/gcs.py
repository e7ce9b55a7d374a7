"""Buckets of Google Cloud Storage: each version of an object has a generation, which requests can name.

Requests are those of its JSON API, sent by gcsfs.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

from fsspec.spec import AbstractFileSystem

from dataops_assets.connections.buckets.bucket import ObjectState, folder_in, split

_OBJECT = "b/{}/o/{}"
_REWRITE = "b/{}/o/{}/rewriteTo/b/{}/o/{}"
_JSON = {"Content-Type": "application/json"}


class GcsBucket:
    """See `Bucket`."""

    time_step = 0.001

    def __init__(self, store: AbstractFileSystem) -> None:
        """`store` is a file system of gcsfs."""
        self._call = store.call

    def names_after(self, root: str, start: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """See `Bucket`."""
        bucket, prefix = folder_in(root)
        asked = {"prefix": prefix, "fields": "items(name,size,updated),nextPageToken"}
        if start:
            # it may be the first one that is listed
            asked["startOffset"] = split(start)[1]
        while True:
            page = self._call("GET", "b/{}/o", bucket, json_out=True, **asked)
            for item in page.get("items", ()):
                path = f"{bucket}/{item['name']}"
                if path > start:
                    yield path, {"type": "file", "size": int(item["size"]), "updated": item["updated"]}
            if not page.get("nextPageToken"):
                return
            asked["pageToken"] = page["nextPageToken"]

    def state(self, path: str) -> ObjectState:
        """See `Bucket`."""
        found = self._call("GET", _OBJECT, *split(path), json_out=True)
        return ObjectState(path, int(found["size"]), dt.datetime.fromisoformat(found["updated"]), found["generation"])

    def require_can_delete(self, found: ObjectState, folder: str) -> None:
        """See `Bucket`; the store always compares."""

    def copy(self, found: ObjectState, target: str) -> None:
        """See `Bucket`; the store copies a large object in several requests, and shows it after the last one."""
        conditions = {"ifSourceGenerationMatch": found.version, "ifGenerationMatch": 0}
        token: dict[str, str] = {}
        while True:
            places = (*split(found.path), *split(target))
            try:
                done = self._call("POST", _REWRITE, *places, json_out=True, headers=_JSON, **conditions, **token)
            except FileExistsError:
                # so gcsfs calls a condition that is not met
                self._require_same(found)
                raise
            if done["done"]:
                return
            token = {"rewriteToken": done["rewriteToken"]}

    def delete(self, found: ObjectState) -> None:
        """See `Bucket`."""
        try:
            self._call("DELETE", _OBJECT, *split(found.path), ifGenerationMatch=found.version)
        except FileExistsError as error:
            raise FileNotFoundError(found.path) from error

    def _require_same(self, found: ObjectState) -> None:
        if self.state(found.path).version != found.version:
            raise FileNotFoundError(found.path)
