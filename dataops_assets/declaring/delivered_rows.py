"""Reads given files as one table of raw values, with the readers that parse uses."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import fsspec
from sqlglot import exp

from dataops_assets.config.connection import FileFormat, NestedRecords
from dataops_assets.config.limits import Limits
from dataops_assets.connections.archives import chunks_in, is_archive, members_of, origin_in
from dataops_assets.connections.formats.compression import compression_of, unpack
from dataops_assets.connections.formats.null_words import present
from dataops_assets.connections.formats.reader import read
from dataops_assets.connections.formats.staging import RawFile, RawRows, Reading, Staging, Wanted
from dataops_assets.declaring.change_feeds import ChangeFeed, change_feed_of
from dataops_assets.declaring.file_formats import exploded, format_of_files
from dataops_assets.declaring.nested_names import names_within
from dataops_assets.engines.base import Session
from dataops_assets.errors import InputError
from dataops_assets.sql import Relation, alias, column, query


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
    given files that the files came in: an archive has several.
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


@contextmanager
def delivered(session: Session, files: Sequence[Path], explode: Sequence[str] = ()) -> Iterator[DeliveredRows]:
    """Yield the rows of files; with `explode`, those of the items of lists.

    Raises ConfigError if they have no common format, or none with lists, InputError if one cannot be read.
    """
    with TemporaryDirectory(prefix="declare-") as folder:
        staging = Staging(session, Path(folder))
        raw, origins = _opened(staging, files)
        layout = exploded(format_of_files(raw), explode)
        found = _together(session, layout, raw, _read(staging, raw, layout, Wanted((), every=True)))
        if isinstance(layout, NestedRecords):
            names = names_within(session, found.table, [(item.name, item.column) for item in found.columns])
            if names != tuple(item.name for item in found.columns):
                found = _together(session, layout, raw, _read(staging, raw, layout, Wanted(names)), names)
        found = replace(found, origins=origins)
        yield _items(session, found, explode) if explode else _changes(session, found)


def _read(staging: Staging, files: Sequence[RawFile], layout: FileFormat, wanted: Wanted) -> Reading:
    reading = read(staging, files, layout, wanted, Limits())
    for error in reading.errors.values():
        raise error
    return reading


def _items(session: Session, found: DeliveredRows, explode: Sequence[str]) -> DeliveredRows:
    """Return the rows of items, with their parents as keyed rows."""
    position = next(item for item in found.columns if item.name == f"{explode[-1]}#")
    parents = query(
        "SELECT r.s_file, r.s_row_id FROM $rows AS r WHERE CAST($position AS BIGINT) = 0",
        rows=found.table,
        position=column(position.column, "r"),
    )
    return replace(found, keyed=session.create(parents))


def _changes(session: Session, found: DeliveredRows) -> DeliveredRows:
    """Return the rows of a change feed as rows of the table that it is of; other rows as they are."""
    feed = change_feed_of([item.name for item in found.columns])
    if feed is None:
        return found
    by_name = {item.name: item for item in found.columns}
    selected: list[RawColumn] = [
        replace(by_name[f"{feed.row}.{name}" if feed.row else name], name=name) for name in feed.names
    ]
    rows = found.table
    keyed = None
    if feed.change:
        change = column(by_name[feed.change].column, "r")
        known = query(
            "SELECT count_if(NOT $change IN ($words)) AS n FROM $rows AS r",
            change=change,
            rows=rows,
            words=list(feed.words),
        )
        if session.fetch(known).column("n").to_pylist() != [0]:
            return found
        keyed = session.create(
            query(
                "SELECT r.s_file, r.s_row_id FROM $rows AS r WHERE $change IN ($words)",
                change=change,
                rows=rows,
                words=list(feed.inserts),
            )
        )
        rows = session.create(
            query(
                "SELECT * FROM $rows AS r WHERE coalesce(NOT $change IN ($words), TRUE)",
                change=change,
                rows=rows,
                words=list(feed.deletions),
            )
        )
    numbers = [name for name in feed.positions if _are_numbers(session, found.table, by_name[name])]
    (count,) = session.fetch(query("SELECT count(*) AS n FROM $rows AS r", rows=rows)).column("n").to_pylist()
    if not count:
        return found
    return replace(
        found,
        table=rows,
        columns=tuple(selected),
        rows=count,
        feed=replace(feed, positions=tuple(numbers)),
        keyed=keyed,
    )


def _are_numbers(session: Session, rows: Relation, item: RawColumn) -> bool:
    value = column(item.column, "r")
    counts = query("SELECT count(*) - count(TRY_CAST($value AS BIGINT)) AS n FROM $rows AS r", value=value, rows=rows)
    return bool(session.fetch(counts).column("n").to_pylist() == [0])


def _opened(staging: Staging, files: Sequence[Path]) -> tuple[list[RawFile], tuple[int, ...]]:
    """Return the files unpacked, those in archives one by one, and for each the place of the file it came in."""
    found: list[RawFile] = []
    origins: list[int] = []
    for origin, path in enumerate(files):
        # the engine takes some characters of a path for patterns
        link = staging.path()
        link.symlink_to(path.absolute())
        for name, file in _members(staging, path, link):
            item = RawFile(f"{len(found):06}", name, file)
            found.append(unpack(item, compression_of(name, "infer"), staging.path(), Limits()))
            origins.append(origin)
    return found, tuple(origins)


def _members(staging: Staging, path: Path, link: Path) -> Iterator[tuple[str, Path]]:
    """Yield name and path of each file in an archive of several; of another file its own."""
    if not is_archive(path.name):
        yield path.name, link
        return
    local = fsspec.filesystem("file")
    state = path.stat()
    modified = dt.datetime.fromtimestamp(state.st_mtime, dt.UTC)
    members = members_of(local, str(path.absolute()), state.st_size, modified, Limits())
    if len(members) < 2:
        yield path.name, link
        return
    for member in members:
        if member.refused:
            raise InputError(f"reading {member.path} in {path.name}", received=member.refused)
        target = staging.path()
        with target.open("wb") as stream:
            stream.writelines(chunks_in(local, origin_in(str(path.absolute()), member.path)))
        yield member.path, target


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
    rows: exp.Query = selects[0]
    for following in selects[1:]:
        rows = exp.union(rows, following, distinct=False)
    everything = session.create(rows)
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
