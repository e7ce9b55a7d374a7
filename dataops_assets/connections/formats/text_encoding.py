"""Converts text files of any encoding to UTF-8, which all readers of text read."""

from __future__ import annotations

import codecs

from dataops_assets.connections.formats.staging import RawFile, Staging
from dataops_assets.errors import ConfigError

_CHUNK = 8 << 20


def as_utf8(staging: Staging, file: RawFile, encoding: str) -> RawFile:
    """Return the file in UTF-8. A file declared as UTF-8 is not copied, and nobody has verified its bytes.

    Raises UnicodeError for bytes that are not of the encoding, ConfigError for one that Python does not know.
    """
    try:
        if codecs.lookup(encoding).name in ("utf-8", "utf-8-sig", "ascii"):
            return file
        target = staging.path()
        with (
            file.path.open(encoding=encoding, newline="") as stream,
            target.open("w", encoding="utf-8", newline="") as out,
        ):
            while text := stream.read(_CHUNK):
                out.write(text)
    except LookupError as error:
        raise ConfigError(
            "reading the format's encoding", received=repr(encoding), next_step="name an encoding that Python knows"
        ) from error
    return RawFile(file.input_id, file.name, target)


def undecodable(file: RawFile, encoding: str, error: UnicodeError) -> str:
    """Return the error for a file that is not in its declared encoding."""
    with file.path.open("rb") as stream:
        start = stream.read(2)
    if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return f"text in utf-16, not {encoding}"
    if isinstance(error, UnicodeDecodeError):
        return f"text that is not {encoding}: byte 0x{error.object[error.start]:02X} ({error.reason})"
    return f"text that is not {encoding}: {error}"
