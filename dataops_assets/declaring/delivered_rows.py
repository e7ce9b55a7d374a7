"""Reads given files as one table of raw values, with the readers that parse uses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlglot import exp

from dataops_assets.config.connection import FileFormat, NestedRecords
from dataops_assets.config.limits import Limits
from dataops_assets.connections.formats.null_words import present
from dataops_assets.connections.formats.reader import read
from dataops_assets.connections.formats.staging import RawFile, RawRows, Reading, Staging, Wanted
from dataops_assets.declaring.change_feeds import ChangeFeed
from dataops_assets.declaring.file_formats import exploded, format_of_files, other_record_types
from dataops_assets.declaring.given_files import opened
from dataops_assets.declaring.nested_names import names_within
from dataops_assets.engines.base import Session
from dataops_assets.errors import InputError
from dataops_assets.sql import Relation, alias, all_rows, column, query


@dataclass(frozen=True)
class RawColumn:
    """One column of the files: its raw name, its column in the table, its SQL type, and the files that have it."""

    name: str
    column: str
    kind: str
    files: int


@dataclass(frozen=True)
class DeliveredRows:
    """The raw rows of all files in one table.

    `table` has `s_file` (the place of the file, from 0), `s_row_id`, and the columns. A text that the format means as
    null is null. `malformed` are records that are no rows, with their reason and an example. `header`: the raw names.

    Of a change feed, `table` has the changes that leave a row, and `columns` the values of the row by their names in
    it. `keyed` are the rows (`s_file`, `s_row_id`) in which a key occurs once: insertions, or the parents of items.
    `totals` are the texts in the last line of each file by the names of their groups. `origins` are the places of the
    given files that the files came in: an archive has several. `other_types` are types of records that are left out.
    """

    layout: FileFormat
    names: tuple[str, ...]
    table: Relation
    columns: tuple[RawColumn, ...]
    headers: tuple[tuple[str, ...], ...]
    unnamed: frozenset[str]
    rows: int
    malformed: tuple[tuple[str, int, str], ...]
    is_typed: bool
    feed: ChangeFeed | None = None
    keyed: Relation | None = None
    totals: tuple[Mapping[str, str], ...] = ()
    origins: tuple[int, ...] = ()
    other_types: tuple[str, ...] = ()


@contextmanager
def delivered(
    session: Session, files: Sequence[Path], explode: Sequence[str] = (), record_type: str = ""
) -> Iterator[DeliveredRows]:
    """Yield the rows of files; with `explode`, those of the items of lists; those of one type of records.

    Raises ConfigError if they have no common format, or none with lists, InputError if one cannot be read.
    """
    with TemporaryDirectory(prefix="declare-") as folder:
        staging = Staging(session, Path(folder))
        raw, origins = opened(staging, files)
        layout = exploded(format_of_files(raw, record_type), explode)
        found = _together(session, layout, raw, _read(staging, raw, layout, Wanted((), every=True)))
        if isinstance(layout, NestedRecords):
            names = names_within(session, found.table, [(item.name, item.column) for item in found.columns])
            if names != tuple(item.name for item in found.columns):
                found = _together(session, layout, raw, _read(staging, raw, layout, Wanted(names)), names)
        yield replace(found, origins=origins, other_types=other_record_types(raw, layout))


def _read(staging: Staging, files: Sequence[RawFile], layout: FileFormat, wanted: Wanted) -> Reading:
    reading = read(staging, files, layout, wanted, Limits())
    for error in reading.errors.values():
        raise error
    return reading


def _together(
    session: Session, layout: FileFormat, files: Sequence[RawFile], reading: Reading, only: Sequence[str] = ()
) -> DeliveredRows:
    """Return the rows of a reading as one table; of the columns `only`, if they are given."""
    headers = tuple(
        tuple(name for name in reading.headers[file.input_id] if not only or name in only) for file in files
    )
    names = list(dict.fromkeys(name for header in headers for name in header))
    for file, header in zip(files, headers, strict=True):
        repeated = sorted({name for name in header if header.count(name) > 1})
        if repeated:
            raise InputError(
                f"reading {file.name}",
                received=f"more than one column {', '.join(repeated)}",
                next_step="give each column a name of its own",
            )
    kinds = {name: _kind_of(name, reading.rows) for name in names}
    columns = tuple(
        RawColumn(name, f"c{place}", kinds[name], sum(name in header for header in headers))
        for place, name in enumerate(names)
    )
    selects = [_selected(rows, columns) for rows in reading.rows if rows.fields]
    if not selects:
        raise InputError("reading the files", received="no rows", next_step="give files with rows")
    everything = session.create(all_rows(selects))
    table = session.create(
        query("SELECT * EXCLUDE (s_problem, s_record) FROM $all AS r WHERE s_problem IS NULL", all=everything)
    )
    bad = query(
        "SELECT s_problem, count(*) AS n, min(s_record) AS example FROM $all AS r WHERE s_problem IS NOT NULL "
        "GROUP BY s_problem ORDER BY n DESC LIMIT 5",
        all=everything,
    )
    (count,) = session.fetch(query("SELECT count(*) AS n FROM $rows AS r", rows=table)).column("n").to_pylist()
    # without a header, no column has a name
    has_header = getattr(layout, "header", True)
    unnamed = frozenset[str]().union(*reading.unnamed.values()) if has_header else frozenset()
    return DeliveredRows(
        layout,
        tuple(file.name for file in files),
        table,
        columns,
        headers,
        unnamed,
        count,
        tuple((row["s_problem"], row["n"], row["example"] or "") for row in session.fetch(bad).to_pylist()),
        any(some.is_typed for some in reading.rows),
        totals=tuple({one.name: one.text for one in reading.totals.get(file.input_id, ())} for file in files),
    )


def _kind_of(name: str, rows: Sequence[RawRows]) -> str:
    """Return the SQL type that a column has in all files; text if they differ."""
    kinds = {some.by_name[name].type for some in rows if name in some.by_name}
    return kinds.pop() if len(kinds) == 1 else "VARCHAR"


def _selected(rows: RawRows, columns: Sequence[RawColumn]) -> exp.Query:
    selected: list[exp.Expr] = []
    for item in columns:
        field = rows.by_name.get(item.name)
        value: exp.Expr = exp.null()
        if field is not None:
            value = present(column(field.column, "r"), field)
        if field is None or field.type != item.kind:
            value = exp.cast(value, item.kind, dialect="duckdb")
        selected.append(alias(value, item.column))
    chosen: exp.Query = query(
        "SELECT CAST(r.s_input_id AS INTEGER) AS s_file, r.s_row_id, r.s_problem, r.s_record, $selected "
        "FROM $rows AS r",
        selected=selected,
        rows=rows.query,
    )
    return chosen
