"""Opens the store or the file server of a connection: checks scheme and options, and refuses secrets in the URL."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Mapping
from typing import Any

from botocore.exceptions import BotoCoreError
from fsspec.core import url_to_fs
from fsspec.spec import AbstractFileSystem

from dataops_assets.config.object_stores import OBJECT_STORES
from dataops_assets.config.secrets import Secret
from dataops_assets.connections.secrets import VARIABLE, is_secret_option, secret_of
from dataops_assets.connections.servers.ftp import FtpFiles
from dataops_assets.connections.servers.http import HttpFiles
from dataops_assets.connections.servers.server_files import ServerFiles
from dataops_assets.connections.servers.sftp import SftpFiles
from dataops_assets.errors import ConfigError, nearest
from dataops_assets.masking import has_secret, remember

# what the libraries of stores do not turn into OSError; that of a server that does not answer, or of refused keys
_OTHER_ERRORS = (
    ("aiohttp", "ClientError"),
    ("azure.core.exceptions", "AzureError"),
    ("gcsfs.retry", "HttpError"),
    ("google.auth.exceptions", "GoogleAuthError"),
)
_SERVERS: Mapping[str, type[SftpFiles | FtpFiles | HttpFiles]] = {
    "sftp": SftpFiles,
    "ftp": FtpFiles,
    "http": HttpFiles,
    "https": HttpFiles,
}
SCHEMES = ("file", "local", "memory", *OBJECT_STORES, *_SERVERS)
"""Stores and servers that give size and modification time of each file, by which versions are distinguished."""


def store_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that stores and file servers raise, of those libraries that are imported."""
    others = [getattr(sys.modules[module], name) for module, name in _OTHER_ERRORS if module in sys.modules]
    return (OSError, BotoCoreError, *others)


def scheme_of(path: str) -> str:
    """Return the scheme of a URL; empty for a path."""
    return path.partition("://")[0].lower() if "://" in path else ""


def require_store(path: str, what: str) -> None:
    """Raise ConfigError where `path` is a URL of no known store, or holds a secret; `what` names the setting."""
    scheme = scheme_of(path)
    if scheme and scheme not in SCHEMES:
        hook = "; what other servers give is read by a function, see connection type python"
        raise ConfigError(
            f"opening the store of {what} {path!r}",
            received=f"the scheme {scheme}://",
            known=[f"{name}://" for name in SCHEMES],
            next_step=(nearest(scheme, SCHEMES) or "use a path or one of these") + hook,
        )
    if scheme and has_secret(path):
        raise ConfigError(
            f"opening the store of {what} {path!r}",
            received="a URL with user, password, key or signature",
            next_step="take it out of the URL and put it into connection.storage_options as '${NAME}'",
        )


def require_options(path: str, options: Collection[str]) -> None:
    """Raise ConfigError for options that the file server of `path` does not have; those of stores are fsspec's."""
    kind = _SERVERS.get(scheme_of(path))
    if kind is None:
        return
    if unknown := sorted(set(options) - set(kind.OPTIONS)):
        raise ConfigError(
            f"opening {path!r}",
            received=f"the option {unknown[0]!r} in connection.storage_options",
            known=list(kind.OPTIONS),
            next_step=nearest(unknown[0], kind.OPTIONS) or "use one of these",
        )


def require_writable(path: str, what: str) -> None:
    """Raise ConfigError if the files of a server can only be read."""
    kind = _SERVERS.get(scheme_of(path))
    if kind is not None and not kind.CAN_WRITE:
        raise ConfigError(
            f"opening {what} {path!r}",
            received=f"a server that is only read by {scheme_of(path)}://",
            known=[f"{name}://" for name in SCHEMES if name not in _SERVERS or _SERVERS[name].CAN_WRITE],
            next_step="deliver to one of these, or to an API (type http)",
        )


def options_of(options: Mapping[str, str | Secret], variables: Mapping[str, str]) -> dict[str, Any]:
    """Return the options of a store, with '${NAME}' filled from `variables`; secrets are masked from now on.

    Raises ConfigError for a variable or a secret that is not there, and StorageError if its store does not answer.
    """
    found: dict[str, Any] = {}
    for name, value in options.items():
        if isinstance(value, Secret):
            found[name] = secret_of(value, variables)
            continue
        text = _filled(name, value, variables)
        if is_secret_option(name, value):
            remember([text])
        found[name] = {"true": True, "false": False}.get(text.lower(), text)
    return found


def open_store(path: str, options: Mapping[str, Any], what: str) -> tuple[AbstractFileSystem, str]:
    """Return the store of a path or URL, and the path in it. Raises ConfigError if it is unknown or not installed."""
    require_store(path, what)
    require_options(path, options)
    try:
        if (kind := _SERVERS.get(scheme_of(path))) is not None:
            server: ServerFiles = kind(path, options)
            return server, server.path_of(path)
        # looks share a store, and what one of them has listed can be older than what another one asks for
        always = {"use_listings_cache": False} if scheme_of(path) in OBJECT_STORES else {}
        store, inside = url_to_fs(path, **{**options, **always})
    except (ValueError, ImportError) as error:
        raise ConfigError(
            f"opening the store of {what} {path!r}",
            received=str(error),
            next_step="use a path or a URL that fsspec knows, and install the package it names",
        ) from (None if has_secret(str(error)) else error)
    return store, inside


def missing_bucket(store: AbstractFileSystem, path: str) -> str:
    """Return the bucket of a path if the store has no such bucket; empty otherwise.

    Raises the errors of the store if it cannot be reached.
    """
    bucket = path.lstrip("/").partition("/")[0]
    protocol = store.protocol if isinstance(store.protocol, str) else store.protocol[0]
    if not bucket or protocol in ("file", "local", "memory"):
        return ""
    try:
        store.ls(bucket, detail=False)
    except FileNotFoundError:
        return bucket
    return ""


def leads_out(path: str, place: str) -> str:
    """Return the real place of a local path if it is outside `place` (a real path); empty if it is inside."""
    real = os.path.realpath(path)
    return "" if real == place or real.startswith(place.rstrip("/") + "/") else real


def _filled(name: str, value: str, variables: Mapping[str, str]) -> str:
    def filled(match: re.Match[str]) -> str:
        if match[1] not in variables:
            raise ConfigError(
                f"reading connection.storage_options.{name}",
                received=f"{match[0]}, which is not set",
                next_step=f"set {match[1]} in the environment",
            )
        return variables[match[1]]

    return VARIABLE.sub(filled, value)
