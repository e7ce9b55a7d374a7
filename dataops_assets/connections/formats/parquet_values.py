"""Rewrites Parquet values that the engine would read wrongly.

The engine reads decimals of more than 38 digits as doubles. It cuts the nanoseconds of INT96, of times in UTC and of
times of day. It reads a duration as a number, and adds its own column `file_row_number`. Files with such values are
rewritten by Arrow: the values become decimals and times if these are exact, and texts otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dataops_assets.connections.formats.json_text import json_text
from dataops_assets.connections.formats.staging import Staging, field_name

_MOST_DIGITS = 38
# how numbers that JSON does not know are written
_AS_THE_ENGINE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
_TEXTS = {name: f'"{name}"' for name in _AS_THE_ENGINE}
# the engine's own, in any case of letters
_TAKEN = "file_row_number"


def exact(staging: Staging, path: Path, schema: pa.Schema) -> Path:
    """Return a file with the same rows and columns that the engine reads correctly: usually `path` itself."""
    # beside it, an INT96 is of another unit
    with _opened(path, "us") as opened:
        in_micros = opened.schema_arrow
    doubtful = {
        place: item.type
        for place, item in enumerate(schema)
        if not item.type.equals(in_micros.field(place).type) or _is_doubtful(item.type)
    }
    kinds = {place: kind for place, kind in _kinds(path, doubtful).items() if not kind.equals(doubtful[place])}
    if not kinds and _TAKEN not in (name.lower() for name in schema.names):
        return path
    target = staging.path()
    names = [field_name(place) for place in range(len(schema))]
    types = [kinds.get(place, item.type) for place, item in enumerate(schema)]
    given = pa.schema(list(zip(names, types, strict=True)))
    with pq.ParquetWriter(target, given, compression="none") as writer:
        for whole, micros in _batches(path):
            columns = [
                _as(kinds[place], value, micros.column(place)) if place in kinds else value
                for place, value in enumerate(whole.columns)
            ]
            writer.write_batch(pa.record_batch(columns, schema=given))
    return target


def rows_as_json(path: Path) -> Iterator[str]:
    """Yield each row of a file as a JSON object, digit for digit; a number that JSON does not know is a text."""
    with pq.ParquetFile(path) as opened:
        names = [json_text(name) for name in opened.schema_arrow.names]
        for batch in opened.iter_batches():
            for row in zip(*batch.columns, strict=True) if names else ():
                members = (f"{name}:{_json(item, _TEXTS)}" for name, item in zip(names, row, strict=True))
                yield "{" + ",".join(members) + "}"


def _opened(path: Path, unit: str) -> pq.ParquetFile:
    return pq.ParquetFile(path, coerce_int96_timestamp_unit=unit)


def _batches(path: Path) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
    """Yield the rows in batches, each twice: with INT96 as nanoseconds and with INT96 as microseconds."""
    with _opened(path, "ns") as whole, _opened(path, "us") as micros:
        yield from zip(whole.iter_batches(), micros.iter_batches(), strict=True)


def _is_doubtful(kind: pa.DataType) -> bool:
    if pa.types.is_nested(kind):
        return any(_is_doubtful(kind.field(place).type) for place in range(kind.num_fields))
    return (
        pa.types.is_decimal256(kind)
        or pa.types.is_duration(kind)
        or (pa.types.is_timestamp(kind) and kind.unit == "ns" and kind.tz is not None)
        or (pa.types.is_time64(kind) and kind.unit == "ns")
    )


def _kinds(path: Path, doubtful: Mapping[int, pa.DataType]) -> dict[int, pa.DataType]:
    """Return the type in which the engine gets each doubtful column: its own type if the engine reads it correctly."""
    found = dict(doubtful)
    for place, kind in doubtful.items():
        if pa.types.is_nested(kind) or pa.types.is_duration(kind):
            found[place] = pa.string()
        elif pa.types.is_decimal(kind):
            found[place] = pa.decimal128(_MOST_DIGITS, min(kind.scale, _MOST_DIGITS))
    for whole, micros in _batches(path) if doubtful else ():
        for place, kind in found.items():
            if not pa.types.is_string(kind) and not _is_exact(whole.column(place), micros.column(place), kind):
                found[place] = pa.string()
    return found


def _is_exact(value: pa.Array, micros: pa.Array, kind: pa.DataType) -> bool:
    if pa.types.is_decimal(kind):
        try:
            value.cast(kind)
        except pa.ArrowInvalid:
            return False
        return True
    if pa.types.is_time(kind):
        return _are_zero(_remainder(value))
    return _are_zero(_below_micros(value, micros))


def _remainder(value: pa.Array) -> pa.Array:
    whole = value.cast(pa.int64())
    return pc.subtract(whole, pc.multiply(pc.divide(whole, 1000), 1000))


def _below_micros(value: pa.Array, micros: pa.Array) -> pa.Array:
    """Return the nanoseconds below a microsecond.

    Nanoseconds of a year beyond 64 bits overflow. The product overflows in the same way, so the difference is right.
    """
    if micros.type.unit == "ns":
        micros = pc.floor_temporal(value.cast(pa.timestamp("ns")), unit="microsecond").cast(pa.timestamp("us"))
    return pc.subtract(value.cast(pa.int64()), pc.multiply(micros.cast(pa.int64()), 1000))


def _are_zero(numbers: pa.Array) -> bool:
    return not pc.any(pc.not_equal(numbers, 0)).as_py()


def _as(kind: pa.DataType, value: pa.Array, micros: pa.Array) -> pa.Array:
    if not pa.types.is_string(kind):
        return value.cast(kind)
    if pa.types.is_nested(value.type):
        return pa.array([_json(item) if item.is_valid else None for item in value], pa.string())
    if pa.types.is_duration(value.type):
        return pc.binary_join_element_wise(value.cast(pa.int64()).cast(pa.string()), value.type.unit, " ")
    if not pa.types.is_timestamp(value.type):
        return value.cast(pa.string())
    nanos = pc.utf8_lpad(_below_micros(value, micros).cast(pa.string()), 3, "0")
    if micros.type.unit == "ns":
        micros = pc.floor_temporal(value.cast(pa.timestamp("ns")), unit="microsecond").cast(pa.timestamp("us"))
    # the seconds have their six digits already
    text = pc.strftime(micros.cast(pa.timestamp("us")), "%Y-%m-%d %H:%M:%S")
    return pc.binary_join_element_wise(text, nanos, "" if value.type.tz is None else "Z", "")


def _json(item: pa.Scalar[Any], odd: Mapping[str, str] = _AS_THE_ENGINE) -> str:
    """Return a value inside a nested one as JSON text; `as_py` would cut nanoseconds and write a map as a list.

    `odd` says how to write the numbers that JSON does not know.
    """
    kind = item.type
    if not item.is_valid:
        return "null"
    if isinstance(item, pa.MapScalar):
        entries = (item.values[place] for place in range(len(item)))
        return "{" + ",".join(f"{_name(entry[0])}:{_json(entry[1], odd)}" for entry in entries) + "}"
    if isinstance(item, pa.StructScalar):
        members = (f"{json_text(kind.field(place).name)}:{_json(item[place], odd)}" for place in range(kind.num_fields))
        return "{" + ",".join(members) + "}"
    if pa.types.is_nested(kind):
        return "[" + ",".join(_json(one, odd) for one in item.values) + "]"
    if pa.types.is_time64(kind) or pa.types.is_duration(kind):
        return json_text(_as(pa.string(), pa.array([item], kind), pa.array([item], kind))[0].as_py())
    if pa.types.is_floating(kind) and not math.isfinite(item.as_py()):
        return odd[str(item.as_py())]
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return json_text("".join(chr(one) if 32 <= one < 127 else f"\\x{one:02X}" for one in item.as_py()))
    return json_text(item.as_py())


def _name(key: pa.Scalar[Any]) -> str:
    """Return the key of a map as the name of a member."""
    text = _json(key)
    return text if text.startswith('"') else json_text(text)
