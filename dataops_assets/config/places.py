"""Places of data as settings and declarations write them: a path, or a URL."""

from __future__ import annotations

from pathlib import PurePosixPath
from urllib.parse import unquote

from dataops_assets.errors import ConfigError

_LOCAL = "file://"


def place_of(written: str, attempted: str) -> str:
    """Return a place as one form: an absolute path where it is on a disk of this machine, else its URL.

    `file:///data/a%20b` and `/data/a b` are the same place. Raises ConfigError for a relative path, and for a file on
    another machine.
    """
    path = written
    if written.lower().startswith(_LOCAL):
        host, slash, rest = written[len(_LOCAL) :].partition("/")
        if host.lower() not in ("", "localhost"):
            raise ConfigError(
                attempted,
                received=f"{written!r}, a file on the machine {host!r}",
                next_step=f"write three slashes before a path of this machine: {_LOCAL}/{host}{slash}{rest}",
            )
        path = unquote(slash + rest)
    if "://" in path or PurePosixPath(path).is_absolute():
        return path
    raise ConfigError(
        attempted,
        received=f"{written!r}, which is not absolute",
        # dbt and the daemon run in other folders than the command
        next_step="write a path that begins with /, so that it is the same place for processes in all folders",
    )
