"""Files of an FTP server, plain or with TLS, read with Python's ftplib.

Servers without MLSD (such as vsftpd) are read by LIST as Unix writes it, and SIZE and MDTM of each file. Times are
whole seconds in UTC, because the ways to ask for them differ in their fractions.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import ftplib
import re
import ssl
from collections.abc import Iterator, Mapping
from typing import Any

from dataops_assets.connections.servers.server_files import CHUNK, TIMEOUT_SECONDS, Connections, ServerFiles

_PORT = 21
_NOT_KNOWN = ("500", "501", "502", "504")
_GONE = re.compile(r"no such|not found|not exist|cannot find|can't find", re.IGNORECASE)
_TIME = "%Y%m%d%H%M%S"
_KINDS = {"file": "file", "dir": "directory", "d": "directory", "-": "file", "l": "link"}
# mode, links, owner, group, size, month, day, time or year, name
_FIELDS_OF_LIST = 9


class FtpFiles(ServerFiles):
    """Files of an FTP server."""

    protocol = ("ftp",)
    OPTIONS = ("username", "password", "tls", "encoding")
    CAN_WRITE = False

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        """See `ServerFiles`; `tls` is True for FTP over TLS with a certificate that this machine trusts."""
        super().__init__(url, options)
        host, port, given = self.host, self.port or _PORT, dict(options)
        self._connections = Connections(lambda: _connect(host, port, given), ftplib.FTP.close)

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """See `ServerFiles`. Where sizes and times are not listed, they are asked for each file."""
        path = self._strip_protocol(path)
        with _told(self.place, path), self._connections.one() as connection, _answers(path):
            try:
                found = _listed(connection, path)
            except ftplib.error_perm as refused:
                try:
                    # it may be a file
                    found = [_about(connection, path)]
                except ftplib.error_perm:
                    raise refused from None
        return found if detail else [item["name"] for item in found]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """See `ServerFiles`."""
        path = self._strip_protocol(path)
        with _told(self.place, path), self._connections.one() as connection, _answers(path):
            try:
                return _about(connection, path)
            except ftplib.error_perm as refused:
                # servers refuse to tell of a file that is gone in many words; its folder tells it for sure
                if path in {item["name"] for item in _listed(connection, path.rpartition("/")[0] or "/")}:
                    raise
                raise FileNotFoundError(path) from refused

    def received(self, path: str) -> Iterator[bytes]:
        """See `ServerFiles`. The server must say that it sent all."""
        with _told(self.place, path), self._connections.one() as connection:
            with _answers(path):
                data = connection.transfercmd(f"RETR {path}")
            with data:
                while chunk := data.recv(CHUNK):
                    yield chunk
                if isinstance(data, ssl.SSLSocket):
                    # the end of TLS, before the end of the connection
                    data.unwrap()
            connection.voidresp()


def _connect(host: str, port: int, options: Mapping[str, Any]) -> ftplib.FTP:
    encoding = options.get("encoding", "utf-8")
    found: ftplib.FTP
    if options.get("tls"):
        context = ssl.create_default_context()
        found = ftplib.FTP_TLS(timeout=TIMEOUT_SECONDS, encoding=encoding, context=context)  # noqa: S321
    else:
        found = ftplib.FTP(timeout=TIMEOUT_SECONDS, encoding=encoding)  # noqa: S321
    with contextlib.ExitStack() as opened:
        opened.callback(found.close)
        try:
            found.connect(host, port)
            found.login(options.get("username", ""), options.get("password", ""))
            if isinstance(found, ftplib.FTP_TLS):
                found.prot_p()
            found.voidcmd("TYPE I")
        except ftplib.error_perm as error:
            raise PermissionError(f"the server did not accept the user or password: {error}") from error
        opened.pop_all()
    return found


def _listed(connection: ftplib.FTP, path: str) -> list[dict[str, Any]]:
    folder = path.rstrip("/")
    try:
        facts = [(name, said) for name, said in connection.mlsd(path) if said.get("type") not in ("cdir", "pdir")]
    except ftplib.error_perm as error:
        if str(error)[:3] not in _NOT_KNOWN:
            raise
        return _listed_as_unix_does(connection, path)
    finally:
        # ftplib lists as text
        connection.voidcmd("TYPE I")
    return [
        {
            "name": f"{folder}/{name}",
            "type": _KINDS.get(said.get("type", ""), "other"),
            "size": int(said["size"]) if "size" in said else None,
            "mtime": _time(said["modify"]) if "modify" in said else None,
        }
        for name, said in facts
    ]


def _listed_as_unix_does(connection: ftplib.FTP, path: str) -> list[dict[str, Any]]:
    lines: list[str] = []
    connection.retrlines(f"LIST {path}", lines.append)
    connection.voidcmd("TYPE I")
    found = []
    for line in lines:
        parts = line.split(maxsplit=_FIELDS_OF_LIST - 1)
        if len(parts) < _FIELDS_OF_LIST:
            # the line with the total
            continue
        kind = _KINDS.get(line[0], "other")
        name = f"{path.rstrip('/')}/{parts[-1].partition(' -> ')[0] if kind == 'link' else parts[-1]}"
        found.append(_about(connection, name) if kind == "file" else {"name": name, "type": kind, "size": None})
    return found


def _about(connection: ftplib.FTP, path: str) -> dict[str, Any]:
    size = connection.size(path)
    modified = _time(connection.voidcmd(f"MDTM {path}").partition(" ")[2])
    return {"name": path, "type": "file", "size": size, "mtime": modified}


def _time(text: str) -> dt.datetime:
    return dt.datetime.strptime(text.partition(".")[0].strip(), _TIME).replace(tzinfo=dt.UTC)


@contextlib.contextmanager
def _answers(path: str) -> Iterator[None]:
    """Raise what the server refuses for good as OSError."""
    try:
        yield
    except ftplib.error_perm as error:
        if _GONE.search(str(error)):
            raise FileNotFoundError(f"{path}: {error}") from error
        raise PermissionError(f"{path}: {error}") from error


@contextlib.contextmanager
def _told(place: str, path: str) -> Iterator[None]:
    """Raise the faults of the wire as OSError."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise ConnectionError(
            f"{place}: a name in {path} is no {error.encoding}: declare storage_options.encoding"
        ) from error
    except (ftplib.Error, EOFError) as error:
        raise ConnectionError(f"{place}: {error or 'the connection ended'}") from error
