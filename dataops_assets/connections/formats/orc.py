"""Reads ORC files as raw rows of typed fields. They are rewritten as Parquet, stripe by stripe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dataops_assets.config.limits import Limits
from dataops_assets.connections.formats.rewritten_files import read_as_parquet, require_kind
from dataops_assets.connections.formats.staging import DELIVER_AGAIN, RawFile, Reading, Staging, Wanted


def read_orc(staging: Staging, files: Sequence[RawFile], wanted: Wanted, limits: Limits) -> Reading:
    """Return the wanted fields of `files`; files that are damaged or no ORC get an InputError.

    The number of records of a file is that of its footer.
    """
    return read_as_parquet(staging, files, orc_as_parquet, wanted, limits)


def orc_as_parquet(staging: Staging, file: RawFile) -> tuple[Path, int]:
    """Return the file rewritten as Parquet, and its number of records. Raises InputError for a damaged file."""
    # few sources have such files
    from pyarrow import orc

    require_kind(file, "ORC", "ORC")
    path = staging.path()
    try:
        opened = orc.ORCFile(file.path)
        with pq.ParquetWriter(path, opened.schema, compression="none") as writer:
            for stripe in range(opened.nstripes):
                writer.write_batch(opened.read_stripe(stripe))
        return path, opened.nrows
    except (pa.ArrowException, OSError) as error:
        raise file.refused(f"damaged ORC: {error}", DELIVER_AGAIN) from error
