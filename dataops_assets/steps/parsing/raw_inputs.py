"""Reads the bytes of inputs as raw rows, by the declared format, and refuses inputs with forbidden columns."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from dataops_assets.config.connection import FileConnection, RawFormat
from dataops_assets.config.contract import Column
from dataops_assets.config.encryption import AgeEncryption, PgpEncryption, ZipEncryption
from dataops_assets.config.source import Source
from dataops_assets.connections.formats.compression import compression_of, unpack
from dataops_assets.connections.formats.decryption import ENDING, by_identity, by_passphrase, decrypted
from dataops_assets.connections.formats.isolated_input import attempt
from dataops_assets.connections.formats.pgp import ENDINGS, decrypted_by_gpg
from dataops_assets.connections.formats.reader import format_of, read
from dataops_assets.connections.formats.staging import (
    ControlTotal,
    RawField,
    RawFile,
    RawRows,
    Reading,
    Staging,
    Wanted,
)
from dataops_assets.connections.secrets import secret_of
from dataops_assets.engines.base import Session
from dataops_assets.errors import DataOpsError, EmptyFile
from dataops_assets.report import Input
from dataops_assets.sql import query, values
from dataops_assets.steps.merging.input_periods import Told, told_by
from dataops_assets.steps.parsing.control_totals import wrong_totals
from dataops_assets.steps.parsing.drift import drift_problem
from dataops_assets.steps.parsing.manifest_totals import tells_no_records, told_totals
from dataops_assets.steps.parsing.rows_outside_period import without_period
from dataops_assets.steps.parsing.typed_values import TextMarks, marks_of
from dataops_assets.steps.source_context import SourceContext


@dataclass(frozen=True)
class RawInputs:
    """Raw rows of inputs with their notation, and what is known of each input.

    * `rows`: each item has the rows of all inputs with the same columns. Rows of refused inputs may be among them.
    * `headers`: the raw columns. `names`: the file name. `told`: the extract time, and what tells the period.
    * `records`, `filtered`, `undeclared`: see `Reading`.
    * `errors`: the inputs that were refused.
    """

    rows: Sequence[tuple[RawRows, TextMarks]]
    headers: Mapping[str, tuple[str, ...]]
    names: Mapping[str, str]
    records: Mapping[str, int]
    undeclared: Mapping[str, Mapping[str, int]]
    errors: Mapping[str, DataOpsError] = field(default_factory=dict)
    told: Mapping[str, Told] = field(default_factory=dict)
    filtered: Mapping[str, int] = field(default_factory=dict)

    @property
    def input_ids(self) -> list[str]:
        """The inputs that were read, in order."""
        return sorted(input_id for input_id in self.headers if input_id not in self.errors)

    def lacking(self, rows: RawRows, item: Column) -> list[str]:
        """Return the inputs of `rows` that do not have the column under any of its names."""
        return [key for key in rows.input_ids if not set(item.raw_names) & set(self.headers[key])]


@contextmanager
def read_inputs(context: SourceContext, session: Session, inputs: Sequence[Input]) -> Iterator[RawInputs]:
    """Yield the raw rows of inputs, for queries of `session`; with the block, their temporary files are removed."""
    with tempfile.TemporaryDirectory(prefix="parse-") as folder, session.reading() as reader:
        raw = _read(context, inputs, Staging(reader, Path(folder)))
        yield replace(raw, rows=[(replace(rows, query=session.taken(reader, rows.query)), m) for rows, m in raw.rows])


def lines_of(context: SourceContext, rows: Mapping[Input, Sequence[int]]) -> dict[tuple[str, int], int]:
    """Return the line (or sheet row) of rows of inputs, if the raw bytes exist and the format has lines."""
    with (
        tempfile.TemporaryDirectory(prefix="lines-") as folder,
        context.engine.session() as session,
        session.reading() as reader,
    ):
        raw = _read(context, list(rows), Staging(reader, Path(folder)))
        lines: dict[tuple[str, int], int] = {}
        wanted = [{"s_input_id": item.input_id, "s_row_id": row} for item, some in rows.items() for row in some]
        for some_rows, _ in raw.rows:
            known = reader.fetch(
                query(
                    "SELECT r.s_input_id, r.s_row_id, r.s_line FROM $rows AS r JOIN $wanted AS w "
                    "ON w.s_input_id = r.s_input_id AND w.s_row_id = r.s_row_id WHERE r.s_line IS NOT NULL",
                    rows=some_rows.query,
                    wanted=values(wanted, {"s_input_id": "VARCHAR", "s_row_id": "BIGINT"}),
                )
            )
            lines |= {(row["s_input_id"], row["s_row_id"]): row["s_line"] for row in known.to_pylist()}
    return lines


def _read(context: SourceContext, inputs: Sequence[Input], staging: Staging) -> RawInputs:
    source = context.source
    by_format: dict[str, tuple[RawFormat, list[RawFile]]] = {}
    files: dict[str, RawFile] = {}
    totals: dict[str, tuple[ControlTotal, ...]] = {}
    errors: dict[str, DataOpsError] = {}
    empty: list[str] = []
    for item in inputs:
        unpacked = attempt(item.origin.rpartition("/")[2], _unpacked, context, item, staging)
        if isinstance(unpacked, EmptyFile) and tells_no_records(source, item):
            empty.append(item.input_id)
            files[item.input_id] = RawFile(item.input_id, item.origin.rpartition("/")[2], Path())
            continue
        if isinstance(unpacked, DataOpsError):
            errors[item.input_id] = unpacked
            continue
        layout, file, totals[item.input_id] = unpacked
        files[item.input_id] = file
        by_format.setdefault(layout.model_dump_json(), (layout, []))[1].append(file)
    reading = _without_records(staging, source, empty)
    rows: list[tuple[RawRows, TextMarks]] = [(raw, TextMarks()) for raw in reading.rows]
    for layout, some in by_format.values():
        marks = marks_of(layout)
        found = read(staging, some, layout, _wanted(source), source.connection.limits)
        for file in some:
            found.totals[file.input_id] = (*found.totals.get(file.input_id, ()), *totals[file.input_id])
        for input_id, wrong in wrong_totals(staging.session, source, found, marks).items():
            found.errors[input_id] = wrong if isinstance(wrong, DataOpsError) else files[input_id].refused(*wrong)
        reading.join(found)
        rows += [(raw, marks) for raw in found.rows]
    errors |= reading.errors
    for input_id, header in reading.headers.items():
        problem = drift_problem(source, header, reading.undeclared.get(input_id, {}))
        if problem is not None:
            errors[input_id] = files[input_id].refused(*problem)
    names = {input_id: file.name for input_id, file in files.items()}
    told = {item.input_id: told_by(source, item) for item in inputs}
    errors |= without_period(source, told)
    return RawInputs(rows, reading.headers, names, reading.records, reading.undeclared, errors, told, reading.filtered)


def _without_records(staging: Staging, source: Source, input_ids: Sequence[str]) -> Reading:
    """Return the reading of files that are correctly empty: all columns, and no rows."""
    if not input_ids:
        return Reading()
    names = list(dict.fromkeys(_wanted(source).names))
    fields = tuple(RawField(name, f"c{place}") for place, name in enumerate(names))
    texts = dict.fromkeys(["s_input_id", "s_problem", "s_record", *(item.column for item in fields)], pa.string())
    schema = pa.schema({**texts, "s_row_id": pa.int64(), "s_line": pa.int64()})
    none = query("SELECT * FROM $none AS n", none=staging.session.register(schema.empty_table()))
    return Reading(
        [RawRows(tuple(input_ids), fields, none)],
        headers=dict.fromkeys(input_ids, tuple(names)),
        records=dict.fromkeys(input_ids, 0),
    )


def _wanted(source: Source) -> Wanted:
    null_words = {
        name: item.null_words for item in source.columns if item.null_words is not None for name in item.raw_names
    }
    return Wanted(
        [item.raw_name for item in source.columns if not (item.expression or item.presence_of)],
        [name for item in source.columns for name in item.renamed_from],
        source.drift.new_column == "evolve",
        null_words,
        {item.raw_name: item.presence_of for item in source.columns if item.presence_of},
    )


def _unpacked(
    context: SourceContext, item: Input, staging: Staging
) -> tuple[RawFormat, RawFile, tuple[ControlTotal, ...]]:
    layout, file = _opened(context, item, staging)
    return layout, file, told_totals(context.source, item)


def _opened(context: SourceContext, item: Input, staging: Staging) -> tuple[RawFormat, RawFile]:
    connection = context.source.connection
    name = item.origin.rpartition("/")[2]
    # a link of our own: an engine takes some characters of a path for patterns
    path = staging.path()
    path.symlink_to(context.raw.sound_path(item).absolute())
    file = RawFile(item.input_id, name, path)
    layout = format_of(connection, name)
    if layout is None:
        raise file.refused("a file name without a known ending", "end it in .csv, .json, .jsonl, .parquet ...")
    if not isinstance(connection, FileConnection):
        return layout, unpack(file, compression_of(name, "infer"), staging.path(), connection.limits)
    password = None
    match connection.encryption:
        case AgeEncryption() as age:
            secret = secret_of(age.identity or age.passphrase, os.environ) or ""
            file = decrypted(file, (by_identity if age.identity else by_passphrase)(secret), staging.path())
            name = name.removesuffix(ENDING)
        case PgpEncryption() as pgp:
            secrets = (secret_of(pgp.keys, os.environ) or "", secret_of(pgp.passphrase, os.environ) or "")
            file = decrypted_by_gpg(file, *secrets, staging.path(), connection.limits.unpacked_bytes)
            name = os.path.splitext(name)[0] if name.lower().endswith(ENDINGS) else name
        case ZipEncryption(password=reference):
            password = secret_of(reference, os.environ)
    compression = "zip" if password is not None else compression_of(name, connection.compression)
    return layout, unpack(file, compression, staging.path(), connection.limits, password)
