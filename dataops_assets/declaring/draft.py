"""Drafts a source: reads its files or the extract of a table, decides each part of the declaration, examines values.

Nothing is written. Every decision is proved on all rows of the files, with the readers and conversions that parse uses.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sqlglot import exp

from dataops_assets.config.connection import CsvFormat, FileFormat, TextFormat
from dataops_assets.config.names import AREA, NAME
from dataops_assets.connections.names import unfinished
from dataops_assets.declaring.candidate_keys import CandidateKey, candidate_keys
from dataops_assets.declaring.column_facts import column_facts
from dataops_assets.declaring.columns import SuggestedColumn, SuggestedColumns, suggest_columns
from dataops_assets.declaring.control_totals import with_named_totals
from dataops_assets.declaring.delivered_rows import DeliveredRows, delivered
from dataops_assets.declaring.feed_rows import rows_of_feed
from dataops_assets.declaring.file_names import FileNames, read_names
from dataops_assets.declaring.health.examination import examine
from dataops_assets.declaring.health.finding import ColumnView, Finding
from dataops_assets.declaring.health.personal import pii_of
from dataops_assets.declaring.health.tables import of_table
from dataops_assets.declaring.refresh_types import SuggestedRefresh, of_change_feed, of_items, of_parts, suggest_refresh
from dataops_assets.declaring.suggested_checks import SuggestedPart, pii_tags, suggest_limits, suggest_validations
from dataops_assets.engines.base import Engine, Session
from dataops_assets.errors import ConfigError
from dataops_assets.sql import Relation, column, query
from dataops_assets.steps.parsing.typed_values import TextMarks

_MARKERS = ("op", "_op", "__op", "operation", "action", "change_type", "dml_type")
_DELETED = ("d", "delete", "deleted", "del")
_FLAGS = ("is_deleted", "deleted", "_deleted", "__deleted", "is_removed")


@dataclass(frozen=True)
class DatabaseTable:
    """A table of a declared database, as 'name' or 'schema.name'."""

    database: str
    table: str


@dataclass(frozen=True)
class Draft:
    """A drafted source: each part of its declaration, and what looks unhealthy in the files.

    `path` is the connection's path and `path_note` says what it is relative to. `deletes` is a predicate that rows of
    deletions seem to fulfil. If `of` names a table, the source is read from it, and the file is its extract. `members`
    are the files in archives that are taken. `envelope` is that of a change feed, `order` the place of a change in its
    log, where the envelope has no better one. `other_types` are types of records for which other sources are drafted.
    """

    name: str
    area: str
    description: str
    path: str
    path_note: str
    file_names: tuple[str, ...]
    rows: int
    names: FileNames
    layout: FileFormat
    columns: tuple[SuggestedColumn, ...]
    keys: tuple[CandidateKey, ...]
    refresh: SuggestedRefresh
    drift: Mapping[str, str]
    validations: tuple[SuggestedPart, ...]
    limits: tuple[SuggestedPart, ...]
    deletes: str = ""
    findings: tuple[Finding, ...] = field(default=())
    of: DatabaseTable | None = None
    envelope: str = ""
    order: str = ""
    members: str = ""
    other_types: tuple[str, ...] = ()


@dataclass(frozen=True)
class Taken:
    """The part of the records that becomes rows.

    * `explode`: lists whose items are the rows.
    * `record_type`: the type of the records, where files have several types; empty for the most frequent one.
    """

    explode: tuple[str, ...] = ()
    record_type: str = ""


ALL_RECORDS = Taken()


@dataclass(frozen=True)
class Request:
    """A request for a draft: name and area of the source, its files, and the landing area of the deployment.

    `of` is the table that the one file is an extract of. `taken` says which part of the records becomes rows.
    """

    name: str
    area: str
    files: tuple[Path, ...]
    landing: str
    now: dt.datetime
    of: DatabaseTable | None = None
    taken: Taken = ALL_RECORDS


def files_of(given: Sequence[Path]) -> tuple[Path, ...]:
    """Return the given files, and those of given folders. Raises ConfigError if there are none, or one is missing."""
    found: list[Path] = []
    for path in given:
        if path.is_dir():
            found += [item for item in sorted(path.rglob("*")) if item.is_file() and not unfinished(item.name)]
        elif path.is_file():
            found.append(path)
        else:
            raise ConfigError("declaring a source", received=f"{path}, which is no file", next_step="give its files")
    if not found:
        raise ConfigError("declaring a source", received="a folder without files", next_step="give a file of the feed")
    return tuple(dict.fromkeys(path.absolute() for path in found))


def draft(engine: Engine, request: Request) -> Draft:
    """Return the draft of a source. Raises ConfigError for a wrong name, InputError for files that cannot be read."""
    require_name(request.name, request.area)
    path, note, names = place_of(request.files, request.landing)
    explode, record_type = request.taken.explode, request.taken.record_type
    with engine.session() as session, delivered(session, request.files, explode, record_type) as found:
        rows = rows_of_feed(session, found, explode)
        if request.of is not None:
            # an extract has the texts of the server, also of numbers and times
            rows = replace(rows, is_typed=False)
        facts = column_facts(session, rows)
        suggested = _with_totals(session, rows, suggest_columns(session, rows, facts))
        of_files = _times(request.files, names)
        times = [of_files[place] for place in rows.origins]
        return _drafted(session, request, (path, note), names, (rows, suggested, times))


def _drafted(
    session: Session,
    request: Request,
    place: tuple[str, str],
    names: FileNames,
    found: tuple[DeliveredRows, SuggestedColumns, Sequence[dt.datetime]],
) -> Draft:
    rows, suggested, times = found
    columns, typed = suggested.columns, suggested.typed
    order = sorted(range(len(times)), key=lambda index: (times[index], index))
    keys = candidate_keys(session, _keyed(session, typed, rows, times), columns)
    refresh = _refresh(session, request, order, (rows, suggested, keys))
    if len(set(times)) < len(times):
        refresh = of_parts(refresh, keys)
    marks = marks_of_layout(suggested.layout)
    today = max(times).date() if names.pattern else request.now.date()
    views = [ColumnView(item.facts, item.declared, max(today, request.now.date()), marks) for item in columns]
    findings = [*of_table(session, rows, typed, columns), *examine(columns, request.now.date(), marks)]
    tags = {item.declared.name: pii_of(findings, item.declared.name) for item in columns}
    key = list(refresh.declared.get("key", []))
    has_missing = any(item.files < len(rows.names) for item in rows.columns)
    return Draft(
        request.name,
        request.area,
        f"Rows of {request.name}.",
        *place,
        rows.names,
        rows.rows,
        names,
        suggested.layout,
        tuple(_required(item, key) for item in pii_tags(columns, tags)),
        keys,
        refresh,
        {"missing_column": "ignore"} if has_missing else {},
        # a key of insertions or of parents comes again in other rows
        tuple(suggest_validations(views, keys if rows.keyed is None else (), key, findings)),
        tuple(suggest_limits(list(_rows_by_file(session, typed).values()), times if names.pattern else ())),
        _deletes(columns) if refresh.declared["type"] == "key" and rows.feed is None else "",
        tuple(findings),
        request.of,
        rows.feed.envelope if rows.feed else "",
        next(iter(rows.feed.positions), "") if rows.feed else "",
        read_names(rows.names).glob if len(rows.names) > len(request.files) else "",
        rows.other_types,
    )


def _with_totals(session: Session, rows: DeliveredRows, suggested: SuggestedColumns) -> SuggestedColumns:
    """Name what the totals in the last line of the files are."""
    if not any(rows.totals):
        return suggested
    counts = _rows_by_file(session, rows.table)
    records = [counts.get(place, 0) for place in range(len(rows.names))]
    return replace(suggested, layout=with_named_totals(session, rows.totals, records, suggested))


def _rows_by_file(session: Session, rows: Relation) -> dict[int, int]:
    """Return the number of rows of each file that has any, by the place of the file."""
    counted = query("SELECT r.s_file, count(*) AS n FROM $rows AS r GROUP BY 1", rows=rows)
    return {row["s_file"]: row["n"] for row in session.fetch(counted).to_pylist()}


def _keyed(session: Session, typed: Relation, rows: DeliveredRows, times: Sequence[dt.datetime]) -> Relation:
    """Return the rows in which a key occurs once; files of one time are parts of one file."""
    if rows.keyed is not None:
        keyed = query(
            "SELECT t.* FROM $rows AS t SEMI JOIN $keyed AS k USING (s_file, s_row_id)", rows=typed, keyed=rows.keyed
        )
        typed = session.create(keyed)
    if len(set(times)) == len(times):
        return typed
    first = [times.index(time) for time in times]
    whole = query("SELECT t.* REPLACE ($first AS s_file) FROM $rows AS t", rows=typed, first=_at(first, "t"))
    return session.create(whole)


def _at(values: Sequence[int], rows: str) -> exp.Expr:
    """Return the value of a list at the place of a row's file."""
    return exp.func("list_extract", exp.convert(list(values)), query("$file + 1", file=column("s_file", rows)))


