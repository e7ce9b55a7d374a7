"""Checks of an input's bytes before they are parsed: size, kind of file, length of lines."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dataops_assets.config.connection import FileConnection
from dataops_assets.config.quality import Checks
from dataops_assets.connections.formats.compression import Compression, NotReadable, chunks_of, compression_of
from dataops_assets.connections.formats.pgp import is_pgp
from dataops_assets.connections.formats.signatures import kind_of
from dataops_assets.profiles import HOURS, ColumnProfile, Profile
from dataops_assets.quality.checks import distribution, volume
from dataops_assets.quality.control.verdicts import Judgement
from dataops_assets.report import CheckOutcome

_SAMPLE = 1 << 18
_SIGNATURES = {
    "parquet": "parquet",
    "orc": "ORC",
    "avro": "Avro",
    "excel": "zip",
    "age": "age",
    "zip": "zip",
    "pgp": "pgp",
}


@dataclass(frozen=True)
class RawKind:
    """The signatures of compression and content ('' for text), and the declared ones."""

    compression: str
    content: str
    declared_compression: Compression
    declared_content: str

    @property
    def is_as_declared(self) -> bool:
        """Whether the signatures fit the declared format and compression."""
        expected = _SIGNATURES.get(self.declared_content, "")
        return self.compression == self.declared_compression and self.content == expected

    def __str__(self) -> str:
        content = self.content or "text"
        return content if self.compression == "none" else f"{content} in {self.compression}"


def raw_profile(
    asset: str, input_id: str, path: Path, name: str, connection: FileConnection
) -> tuple[Profile, RawKind]:
    """Return profile and kind of an input's bytes. Reads the start of the file only.

    A raw profile's `rows` are bytes. Its one column, for text, is `line`, whose mean is the length of a line in bytes,
    uncompressed, over the first quarter of a megabyte. An encrypted file has no column.
    """
    declared = compression_of(name, connection.compression)
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(_SAMPLE)
    found = kind_of(head)
    if connection.encryption is not None:
        # what is inside is known to nobody but the parser
        declared_kind = connection.encryption.type
        # the first byte of a file of PGP can also start a text, so PGP is looked for only where it is declared
        found = "pgp" if declared_kind == "pgp" and is_pgp(head) else found
        return Profile(asset, input_id, size, ()), RawKind("none", found, "none", declared_kind)
    is_compressed = declared != "none" and found == declared
    content = _start(path, declared) if is_compressed else head
    kind = RawKind(declared if is_compressed else "none", kind_of(content), declared, connection.format.type)
    columns = () if kind.content or not content else (_line(content),)
    return Profile(asset, input_id, size, columns), kind


def with_arrival(profile: Profile, extract_time: dt.datetime, arrival: dt.datetime) -> Profile:
    """Return the profile of an input's bytes with the hours from its extract time to its arrival."""
    hours = (arrival - extract_time) / dt.timedelta(hours=1)
    return replace(profile, columns=(*profile.columns, ColumnProfile("arrival", HOURS, 0, 0, None, None, hours, None)))


def raw_outcomes(
    profile: Profile, kind: RawKind, earlier: Sequence[Profile], checks: Checks, judgement: Judgement | None = None
) -> tuple[CheckOutcome, ...]:
    """Check volume (bytes), schema (kind of file) and distribution (length of a line) of an input's bytes."""
    outcomes = []
    if checks.volume.enabled:
        # declared limits are numbers of rows
        bytes_check = checks.volume.model_copy(update={"min_rows": 1, "max_rows": None})
        outcomes.append(volume(profile, earlier, bytes_check, "bytes", judgement))
    if checks.table_schema.enabled:
        declared = f"{kind.declared_content}, compression {kind.declared_compression}"
        outcomes.append(
            CheckOutcome(
                profile.asset,
                "schema",
                kind.is_as_declared,
                checks.table_schema.severity,
                f"{kind}, declared as {declared}",
                profile.input_id or None,
                {"found": str(kind), "declared": declared},
            )
        )
    if checks.distribution.enabled:
        lines = checks.distribution.model_copy(update={"ignore": ()})
        outcomes.append(distribution(profile, earlier, lines, judgement))
    return tuple(outcomes)


def _start(path: Path, compression: Compression) -> bytes:
    """Return the start of the uncompressed bytes; if they are damaged, what was read before that."""
    content = b""
    try:
        with path.open("rb") as stream:
            for chunk in chunks_of(stream, compression):
                content += chunk
                if len(content) >= _SAMPLE // 8:
                    break
    except NotReadable:
        # the parser stops such an input
        pass
    return content[: _SAMPLE // 8]


def _line(content: bytes) -> ColumnProfile:
    lines = max(1, content.count(b"\n"))
    return ColumnProfile("line", "bytes", 0, 0, None, None, len(content) / lines, None)
