"""Reads Parquet files as raw rows of typed fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from sqlglot import exp

from dataops_assets.config.limits import Limits
from dataops_assets.connections.formats.isolated_input import attempt
from dataops_assets.connections.formats.json_members import pointer
from dataops_assets.connections.formats.nested_names import joined, parents_of, parts_of
from dataops_assets.connections.formats.parquet_values import exact as exact_values
from dataops_assets.connections.formats.signatures import HEAD_BYTES, kind_of
from dataops_assets.connections.formats.staging import (
    DELIVER_AGAIN,
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
from dataops_assets.errors import DataOpsError
from dataops_assets.sql import alias, column, literal, query


def read_parquet(staging: Staging, files: Sequence[RawFile], wanted: Wanted, limits: Limits) -> Reading:
    """Return the wanted fields of `files`; files that are damaged or no Parquet get an InputError.

    The number of records of a file is that of its footer.
    """
    reading = Reading()
    alike: dict[tuple[str, tuple[str, ...]], list[RawFile]] = {}
    footers: dict[str, pq.FileMetaData] = {}
    for file in files:
        found = attempt(file.name, _looked_at, staging, file, wanted, limits)
        if isinstance(found, DataOpsError):
            reading.errors[file.input_id] = found
            continue
        reading.headers[file.input_id] = found.header
        reading.records[file.input_id] = found.footer.num_rows
        footers[file.input_id] = found.footer
        if found.layout:
            exact = replace(file, path=found.path)
            alike.setdefault((found.layout, found.names), []).append(exact)
    for (_, names), some in alike.items():
        _read_alike(staging, some, names, wanted, reading)
    for file in files:
        if file.input_id in footers and file.input_id not in reading.errors:
            held = attempt(file.name, _undeclared, staging, file, footers[file.input_id], wanted)
            if isinstance(held, DataOpsError):
                reading.errors[file.input_id] = held
            else:
                reading.undeclared[file.input_id] = held
    return reading


class _File(NamedTuple):
    """A file for the engine: its path, its columns, their names for the contract, their storage, and its footer.

    Only files that store their values in the same way are read together: the engine reads all files as it reads the
    first one.
    """

    path: Path
    names: tuple[str, ...]
    header: tuple[str, ...]
    layout: str
    footer: pq.FileMetaData


def rows_of_parquet(file: RawFile) -> int:
    """Return the number of rows that the footer of a file tells. Raises InputError for a damaged file."""
    try:
        return _opened(file)[1].num_rows
    except (pa.ArrowException, OSError) as error:
        raise file.refused(f"damaged Parquet: {error}", DELIVER_AGAIN) from error


def _opened(file: RawFile) -> tuple[pa.Schema, pq.FileMetaData]:
    with file.path.open("rb") as stream:
        kind = kind_of(stream.read(HEAD_BYTES))
    if kind != "parquet":
        raise file.refused(
            f"{kind or 'bytes of another kind'}, not Parquet",
            "correct format and compression, or deliver the right file",
        )
    with pq.ParquetFile(file.path) as opened:
        schema, footer = opened.schema_arrow, opened.metadata
    groups = sum(footer.row_group(index).num_rows for index in range(footer.num_row_groups))
    if groups != footer.num_rows:
        raise file.refused(
            f"damaged Parquet: {footer.num_rows:,} rows in all, {groups:,} in its row groups", DELIVER_AGAIN
        )
    return schema, footer


def _looked_at(staging: Staging, file: RawFile, wanted: Wanted, limits: Limits) -> _File:
    try:
        schema, footer = _opened(file)
        if len(schema.names) > limits.columns:
            raise file.refused(
                f"{len(schema.names):,} columns, more than limits.columns ({limits.columns:,})", "raise the limit"
            )
        if not schema.names:
            if footer.num_rows:
                raise file.refused(f"{footer.num_rows:,} rows without columns", DELIVER_AGAIN)
            # the feed had no rows, so the columns are unknown
            return _File(file.path, (), tuple(wanted.names), "", footer)
        path = exact_values(staging, file.path, schema)
        # without its first line, which is the name of the whole
        layout = str(pq.read_metadata(path).schema).partition("\n")[2]
    except (pa.ArrowException, OSError) as error:
        raise file.refused(f"damaged Parquet: {error}", DELIVER_AGAIN) from error
    return _File(path, tuple(schema.names), _header(schema, wanted), layout, footer)


def _header(schema: pa.Schema, wanted: Wanted) -> tuple[str, ...]:
    """Return the names of the columns; a struct with values of the contract is replaced by the names of its fields."""
    parents = {*parents_of([*wanted.names, *wanted.earlier])}

    def names_in(path: tuple[str, ...], kind: pa.DataType) -> Iterator[str]:
        name = joined(path)
        is_parent = path in parents and pa.types.is_struct(kind)
        if not is_parent or wanted.knows(name):
            yield name
        for inner in kind.fields if is_parent else ():
            yield from names_in((*path, inner.name), inner.type)

    return tuple(name for item in schema for name in names_in((item.name,), item.type))


def _read_alike(
    staging: Staging, files: Sequence[RawFile], names: Sequence[str], wanted: Wanted, reading: Reading
) -> None:
    """Read files of one schema by one query; if it fails, read each alone to find the faulty one."""
    header = reading.headers[files[0].input_id]
    rows = attempt(files[0].name, _rows, staging, files, names, header, wanted)
    if not isinstance(rows, DataOpsError):
        reading.rows.append(rows)
        return
    if len(files) > 1:
        for file in files:
            _read_alike(staging, [file], names, wanted, reading)
        return
    error = files[0].refused(f"damaged Parquet: {rows.received}", DELIVER_AGAIN) if rows.permanent else rows
    error.__cause__ = rows
    reading.errors[files[0].input_id] = error


def _undeclared(staging: Staging, file: RawFile, footer: pq.FileMetaData, wanted: Wanted) -> dict[str, int]:
    """Count the values of each column that is not wanted: by the file's statistics, or by reading it."""
    schema = footer.schema.to_arrow_schema()
    names = _header(schema, wanted)
    unknown = [index for index, name in enumerate(names) if not wanted.knows(name)]
    if not unknown:
        return {}
    held: dict[str, int] = {names[index]: 0 for index in unknown}
    leaves: dict[str, list[int]] = {}
    for index in range(footer.num_columns):
        leaves.setdefault(footer.schema.column(index).path, []).append(index)
    uncounted = []
    for index in unknown:
        nulls = _nulls(footer, leaves.get(".".join(parts_of(names[index])), []))
        if nulls is None:
            uncounted.append(index)
        else:
            held[names[index]] += footer.num_rows - nulls
    if uncounted:
        one = query("SELECT * FROM read_parquet($paths, hive_partitioning = false)", paths=paths([file.path]))
        values = _values(schema.names, staging.session.schema(one), [names[index] for index in uncounted])
        counts = [
            alias(exp.Count(this=value), field_name(index)) for index, value in zip(uncounted, values, strict=True)
        ]
        counted = query("SELECT $counts FROM $one AS r", counts=counts, one=one)
        (row,) = staging.session.fetch(counted).to_pylist()
        for index in uncounted:
            held[names[index]] += row[field_name(index)]
    return held


