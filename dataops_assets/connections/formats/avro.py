"""Reads Avro files as raw rows of typed fields. They are rewritten as Parquet, in batches."""

from __future__ import annotations

import itertools
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq

from dataops_assets.config.limits import Limits
from dataops_assets.connections.formats.rewritten_files import read_as_parquet, require_kind
from dataops_assets.connections.formats.staging import DELIVER_AGAIN, RawFile, Reading, Staging, Wanted

_ROWS_AT_ONCE = 10_000
_PLAIN = {
    "null": pa.null(),
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "bytes": pa.binary(),
    "string": pa.string(),
    "enum": pa.string(),
    "fixed": pa.binary(),
}
_LOGICAL = {
    ("int", "date"): pa.date32(),
    ("int", "time-millis"): pa.time32("ms"),
    ("long", "time-micros"): pa.time64("us"),
    ("long", "timestamp-millis"): pa.timestamp("ms", "UTC"),
    ("long", "timestamp-micros"): pa.timestamp("us", "UTC"),
    ("long", "local-timestamp-millis"): pa.timestamp("ms"),
    ("long", "local-timestamp-micros"): pa.timestamp("us"),
}


@dataclass(frozen=True)
class _Type:
    """The Arrow type of values of an Avro type, and what makes them of the values of the reader."""

    arrow: pa.DataType
    made: Callable[[Any], Any] = lambda value: value


def read_avro(staging: Staging, files: Sequence[RawFile], wanted: Wanted, limits: Limits) -> Reading:
    """Return the wanted fields of `files`; files that are damaged or no Avro get an InputError.

    A value of a union of several types is given as JSON text. The number of records of a file is that of its blocks.
    """
    return read_as_parquet(staging, files, avro_as_parquet, wanted, limits)


def avro_as_parquet(staging: Staging, file: RawFile) -> tuple[Path, int]:
    """Return the file rewritten as Parquet, and its number of records. Raises InputError for a damaged file."""
    require_kind(file, "Avro", "Avro")
    path = staging.path()
    try:
        with file.path.open("rb") as stream:
            reader = fastavro.reader(stream)
            row = _Types(file).of(reader.writer_schema)
            if not pa.types.is_struct(row.arrow):
                raise file.refused("values that are no records", "deliver records, each with its fields")
            schema = pa.schema(list(row.arrow))
            with pq.ParquetWriter(path, schema, compression="none") as writer:
                for batch in _batches(map(row.made, reader)):
                    writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))
        with file.path.open("rb") as stream:
            return path, sum(block.num_records for block in fastavro.block_reader(stream))
    except (pa.ArrowException, ArithmeticError, LookupError, OSError, TypeError, ValueError, zlib.error) as error:
        # all that the reader raises for bytes that do not follow their schema
        raise file.refused(f"damaged Avro: {error}", DELIVER_AGAIN) from error


def _batches(rows: Iterator[Any]) -> Iterator[list[Any]]:
    while batch := list(itertools.islice(rows, _ROWS_AT_ONCE)):
        yield batch


class _Types:
    """The types of a file's schema: named ones are known where they are used again."""

    def __init__(self, file: RawFile) -> None:
        self._file = file
        self._named: dict[str, Mapping[str, Any]] = {}
        self._open: list[str] = []

    def of(self, schema: Any) -> _Type:
        """Return the type of values of a schema. Raises InputError for a type that contains itself."""
        if isinstance(schema, list):
            return self._of_union(schema)
        if isinstance(schema, str):
            return self._of_named(schema) if schema in self._named else _Type(_PLAIN[schema])
        kind = schema["type"]
        if not isinstance(kind, str):
            return self.of(kind)
        if "name" in schema:
            self._named[schema["name"]] = schema
        if kind in ("record", "error"):
            return self._of_record(schema)
        if kind == "array":
            inner = self.of(schema["items"])
            return _Type(pa.list_(inner.arrow), lambda value: [inner.made(item) for item in value])
        if kind == "map":
            inner = self.of(schema["values"])
            return _Type(
                pa.map_(pa.string(), inner.arrow),
                lambda value: [(key, inner.made(item)) for key, item in value.items()],
            )
        return _plain(kind, schema)

    def _of_named(self, name: str) -> _Type:
        if name in self._open:
            raise self._file.refused(f"the type {name!r}, which contains itself", "deliver records without it")
        return self.of(self._named[name])

    def _of_record(self, schema: Mapping[str, Any]) -> _Type:
        self._open.append(schema["name"])
        fields = {item["name"]: self.of(item["type"]) for item in schema["fields"]}
        self._open.pop()
        return _Type(
            pa.struct([pa.field(name, item.arrow) for name, item in fields.items()]),
            lambda value: {name: _or_null(item, value[name]) for name, item in fields.items()},
        )

    def _of_union(self, schema: Sequence[Any]) -> _Type:
        others = [item for item in schema if item != "null"]
        if len(others) == 1:
            inner = self.of(others[0])
            return _Type(inner.arrow, lambda value: _or_null(inner, value))
        if not others:
            return _Type(pa.null())
        for item in others:
            self.of(item)
        return _Type(pa.string(), lambda value: None if value is None else json.dumps(value, default=str))


def _or_null(kind: _Type, value: Any) -> Any:
    return None if value is None else kind.made(value)


def _plain(kind: str, schema: Mapping[str, Any]) -> _Type:
    logical = schema.get("logicalType", "")
    if logical == "decimal" and kind in ("bytes", "fixed"):
        precision = schema["precision"]
        make = pa.decimal128 if precision <= 38 else pa.decimal256
        return _Type(make(precision, schema.get("scale", 0)))
    if logical == "uuid" and kind in ("string", "fixed"):
        return _Type(pa.string(), str)
    return _Type(_LOGICAL.get((kind, logical), _PLAIN[kind]))
