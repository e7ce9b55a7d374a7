"""Compares the bytes of an input with its manifest, and reads the totals of its records from the manifest."""

from __future__ import annotations

from dataops_assets.config.connection import FileConnection
from dataops_assets.config.source import Source
from dataops_assets.config.text_lines import ROWS
from dataops_assets.connections.file_manifests import values_in
from dataops_assets.connections.formats.staging import ControlTotal
from dataops_assets.errors import InputError
from dataops_assets.report import Input

_PLACE = "the manifest"


def tells_no_records(source: Source, item: Input) -> bool:
    """Return whether the manifest of an input says that it has 0 records; then an empty file is correct."""
    try:
        totals = told_totals(source, item)
    except InputError:
        return False
    return any(total.name == ROWS and total.text.strip() == "0" for total in totals)


def told_totals(source: Source, item: Input) -> tuple[ControlTotal, ...]:
    """Return the totals of the records from the manifest of an input; none if none are declared.

    Raises InputError for a manifest that does not tell what is declared, and for another size or digest of the bytes.
    """
    declared = source.connection.manifest if isinstance(source.connection, FileConnection) else None
    if declared is None:
        return ()
    totals = {ROWS: declared.rows, **declared.sums}
    wanted = [name for name in (*totals.values(), declared.size, declared.sha256) if name]
    attempted = f"reading the manifest of {item.origin.rpartition('/')[2]}"
    again = "deliver the file again with its manifest, or correct connection.manifest"
    try:
        found = values_in(item.manifest, wanted)
    except ValueError as error:
        raise InputError(attempted, received=f"no JSON object: {error}", next_step=again) from error
    if absent := [name for name in wanted if name not in found]:
        raise InputError(attempted, received=f"no number or text at {', '.join(absent)}", next_step=again)
    told_size, told_digest = found.get(declared.size, str(item.size)), found.get(declared.sha256, item.digest)
    if told_size.strip() != str(item.size) or told_digest.strip().lower() != item.digest:
        received = (
            f"{item.size:,} bytes with the SHA-256 {item.digest}, where it tells {told_size} bytes and {told_digest}"
        )
        raise InputError(attempted, received=received, next_step="the file was cut off or changed: deliver it again")
    return tuple(ControlTotal(name, found[place], _PLACE, ".", "") for name, place in totals.items() if place)
