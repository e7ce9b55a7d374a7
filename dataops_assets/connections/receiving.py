"""Stores the bodies of requests as files of a source: proved, synced to the disk, and each body once.

Grain: one file for each body, named by its digest, in the folder of the source. A body that is sent again finds its
file, so senders may try again as often as they like.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dataops_assets.config.connection import FileConnection
from dataops_assets.config.environment import Environment
from dataops_assets.config.receiving import Receive, Signature
from dataops_assets.config.source import Source
from dataops_assets.connections.proofs import is_proved
from dataops_assets.connections.secrets import secret_of
from dataops_assets.connections.uploads.uploads import Uploads
from dataops_assets.errors import ConfigError, InputError
from dataops_assets.storage import durable

_HIDDEN = "."


@dataclass(frozen=True)
class Inbox:
    """The folder of one source that takes requests, with the declared signature and the ending of its files."""

    source: str
    folder: Path
    receive: Receive
    ending: str

    def store(self, body: bytes, headers: Mapping[str, str], variables: Mapping[str, str]) -> tuple[str, bool]:
        """Store a body; return its digest, and whether it is new. It is on the disk when this returns.

        `headers` are asked by names in small letters. Raises InputError for a request that is not proved, ConfigError
        or StorageError if the secret cannot be read, and OSError if the disk fails.
        """
        _require_proof(self.receive.signature, body, headers, variables)
        digest = hashlib.sha256(body).hexdigest()
        file = self.folder / f"{digest}{self.ending}"
        try:
            # discovery leaves out hidden files
            durable.write_new(file, body, hidden=_HIDDEN)
        except FileExistsError:
            if not file.is_file():
                # what is there is not this body, such as a file in place of the folder
                raise
            # whoever wrote it may not have synced its name yet
            durable.sync_folders(self.folder)
            return digest, False
        return digest, True


def inboxes(sources: Mapping[str, Source], environment: Environment) -> dict[str, Inbox]:
    """Return the inboxes of the sources that take requests. Raises ConfigError if the landing area is no folder."""
    return {
        name: Inbox(name, Path(environment.landing) / connection.path, receive, f".{connection.format.type}")
        for name, connection, receive in _receiving(sources, environment)
        if receive.uploads is None
    }


def uploads(sources: Mapping[str, Source], environment: Environment) -> dict[str, Uploads]:
    """Return the uploads of the sources that take pushed files. Raises ConfigError if the landing area is no folder."""
    landing = Path(environment.landing)
    return {
        name: Uploads.of(name, landing, landing / connection.path, receive, receive.uploads)
        for name, connection, receive in _receiving(sources, environment)
        if receive.uploads is not None
    }


def _receiving(
    sources: Mapping[str, Source], environment: Environment
) -> Iterator[tuple[str, FileConnection, Receive]]:
    for name, source in sources.items():
        connection = source.connection
        if not isinstance(connection, FileConnection) or connection.receive is None:
            continue
        if "://" in environment.landing:
            raise ConfigError(
                f"receiving requests for source {name!r}",
                received=f"DATAOPS_LANDING={environment.landing}",
                next_step="set DATAOPS_LANDING to a folder: a request is answered when it is on a disk",
            )
        yield name, connection, connection.receive


def _require_proof(declared: Signature, body: bytes, headers: Mapping[str, str], variables: Mapping[str, str]) -> None:
    """Raise InputError if the signature does not fit the body. The error shows no part of it, which may be secret."""
    given = headers.get(declared.header.lower(), "")
    secret = secret_of(declared.secret, variables) or ""
    if not given.startswith(declared.prefix):
        raise _not_proved(declared)
    text = given.removeprefix(declared.prefix)
    try:
        sent = bytes.fromhex(text) if declared.encoding == "hex" else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise _not_proved(declared) from None
    if not is_proved(secret, body, sent):
        raise _not_proved(declared)


def _not_proved(declared: Signature) -> InputError:
    return InputError(
        "proving who sent a request",
        received=f"no valid signature in the header {declared.header}",
        next_step="sign the body with the secret that the source refers to",
    )
