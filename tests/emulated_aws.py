"""An emulator of AWS (moto) on a free port of this machine, for S3 and Secrets Manager."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from moto.server import ThreadedMotoServer


@contextmanager
def emulated_aws() -> Iterator[tuple[str, int]]:
    """Yield host and port of the server."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        yield server.get_host_and_port()
    finally:
        server.stop()
