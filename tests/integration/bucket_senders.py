"""Senders that deliver objects to buckets of S3 (SeaweedFS, a real store), GCS and Azure (emulators)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import quote

import pytest
import requests
from code_location import standalone
from emulated_azure import connection_string
from object_store import client_of

CONTENT = "id,customer,amount\n{},1,2.5\n"


class Keys(Protocol):
    """The objects of one bucket by their keys, and the storage options that reach it."""

    scheme: str
    bucket: str
    options: dict[str, str]

    def put(self, key: str, content: bytes) -> None: ...

    def remove(self, key: str) -> None: ...

    def below(self, prefix: str) -> dict[str, bytes]: ...

    def observed(self, patched: pytest.MonkeyPatch, around: Callable[[str, Callable[[], Any]], Any]) -> None:
        """Have each request that looks at, copies or deletes an object sent by `around`, which gets its key, too."""


class S3Keys:
    scheme = "s3"
    _REQUESTS = (
        *("head_object", "copy_object", "delete_object"),
        *("create_multipart_upload", "upload_part_copy", "complete_multipart_upload"),
    )

    def __init__(self, endpoint: str, bucket: str) -> None:
        self.client, self.bucket = client_of(endpoint), bucket
        self.options = {"key": "key", "secret": "secret", "endpoint_url": endpoint}
        self.client.create_bucket(Bucket=bucket)

    def put(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=key, Body=content)

    def remove(self, key: str) -> None:
        self.client.delete_object(Bucket=self.bucket, Key=key)

    def below(self, prefix: str) -> dict[str, bytes]:
        found = self.client.list_objects_v2(Bucket=self.bucket, Prefix=prefix).get("Contents", [])
        keys = [item["Key"] for item in found]
        return {key: self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read() for key in keys}

    def observed(self, patched: pytest.MonkeyPatch, around: Callable[[str, Callable[[], Any]], Any]) -> None:
        # takes long to import
        from s3fs import S3FileSystem

        real = S3FileSystem.call_s3

        def called(store: S3FileSystem, method: str, *given: Any, **named: Any) -> Any:
            if method not in self._REQUESTS:
                return real(store, method, *given, **named)
            return around(named.get("CopySource", named)["Key"], lambda: real(store, method, *given, **named))

        patched.setattr(S3FileSystem, "call_s3", called)


class GcsKeys:
    scheme = "gs"

    def __init__(self, endpoint: str, bucket: str) -> None:
        self.bucket, self._endpoint = bucket, endpoint
        self.options = {"endpoint_url": endpoint, "token": "anon"}
        requests.post(f"{endpoint}/storage/v1/b", json={"name": bucket}, timeout=10).raise_for_status()

    def put(self, key: str, content: bytes) -> None:
        url = f"{self._endpoint}/upload/storage/v1/b/{self.bucket}/o"
        named = {"uploadType": "media", "name": key}
        requests.post(url, params=named, data=content, timeout=10).raise_for_status()

    def remove(self, key: str) -> None:
        url = f"{self._endpoint}/storage/v1/b/{self.bucket}/o/{quote(key, safe='')}"
        requests.delete(url, timeout=10).raise_for_status()

    def below(self, prefix: str) -> dict[str, bytes]:
        page: dict[str, str] = {}
        keys: list[str] = []
        while True:
            url = f"{self._endpoint}/storage/v1/b/{self.bucket}/o"
            found = requests.get(url, params={"prefix": prefix, **page}, timeout=10).json()
            keys += [item["name"] for item in found.get("items", [])]
            if "nextPageToken" not in found:
                break
            page = {"pageToken": found["nextPageToken"]}
        url = f"{self._endpoint}/download/storage/v1/b/{self.bucket}/o"
        return {key: requests.get(f"{url}/{quote(key, safe='')}", timeout=10).content for key in keys}

    def observed(self, patched: pytest.MonkeyPatch, around: Callable[[str, Callable[[], Any]], Any]) -> None:
        from gcsfs import GCSFileSystem

        real = GCSFileSystem.call

        def called(store: GCSFileSystem, method: str, path: str, bucket: str, *keys: str, **named: Any) -> Any:
            def send() -> Any:
                return real(store, method, path, bucket, *keys, **named)

            return around(keys[0], send) if keys else send()

        patched.setattr(GCSFileSystem, "call", called)


class AzureKeys:
    scheme = "abfs"

    def __init__(self, endpoint: str, bucket: str) -> None:
        # takes long to import
        from azure.storage.blob import BlobServiceClient

        self.bucket = bucket
        self.options = {"connection_string": connection_string(endpoint)}
        self.client = BlobServiceClient.from_connection_string(connection_string(endpoint)).create_container(bucket)

    def put(self, key: str, content: bytes) -> None:
        self.client.upload_blob(key, content, overwrite=True)

    def remove(self, key: str) -> None:
        self.client.delete_blob(key)

    def below(self, prefix: str) -> dict[str, bytes]:
        keys = list(self.client.list_blob_names(name_starts_with=prefix))
        return {key: self.client.download_blob(key).readall() for key in keys}

    def observed(self, patched: pytest.MonkeyPatch, around: Callable[[str, Callable[[], Any]], Any]) -> None:
        from dataops_assets.connections.buckets import azure

        real = azure.sync

        def sent(loop: Any, request: Any, *given: Any, **named: Any) -> Any:
            def send() -> Any:
                return real(loop, request, *given, **named)

            blob = getattr(request, "__self__", None)
            return around(blob.blob_name, send) if hasattr(blob, "blob_name") else send()

        patched.setattr(azure, "sync", sent)


class Sender:
    """Delivers files to the folder `in`; each content has another size, since stores tell times in whole seconds."""

    def __init__(self, keys: Keys) -> None:
        self.keys = keys
        self.delivered: list[str] = []
        self.padding = ""

    def put(self, name: str) -> str:
        number = len(self.delivered) + 1
        content = CONTENT.format(number) + f"{number},1,1\n" * number + self.padding
        self.delivered.append(content)
        self.keys.put(f"in/{name}", content.encode())
        return content

    def there(self, folder: str) -> dict[str, str]:
        return {key.partition("/")[2]: text.decode() for key, text in self.keys.below(f"{folder}/").items()}

    def feed(self, **connection: Any) -> dict[str, Any]:
        settings = {"path": f"{self.keys.scheme}://{self.keys.bucket}/in/**/*.csv", "settle_seconds": 1}
        named = {"extract_time": {"pattern": "orders_%Y-%m-%d.csv"}, "storage_options": self.keys.options}
        return standalone() | {"connection": {"type": "files"} | settings | named | connection}