def _nulls(footer: pq.FileMetaData, leaves: Sequence[int]) -> int | None:
    """Return the nulls of a flat column from the file's statistics; None if they are missing."""
    if len(leaves) != 1 or footer.schema.column(leaves[0]).max_repetition_level:
        return None
    nulls = 0
    for group in range(footer.num_row_groups):
        found = footer.row_group(group).column(leaves[0])
        if not found.is_stats_set or not found.statistics.has_null_count:
            return None
        nulls += found.statistics.null_count
    return nulls


def _free_name(name: str, taken: Sequence[str]) -> str:
    """Return `name`, extended until no column has it in any case of letters."""
    others = {item.lower() for item in taken}
    while name in others:
        name += "_"
    return name


def _values(names: Sequence[str], described: Mapping[str, str], wanted: Sequence[str]) -> list[exp.Expr]:
    """Return the expressions of columns, or of values within structs.

    `names` are the columns of the file, `described` the same columns as the engine names them, with their types.
    """
    there = dict(zip(names, described.items(), strict=True))
    found: list[exp.Expr] = []
    for name in wanted:
        first, *inner = (name,) if name in there else parts_of(name)
        called, kind = there[first]
        value: exp.Expr = column(called)
        if inner and not kind.startswith("STRUCT"):
            # a struct with values that the engine reads wrongly is given as JSON text
            value = query("json_extract_string($value, $path)", value=value, path=pointer(inner))
        else:
            for part in inner:
                value = exp.Anonymous(this="struct_extract", expressions=[value, literal(part)])
        found.append(value)
    return found


def _rows(
    staging: Staging, files: Sequence[RawFile], names: Sequence[str], header: Sequence[str], wanted: Wanted
) -> RawRows:
    one = query("SELECT * FROM read_parquet($paths, hive_partitioning = false)", paths=paths([files[0].path]))
    # the engine renames fields that differ only in case, but keeps their order
    described = staging.session.schema(one)
    found = [name for name in header if wanted.has(name)]
    values = _values(names, described, found)
    given = [alias(value, field_name(index)) for index, value in enumerate(values)]
    kinds = staging.session.schema(query("SELECT $given FROM $one AS r", given=given, one=one)) if given else {}
    fields = tuple(RawField(name, field_name(i), kinds[field_name(i)]) for i, name in enumerate(found))
    file_name = _free_name("s_file", header)
    raw = staging.session.create(
        query(
            "SELECT $file AS s_file, file_row_number AS s_row_id, $fields FROM read_parquet($paths, "
            "file_row_number = true, filename = $file_name, hive_partitioning = false)",
            file=column(file_name),
            file_name=file_name,
            fields=given,
            paths=paths(file.path for file in files),
        )
    )
    inputs = staging.register({file.path: (file.input_id,) for file in files})
    rows = query(
        "SELECT i.s_input_id, r.s_row_id, CAST(NULL AS BIGINT) AS s_line, $nothing, $fields FROM $raw AS r "
        "JOIN $inputs AS i ON i.s_file = r.s_file",
        nothing=[no_text("s_problem"), no_text("s_record")],
        fields=[column(item.column, "r") for item in fields],
        raw=raw,
        inputs=inputs,
    )
    return RawRows(tuple(file.input_id for file in files), fields, rows, is_typed=True)
