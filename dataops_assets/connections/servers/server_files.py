"""The common part of file servers: a pool of few connections, and files that are read to their end.

Every fault of the wire is an OSError: FileNotFoundError, PermissionError, or ConnectionError if the server went away in
the middle.
"""

from __future__ import annotations

import io
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

from fsspec.spec import AbstractFileSystem

TIMEOUT_SECONDS = 60.0
"""The longest silence of a server."""
CHUNK = 1 << 18
# servers allow a user only few
_MOST_CONNECTIONS = 4

_Connection = TypeVar("_Connection")


class Connections(Generic[_Connection]):
    """A pool of connections to one server. One thread uses a connection at a time; a faulty one is closed."""

    def __init__(self, connect: Callable[[], _Connection], close: Callable[[_Connection], None]) -> None:
        """`connect` opens a connection when none is idle."""
        self._connect, self._close = connect, close
        self._idle: list[_Connection] = []
        self._lock = threading.Lock()
        self._places = threading.Semaphore(_MOST_CONNECTIONS)
        weakref.finalize(self, _close_all, self._idle, close)

    @contextmanager
    def one(self) -> Iterator[_Connection]:
        """Give a connection. A thread must not ask for a second one meanwhile."""
        with self._places:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                connection = self._connect()
            is_sound = False
            try:
                yield connection
                is_sound = True
            except (FileNotFoundError, PermissionError):
                # an answer like others
                is_sound = True
                raise
            finally:
                if is_sound:
                    with self._lock:
                        self._idle.append(connection)
                else:
                    self._close(connection)


def _close_all(idle: list[_Connection], close: Callable[[_Connection], None]) -> None:
    while idle:
        close(idle.pop())


class ServerFiles(AbstractFileSystem):  # type: ignore[misc]
    """The files of one server, as fsspec shows files. Paths begin at the root of the server.

    A kind of server has `ls` (name, type, size and mtime of each entry; of a file, the file), `info` (what the server
    says of a file now) and `received`.
    """

    cachable = False
    root_marker = "/"

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        """`url` names scheme, host and port; `options` are those that the class knows."""
        super().__init__()
        parts = urlsplit(url)
        self.scheme, self.host, self.port = parts.scheme, parts.hostname or "", parts.port
        self.place = f"{parts.scheme}://{parts.netloc}"
        self.options = options

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and hash(self) == hash(other)

    def __hash__(self) -> int:
        return hash((self.place, frozenset(self.options.items())))

    def received(self, path: str) -> Iterator[bytes]:
        """Yield the bytes of a file as they arrive."""
        raise NotImplementedError

    def path_of(self, url: str) -> str:
        """Return the path of a URL on this server."""
        return self._strip_protocol(url)

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        inside = path.partition("://")[2].partition("/")[2] if "://" in path else path
        return "/" + inside.strip("/")

    def unstrip_protocol(self, name: str) -> str:
        """Return the URL of a path."""
        return f"{self.place}{self._strip_protocol(name)}"

    def _open(self, path: str, **_: Any) -> io.BufferedReader:
        return io.BufferedReader(_Stream(self._complete(path)), CHUNK)

    def _complete(self, path: str) -> Iterator[bytes]:
        """Yield the bytes of a file. Raises ConnectionError if there are fewer than the server said."""
        expected = self.info(path)["size"]
        size = 0
        for chunk in self.received(path):
            size += len(chunk)
            yield chunk
        if size < expected:
            raise ConnectionError(f"{self.place} ended {path} after {size:,} of {expected:,} bytes")


class _Stream(io.RawIOBase):
    """A stream over chunks of bytes. It is read once, from start to end."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        taken = self._rest[: len(buffer)]
        buffer[: len(taken)] = taken
        self._rest = self._rest[len(taken) :]
        return len(taken)
