"""Recognizes the kind of a file by its first bytes, so that the error names the wrong kind of file."""

from __future__ import annotations

HEAD_BYTES = 4096

_STARTS = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"PAR1", "parquet"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF-", "a PDF document"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old (.xls) or encrypted Excel workbook"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
    (b"Rar!\x1a\x07", "RAR"),
    (b"\x7fELF", "a program"),
    (b"SQLite format 3\x00", "a SQLite database"),
    (b"ORC", "ORC"),
    (b"Obj\x01", "Avro"),
    (b"age-encryption.org/v1\n", "age"),
    (b"-----BEGIN AGE ENCRYPTED FILE-----", "age"),
)
_MARKUP = (b"<!doctype html", b"<html")


def kind_of(head: bytes) -> str:
    """Return the kind of a file by its signature ('gzip', 'parquet', 'a PNG image', ...); '' for any text.

    Three bytes of a text can be equal to a signature. So ORC and bzip2 are recognized only if bytes follow that no text
    has.
    """
    for start, kind in _STARTS:
        if head.startswith(start) and (len(start) > 3 or kind in ("gzip", "a JPEG image") or _is_binary(head)):
            return kind
    if head.lstrip().lower().startswith(_MARKUP):
        return "an HTML page"
    return ""


def _is_binary(head: bytes) -> bool:
    return any(byte < 9 for byte in head)
