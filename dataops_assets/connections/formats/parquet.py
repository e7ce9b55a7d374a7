"""Parquet files as raw rows of typed fields."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

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
    alike: dict[str, list[RawFile]] = {}
    for file in files:
        try:
            schema = _schema(file)
        except InputError as error:
            reading.errors[file.input_id] = error
            continue
        reading.headers[file.input_id] = tuple(schema.names)
        alike.setdefault(schema.to_string(show_schema_metadata=False), []).append(file)
    for some in alike.values():
        header = reading.headers[some[0].input_id]
        try:
            reading.rows.append(_rows(staging, some, header, wanted))
        except (duckdb.Error, StorageError):
            # the engine does not say which file it could not read
            _read_alone(staging, some, header, wanted, reading)
    return reading


def _schema(file: RawFile) -> pa.Schema:
    with file.path.open("rb") as stream:
        kind = kind_of(stream.read(HEAD_BYTES))
    if kind != "parquet":
        raise file.refused(
            f"{kind or 'bytes of another kind'}, not Parquet",
            "correct format and compression, or deliver the right file",
        )
    try:
        return pq.read_schema(file.path)
    except (pa.ArrowException, OSError) as error:
        raise file.refused(f"damaged Parquet: {error}", _DELIVER_AGAIN) from error


def _read_alone(
    staging: Staging, files: Sequence[RawFile], header: Sequence[str], wanted: Wanted, reading: Reading
) -> None:
    for file in files:
        try:
            reading.rows.append(_rows(staging, [file], header, wanted))
        except (duckdb.Error, StorageError) as error:
            reading.errors[file.input_id] = file.refused(f"damaged Parquet: {error}", _DELIVER_AGAIN)


def _rows(staging: Staging, files: Sequence[RawFile], header: Sequence[str], wanted: Wanted) -> RawRows:
    one = query("SELECT * FROM read_parquet($paths, hive_partitioning = false)", paths=paths([files[0].path]))
    # the engine renames fields that differ only in case, but keeps their order
    described = list(staging.session.schema(one).items())
    places = [index for index, name in enumerate(header) if wanted.has(name)]
    fields = tuple(RawField(header[index], field_name(index), described[index][1]) for index in places)
    raw = staging.name()
    staging.session.create(
        raw,
        query(
            "SELECT s_file, file_row_number AS s_row_id, $fields FROM read_parquet($paths, file_row_number = true, "
            "filename = 's_file', hive_partitioning = false)",
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
