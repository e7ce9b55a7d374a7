"""Ports of 127.0.0.1 that no server has, for servers that tests start."""

from __future__ import annotations

import socket


def free_ports(count: int) -> list[int]:
    """So many different ports; another process could take one before the server does."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()
