"""Files of an SFTP server, read and written with paramiko, which is in the extra `sftp`."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import io
import stat
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from dataops_assets.connections.servers.server_files import CHUNK, TIMEOUT_SECONDS, Connections, ServerFiles

if TYPE_CHECKING:
    import paramiko

_PORT = 22
# requests on their way at a time: more memory, and fewer waits for a distant server
_REQUESTS = 64


class SftpFiles(ServerFiles):
    """Files of an SFTP server whose host key is known. Raises ImportError if the extra `sftp` is not installed."""

    protocol = ("sftp",)
    OPTIONS = ("username", "password", "private_key", "passphrase", "host_key")
    CAN_WRITE = True

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        """See `ServerFiles`; `private_key` and `host_key` are texts as OpenSSH writes them."""
        try:
            import paramiko  # noqa: F401
        except ImportError as error:
            raise ImportError("SFTP needs the extra sftp (paramiko)") from error
        super().__init__(url, options)
        host, port, given = self.host, self.port or _PORT, dict(options)
        # to decrypt a key takes long, on purpose
        key = functools.cache(lambda: _private_key(given.get("private_key", ""), given.get("passphrase")))
        self._connections = Connections(lambda: _connect(host, port, given, key()), _close)

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """See `ServerFiles`. A link is listed as a link."""
        path = self._strip_protocol(path)
        with _told(self.place), self._connections.one() as connection:
            about = connection.stat(path)
            if stat.S_ISDIR(about.st_mode or 0):
                folder = path.rstrip("/")
                found = [_entry(f"{folder}/{item.filename}", item) for item in connection.listdir_attr(path)]
            else:
                found = [_entry(path, about)]
        return found if detail else [item["name"] for item in found]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """See `ServerFiles`. For a link, return the state of its target."""
        path = self._strip_protocol(path)
        with _told(self.place), self._connections.one() as connection:
            return _entry(path, connection.stat(path))

    def received(self, path: str) -> Iterator[bytes]:
        """See `ServerFiles`."""
        with _told(self.place), self._connections.one() as connection, connection.open(path, "rb") as stream:
            stream.prefetch(stream.stat().st_size, _REQUESTS)
            while chunk := stream.read(CHUNK):
                yield chunk

    def put_file(self, lpath: str, rpath: str, **_: Any) -> None:
        """Send a file. It appears under its name when all of it is there, in place of one that had the name."""
        path = self._strip_protocol(rpath)
        folder, _slash, name = path.rpartition("/")
        staged = f"{folder}/.{name}.part"
        with _told(self.place), self._connections.one() as connection:
            connection.put(lpath, staged, confirm=True)
            connection.posix_rename(staged, path)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Make a folder and those above it."""
        path = self._strip_protocol(path)
        with _told(self.place), self._connections.one() as connection:
            missing = []
            while path != "/" and not _is_there(connection, path):
                missing.append(path)
                path = path.rpartition("/")[0] or "/"
            if not missing and not exist_ok:
                raise FileExistsError(path)
            for folder in reversed(missing):
                connection.mkdir(folder)

    def rename(self, old: str, new: str) -> None:
        """Rename a file. Raises OSError if there is one of the new name, as the protocol says."""
        with _told(self.place), self._connections.one() as connection:
            connection.rename(self._strip_protocol(old), self._strip_protocol(new))

    def rm_file(self, path: str) -> None:
        """Remove a file."""
        with _told(self.place), self._connections.one() as connection:
            connection.remove(self._strip_protocol(path))


def _is_there(connection: paramiko.SFTPClient, path: str) -> bool:
    try:
        connection.stat(path)
    except FileNotFoundError:
        return False
    return True


def _entry(path: str, about: paramiko.SFTPAttributes) -> dict[str, Any]:
    mode = about.st_mode or 0
    kinds = ((stat.S_ISDIR, "directory"), (stat.S_ISLNK, "link"), (stat.S_ISREG, "file"))
    kind = next((name for is_kind, name in kinds if is_kind(mode)), "other")
    modified = dt.datetime.fromtimestamp(about.st_mtime or 0, dt.UTC)
    return {"name": path, "type": kind, "size": about.st_size, "mtime": modified}


def _connect(host: str, port: int, options: Mapping[str, Any], key: paramiko.PKey | None) -> paramiko.SFTPClient:
    import paramiko
    from paramiko.hostkeys import HostKeyEntry

    client = paramiko.SSHClient()
    known_as = host if port == _PORT else f"[{host}]:{port}"
    if declared := options.get("host_key"):
        entry = HostKeyEntry.from_line(f"{known_as} {declared}")
        if entry is None:
            raise PermissionError("storage_options.host_key is no public key, such as 'ssh-ed25519 AAAA...'")
        client.get_host_keys().add(known_as, entry.key.get_name(), entry.key)
    else:
        client.load_system_host_keys()
    client.set_missing_host_key_policy(_refuse_unknown())
    with contextlib.ExitStack() as opened:
        opened.callback(client.close)
        client.connect(
            host,
            port,
            options.get("username"),
            options.get("password"),
            pkey=key,
            allow_agent=False,
            look_for_keys=False,
            timeout=TIMEOUT_SECONDS,
            channel_timeout=TIMEOUT_SECONDS,
        )
        found = client.open_sftp()
        opened.pop_all()
    channel = found.get_channel()
    if channel is not None:
        channel.settimeout(TIMEOUT_SECONDS)
    return found


def _close(connection: paramiko.SFTPClient) -> None:
    channel = connection.get_channel()
    if channel is not None:
        channel.get_transport().close()


def _refuse_unknown() -> paramiko.MissingHostKeyPolicy:
    import paramiko

    class Refuse(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]
        """Refuses a server whose host key is not known."""

        def missing_host_key(self, _client: Any, hostname: str, key: paramiko.PKey) -> None:
            raise PermissionError(
                f"the host key of {hostname} is not known: {key.get_name()} {key.fingerprint}. Ask who runs the server "
                "whether it is theirs, and declare it as storage_options.host_key, or add it to known_hosts"
            )

    return Refuse()


def _private_key(text: str, passphrase: str | None) -> paramiko.PKey | None:
    import paramiko

    if not text:
        return None
    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        try:
            # a variable or a file may have lost the last line end
            return kind.from_private_key(io.StringIO(text.strip() + "\n"), passphrase)
        except paramiko.PasswordRequiredException as error:
            raise PermissionError("the private key is encrypted: give storage_options.passphrase") from error
        except (paramiko.SSHException, ValueError):
            continue
    raise PermissionError(
        "storage_options.private_key is no private key of type ed25519, ECDSA or RSA, or its passphrase is wrong"
    )


@contextlib.contextmanager
def _told(place: str) -> Iterator[None]:
    """Raise the faults of SSH as OSError."""
    import paramiko

    try:
        yield
    except paramiko.BadHostKeyException as error:
        raise PermissionError(
            f"the host key of {place} is {error.key.get_name()} {error.key.fingerprint}, and not the one that is "
            "known: somebody may be in between"
        ) from error
    except paramiko.AuthenticationException as error:
        raise PermissionError(f"{place} did not accept the user, password or key: {error}") from error
    except (paramiko.SSHException, EOFError) as error:
        raise ConnectionError(f"{place}: {error or 'the connection ended'}") from error
