"""Decrypts files of age."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dataops_assets.connections.formats.signatures import HEAD_BYTES, kind_of
from dataops_assets.connections.formats.staging import DELIVER_AGAIN, RawFile
from dataops_assets.errors import ConfigError
from dataops_assets.masking import remember

Opens = Callable[[Path, Path], None]
"""Writes the content of an encrypted file to a new file."""
ENDING = ".age"
"""How the name of a file of age ends, after the ending of its compression."""


def decrypted(file: RawFile, opens: Opens, target: Path) -> RawFile:
    """Return the file decrypted, at `target`.

    Raises InputError for a file of another kind, for one that the secret does not open, and for damaged or incomplete
    bytes. No error shows the secret.
    """
    # few sources have such files
    import pyrage

    with file.path.open("rb") as stream:
        kind = kind_of(stream.read(HEAD_BYTES))
    if kind != "age":
        raise file.refused(
            f"{kind or 'bytes that are not encrypted'}, and not a file of age",
            "deliver it encrypted, or take encryption out of the connection",
        )
    try:
        opens(file.path, target)
    except pyrage.DecryptError as error:
        raise file.refused(
            f"a file of age that the secret does not open: {error}",
            "let the sender encrypt it for this secret, correct the secret of encryption, or deliver it again",
        ) from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise file.refused(f"a damaged or incomplete file of age: {error}", DELIVER_AGAIN) from error
    return replace(file, path=target)


def by_identity(identities: str) -> Opens:
    """Return what opens a file with secret keys, one on each line. Raises ConfigError for a secret that is no key."""
    keys = _keys(identities)

    def opens(path: Path, target: Path) -> None:
        import pyrage

        with path.open("rb") as stream, target.open("wb") as out:
            pyrage.decrypt_io(stream, out, keys)

    return opens


def by_passphrase(passphrase: str) -> Opens:
    """Return what opens a file with a passphrase."""

    def opens(path: Path, target: Path) -> None:
        import pyrage

        target.write_bytes(pyrage.passphrase.decrypt(path.read_bytes(), passphrase))

    return opens


def _keys(identities: str) -> Sequence[Any]:
    import pyrage

    lines = [line.strip() for line in identities.splitlines()]
    given = [line for line in lines if line and not line.startswith("#")]
    # each is a secret, besides the whole
    remember(given)
    try:
        found = [pyrage.x25519.Identity.from_str(line) for line in given]
    except pyrage.IdentityError:
        found = []
    if not found:
        raise ConfigError(
            "reading the secret of encryption.identity",
            received="a text that is no secret key of age",
            next_step="give the lines that age-keygen wrote (AGE-SECRET-KEY-1...)",
        )
    return found