def _refresh(
    session: Session,
    request: Request,
    order: Sequence[int],
    found: tuple[DeliveredRows, SuggestedColumns, Sequence[CandidateKey]],
) -> SuggestedRefresh:
    rows, suggested, keys = found
    if rows.feed is not None:
        return of_change_feed(rows.feed.envelope, suggested.columns, keys)
    if request.taken.explode:
        return of_items(request.taken.explode[-1], suggested.columns, keys)
    if isinstance(suggested.layout, TextFormat):
        return SuggestedRefresh({"type": "append"}, "a log only grows, and no column identifies a line")
    refresh = suggest_refresh(session, suggested.typed, suggested.columns, keys, order)
    if request.of is not None:
        return replace(refresh, why="each look reads the whole table, so the newest input is the table")
    return refresh


def marks_of_layout(layout: FileFormat) -> TextMarks:
    """Return the notation of numbers in a format."""
    return TextMarks(layout.decimal_mark, layout.thousands_mark) if isinstance(layout, CsvFormat) else TextMarks()


def require_name(name: str, area: str) -> None:
    """Raise ConfigError for a name or an area that a source cannot have."""
    if not NAME.match(name):
        raise ConfigError(
            "declaring a source",
            received=f"the name {name!r}",
            next_step="use lower case letters, digits and _, and begin with a letter",
        )
    if not AREA.match(area):
        raise ConfigError("declaring a source", received=f"the area {area!r}", next_step="use letters, digits and _")


