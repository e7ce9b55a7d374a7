"""Real file servers on free ports, each with a folder: OpenSSH's SFTP, FTP (pyftpdlib), and Python's http.server.

Each can cut a transfer in its middle: SFTP by a proxy, the others by themselves.
"""

from __future__ import annotations

import functools
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from free_ports import free_ports
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import DTPHandler, FTPHandler, TLS_DTPHandler, TLS_FTPHandler
from pyftpdlib.ioloop import IOLoop
from pyftpdlib.servers import FTPServer

SECRET = "pl4nted-pass/word"
_SBIN = f"{os.environ['PATH']}:/usr/sbin"


@dataclass
class FileServer:
    """A server: its URL, its folder on this machine, how to sign in, and after how many bytes it cuts a transfer."""

    kind: str
    url: str
    folder: Path
    options: dict[str, str]
    secrets: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None

    def deliver(self, name: str, content: bytes, age: float = 3600) -> Path:
        """A file on the server, last changed `age` seconds ago."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        changed = int(time.time() - age)
        os.utime(path, (changed, changed))
        return path


@contextmanager
def http_server(folder: Path) -> Iterator[FileServer]:
    """Lists folders as pages, and asks nobody who they are."""

    class Handler(SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def copyfile(self, source: Any, outputfile: Any) -> None:
            if found.cut_after is None or self.path.endswith("/"):
                super().copyfile(source, outputfile)
                return
            outputfile.write(source.read(found.cut_after))
            self.close_connection = True

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    found = FileServer("http", f"http://127.0.0.1:{server.server_port}", folder, {})
    threading.Thread(target=functools.partial(server.serve_forever, 0.01), daemon=True).start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def ftp_server(folder: Path, certificate: Path | None) -> Iterator[FileServer]:
    """Needs a password; with a certificate over TLS alone, else plain and without MLSD, as vsftpd is."""

    def cutting(kind: type[Any]) -> type[Any]:
        class Cutting(kind):
            def send(self, data: bytes) -> int:
                if found.cut_after is None or self.cmd != "RETR":
                    return int(super().send(data))
                sent = super().send(data[: found.cut_after])
                self.cmd_channel.close()
                return int(sent)

        return Cutting

    class Handler(FTPHandler if certificate is None else TLS_FTPHandler):  # type: ignore[misc]
        dtp_handler = cutting(DTPHandler if certificate is None else TLS_DTPHandler)
        use_sendfile = False
        authorizer = DummyAuthorizer()
        auth_failed_timeout = 0
        if certificate is None:
            proto_cmds = {name: about for name, about in FTPHandler.proto_cmds.items() if name not in ("MLSD", "MLST")}
        else:
            certfile = str(certificate)
            tls_control_required = tls_data_required = True

    Handler.authorizer.add_user("feeds", SECRET, str(folder), perm="elr")
    # without a loop of its own it would share one with the other servers
    server = FTPServer(("127.0.0.1", 0), Handler, ioloop=IOLoop())
    options = {"username": "feeds", "password": "${FEEDS_PASSWORD}", "tls": "false" if certificate is None else "true"}
    secrets = {"FEEDS_PASSWORD": SECRET} | ({} if certificate is None else {"SSL_CERT_FILE": str(certificate)})
    found = FileServer("ftp", f"ftp://127.0.0.1:{server.address[1]}", folder, options, secrets)
    thread = threading.Thread(target=functools.partial(server.serve_forever, 0.05, handle_exit=False), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.close_all()
        thread.join()


def certificate_in(folder: Path) -> Path:
    """A certificate for this machine, with its key, that nobody vouches for."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here (Debian: apt-get install openssl)")
    made = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    named = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        [*made, *named, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True, timeout=600
    )
    certificate.write_bytes(certificate.read_bytes() + key.read_bytes())
    return certificate


@contextmanager
def sftp_server(folder: Path, keys: Path) -> Iterator[FileServer]:
    """OpenSSH, behind a proxy that can cut; it takes a key and knows no password."""
    sshd = shutil.which("sshd", path=_SBIN)
    if sshd is None:
        pytest.skip("no SSH server here (Debian: apt-get install openssh-server)")
    keys.mkdir(parents=True)
    for name in ("host", "user"):
        made = ["ssh-keygen", "-q", "-t", "ed25519", "-a", "1", "-N", SECRET if name == "user" else ""]
        subprocess.run([*made, "-f", str(keys / name)], check=True, timeout=600)
    (keys / "authorized").write_bytes((keys / "user.pub").read_bytes())
    (inner,) = free_ports(1)
    settings = {
        "HostKey": keys / "host",
        "AuthorizedKeysFile": keys / "authorized",
        "PasswordAuthentication": "no",
        "PermitRootLogin": "yes",
        "StrictModes": "no",
        "UsePAM": "no",
        "PidFile": "none",
        "Subsystem": "sftp internal-sftp",
    }
    if os.geteuid() == 0:
        os.makedirs("/run/sshd", exist_ok=True)
    given = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
    command = [sshd, "-D", "-e", "-f", "/dev/null", "-p", str(inner), "-o", "ListenAddress=127.0.0.1", *given]
    with (keys / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True, timeout=600).stdout.strip()
    options = {
        "username": user,
        "private_key": "${FEEDS_KEY}",
        "passphrase": "${FEEDS_PASSWORD}",
        "host_key": " ".join((keys / "host.pub").read_text().split()[:2]),
    }
    secrets = {"FEEDS_KEY": (keys / "user").read_text(), "FEEDS_PASSWORD": SECRET}
    found = FileServer("sftp", "", folder, options, secrets)
    try:
        _await(inner, process)
        with _proxy(found, inner) as port:
            # the whole file system is behind it
            found.url = f"sftp://127.0.0.1:{port}{folder}"
            yield found
    finally:
        process.terminate()
        process.wait()


def _await(port: int, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise AssertionError(f"sshd ended with {process.returncode}")


@contextmanager
def _proxy(found: FileServer, inner: int) -> Iterator[int]:
    """Hands bytes on, and ends a connection that brought more than `cut_after` of them."""
    listener = socket.create_server(("127.0.0.1", 0))

    def hand_on(source: socket.socket, target: socket.socket, may_cut: bool) -> None:
        brought = 0
        try:
            while data := source.recv(1 << 16):
                brought += len(data)
                if may_cut and found.cut_after is not None and brought > found.cut_after + 8192:
                    break
                target.sendall(data)
        except OSError:
            pass
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", inner))
            for pair in ((client, server, False), (server, client, True)):
                threading.Thread(target=hand_on, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()
