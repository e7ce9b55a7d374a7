"""Writes Avro files and reads them back. Its library is imported only where such a file is written."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import fastavro
import pyarrow as pa
from sqlglot import exp

from dataops_assets.engines.duckdb import DuckDBSession
from dataops_assets.errors import InputError
from dataops_assets.sql import alias, column, query

_PORTION = 10_000
_CODECS = {"none": "null", "gzip": "deflate", "zstd": "zstandard"}
_INSTANT = ({"type": "long", "logicalType": "timestamp-micros"}, pa.timestamp("us", "UTC"))
# the type in Avro and the type of what its reader gives; all other types are texts
_TYPES: Mapping[str, tuple[Any, pa.DataType]] = {
    "BOOLEAN": ("boolean", pa.bool_()),
    "INTEGER": ("int", pa.int32()),
    "BIGINT": ("long", pa.int64()),
    "DOUBLE": ("double", pa.float64()),
    "BLOB": ("bytes", pa.binary()),
    "DATE": ({"type": "int", "logicalType": "date"}, pa.date32()),
    "TIMESTAMP": ({"type": "long", "logicalType": "local-timestamp-micros"}, pa.timestamp("us")),
    "TIMESTAMPTZ": _INSTANT,
    "TIMESTAMP WITH TIME ZONE": _INSTANT,
}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DECIMAL = re.compile(r"DECIMAL\((\d+), ?(\d+)\)")


def write_avro(
    session: DuckDBSession,
    rows: exp.Query,
    types: Mapping[str, str],
    compression: Literal["none", "gzip", "zstd"],
    path: Path,
) -> None:
    """Write rows as one file of records, each column a union with null. Raises InputError for a name Avro has not."""
    schema = schema_of(types)
    values = avro_values(types)
    found = query("SELECT $values FROM $rows AS t", values=values, rows=rows)
    records = itertools.chain.from_iterable(
        batch.to_pylist() for batch in session.execute(found).to_arrow_reader(_PORTION)
    )
    # the same rows give the same bytes
    marker = hashlib.md5(json.dumps(schema).encode(), usedforsecurity=False).digest()
    with path.open("wb") as out:
        fastavro.writer(out, schema, records, codec=_CODECS[compression], sync_marker=marker)


def schema_of(types: Mapping[str, str]) -> dict[str, Any]:
    """Return the schema of rows: each column is a union with null. Raises InputError for a name Avro has not."""
    for name in types:
        if not _NAME.fullmatch(name):
            raise InputError(
                f"writing column {name!r} as Avro",
                received="a name with characters other than letters, digits and _",
                next_step="give the column another name in the output; nothing was delivered",
            )
    fields = [{"name": name, "type": ["null", _type(kind)[0]], "default": None} for name, kind in types.items()]
    return {"type": "record", "name": "row", "fields": fields}


def avro_values(types: Mapping[str, str]) -> list[exp.Expr]:
    """Return the values of rows `t` as a writer of Avro takes them."""
    return [
        alias(exp.cast(column(name, "t"), "VARCHAR") if _is_text(kind) else column(name, "t"), name)
        for name, kind in types.items()
    ]


def rows_of_avro(path: Path, types: Mapping[str, str]) -> Iterator[pa.Table]:
    """Yield the rows of a file in portions, as its reader gives them."""
    schema = pa.schema([(name, _type(kind)[1]) for name, kind in types.items()])
    with path.open("rb") as stream:
        records = fastavro.reader(stream)
        while portion := list(itertools.islice(records, _PORTION)):
            yield pa.Table.from_pylist(portion, schema=schema)


def _type(kind: str) -> tuple[Any, pa.DataType]:
    if found := _DECIMAL.fullmatch(kind):
        precision, scale = map(int, found.groups())
        declared = {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale}
        return declared, pa.decimal128(precision, scale)
    return _TYPES.get(kind, ("string", pa.string()))


def _is_text(kind: str) -> bool:
    return kind not in _TYPES and not _DECIMAL.fullmatch(kind)
