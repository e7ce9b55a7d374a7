"""A REST API in a thread, which misbehaves as it is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass
class Request:
    """What was asked: path, query and headers; of a POST or PUT also the form or the body."""

    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    form: dict[str, str]
    method: str = "GET"
    body: bytes = b""


@dataclass
class Reply:
    """What is answered. With `cut`, the connection ends so many bytes before the end of the body."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int = 0


@dataclass
class RestServer:
    """The server's address, what it answers, and all that was asked."""

    url: str = ""
    answer: Callable[[Request], Reply] = lambda _: Reply([])
    asked: list[Request] = field(default_factory=list)
    faults: list[Reply] = field(default_factory=list)

    def reply(self, request: Request) -> Reply:
        """The next fault that is due, or else the answer."""
        self.asked.append(request)
        return self.faults.pop(0) if self.faults else self.answer(request)


@contextmanager
def rest_server() -> Iterator[RestServer]:
    """A server on a free port."""
    found = RestServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            sent = self.rfile.read(length)
            is_json = "json" in self.headers.get("Content-Type", "")
            form = {} if is_json else dict(parse_qsl(sent.decode()))
            parts = urlsplit(self.path)
            query = dict(parse_qsl(parts.query, keep_blank_values=True))
            reply = found.reply(Request(parts.path, query, dict(self.headers), form, self.command, sent))
            body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) - reply.cut])
            self.close_connection = bool(reply.cut)

        def do_POST(self) -> None:
            self.do_GET()

        def do_PUT(self) -> None:
            self.do_GET()

        def log_message(self, *_: Any) -> None:
            """Be silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
