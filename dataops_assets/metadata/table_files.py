"""Writes a metadata table into a file of Parquet, which any engine can read whatever database holds the metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from dataops_assets.errors import ConfigError, nearest
from dataops_assets.metadata import tables
from dataops_assets.metadata.database import Database
from dataops_assets.metadata.tables import Json, Text, Timestamp

_BATCH = 10_000


def write_table(url: str, name: str, path: Path) -> bool:
    """Write all rows of a metadata table into the file `path`; return False if the database does not have it yet.

    Times are UTC, JSON is text. Raises ConfigError for a table that the metadata do not have, StorageError if the
    database cannot be read.
    """
    if name not in tables.metadata.tables:
        known = sorted(tables.metadata.tables)
        raise ConfigError("reading the metadata", received=f"table {name}", known=known, next_step=nearest(name, known))
    table = tables.metadata.tables[name]
    database = Database(url)
    if database.dialect == "sqlite" and database.state_of_file() == ():
        # a connection would make an empty file
        return False
    schema = pa.schema([pa.field(column.name, _type(column.type)) for column in table.columns])
    with database.read(f"reading the metadata table {name}") as connection:
        if not sa.inspect(connection).has_table(name):
            return False
        found = connection.execution_options(stream_results=True).execute(sa.select(table))
        with pq.ParquetWriter(path, schema) as writer:
            for rows in found.partitions(_BATCH):
                columns = zip(*rows, strict=True)
                arrays = [
                    pa.array(_values(values, column.type), field.type)
                    for values, field, column in zip(columns, schema, table.columns, strict=True)
                ]
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
    return True


def _type(declared: sa.types.TypeEngine[Any]) -> pa.DataType:
    if isinstance(declared, Timestamp):
        return pa.timestamp("us", tz="UTC")
    if isinstance(declared, sa.Boolean):
        return pa.bool_()
    if isinstance(declared, sa.Integer):
        return pa.int64()
    if isinstance(declared, sa.Float):
        return pa.float64()
    if isinstance(declared, (Text, Json)):
        return pa.string()
    if isinstance(declared, sa.LargeBinary):
        return pa.binary()
    raise NotImplementedError(f"a metadata column of the type {declared}")


def _values(values: Any, declared: sa.types.TypeEngine[Any]) -> list[Any]:
    if isinstance(declared, Json):
        return [None if value is None else json.dumps(value, ensure_ascii=False) for value in values]
    return list(values)
