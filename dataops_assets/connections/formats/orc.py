"""Reads ORC files as raw rows of typed fields. They are rewritten as Parquet, stripe by stripe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq

from dataops_assets.config.limits import Limits
from dataops_assets.connections.formats.isolated_input import attempt
from dataops_assets.connections.formats.parquet import read_parquet
from dataops_assets.connections.formats.signatures import HEAD_BYTES, kind_of
from dataops_assets.connections.formats.staging import RawFile, Reading, Staging, Wanted
from dataops_assets.errors import DataOpsError

_DELIVER_AGAIN = "the file is damaged or incomplete: deliver it again"


def read_orc(staging: Staging, files: Sequence[RawFile], wanted: Wanted, limits: Limits) -> Reading:
    """Return the wanted fields of `files`; files that are damaged or no ORC get an InputError.

    The number of records of a file is that of its footer.
    """
    errors: dict[str, DataOpsError] = {}
    records: dict[str, int] = {}
    rewritten = []
    for file in files:
        found = attempt(file.name, _rewritten, staging, file)
        if isinstance(found, DataOpsError):
            errors[file.input_id] = found
            continue
        same, records[file.input_id] = found
        rewritten.append(same)
    reading = read_parquet(staging, rewritten, wanted, limits)
    reading.records = {input_id: records[input_id] for input_id in reading.records}
    reading.errors |= errors
    return reading


def _rewritten(staging: Staging, file: RawFile) -> tuple[RawFile, int]:
    # few sources have such files
    from pyarrow import orc

    with file.path.open("rb") as stream:
        kind = kind_of(stream.read(HEAD_BYTES))
    if kind != "ORC":
        raise file.refused(
            f"{kind or 'bytes of another kind'}, not ORC",
            "correct format and compression, or deliver the right file",
        )
    path = staging.path()
    try:
        opened = orc.ORCFile(file.path)
        with pq.ParquetWriter(path, opened.schema, compression="none") as writer:
            for stripe in range(opened.nstripes):
                writer.write_batch(opened.read_stripe(stripe))
        return replace(file, path=path), opened.nrows
    except (pa.ArrowException, OSError) as error:
        raise file.refused(f"damaged ORC: {error}", _DELIVER_AGAIN) from error
