"""Finds the manifest of a file by its name, and reads values of its JSON text.

The text of a manifest is a part of its input: it is recorded with the input and decides its id. So the file of the
manifest is read once, by the look that finds the input.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from dataops_assets.config.file_manifest import NAME, STEM, FileManifest
from dataops_assets.connections.content import Digests
from dataops_assets.connections.formats import compression, decryption, pgp
from dataops_assets.connections.formats.nested_names import parts_of
from dataops_assets.errors import InputError

MOST_BYTES = 1 << 20
_PACKED = re.compile(
    rf"(?:{'|'.join(map(re.escape, (*compression.ENDINGS, decryption.ENDING, *pgp.ENDINGS)))})+$", re.IGNORECASE
)
_NEXT = "deliver the manifest again, as a JSON object in UTF-8"


def manifest_of(declared: FileManifest, file: str) -> str:
    """Return the name of the manifest of the file with this name."""
    return declared.name.replace(STEM, os.path.splitext(_PACKED.sub("", file))[0] or file).replace(NAME, file)


def is_manifest(declared: FileManifest, name: str) -> bool:
    """Return whether a file with this name is the manifest of another file."""
    before, after = re.split("|".join(map(re.escape, (STEM, NAME))), declared.name)
    return len(name) > len(before) + len(after) and name.startswith(before) and name.endswith(after)


def with_manifest(digests: Digests, manifest: str) -> Digests:
    """Return the digests of a file with its manifest: with another manifest it is another input."""
    if not manifest:
        return digests
    told = hashlib.sha256(manifest.encode()).hexdigest()
    return replace(digests, content=hashlib.sha256(f"{digests.content}\n{told}".encode()).hexdigest())


def text_of(name: str, content: bytes) -> str:
    """Return the text of a manifest. Raises InputError if it is empty, too long, or no text."""
    if len(content) > MOST_BYTES:
        received = f"a manifest with more than {MOST_BYTES:,} bytes"
        raise InputError(f"reading {name}", received=received, next_step=_NEXT)
    try:
        # NUL is in no JSON text, and not every database stores it
        text = content.decode("utf-8-sig")
        if text.strip() and "\0" not in text:
            return text
        received = "a manifest without text"
    except UnicodeDecodeError as error:
        received = f"a manifest that is not UTF-8: {error.reason} at byte {error.start}"
    raise InputError(f"reading {name}", received=received, next_step=_NEXT)


def values_in(manifest: str, names: Iterable[str]) -> dict[str, str]:
    """Return the texts and numbers at these dotted names in a manifest, as they are written. Others are left out.

    Raises ValueError with the reason if the text is no JSON object.
    """
    try:
        document = json.loads(manifest, parse_int=str, parse_float=str, parse_constant=str)
    except RecursionError as error:
        raise ValueError("objects and lists that are too deep in one another") from error
    if not isinstance(document, Mapping):
        raise ValueError(f"a JSON {type(document).__name__}, and no object")
    found = ((name, _value_at(document, name)) for name in names)
    return {name: value for name, value in found if isinstance(value, str)}


def _value_at(document: Mapping[str, Any], name: str) -> Any:
    if name in document:
        return document[name]
    value: Any = document
    for part in parts_of(name):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
