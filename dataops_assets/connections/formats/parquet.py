"""Parquet files as raw rows of typed fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from dataops_assets.connections.formats.parquet_values import exact as exact_values
from dataops_assets.connections.formats.signatures import HEAD_BYTES, kind_of
from dataops_assets.connections.formats.staging import (
    RawField,
    RawFile,
    RawRows,
    Reading,
    Staging,
    Wanted,
    field_name,
    no_text,
    paths,
)
from dataops_assets.errors import InputError, StorageError
from dataops_assets.sql import alias, column, query, table

_DELIVER_AGAIN = "the file is damaged or incomplete: deliver it again"


def read_parquet(staging: Staging, files: Sequence[RawFile], wanted: Wanted) -> Reading:
    """The wanted fields of `files`; files that are damaged or no Parquet get an InputError."""
    reading = Reading()
    alike: dict[tuple[str, tuple[str, ...]], list[RawFile]] = {}
    for file in files:
        try:
            found = _looked_at(staging, file, wanted)
        except InputError as error:
            reading.errors[file.input_id] = error
            continue
        reading.headers[file.input_id] = found.header
        if found.layout:
            exact = replace(file, path=found.path)
            alike.setdefault((found.layout, found.header), []).append(exact)
    for some in alike.values():
        header = reading.headers[some[0].input_id]
        try:
            reading.rows.append(_rows(staging, some, header, wanted))
        except (duckdb.Error, StorageError):
            # the engine does not say which file it could not read
            _read_alone(staging, some, header, wanted, reading)
    return reading


class _File(NamedTuple):
    """What is known of a file: where the engine reads it, its columns, and how their values are stored.

    Only files that store their values alike are read together, because the engine reads all as it reads the first.
    """

    path: Path
    header: tuple[str, ...]
    layout: str


def _looked_at(staging: Staging, file: RawFile, wanted: Wanted) -> _File:
    with file.path.open("rb") as stream:
        kind = kind_of(stream.read(HEAD_BYTES))
    if kind != "parquet":
        raise file.refused(
            f"{kind or 'bytes of another kind'}, not Parquet",
            "correct format and compression, or deliver the right file",
        )
    try:
        with pq.ParquetFile(file.path) as opened:
            schema, rows = opened.schema_arrow, opened.metadata.num_rows
        if not schema.names:
            if rows:
                raise file.refused(f"{rows:,} rows without columns", _DELIVER_AGAIN)
            # a feed that had nothing to send, and so nothing to tell columns from
            return _File(file.path, tuple(wanted.names), "")
        path = exact_values(staging, file.path, schema)
        # without its first line, which is the name of the whole
        layout = str(pq.read_metadata(path).schema).partition("\n")[2]
    except (pa.ArrowException, OSError) as error:
        raise file.refused(f"damaged Parquet: {error}", _DELIVER_AGAIN) from error
    return _File(path, tuple(schema.names), layout)


def _read_alone(
    staging: Staging, files: Sequence[RawFile], header: Sequence[str], wanted: Wanted, reading: Reading
) -> None:
    for file in files:
        try:
            reading.rows.append(_rows(staging, [file], header, wanted))
        except (duckdb.Error, StorageError) as error:
            reading.errors[file.input_id] = file.refused(f"damaged Parquet: {error}", _DELIVER_AGAIN)


def _free_name(name: str, taken: Sequence[str]) -> str:
    """`name`, made longer until no column has it, in any case of letters."""
    others = {item.lower() for item in taken}
    while name in others:
        name += "_"
    return name


def _rows(staging: Staging, files: Sequence[RawFile], header: Sequence[str], wanted: Wanted) -> RawRows:
    one = query("SELECT * FROM read_parquet($paths, hive_partitioning = false)", paths=paths([files[0].path]))
    # the engine renames fields that differ only in case, but keeps their order
    described = list(staging.session.schema(one).items())
    places = [index for index, name in enumerate(header) if wanted.has(name)]
    fields = tuple(RawField(header[index], field_name(index), described[index][1]) for index in places)
    raw = staging.name()
    file_name = _free_name("s_file", header)
    staging.session.create(
        raw,
        query(
            "SELECT $file AS s_file, file_row_number AS s_row_id, $fields FROM read_parquet($paths, "
            "file_row_number = true, filename = $file_name, hive_partitioning = false)",
            file=column(file_name),
            file_name=file_name,
            fields=[alias(column(described[index][0]), field_name(index)) for index in places],
            paths=paths(file.path for file in files),
        ),
    )
    inputs = staging.register({file.path: (file.input_id,) for file in files})
    rows = query(
        "SELECT i.s_input_id, r.s_row_id, CAST(NULL AS BIGINT) AS s_line, $nothing, $fields FROM $raw AS r "
        "JOIN $inputs AS i ON i.s_file = r.s_file",
        nothing=[no_text("s_problem"), no_text("s_record")],
        fields=[column(item.column, "r") for item in fields],
        raw=table(raw),
        inputs=table(inputs),
    )
    return RawRows(tuple(file.input_id for file in files), fields, rows, is_typed=True)
