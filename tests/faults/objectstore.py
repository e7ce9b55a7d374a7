"""An S3 server on this machine, and a way to it that a test can take away and give back."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import boto3
import pytest
from emulated_aws import emulated_aws
from s3fs import S3FileSystem

from dataops_assets.storage.objects import open_store

BUCKET = "lake"


_FAILED = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"


class Line:
    """A TCP relay to the server. Cut, all its connections break and new ones are refused; mended, it is as before."""

    def __init__(self, server: tuple[str, int]) -> None:
        self._server = server
        self._listener: socket.socket | None = None
        self._ends: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.port = 0
        self._left = -1
        self._writing: set[socket.socket] = set()
        self._loses = False
        self.lost = 0
        self.mend()

    def mend(self) -> None:
        """Take connections, on the same port as before."""
        self._left = -1
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(64)
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def cut(self) -> None:
        """Break everything."""
        with self._lock:
            listener, self._listener = self._listener, None
            ends, self._ends = self._ends, set()
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for end in ends:
            _break(end)

    def cut_after(self, requests: int) -> None:
        """Break everything at the next request but `requests`."""
        self._left = requests

    @contextlib.contextmanager
    def losing_answers(self) -> Iterator[None]:
        """Let the server do each conditional write, and answer in its place that it failed; `lost` counts them."""
        self._loses = True
        yield
        self._loses = False

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
                far = socket.create_connection(self._server)
            except OSError:
                return
            with self._lock:
                self._ends |= {near, far}
            threading.Thread(target=self._pump, args=(near, far, True), daemon=True).start()
            threading.Thread(target=self._pump, args=(far, near, False), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, asks: bool) -> None:
        with contextlib.suppress(OSError):
            while content := source.recv(1 << 16):
                if asks and self._is_last(content):
                    self.cut()
                    return
                if self._loses and asks and content.startswith(b"PUT ") and b"if-none-match" in content.lower():
                    self._writing.add(source)
                elif not asks and target in self._writing:
                    self._writing.discard(target)
                    if content.startswith(b"HTTP/1.1 200"):
                        self.lost += 1
                        content = _FAILED
                target.sendall(content)
        _break(target)

    def _is_last(self, content: bytes) -> bool:
        # every request starts a piece of its own: clients wait for the answer before they ask again
        if self._left < 0 or not content.startswith((b"GET ", b"PUT ", b"POST ", b"HEAD ", b"DELETE ")):
            return False
        self._left -= 1
        return self._left < 0


def _break(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


def forget_clients() -> None:
    """Clients are kept by URL for the process: none may point at another server."""
    S3FileSystem.clear_instance_cache()
    open_store.cache_clear()


@contextlib.contextmanager
def object_store(monkeypatch: pytest.MonkeyPatch, *, by_line: bool) -> Iterator[Line]:
    """A server with an empty bucket named `lake`; all clients find it, through the line or not, by the environment."""
    with emulated_aws() as server:
        line = Line(server)
        port = line.port if by_line else server[1]
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "key",
            # what would end a string literal of SQL, and what a URL would take for more than a character
            "AWS_SECRET_ACCESS_KEY": 'it\'s; a "secret" \\ /+%$x',
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        forget_clients()
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        try:
            yield line
        finally:
            line.cut()
            forget_clients()
