"""Answers requests of `dataops push`: where an upload goes on (HEAD), and more bytes of it (PATCH).

The address is `/uploads/SOURCE/ID`. A request is proved before its body is read, and its body before it is stored.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from dataops_assets.connections.secrets import secret_of
from dataops_assets.connections.uploads.signature import receipt_of, require_signed
from dataops_assets.connections.uploads.upload import (
    COMPLETE,
    CONTENT_DIGEST,
    LIMIT,
    MOST_PART,
    NO,
    OFFSET,
    RECEIPT,
    YES,
    Upload,
    digest_in,
    number_in,
    upload_of,
)
from dataops_assets.connections.uploads.uploads import Progress, State, Uploads
from dataops_assets.errors import ConfigError, InputError, StorageError

_LOG = logging.getLogger(__name__)
_STATUS = {State.GOES_ON: 204, State.STORED: 200, State.WRONG_OFFSET: 409, State.DIFFERS: 422}


class _Refused(Exception):
    """A request is not taken; the answer has a status and says why."""

    def __init__(self, status: int, problem: str) -> None:
        super().__init__(problem)
        self.status = status


@dataclass(frozen=True)
class _Proved:
    """A proved request: the upload that it announces, and the secret that proves the answer."""

    upload: Upload
    secret: str


async def answer(request: Request, uploads: Mapping[str, Uploads], variables: Mapping[str, str]) -> Response:
    """Return the answer to a request. `variables` have secrets."""
    found = uploads.get(request.path_params["source"])
    if found is None:
        return JSONResponse({"problem": "no source of this name takes pushed files"}, status_code=404)
    try:
        proved = await run_in_threadpool(_proved, request, found, variables)
        if request.method == "HEAD":
            return _told(proved, await run_in_threadpool(found.progress, proved.upload), found)
        content = await _body(request)
        progress = await run_in_threadpool(found.add, proved.upload, number_in(request.headers, OFFSET), content)
        return _told(proved, progress, found)
    except _Refused as refused:
        return JSONResponse({"problem": str(refused)}, status_code=refused.status, headers=_limit(found))
    except InputError as error:
        return JSONResponse({"problem": error.received}, status_code=400)
    except ClientDisconnect:
        # nobody is there to be told, and half a part is no part
        return Response(status_code=400)
    except (ConfigError, StorageError, OSError) as error:
        # the sender learns only that it should try again
        _LOG.error("a part for %s was not stored: %s", found.source, error)
        return JSONResponse({"problem": "not stored, try again later"}, status_code=503)


def _proved(request: Request, uploads: Uploads, variables: Mapping[str, str]) -> _Proved:
    secret = secret_of(uploads.receive.signature.secret, variables) or ""
    try:
        require_signed(secret, request.method, request.url.path, request.headers, time.time())
    except InputError as error:
        raise _Refused(401, error.received) from error
    upload = upload_of(request.headers)
    if upload.id != request.path_params["id"]:
        raise _Refused(400, "the address is not that of the announced file")
    if upload.length > uploads.settings.most_bytes:
        raise _Refused(413, f"more than {uploads.settings.most_bytes:,} bytes")
    return _Proved(upload, secret)


async def _body(request: Request) -> bytes:
    wanted = digest_in(request.headers, CONTENT_DIGEST)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_PART:
            raise _Refused(413, f"a part of more than {MOST_PART:,} bytes")
    if not hmac.compare_digest(hashlib.sha256(body).digest(), wanted):
        raise _Refused(400, "the bytes are not those that were signed")
    return bytes(body)


def _told(proved: _Proved, progress: Progress, uploads: Uploads) -> Response:
    is_stored = progress.state is State.STORED
    headers = {OFFSET: str(progress.offset), COMPLETE: YES if is_stored else NO, "cache-control": "no-store"}
    if is_stored:
        headers[RECEIPT] = receipt_of(proved.secret, proved.upload.id)
    status = 201 if progress.is_new else _STATUS[progress.state]
    return Response(status_code=status, headers=headers | _limit(uploads))


def _limit(uploads: Uploads) -> dict[str, str]:
    return {LIMIT: f"max-size={uploads.settings.most_bytes}"}
