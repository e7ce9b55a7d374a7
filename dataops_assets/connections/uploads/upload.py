"""An upload: one version of one file, as its sender announces it in the headers of each request.

Each request is complete in itself, so the receiver stores no record of an upload that is under way: its bytes say how
far it is. The address of an upload follows from what is announced.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

from dataops_assets.connections.names import unfinished
from dataops_assets.errors import InputError

NAME, LENGTH, MODIFIED, DIGEST = "upload-name", "upload-length", "upload-modified", "repr-digest"
OFFSET, COMPLETE, CONTENT_DIGEST = "upload-offset", "upload-complete", "content-digest"
LIMIT, RECEIPT = "upload-limit", "upload-receipt"
"""Headers. Those of offset, length, completeness and limit are of the IETF draft 'Resumable Uploads for HTTP', the
digests of RFC 9530."""
YES, NO = "?1", "?0"
MOST_PART = 8 << 20
"""Most bytes of one part: both sides hold one in memory."""

_MOST_NAME = 1000
_MOST_OF_PART = 240
# what Windows refuses in names, and slashes of the wrong kind
_SIGNS = re.compile(r'[\\<>:"|?*]')
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)\s*(\..*)?", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]{1,18}")
_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/]{43}=):")
_LAST = dt.datetime(9999, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True)
class Upload:
    """One version of one file.

    `name` is its path below the folder, with '/'; `length` is in bytes, `modified` in microseconds since 1970 in UTC,
    and `digest` is the SHA-256 of its bytes in hex.
    """

    name: str
    length: int
    modified: int
    digest: str

    @property
    def id(self) -> str:
        """Return the last part of its address: another version of the file has another one."""
        announced = json.dumps([self.name, self.length, self.modified, self.digest])
        return hashlib.sha256(announced.encode()).hexdigest()

    @property
    def version(self) -> str:
        """Return a name for this version of the file, which no other has: its time, and a part of its id."""
        time = dt.datetime.fromtimestamp(0, dt.UTC) + dt.timedelta(microseconds=self.modified)
        return f"{time:%Y%m%dT%H%M%S.%f}_{self.id[:16]}"

    def headers(self) -> dict[str, str]:
        """Return the headers that announce it."""
        return {
            NAME: quote(self.name, safe="/"),
            LENGTH: str(self.length),
            MODIFIED: str(self.modified),
            DIGEST: digest_field(bytes.fromhex(self.digest)),
        }


def upload_of(headers: Mapping[str, str]) -> Upload:
    """Return the announced upload; `headers` are asked by names in small letters. Raises InputError."""
    written = headers.get(NAME, "")
    try:
        name = unquote(written, errors="strict")
    except UnicodeDecodeError:
        name = ""
    if quote(name, safe="/") != written:
        raise _not_announced(NAME, "the name in UTF-8, percent-encoded")
    if reason := why_refused(name):
        raise InputError(f"taking the file {name!r}", received=reason, next_step="rename the file")
    modified = number_in(headers, MODIFIED)
    if modified >= _LAST.timestamp() * 1e6:
        raise _not_announced(MODIFIED, "microseconds since 1970, before the year 9999")
    return Upload(name, number_in(headers, LENGTH), modified, digest_in(headers, DIGEST).hex())


def why_refused(name: str) -> str:
    """Return why a file of this name is not taken; empty if it is.

    A name is a path below a folder, valid on Linux and on Windows. No look takes hidden and unfinished files, so these
    are refused, too.
    """
    if len(name.encode("utf-8", "surrogatepass")) > _MOST_NAME:
        return f"its name has more than {_MOST_NAME:,} bytes"
    for part in name.split("/"):
        if reason := _why_part_refused(part):
            return reason
    return ""


def _why_part_refused(part: str) -> str:
    if part in ("", ".", ".."):
        return "it is no path below the folder: a part of it is empty, '.' or '..'"
    if any(unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") for sign in part):
        return "its name has control characters, or is not UTF-8"
    if found := _SIGNS.search(part):
        return f"its name has {found[0]!r}, which is no sign of a name on Windows"
    if _DEVICE.fullmatch(part):
        return f"{part!r} is the name of a device on Windows"
    if part != part.strip(" ") or part.endswith("."):
        return f"{part!r} begins or ends with a blank, or ends with a dot"
    if len(part.encode()) > _MOST_OF_PART:
        return f"a part of its name has more than {_MOST_OF_PART} bytes"
    return unfinished(part)


def number_in(headers: Mapping[str, str], name: str) -> int:
    """Return the number in a header. Raises InputError."""
    text = headers.get(name, "")
    if not _NUMBER.fullmatch(text):
        raise _not_announced(name, "a number")
    return int(text)


def digest_field(digest: bytes) -> str:
    """Return a SHA-256 as RFC 9530 writes it."""
    return f"sha-256=:{base64.b64encode(digest).decode()}:"


def digest_in(headers: Mapping[str, str], name: str) -> bytes:
    """Return the SHA-256 in a header. Raises InputError."""
    found = _DIGEST.fullmatch(headers.get(name, ""))
    if found is None:
        raise _not_announced(name, "sha-256=:base64:")
    return base64.b64decode(found[1])


def _not_announced(header: str, wanted: str) -> InputError:
    return InputError(
        "reading what a request announces",
        received=f"no valid header {header}",
        known=[wanted],
        next_step="send files with `dataops push` of the same version",
    )
