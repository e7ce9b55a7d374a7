"""Decrypts files of PGP with the program gpg, which knows all keys and ciphers that are in use.

Each file has a key ring of its own, in a folder that is removed. Secrets reach the program by pipes, and are in no
argument and in no variable of a process.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from dataops_assets.connections.formats.staging import DELIVER_AGAIN, RawFile
from dataops_assets.errors import ConfigError

ENDINGS = (".pgp", ".gpg", ".asc")
"""How the names of such files end, after the ending of their compression."""
_STATUS = "[GNUPG:] "
_PACKETS = (1, 3)


def is_pgp(head: bytes) -> bool:
    """Return whether a file starts like an encrypted message of PGP: with its armor, or with an encrypted key."""
    if head.startswith(b"-----BEGIN PGP MESSAGE-----"):
        return True
    if not head or head[0] < 0x80:
        return False
    return (head[0] & 0x3F if head[0] & 0x40 else (head[0] >> 2) & 0xF) in _PACKETS


def decrypted_by_gpg(file: RawFile, keys: str, passphrase: str, target: Path, most: int) -> RawFile:
    """Return the file decrypted, at `target`, with at most `most` bytes.

    `keys` are secret keys as gpg exports them, and `passphrase` opens them; without keys it opens the file.

    Raises InputError for a file of another kind, for one that the secret does not open, and for damaged, incomplete or
    too large ones. Raises ConfigError if there is no gpg, and for a secret that has no key.
    """
    with _key_ring() as ring:
        if keys and "IMPORT_OK" not in _words(_gpg(ring, ("--import",), keys.encode())):
            raise ConfigError(
                "reading the secret of encryption.keys",
                received="a text that has no secret key of PGP",
                next_step="give what gpg --armor --export-secret-keys writes",
            )
        # the link of the input is followed here, because gpg reads the ending of a name
        source = os.path.realpath(file.path)
        opening = (
            "--skip-verify",
            "--passphrase-fd",
            "0",
            "--max-output",
            str(most),
            "--output",
            str(target),
            "--decrypt",
            source,
        )
        done = _gpg(ring, opening, f"{passphrase}\n".encode())
        words = _words(done)
    if done.returncode == 0 and "DECRYPTION_OKAY" in words:
        return replace(file, path=target)
    if words & {"DECRYPTION_KEY", "PLAINTEXT"}:
        raise file.refused(f"a damaged or incomplete file of PGP, or one with more than {most:,} bytes", DELIVER_AGAIN)
    if "BEGIN_DECRYPTION" in words:
        raise file.refused(
            "a file of PGP that the secret does not open, or a damaged one",
            "let the sender encrypt it for this secret, correct the secret of encryption, or deliver it again",
        )
    raise file.refused(
        "bytes that are not encrypted with PGP", "deliver it encrypted, or take encryption out of the connection"
    )


@contextlib.contextmanager
def _key_ring() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="gpg-", ignore_cleanup_errors=True) as ring:
        try:
            yield ring
        finally:
            # the agent that gpg starts for secret keys
            with contextlib.suppress(FileNotFoundError):
                _run(("gpgconf", "--homedir", ring, "--kill", "all"), b"")


def _gpg(ring: str, words: Sequence[str], given: bytes) -> subprocess.CompletedProcess[bytes]:
    """Run gpg, which says in status lines what it does. Raises ConfigError if it is not installed."""
    fixed = ("--batch", "--no-tty", "--no-options", "--no-auto-key-retrieve", "--pinentry-mode", "loopback")
    try:
        return _run(("gpg", "--homedir", ring, *fixed, "--status-fd", "2", *words), given)
    except FileNotFoundError as error:
        raise ConfigError(
            "decrypting files of PGP",
            received="the program gpg is not installed",
            next_step="install it (Debian: apt-get install gnupg)",
        ) from error


def _run(command: Sequence[str], given: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, input=given, capture_output=True, check=False)  # noqa: S603


def _words(done: subprocess.CompletedProcess[bytes]) -> set[str]:
    """Return the first words of the status lines."""
    told = done.stderr.decode("utf-8", "replace").splitlines()
    lines = (line.removeprefix(_STATUS).split() for line in told if line.startswith(_STATUS))
    return {words[0] for words in lines if words}
