"""A receiver as a process, which is killed and started again, and the sources that it serves."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import requests
from free_ports import free_ports

from dataops_assets.config.environment import Environment, environment_from
from dataops_assets.config.source import Source

SECRET = "pl4nted-hook-secret"


def environment_of(home: Path) -> Environment:
    """The environment whose landing area is in this folder."""
    return environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home)


def a_source(name: str = "orders", uploads: dict[str, Any] | None = None, **signature: Any) -> Source:
    """A source that takes requests; with `uploads`, it takes pushed files."""
    proof = {"secret": {"env": "HOOK_SECRET"}, "prefix": "sha256=", **signature}
    receive = {"signature": proof, "most_bytes": 1000} | ({} if uploads is None else {"uploads": uploads})
    connection = {
        "type": "files",
        "path": f"hooks/{name}",
        "format": {"type": "json"},
        "settle_seconds": 0,
        "receive": receive,
    }
    columns = [{"name": "id", "type": "integer"}]
    declared = {"name": name, "area": "shop", "connection": connection, "columns": columns}
    return Source.model_validate(declared | {"refresh": {"type": "append"}})


_SERVER = """
import os, sys
from pathlib import Path
from dataops_assets.connections.receiving import inboxes, uploads
from dataops_assets.operations.receiving import application, serve
from receivers import a_source, environment_of
home, port, pushed = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
sources = {name: a_source(name, {}) for name in pushed} or {"orders": a_source()}
environment = environment_of(home)
serve(application(inboxes(sources, environment), uploads(sources, environment), os.environ), "127.0.0.1", port)
"""


class Receiver:
    """A process that receives requests for `orders`, or pushed files for some sources."""

    def __init__(self, home: Path, pushed: Sequence[str] = ()) -> None:
        self.home, self.port, self.pushed = home, free_ports(1)[0], pushed
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and return when it answers."""
        search = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HOOK_SECRET": SECRET}
        words = [sys.executable, "-c", _SERVER, str(self.home), str(self.port), *self.pushed]
        self.process = subprocess.Popen(words, env=search)
        while True:
            try:
                health = requests.get(f"{self.url}/health", timeout=60)
                assert health.json() == {"sources": sorted(self.pushed or ["orders"])}
                return
            except requests.ConnectionError:
                assert self.process.poll() is None
                time.sleep(0.02)

    def kill(self) -> None:
        """End it as a power cut would, if it runs."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
