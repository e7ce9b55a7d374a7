"""Asks a web application without a wire."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any


def asked(
    server: Any, method: str, path: str, headers: Mapping[str, str], body: bytes = b""
) -> tuple[int, dict[str, str], bytes]:
    """The status, the headers and the body of an answer."""
    sent = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "headers": sent, "query_string": b""}
    answered: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(message: dict[str, Any]) -> None:
        answered.append(message)

    asyncio.run(server(scope, receive, send))
    told = {name.decode(): value.decode() for name, value in answered[0]["headers"]}
    return answered[0]["status"], told, answered[1]["body"]
