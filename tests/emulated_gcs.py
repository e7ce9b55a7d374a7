"""An emulator of Google Cloud Storage (gcp-storage-emulator) on a free port of this machine.

What it leaves out is added here: conditions on the generation, listings that begin at a name and have pages, and copies
that take several requests. It answers one request after the other, so a condition holds while a request is served.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import pytest
from free_ports import free_ports
from gcp_storage_emulator import server
from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.handlers import objects

PAGE = 3
_Handler = Callable[..., None]


@contextmanager
def emulated_gcs(bucket: str) -> Iterator[str]:
    """Yield the URL of a store that has one bucket."""
    (port,) = free_ports(1)
    with pytest.MonkeyPatch.context() as patched:
        # it has no gRPC, which gcsfs would ask first for the kind of a bucket
        patched.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        patched.setattr(server.RequestHandler, "log_message", lambda *_: None)
        _more = {objects.delete: _conditional, objects.rewrite: _in_two_requests, objects.ls: _in_pages}
        for _path, methods in server.HANDLERS:
            for method, handler in methods.items():
                if handler in _more:
                    patched.setitem(methods, method, _more[handler](handler))
        emulator = server.create_server("127.0.0.1", port, in_memory=True, default_bucket=bucket)
        emulator.start()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            emulator.stop()


def _conditional(handler: _Handler) -> _Handler:
    """Answer 412 if an object is not of the generation that the request names; 0 is that of no object."""

    def handled(request: Any, response: Any, storage: Any, *rest: Any) -> None:
        named = request.params
        source, target = [(named["bucket_name"], named["object_id"])] * 2
        if "dest_object_id" in named:
            target = (named["dest_bucket_name"], named["dest_object_id"])
        for condition, place in (("ifSourceGenerationMatch", source), ("ifGenerationMatch", target)):
            wanted = request.query.get(condition)
            if wanted and wanted[0] != _generation(storage, place):
                response.status = HTTPStatus.PRECONDITION_FAILED
                response.json({"error": {"code": 412, "message": f"{condition} is not met"}})
                return
        handler(request, response, storage, *rest)

    return handled


def _in_two_requests(handler: _Handler) -> _Handler:
    """Copy an object only if the request has the token that the first request was answered with."""

    def handled(request: Any, response: Any, storage: Any, *rest: Any) -> None:
        token = f"token of {request.params['object_id']}"
        if request.query.get("rewriteToken") == [token]:
            handler(request, response, storage, *rest)
        else:
            response.json({"done": False, "totalBytesRewritten": "0", "rewriteToken": token})

    return _conditional(handled)


def _in_pages(handler: _Handler) -> _Handler:
    """List objects in pages, from `startOffset` on."""

    def handled(request: Any, response: Any, storage: Any, *rest: Any) -> None:
        answered: dict[str, Any] = {}
        response.json = answered.update
        handler(request, response, storage, *rest)
        del response.json
        if response.status != HTTPStatus.OK:
            return
        first = max(request.query.get(name, [""])[0] for name in ("startOffset", "pageToken"))
        items = [item for item in answered["items"] if item["name"] >= first]
        page, more = items[:PAGE], items[PAGE:]
        response.json({**answered, "items": page, **({"nextPageToken": more[0]["name"]} if more else {})})

    return handled


def _generation(storage: Any, place: tuple[str, str]) -> str:
    try:
        return str(storage.get_file_obj(*place)["generation"])
    except NotFound:
        return "0"
