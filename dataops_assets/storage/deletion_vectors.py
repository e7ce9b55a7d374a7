"""Deletion vectors of the Delta protocol: which rows of a data file are deleted.

Format: PROTOCOL.md of Delta Lake, "Deletion Vectors" (a 64-bit roaring bitmap in the portable layout behind a magic
number, stored in a file with a checksum). Row positions count from 0 within the data file.
"""

from __future__ import annotations

import base64
import struct
import uuid
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

from pyroaring import BitMap64

from dataops_assets.errors import StorageError
from dataops_assets.storage.objects import Folder

_MAGIC = 1681511377
_Z85 = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_B85 = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
_TO_Z85 = bytes.maketrans(_B85, _Z85)
_FROM_Z85 = bytes.maketrans(_Z85, _B85)
_UUID_TEXT = 20


def _z85_encode(data: bytes) -> str:
    return base64.b85encode(data).translate(_TO_Z85).decode("ascii")


def _z85_decode(text: str) -> bytes:
    return base64.b85decode(text.encode("ascii").translate(_FROM_Z85))


def _payload(positions: BitMap64) -> bytes:
    return struct.pack("<i", _MAGIC) + positions.serialize()


def write_all(folder: Folder, vectors: Mapping[str, Iterable[int]]) -> dict[str, dict[str, Any]]:
    """Write one file with a deletion vector per data file; the result maps each key to its Delta descriptor."""
    if not vectors:
        return {}
    name = uuid.uuid4()
    blob = bytearray(b"\x01")
    descriptors: dict[str, dict[str, Any]] = {}
    for key, positions in vectors.items():
        bitmap = positions if isinstance(positions, BitMap64) else BitMap64(positions)
        payload = _payload(bitmap)
        descriptors[key] = {
            "storageType": "u",
            "pathOrInlineDv": _z85_encode(name.bytes),
            "offset": len(blob),
            "sizeInBytes": len(payload),
            "cardinality": len(bitmap),
        }
        blob += struct.pack(">i", len(payload)) + payload + struct.pack(">I", zlib.crc32(payload))
    folder.create(f"deletion_vector_{name}.bin", bytes(blob))
    return descriptors


def path_of(descriptor: Mapping[str, Any]) -> str | None:
    """Return the path of a vector's file, relative to its table; None for an inline vector."""
    if descriptor["storageType"] != "u":
        return None
    text = descriptor["pathOrInlineDv"]
    prefix, encoded = text[:-_UUID_TEXT], text[-_UUID_TEXT:]
    name = f"deletion_vector_{uuid.UUID(bytes=_z85_decode(encoded))}.bin"
    return f"{prefix}/{name}" if prefix else name


def read(folder: Folder, descriptor: Mapping[str, Any]) -> BitMap64:
    """Return the deleted positions of a descriptor. Raises StorageError for a missing or damaged vector."""
    if descriptor["storageType"] == "i":
        payload = _z85_decode(descriptor["pathOrInlineDv"])[: descriptor["sizeInBytes"]]
    else:
        path = path_of(descriptor)
        blob = folder.read(path) if path else None
        if blob is None:
            raise StorageError(
                f"reading the deletion vector {path} of {folder.uri}",
                received="no such file",
                next_step="restore the file, or roll the table back to a version before it",
            )
        start = int(descriptor["offset"]) + 4
        payload = blob[start : start + descriptor["sizeInBytes"]]
        if zlib.crc32(payload).to_bytes(4, "big") != blob[start + len(payload) : start + len(payload) + 4]:
            raise StorageError(
                f"reading the deletion vector {path} of {folder.uri}",
                received="a wrong checksum: the file is damaged",
                next_step="restore the file, or make the table again from raw data: dataops doctor --repair",
            )
    return BitMap64.deserialize(payload[4:])
