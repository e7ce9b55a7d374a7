"""The receiver of requests: an HTTP server that stores each body first, and answers then.

`POST /receive/SOURCE` takes a body, `/uploads/SOURCE` takes pushed files, and `GET /health` says that the server runs.
Every answer other than 2xx means that nothing is promised, and that the sender should try again later or correct the
request.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dataops_assets.connections.receiving import Inbox
from dataops_assets.connections.uploads.uploads import Uploads
from dataops_assets.errors import ConfigError, InputError, StorageError
from dataops_assets.operations import uploading

_LOG = logging.getLogger(__name__)


def application(
    inboxes: Mapping[str, Inbox], uploads: Mapping[str, Uploads], variables: Mapping[str, str]
) -> Starlette:
    """Return the server of some sources; `variables` have secrets, and are usually `os.environ`."""

    async def receive(request: Request) -> Response:
        inbox = inboxes.get(request.path_params["source"])
        if inbox is None:
            return _told(404, "no source of this name takes requests")
        body = bytearray()
        try:
            async for chunk in request.stream():
                body += chunk
                if len(body) > inbox.receive.most_bytes:
                    return _told(413, f"more than {inbox.receive.most_bytes:,} bytes")
        except ClientDisconnect:
            # nobody is there to be told, and half a body is no body
            return Response(status_code=400)
        return await run_in_threadpool(_stored, inbox, bytes(body), request.headers, variables)

    async def upload(request: Request) -> Response:
        return await uploading.answer(request, uploads, variables)

    async def health(_request: Request) -> Response:
        return JSONResponse({"sources": sorted([*inboxes, *uploads])})

    return Starlette(
        routes=[
            Route("/receive/{source}", receive, methods=["POST"]),
            Route("/uploads/{source}/{id}", upload, methods=["HEAD", "PATCH"]),
            Route("/health", health),
        ]
    )


def _stored(inbox: Inbox, body: bytes, headers: Mapping[str, str], variables: Mapping[str, str]) -> Response:
    if not body:
        return _told(400, "no body")
    try:
        digest, is_new = inbox.store(body, headers, variables)
    except InputError as error:
        return _told(401, error.received)
    except (ConfigError, StorageError, OSError) as error:
        # the sender learns only that it should try again
        _LOG.error("a request for %s was not stored: %s", inbox.source, error)
        return _told(503, "not stored, try again later")
    _LOG.info("%s for %s: %s", "stored" if is_new else "was there", inbox.source, digest)
    return JSONResponse({"sha256": digest, "new": is_new}, status_code=201 if is_new else 200)


def _told(status: int, problem: str) -> Response:
    content: dict[str, Any] = {"problem": problem}
    return JSONResponse(content, status_code=status)


def serve(server: Starlette, host: str, port: int) -> None:
    """Take requests until a signal ends this process; requests that are being stored are answered first."""
    import uvicorn

    uvicorn.Server(uvicorn.Config(server, host, port, log_config=None, lifespan="off")).run()
