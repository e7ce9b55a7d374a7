"""An emulator of Azure Blob Storage (Azurite, of Microsoft) on a free port of this machine, with its data in memory."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from free_ports import free_ports

PROJECT = Path(__file__).resolve().parents[1]
MODULES = Path(os.environ.get("AZURITE_FOLDER", PROJECT / ".azurite")) / "node_modules"
ACCOUNT = "devstoreaccount1"
# that of each installation of Azurite
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_START_SECONDS = 60


def connection_string(endpoint: str, credential: str = f"AccountName={ACCOUNT};AccountKey={KEY}") -> str:
    """A connection string with the key of the account, or with another `credential`."""
    return f"BlobEndpoint={endpoint};{credential}"


@contextmanager
def emulated_azure(certificate: Path | None = None) -> Iterator[str]:
    """Yield the URL of the account; by TLS, if it gets a certificate of `certificate_in`.

    Skips where Azurite is not installed.
    """
    program = MODULES / "azurite" / "dist" / "src" / "blob" / "main.js"
    if shutil.which("node") is None or not program.exists():
        pytest.skip(f"no Node.js, or no Azurite in {MODULES} (make azurite)")
    (port,) = free_ports(1)
    # the client is newer than the emulator
    settings = ["--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck", "--silent"]
    with tempfile.TemporaryFile() as log:
        secured: list[str | Path] = []
        if certificate is not None:
            secured = ["--cert", certificate, "--key", certificate.with_name("key.pem")]
        command = ["node", program, *settings, "--blobPort", str(port), *secured]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            until = time.monotonic() + _START_SECONDS
            while not _answers(port):
                if time.monotonic() > until or process.poll() is not None:
                    log.seek(0)
                    raise AssertionError(f"Azurite did not start: {log.read().decode()[-2000:]}")
                time.sleep(0.05)
            yield f"{'https' if secured else 'http'}://127.0.0.1:{port}/{ACCOUNT}"
        finally:
            # nobody needs its data any more
            process.kill()
            process.wait()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True
