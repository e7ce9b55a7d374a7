"""Reads size, rows and statistics of the files that Spark wrote from their footers, for the log of a table."""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import obstore
import pyarrow as pa
import pyarrow.parquet as pq
from obstore.exceptions import BaseError

from dataops_assets.errors import StorageError
from dataops_assets.storage import log
from dataops_assets.storage.delta import DataFile
from dataops_assets.storage.objects import Folder, StoredObject, is_remote, open_store

_STATS_TEXT_LIMIT = 64
_USUAL_FOOTER = 64 * 1024
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def written_files(uri: str, folder: str, types: Mapping[str, str]) -> list[DataFile]:
    """List the Parquet files with rows in `folder` below `uri`; `types` are the SQL types by column.

    Raises StorageError where they cannot be read.
    """
    place = Folder(f"{uri}/{folder}")
    found = []
    for item in place.objects():
        if not item.path.endswith(".parquet"):
            continue
        footer = _footer(place.uri, item)
        if footer.num_rows:
            found.append(DataFile(f"{folder}/{item.path}", item.size, footer.num_rows, _stats(footer, types)))
    return found


def _footer(uri: str, item: StoredObject) -> pq.FileMetaData:
    if not is_remote(uri):
        return pq.read_metadata(Path(uri, item.path))
    end = _end(uri, item, _USUAL_FOOTER)
    # a file ends with the length of its footer and a mark of four bytes
    needed = int.from_bytes(end[-8:-4], "little") + 8
    return pq.read_metadata(pa.BufferReader(end if needed <= len(end) else _end(uri, item, needed)))


def _end(uri: str, item: StoredObject, length: int) -> bytes:
    """Return the last bytes of an object."""
    try:
        found = obstore.get_range(open_store(uri), item.path, start=max(item.size - length, 0), end=item.size)
    except (BaseError, OSError) as error:
        raise StorageError(
            f"reading the end of {uri}/{item.path}",
            received=str(error).split("\n")[0],
            next_step="check that the store is there, then run again; the last published version is untouched",
        ) from error
    return found.to_bytes()


def _stats(footer: pq.FileMetaData, types: Mapping[str, str]) -> dict[str, Any]:
    """Return the Delta statistics object: bounds if all row groups have them and pruning by them is safe."""
    stats: dict[str, dict[str, Any]] = {"minValues": {}, "maxValues": {}, "nullCount": {}}
    groups = [footer.row_group(index) for index in range(footer.num_row_groups)]
    for place, name in enumerate(footer.schema.names):
        told = [group.column(place).statistics for group in groups]
        if any(item is None or not item.has_null_count for item in told):
            continue
        stats["nullCount"][name] = sum(item.null_count for item in told)
        # a row group of only nulls has no bounds
        bounded = [item for item, group in zip(told, groups, strict=True) if item.null_count < group.num_rows]
        if not bounded or not all(item.has_min_max for item in bounded):
            continue
        low = _bound(min(item.min for item in bounded), types.get(name, ""))
        high = _bound(max(item.max for item in bounded), types.get(name, ""))
        if low is not None and high is not None:
            stats["minValues"][name], stats["maxValues"][name] = low, high
    return stats


def _bound(value: Any, kind: str) -> Any:
    """Return a bound in Delta's form; None if pruning by it would not be safe."""
    if kind in ("BIGINT", "INTEGER", "SMALLINT", "TINYINT"):
        return int(value)
    if kind == "VARCHAR":
        return value if len(value) <= _STATS_TEXT_LIMIT else None
    if kind.startswith("DECIMAL") and isinstance(value, decimal.Decimal):
        return log.number(value)
    if kind == "DATE" and isinstance(value, dt.date):
        return value.isoformat()
    if kind == "TIMESTAMP" and isinstance(value, dt.datetime):
        return value.replace(tzinfo=None).isoformat(timespec="microseconds")
    if kind == "TIMESTAMP WITH TIME ZONE" and isinstance(value, dt.datetime):
        return value.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    return None