def place_of(files: Sequence[Path], landing: str) -> tuple[str, str, FileNames]:
    """Return the path with which a source finds all files, a note about it, and the facts in the names of the files."""
    folders = sorted({str(path.parent) for path in files})
    names = read_names([path.name for path in files])
    shared = os.path.commonpath(folders)
    between = "" if len(folders) == 1 else "**/"
    landing = os.path.realpath(landing) if "://" not in landing else ""
    below = os.path.relpath(os.path.realpath(shared), landing) if landing else ".."
    if not below.startswith(".."):
        folder = "" if below == "." else f"{below}/"
        return f"{folder}{between}{names.glob}", "below the landing area (DATAOPS_LANDING)", names
    note = (
        "suggested: the files stay where they are. Deliver them to the landing area (DATAOPS_LANDING) and write the "
        "path below it, if another deployment shall take them"
    )
    return f"{shared}/{between}{names.glob}", note, names


def _times(files: Sequence[Path], names: FileNames) -> list[dt.datetime]:
    return [names.times.get(path.name) or dt.datetime.fromtimestamp(path.stat().st_mtime, dt.UTC) for path in files]


def _required(item: SuggestedColumn, key: Sequence[str]) -> SuggestedColumn:
    if item.declared.name not in key:
        return item
    return SuggestedColumn(item.declared.model_copy(update={"nullable": False}), item.facts, item.notes)


def _deletes(columns: Sequence[SuggestedColumn]) -> str:
    for item in columns:
        name = item.declared.name
        marked = [value for value in item.facts.values if value.casefold() in _DELETED]
        if name.lower() in _MARKERS and item.declared.type == "text" and marked and item.facts.distinct <= 8:
            return str(query("$value = $deleted", value=column(name), deleted=marked[0]).sql("duckdb"))
        if name.lower() in _FLAGS and item.declared.type in ("boolean", "integer"):
            condition = column(name) if item.declared.type == "boolean" else query("$value = 1", value=column(name))
            return str(condition.sql("duckdb"))
    return ""
