"""A real store of S3 (SeaweedFS) on free ports of this machine, with its data in a temporary folder."""

from __future__ import annotations

import json
import shutil
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from free_ports import free_ports

_START_SECONDS = 60
_SERVERS = ("master", "volume", "filer", "s3")


def client_of(endpoint: str) -> Any:
    """A client of S3 that asks once, so that a test sees what the store answers."""
    settings = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}
    return boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", config=settings, **keys)


@contextmanager
def object_store() -> Iterator[str]:
    """Yield the URL of the store. Its user is `key` with `secret`. Skips where there is no wheel of it."""
    program = Path(sysconfig.get_path("scripts")) / "weed"
    if not program.exists():
        pytest.skip("no SeaweedFS in this environment: its wheels are for Linux")
    folder = Path(tempfile.mkdtemp(prefix="dataops-s3-"))
    try:
        users = folder / "users.json"
        credentials = [{"accessKey": "key", "secretKey": "secret"}]
        users.write_text(json.dumps({"identities": [{"name": "a", "credentials": credentials, "actions": ["Admin"]}]}))
        ports = free_ports(2 * len(_SERVERS))
        named = [*zip([f"-{server}.port{kind}" for server in _SERVERS for kind in ("", ".grpc")], ports, strict=True)]
        places = ["-ip=127.0.0.1", f"-dir={folder}", "-master.volumeSizeLimitMB=64", "-volume.max=200"]
        # servers of other protocols would take fixed ports
        without = ["-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
        sockets = [f"-{server}.localSocket={folder}/{server}.sock" for server in ("filer", "s3")]
        users_of = ["-filer", "-s3", f"-s3.config={users}"]
        options = [*places, *without, *sockets, *users_of, *(f"{name}={port}" for name, port in named)]
        with (folder / "log").open("w") as log:
            process = subprocess.Popen([program, "server", *options], stdout=log, stderr=log, cwd=folder)
        try:
            endpoint = f"http://127.0.0.1:{ports[2 * _SERVERS.index('s3')]}"
            _answering(endpoint, process, folder / "log")
            yield endpoint
        finally:
            # nobody needs its data any more; a killed one leaves its sockets
            process.kill()
            process.wait()
            for server, port in zip(_SERVERS, ports[1::2], strict=True):
                Path(tempfile.gettempdir(), f"seaweedfs-{server}-grpc-{port}.sock").unlink(missing_ok=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _answering(endpoint: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until an object can be written: the servers find each other one after another."""
    client, until = client_of(endpoint), time.monotonic() + _START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            client.create_bucket(Bucket="first")
            client.put_object(Bucket="first", Key="first", Body=b"1")
            return
        except (BotoCoreError, ClientError):
            time.sleep(0.1)
    raise AssertionError(f"SeaweedFS did not start: {log.read_text()[-2000:]}")
