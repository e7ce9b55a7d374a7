"""Reads files of a format through another one: each file is rewritten first, with a count of its records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from dataops_assets.config.limits import Limits
from dataops_assets.connections.formats.isolated_input import attempt
from dataops_assets.connections.formats.parquet import read_parquet
from dataops_assets.connections.formats.signatures import HEAD_BYTES, kind_of
from dataops_assets.connections.formats.staging import RawFile, Reading, Staging, Wanted
from dataops_assets.errors import DataOpsError


def read_rewritten(
    files: Sequence[RawFile],
    rewrite: Callable[[RawFile], tuple[Path, int]],
    read: Callable[[Sequence[RawFile]], Reading],
) -> Reading:
    """Rewrite each file, and read the new files. A file that cannot be rewritten gets the error that `rewrite` raises.

    `rewrite` returns the new file and the number of records of the old one, which is that of the reading.
    """
    errors: dict[str, DataOpsError] = {}
    records: dict[str, int] = {}
    rewritten = []
    for file in files:
        found = attempt(file.name, rewrite, file)
        if isinstance(found, DataOpsError):
            errors[file.input_id] = found
            continue
        path, records[file.input_id] = found
        rewritten.append(replace(file, path=path))
    reading = read(rewritten)
    reading.records = {input_id: records[input_id] for input_id in reading.records}
    reading.errors |= errors
    return reading


def read_as_parquet(
    staging: Staging,
    files: Sequence[RawFile],
    rewrite: Callable[[Staging, RawFile], tuple[Path, int]],
    wanted: Wanted,
    limits: Limits,
) -> Reading:
    """Return the wanted fields of `files`, each rewritten as Parquet; see `read_rewritten`."""
    return read_rewritten(
        files,
        lambda file: rewrite(staging, file),
        lambda rewritten: read_parquet(staging, rewritten, wanted, limits),
    )


def require_kind(file: RawFile, kind: str, name: str) -> None:
    """Raise InputError if the signature of a file is not `kind`; '' stands for text. `name` is that of the format."""
    with file.path.open("rb") as stream:
        found = kind_of(stream.read(HEAD_BYTES))
    if found != kind:
        raise file.refused(
            f"{found or 'bytes of another kind'}, not {name}",
            "correct format and compression, or deliver the right file",
        )
