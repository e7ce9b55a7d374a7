"""Buckets of S3, and of stores that speak its protocol: each version of an object has an ETag, which requests name.

A store that ignores the condition of a delete must keep versions of its objects: then one version is deleted by its id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from fsspec.spec import AbstractFileSystem

from dataops_assets.connections.buckets.bucket import ObjectState, folder_in, split
from dataops_assets.errors import ConfigError, StorageError

MOST_AT_ONCE = 5 << 30
"""Number of bytes that one request copies at most, as S3 does; more are copied in parts."""
PART = 512 << 20
"""Number of bytes of a part; of very large objects parts are larger, because S3 takes only 10,000."""
_MOST_PARTS = 10_000
THREADS = 8
"""Number of requests that are sent at the same time."""
_DONE, _FORBIDDEN, _NOT_THERE, _CONFLICT, _OTHER_VERSION = 204, 403, 404, 409, 412
_UNVERSIONED = (None, "", "null")
_NO_OBJECT = ".dataops-has-no-such-object"
# what a copy at once takes over by itself
_DESCRIBED = ("CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "ContentType", "Metadata")


class S3Bucket:
    """See `Bucket`."""

    time_step = 1.0

    def __init__(self, store: AbstractFileSystem) -> None:
        """`store` is a file system of s3fs."""
        self._call: Callable[..., Any] = store.call_s3
        self._compares: bool | None = None

    def names_after(self, root: str, start: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """See `Bucket`."""
        bucket, prefix = folder_in(root)
        asked = {"Bucket": bucket, "Prefix": prefix}
        if start:
            asked["StartAfter"] = start.removeprefix(f"{bucket}/")
        while True:
            page = self._call("list_objects_v2", **asked)
            for item in page.get("Contents", ()):
                yield f"{bucket}/{item['Key']}", {"type": "file", "size": item["Size"], **item}
            if not page.get("IsTruncated"):
                return
            asked["ContinuationToken"] = page["NextContinuationToken"]

    def named(
        self, paths: Sequence[str], refuse: Callable[[str, OSError], None]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Look at single objects, without a listing; those that are not there are left out.

        `refuse` is called for those that the store does not show. Raises the errors of a store that cannot be reached.
        """

        def shown(path: str) -> dict[str, Any] | OSError:
            try:
                found = self._call("head_object", **_at(path))
            except OSError as error:
                if not isinstance(error.__cause__, ClientError):
                    # nobody answered
                    raise
                return error
            return {"type": "file", "size": found["ContentLength"], "LastModified": found["LastModified"]}

        with ThreadPoolExecutor(THREADS) as pool:
            for path, info in zip(paths, pool.map(shown, paths), strict=True):
                if isinstance(info, dict):
                    yield path, info
                elif not isinstance(info, FileNotFoundError):
                    refuse(path, info)

    def state(self, path: str) -> ObjectState:
        """See `Bucket`."""
        found = self._call("head_object", **_at(path))
        version_id = found.get("VersionId")
        known = "" if version_id in _UNVERSIONED else version_id
        return ObjectState(path, found["ContentLength"], found["LastModified"], found["ETag"], known)

    def require_can_delete(self, found: ObjectState, folder: str) -> None:
        """See `Bucket`. A store without conditional deletes needs versions, and an object without older ones."""
        if self._compares is None:
            self._compares = self._deletes_on_condition(folder)
        if self._compares:
            return
        if not found.version_id:
            raise ConfigError(
                f"taking away {found.path}",
                received="a store without conditional deletes, in a bucket without versions: an object that is "
                "replaced at this moment would be lost",
                next_step="switch on versioning of the bucket, or leave out after_pickup and let lifecycle rules "
                "delete old objects",
            )
        place = _at(found.path)
        asked = {"Bucket": place["Bucket"], "Prefix": place["Key"], "MaxKeys": 2}
        versions = self._call("list_object_versions", **asked).get("Versions", ())
        if len([item for item in versions if item["Key"] == place["Key"]]) > 1:
            raise StorageError(
                f"taking away {found.path}",
                received="an older version of the object, which a deletion would make visible again; the store has no "
                "conditional deletes",
                next_step="delete the older version; the next look tries again",
            )

    def copy(self, found: ObjectState, target: str) -> None:
        """See `Bucket`."""
        try:
            if found.size > MOST_AT_ONCE:
                self._copy_in_parts(found, target)
            else:
                source = {"CopySource": _at(found.path), "CopySourceIfMatch": found.version}
                self._call("copy_object", **_at(target), **source, IfNoneMatch="*")
        except OSError as error:
            if _status_of(error) != _OTHER_VERSION:
                raise
            if self.state(found.path).version != found.version:
                raise FileNotFoundError(found.path) from error
            raise FileExistsError(target) from error
        if self.state(found.path).version != found.version:
            # a store may ignore the condition of a copy: then this can be a copy of something else
            self._call("delete_object", **_at(target))
            raise FileNotFoundError(found.path)

    def delete(self, found: ObjectState) -> None:
        """See `Bucket`."""
        condition = {"IfMatch": found.version} if self._compares else {"VersionId": found.version_id}
        try:
            self._call("delete_object", **_at(found.path), **condition)
        except OSError as error:
            if _status_of(error) in (_NOT_THERE, _CONFLICT, _OTHER_VERSION):
                raise FileNotFoundError(found.path) from error
            raise

    def _copy_in_parts(self, found: ObjectState, target: str) -> None:
        """Copy an object of any size. What a killed copy to the same name left in the store is removed before."""
        place = _at(target)
        for left in self._call("list_multipart_uploads", Bucket=place["Bucket"], Prefix=place["Key"]).get(
            "Uploads", ()
        ):
            if left["Key"] == place["Key"]:
                self._call("abort_multipart_upload", **place, UploadId=left["UploadId"])
        about = self._call("head_object", **_at(found.path))
        described = {name: about[name] for name in _DESCRIBED if name in about}
        upload = {**place, "UploadId": self._call("create_multipart_upload", **place, **described)["UploadId"]}
        size = max(PART, -(-found.size // _MOST_PARTS))
        source = {"CopySource": _at(found.path), "CopySourceIfMatch": found.version}

        def copied(number: int) -> dict[str, Any]:
            first = (number - 1) * size
            bytes_of = f"bytes={first}-{min(first + size, found.size) - 1}"
            answer = self._call("upload_part_copy", **upload, **source, CopySourceRange=bytes_of, PartNumber=number)
            return {"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]}

        try:
            with ThreadPoolExecutor(THREADS) as pool:
                parts = list(pool.map(copied, range(1, -(-found.size // size) + 1)))
            self._call("complete_multipart_upload", **upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*")
        except (OSError, BotoCoreError):
            self._call("abort_multipart_upload", **upload)
            raise

    def _deletes_on_condition(self, folder: str) -> bool:
        """Return whether the store compares the ETag when it deletes; it is asked with an object that is not there."""
        asked = _at(f"{folder.rstrip('/')}/{_NO_OBJECT}")
        with_condition = self._deletes(asked, IfMatch='"0"')
        if with_condition != _NOT_THERE:
            return with_condition == _OTHER_VERSION
        # a store that also misses it without the condition has said nothing about conditions; a bucket may have a
        # policy that allows conditional deletes alone
        return self._deletes(asked) in (_DONE, _FORBIDDEN)

    def _deletes(self, asked: Mapping[str, str], **condition: str) -> int:
        """Try to delete an object that is not there; return the status that tells what the store made of it."""
        try:
            answer = self._call("delete_object", **asked, **condition)
        except OSError as error:
            status = _status_of(error)
            if status in (_NOT_THERE, _OTHER_VERSION) or (status == _FORBIDDEN and not condition):
                return status
            raise
        if answer.get("VersionId") not in _UNVERSIONED:
            # a bucket with versions has made a delete marker
            self._call("delete_object", **asked, VersionId=answer["VersionId"])
        return _DONE


def _at(path: str) -> dict[str, str]:
    """Return what a request names an object by."""
    bucket, key = split(path)
    return {"Bucket": bucket, "Key": key}


def _status_of(error: OSError) -> int:
    """Return the status of HTTP that an error of S3 has; 0 without one."""
    cause = error.__cause__
    answer: Mapping[str, Any] = cause.response if isinstance(cause, ClientError) else {}
    return int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
