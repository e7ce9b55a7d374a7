"""Containers of Azure Blob Storage and of Data Lake Storage: each version of a blob has an ETag, which requests name.

Requests are those of azure-storage-blob, with the connection that adlfs has.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

from fsspec.asyn import sync
from fsspec.spec import AbstractFileSystem

from dataops_assets.connections.buckets.bucket import ObjectState, folder_in, split

if TYPE_CHECKING:
    from azure.core.async_paging import AsyncItemPaged
    from azure.storage.blob import BlobProperties
    from azure.storage.blob.aio import BlobClient

COPY_SECONDS = 600.0
"""A look waits for the copy of one blob at most so long; the copy goes on, and the next look finds it."""
_PAUSE_SECONDS = 0.5
_FOLDER = "hdi_isfolder"


class AzureBucket:
    """See `Bucket`."""

    time_step = 1.0

    def __init__(self, store: AbstractFileSystem) -> None:
        """`store` is a file system of adlfs."""
        self._loop, self._service = store.loop, store.service_client

    def names_after(self, root: str, start: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """See `Bucket`. Folders whose names sort before `start` are not listed.

        A store begins a listing at a name only if its version of the API is very new.
        """
        from azure.storage.blob import BlobProperties

        container, prefix = folder_in(root)
        client = self._service.get_container_client(container)
        # what begins with a folder's name sorts as the name does, if the start is not in the folder
        after = split(start)[1]
        todo = [prefix]
        while todo:
            folder = todo.pop()
            settings = {"name_starts_with": folder, "include": ["metadata"]}
            if after.startswith(folder) and folder != after:
                listed = client.walk_blobs(delimiter="/", **settings)
            else:
                listed = client.list_blobs(**settings)
            for item in self._items(listed):
                if not isinstance(item, BlobProperties):
                    if item.name > after or after.startswith(item.name):
                        todo.append(item.name)
                elif item.name > after and not _is_folder(item):
                    told = {"type": "file", "size": item.size, "last_modified": item.last_modified}
                    yield f"{container}/{item.name}", told

    def state(self, path: str) -> ObjectState:
        """See `Bucket`; waits for a copy to this name that is not complete, perhaps of a look that was killed."""
        found = self._settled(path)
        return ObjectState(path, found.size, found.last_modified, found.etag)

    def require_can_delete(self, found: ObjectState, folder: str) -> None:
        """See `Bucket`; the store always compares."""

    def copy(self, found: ObjectState, target: str) -> None:
        """See `Bucket`."""
        from azure.core import MatchConditions
        from azure.core.exceptions import ResourceExistsError, ResourceModifiedError

        try:
            self._ask(
                self._blob(target).start_copy_from_url,
                # with its signature, if the connection has one
                self._blob(found.path).url,
                source_etag=found.version,
                source_match_condition=MatchConditions.IfNotModified,
                match_condition=MatchConditions.IfMissing,
            )
        except ResourceExistsError as error:
            raise FileExistsError(target) from error
        except ResourceModifiedError as error:
            raise FileNotFoundError(found.path) from error
        copied = self._settled(target)
        if copied.copy.status != "success":
            self._delete(target, copied.etag)
            raise OSError(f"the copy to {target} ended as {copied.copy.status}: {copied.copy.status_description}")

    def delete(self, found: ObjectState) -> None:
        """See `Bucket`."""
        self._delete(found.path, found.version)

    def _delete(self, path: str, etag: str) -> None:
        from azure.core import MatchConditions
        from azure.core.exceptions import ResourceModifiedError

        try:
            self._ask(self._blob(path).delete_blob, etag=etag, match_condition=MatchConditions.IfNotModified)
        except ResourceModifiedError as error:
            raise FileNotFoundError(path) from error

    def _blob(self, path: str) -> BlobClient:
        return self._service.get_blob_client(*split(path))

    def _settled(self, path: str) -> BlobProperties:
        """Return the properties of a blob that is not being copied. Raises TimeoutError if the copy takes too long."""
        until = time.monotonic() + COPY_SECONDS
        blob = self._blob(path)
        while (found := self._ask(blob.get_blob_properties)).copy.status == "pending":
            if time.monotonic() > until:
                raise TimeoutError(f"the store has not copied all of {path} within {COPY_SECONDS:g} seconds")
            time.sleep(_PAUSE_SECONDS)
        return found

    def _ask(self, request: Callable[..., Awaitable[Any]], *given: Any, **named: Any) -> Any:
        """Send a request. Raises FileNotFoundError where the store says that it has no such blob or container."""
        from azure.core.exceptions import ResourceNotFoundError

        try:
            return sync(self._loop, request, *given, **named)
        except ResourceNotFoundError as error:
            raise FileNotFoundError(str(error)) from error

    def _items(self, listed: AsyncItemPaged[BlobProperties]) -> Iterator[BlobProperties]:
        """Yield what is listed, page by page."""
        pages = listed.by_page()
        while (page := self._ask(_next_page, pages)) is not None:
            yield from page


async def _next_page(pages: AsyncIterator[AsyncIterator[BlobProperties]]) -> list[BlobProperties] | None:
    try:
        return [item async for item in await anext(pages)]
    except StopAsyncIteration:
        return None


def _is_folder(item: BlobProperties) -> bool:
    """Return whether a blob stands for a folder, as stores with real folders list them."""
    return {name.lower(): value for name, value in (item.metadata or {}).items()}.get(_FOLDER) == "true"
