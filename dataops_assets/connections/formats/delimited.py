"""Reads delimited text files (CSV and similar) as raw rows of texts.

All files with the same header are read by one query of the engine, which reads in parallel and reads all fields as
text. The record reader of `csv_text` reads a file instead if the engine would guess, fail, or read it differently: with
mixed line ends, NUL bytes, spaces around quotes, an escape character other than the quote, or a record that the engine
rejects. Both ways give the same rows (tests/properties compare them). So a bad record costs time, but no other rows.
"""

from __future__ import annotations

import codecs
import itertools
import json
import re
from collections.abc import Collection, Container, Iterator, Sequence
from dataclasses import dataclass

import duckdb
from sqlglot import exp

from dataops_assets.config.connection import CsvFormat
from dataops_assets.config.limits import Limits
from dataops_assets.connections.formats.csv_text import Dialect, records
from dataops_assets.connections.formats.header import named, unnamed_name
from dataops_assets.connections.formats.isolated_input import attempt
from dataops_assets.connections.formats.null_words import NullWords, without
from dataops_assets.connections.formats.record_count import Marks, RecordCount, whole_lines
from dataops_assets.connections.formats.record_types import RecordTypes
from dataops_assets.connections.formats.signatures import HEAD_BYTES, kind_of
from dataops_assets.connections.formats.staging import (
    RawField,
    RawFile,
    RawRows,
    Reading,
    Record,
    Staging,
    Wanted,
    field_name,
    no_text,
    paths,
)
from dataops_assets.connections.formats.text_encoding import as_utf8, undecodable
from dataops_assets.errors import ConfigError, DataOpsError, InputError
from dataops_assets.sql import Relation, alias, column, literal, query, table

_SAMPLE = 100
# where no value is null to the engine: an unquoted field cannot hold a line break, and a quoted one is never null
_NO_NULL = "\n"


@dataclass(frozen=True)
class _Text:
    """One file as UTF-8 text: its header and what decides how it is read.

    `skip` is the number of physical lines before the first record, `lines` the number of all physical lines of a plain
    file, `records` the number of records after the header. `unnamed` are the fields without a name in the header; they
    are named by their position. `is_plain`: the engine reads the file as `csv_text` does, except for records that it
    rejects, and for a surplus empty last field, which is possible only with `ends_with_delimiter`.
    """

    file: RawFile
    header: tuple[str, ...]
    unnamed: frozenset[str]
    skip: int
    lines: int
    records: int
    keeps_blank: bool
    is_plain: bool
    has_nul: bool
    ends_with_delimiter: bool


def read_delimited(
    staging: Staging,
    files: Sequence[RawFile],
    layout: CsvFormat,
    wanted: Wanted,
    limits: Limits,
    *,
    has_blank_records: bool = True,
) -> Reading:
    """Return the rows of `files`, with null for each unquoted text that means null only without quotes.

    Without a header, the fields have the names of `wanted`. In a file of one column an empty line is a record, unless
    `has_blank_records` is off. Inputs of another kind or encoding, or beyond a limit, get an InputError. Raises
    ConfigError for an impossible layout.
    """
    dialect = _dialect(layout)
    words = NullWords(layout, wanted)
    reading = Reading()
    plain: dict[tuple[tuple[str, ...], int], list[_Text]] = {}
    odd: list[_Text] = []
    for file in files:
        text = attempt(file.name, _inspected, staging, file, layout, wanted, limits, has_blank_records)
        if isinstance(text, DataOpsError):
            reading.errors[file.input_id] = text
            continue
        reading.headers[file.input_id] = text.header
        reading.unnamed[file.input_id] = text.unnamed
        reading.records[file.input_id] = text.records
        if text.is_plain:
            plain.setdefault((text.header, text.skip), []).append(text)
        else:
            odd.append(text)

    for texts in plain.values():
        rows, refused = _read_plain(staging, texts, dialect, words)
        odd.extend(refused)
        if rows is not None:
            reading.rows.append(rows)
    rewritten = []
    for text in odd:
        types = RecordTypes(layout.record_type)
        path = attempt(text.file.name, staging.rewrite, len(text.header), _records(text, layout, words, types))
        if isinstance(path, DataOpsError):
            reading.errors[text.file.input_id] = path
        else:
            rewritten.append((path, text.file, text.header))
            reading.filtered[text.file.input_id] = types.filtered
    reading.rows += staging.rewritten(rewritten)
    return reading


def _dialect(layout: CsvFormat) -> Dialect:
    marks = {"delimiter": layout.delimiter, "quote": layout.quote, "escape": layout.escape}
    for name, mark in marks.items():
        is_length_wrong = not mark if name == "delimiter" else len(mark) > 1
        if is_length_wrong or "\n" in mark or "\r" in mark:
            raise ConfigError(f"reading the format's {name}", received=repr(mark), next_step="give one character")
    if layout.quote and layout.quote in layout.delimiter:
        raise ConfigError(
            "reading the format's quote",
            received=f"{layout.quote!r}, which is in the delimiter {layout.delimiter!r} too",
        )
    return Dialect(layout.delimiter, layout.quote, layout.escape if layout.quote else "")


# --- looking at a file -----------------------------------------------------------------------------------------------


def _inspected(
    staging: Staging,
    file: RawFile,
    layout: CsvFormat,
    wanted: Wanted,
    limits: Limits,
    has_blank_records: bool,
) -> _Text:
    dialect, words = _dialect(layout), NullWords(layout, wanted)
    with file.path.open("rb") as stream:
        kind = kind_of(stream.read(HEAD_BYTES))
    if kind:
        raise file.refused(f"{kind}, not delimited text", "correct format and compression, or deliver the right file")
    try:
        text = as_utf8(staging, file, layout.encoding)
        # before anything else is read of it: this keeps the limits
        look = _looked_through(text, dialect, layout.skip_rows, limits, words.in_quotes())
        header = _header_of(text, layout, dialect, wanted.names)
    except UnicodeError as error:
        raise file.refused(
            undecodable(file, layout.encoding, error), "set the format's encoding to the file's"
        ) from error
    if len(header.names) > limits.columns:
        raise file.refused(
            f"{len(header.names):,} columns, more than limits.columns ({limits.columns:,})",
            "correct the delimiter, or raise the limit",
        )
    keeps_blank = has_blank_records and len(header.names) == 1
    return _Text(
        text,
        header.names,
        header.unnamed,
        header.skip,
        look.lines,
        look.count.records(has_header=layout.header, keeps_blank=keeps_blank),
        keeps_blank,
        layout.record_type is None
        and look.is_plain
        and header.is_simple
        and not (look.has_quoted_word and words.for_engine(header.names) is None),
        look.has_nul,
        look.ends_with_delimiter,
    )


def _lines(file: RawFile, skip: int) -> Iterator[str]:
    """Yield the file's physical lines after the first `skip`, with their line ends."""
    with file.path.open(encoding="utf-8-sig", newline="") as stream:
        yield from itertools.islice(stream, skip, None)


@dataclass(frozen=True)
class _Header:
    """The header of a file: the names of its fields.

    `unnamed` are the names that were made for fields without a name. `skip` is the number of physical lines before the
    first record. `is_simple`: the engine counts the same lines.
    """

    names: tuple[str, ...]
    unnamed: frozenset[str]
    skip: int
    is_simple: bool


def _header_of(file: RawFile, layout: CsvFormat, dialect: Dialect, names: Sequence[str]) -> _Header:
    """Return the header of the file. Raises InputError where there is none."""
    skipped = itertools.islice(_lines(file, 0), layout.skip_rows)
    # at a quote in what is skipped, the engine may take the lines up to the next quote for one
    is_simple = not dialect.quote or not any(dialect.quote in line for line in skipped)
    taken = itertools.count()
    lines = (line for line, _ in zip(_lines(file, layout.skip_rows), taken, strict=False))
    if not layout.header:
        found = _taken(records(lines, dialect), layout, RecordTypes(layout.record_type))
        widths = [len(item.fields) for item in itertools.islice(found, _SAMPLE) if not item.problem]
        # one bad first row does not decide how many fields the file has
        width = len(names) if len(names) in widths or not widths else widths[0]
        known = names[:width]
        unknown = [unnamed_name(index) for index in range(len(known), width)]
        return _Header((*known, *unknown), frozenset(unknown), layout.skip_rows, is_simple)
    first = next(records(lines, dialect), None)
    if first is None:
        raise file.refused("no header row", "deliver the file with its header, or correct skip_rows")
    if first.problem:
        raise file.refused(f"a header that cannot be read: {first.problem}", "correct the header or the quote")
    header, unnamed = named(first.fields)
    is_one_line = not any("\n" in name or "\r" in name for name in header)
    return _Header(header, unnamed, layout.skip_rows + next(taken), is_simple and is_one_line)


@dataclass(frozen=True)
class _Look:
    """The result of one pass over the bytes of a file."""

    count: RecordCount
    lines: int
    is_plain: bool
    has_nul: bool
    ends_with_delimiter: bool
    has_quoted_word: bool


def _looked_through(file: RawFile, dialect: Dialect, skip_rows: int, limits: Limits, in_quotes: Sequence[str]) -> _Look:
    """Scan the whole file. Raises UnicodeError for bytes that are not UTF-8, InputError for long records."""
    quoted_words = [word.encode() for word in in_quotes]
    quote, delimiter, escape = dialect.quote.encode(), dialect.delimiter.encode(), dialect.escape.encode()
    before_spaces = rb"(?:\A|[\r\n]|" + re.escape(delimiter) + b"|" + re.escape(quote) + b")"
    spaces_before_quote = re.compile(before_spaces + b" +" + re.escape(quote))
    is_plain = _is_known_to_engine(dialect)
    ends_with_delimiter = has_nul = has_quoted_word = False
    feeds = returns = pairs = 0
    last = b""
    decoder = codecs.getincrementaldecoder("utf-8")()
    count = RecordCount(Marks(delimiter, quote, escape), skip_rows)

    def too_long(record: int) -> InputError:
        return file.refused(
            f"a record of more than {limits.record_bytes:,} bytes (limits.record_bytes) at record {record:,}",
            "look for a quote that is not closed or for missing line ends, or raise the limit",
        )

    with file.path.open("rb") as stream:
        # whole lines, so that no pattern is cut by the end of a chunk
        for chunk in whole_lines(stream, limits.record_bytes, too_long):
            if not chunk.isascii():
                decoder.decode(chunk)
            feeds += chunk.count(b"\n")
            if b"\r" in chunk:
                returns += chunk.count(b"\r")
                pairs += chunk.count(b"\r\n")
                ends_with_delimiter = ends_with_delimiter or delimiter + b"\r" in chunk
            has_nul = has_nul or b"\0" in chunk
            ends_with_delimiter = ends_with_delimiter or delimiter + b"\n" in chunk or chunk.endswith(delimiter)
            if quote and b" " + quote in chunk and spaces_before_quote.search(chunk):
                is_plain = False
            if escape != quote and escape in chunk:
                is_plain = False
            has_quoted_word = has_quoted_word or any(word in chunk for word in quoted_words)
            last = chunk[-1:]
            count.feed(chunk)
            if max(count.longest, count.open_bytes) > limits.record_bytes:
                raise too_long(count.longest_at if count.longest > limits.record_bytes else count.following)
    decoder.decode(b"", final=True)
    # the engine knows one kind of line end a file
    is_plain = is_plain and not has_nul and returns == pairs and returns in (0, feeds)
    return _Look(count, feeds + (last != b"\n"), is_plain, has_nul, ends_with_delimiter, has_quoted_word)


def _is_known_to_engine(dialect: Dialect) -> bool:
    """Return whether the engine accepts these marks with the same meaning."""
    return (
        dialect.delimiter.isascii()
        and len(dialect.delimiter) <= 4
        and dialect.delimiter not in ("\0", " ")
        and dialect.quote.isascii()
        and dialect.escape.isascii()
        and bool(dialect.quote) == bool(dialect.escape)
    )


# --- the two ways to read --------------------------------------------------------------------------------------------


def _taken(found: Iterator[Record], layout: CsvFormat, types: RecordTypes) -> Iterator[Record]:
    """Yield the records of the declared type; `types` counts the others."""
    if layout.record_type is None:
        yield from found
        return
    place = layout.record_type.field - 1
    for record in found:
        is_told = not record.problem and place < len(record.fields)
        value = (record.fields[place] or "").strip() if is_told else None
        if types.takes(value):
            yield record


def _records(text: _Text, layout: CsvFormat, words: NullWords, types: RecordTypes) -> Iterator[Record]:
    """Yield the records that are taken of those after the header, by `csv_text`.

    One with another number of fields has a problem.
    """
    width = len(text.header)
    nulls = [words.unquoted(name) for name in text.header]
    if_quoted = frozenset[str]().union(*nulls)
    lines = _lines(text.file, text.skip)
    found = records(lines, _dialect(layout), text.skip + 1, keeps_blank=text.keeps_blank, if_quoted=if_quoted)
    for record in _taken(found, layout, types):
        problem = record.problem
        if problem is None and len(record.fields) != width:
            problem = f"{len(record.fields)} fields where the file has {width}"
        elif problem is None and text.has_nul and any("\0" in field for field in record.fields if field):
            problem = "a NUL byte"
        if problem is None and if_quoted and any(field in if_quoted for field in record.fields):
            yield Record(record.line, _with_nulls(record, nulls))
        elif problem is None or record.problem is not None:
            yield record
        else:
            yield Record(record.line, (), problem, json.dumps(record.fields, ensure_ascii=False))


def _with_nulls(record: Record, nulls: Sequence[Container[str | None]]) -> list[str | None]:
    """Return the record's fields, with null for each unquoted text that is one of the field's null words."""
    return [
        None if field in nulls[place] and place not in record.quoted else field
        for place, field in enumerate(record.fields)
    ]


def _read_plain(
    staging: Staging, texts: Sequence[_Text], dialect: Dialect, words: NullWords
) -> tuple[RawRows | None, list[_Text]]:
    """Read files that share a header; return also the files that the engine reads differently from `csv_text`."""
    fields = tuple(RawField(name, field_name(index)) for index, name in enumerate(texts[0].header))
    nulls = words.for_engine(texts[0].header)
    try:
        raw, odd = _read_by_engine(staging, texts, dialect, fields, nulls)
    except duckdb.InvalidInputException:
        # the engine does not name the file
        return None, list(texts)
    firsts = staging.session.create(
        query(
            "SELECT filename AS s_file, min(rowid) AS s_first, count(*) AS s_rows FROM $raw GROUP BY filename", raw=raw
        )
    )
    read = query("SELECT s_file, s_rows FROM $firsts", firsts=firsts)
    rows_of = {row["s_file"]: row["s_rows"] for row in staging.session.fetch(read).to_pylist()}
    # of several files it loses what follows a quote that is never closed, and of one column the empty lines
    odd |= {path for text in texts if rows_of.get(path := str(text.file.path), 0) != text.records}
    odd |= _shortened(staging, raw, fields, [text for text in texts if text.ends_with_delimiter], dialect)
    taken = [text for text in texts if str(text.file.path) not in odd]
    refused = [text for text in texts if str(text.file.path) in odd]
    if not taken:
        return None, refused
    values: list[exp.Expression] = [column(item.column, "r") for item in fields]
    if nulls is None:
        # no text in quotes is one of the words, or the file would not be read here
        values = [
            alias(without(value, sorted(words.unquoted(item.name))), item.column)
            for value, item in zip(values, fields, strict=True)
        ]
    # where there are as many lines as rows, every row is one line and its number is known
    rows = query(
        "SELECT i.s_input_id, r.rowid - b.s_first AS s_row_id, "
        "CASE WHEN i.s_lines = i.s_skip + b.s_rows THEN i.s_skip + r.rowid - b.s_first + 1 END AS s_line, "
        "$nothing, $fields FROM $raw AS r JOIN $firsts AS b ON b.s_file = r.filename "
        "JOIN $inputs AS i ON i.s_file = r.filename",
        nothing=[no_text("s_problem"), no_text("s_record")],
        fields=values,
        raw=raw,
        firsts=firsts,
        inputs=staging.register({text.file.path: (text.file.input_id, text.lines, text.skip) for text in taken}),
    )
    return RawRows(tuple(text.file.input_id for text in taken), fields, rows), refused


def _read_by_engine(
    staging: Staging,
    texts: Sequence[_Text],
    dialect: Dialect,
    fields: Sequence[RawField],
    nulls: Collection[str] | None,
) -> tuple[Relation, set[str]]:
    """Return the rows that the engine reads, as texts with the path of their file, and the paths with rejected rows."""
    # the engine makes these two tables itself, beside the rows
    errors, scans = staging.name(), staging.name()
    types = [exp.PropertyEQ(this=literal(item.column), expression=literal("VARCHAR")) for item in fields]
    raw = staging.session.create(
        query(
            "SELECT * FROM read_csv($paths, columns = $columns, skip = $skip, delim = $delimiter, quote = $quote, "
            "escape = $escape, auto_detect = false, header = false, filename = true, nullstr = $nulls, "
            "allow_quoted_nulls = false, store_rejects = true, rejects_table = $errors, rejects_scan = $scans, "
            "rejects_limit = 1, hive_partitioning = false)",
            paths=paths(text.file.path for text in texts),
            columns=exp.Struct(expressions=types),
            skip=texts[0].skip,
            delimiter=dialect.delimiter,
            quote=dialect.quote,
            escape=dialect.escape,
            nulls=exp.array(*[literal(word) for word in sorted(nulls or {_NO_NULL})]),
            errors=errors,
            scans=scans,
        )
    )
    rejected = query(
        "SELECT DISTINCT s.file_path FROM $scans AS s "
        "JOIN $errors AS e ON e.scan_id = s.scan_id AND e.file_id = s.file_id",
        scans=table(scans),
        errors=table(errors),
    )
    return raw, set(staging.session.fetch(rejected).column(0).to_pylist())


def _shortened(
    staging: Staging, raw: Relation, fields: Sequence[RawField], texts: Sequence[_Text], dialect: Dialect
) -> set[str]:
    """Return the paths of files in which the engine dropped a surplus empty field at the end of a record.

    Every delimiter of a file separates two fields or is part of a value. If the file has more delimiters than these, a
    field was dropped.
    """
    if not texts:
        return set()
    inside: exp.Expr = literal(0)
    for item in fields:
        inside = query(
            "$inside + length($value) - length(replace($value, $delimiter, ''))",
            inside=inside,
            value=query("coalesce($value, '')", value=column(item.column)),
            delimiter=dialect.delimiter,
        )
    counted = query(
        "SELECT filename, count(*) AS found, sum($inside) AS inside FROM $raw "
        "WHERE filename IN ($paths) GROUP BY filename",
        inside=inside,
        raw=raw,
        paths=[str(text.file.path) for text in texts],
    )
    delimiters = {
        row["filename"]: row["found"] * (len(fields) - 1) + int(row["inside"]) // len(dialect.delimiter)
        for row in staging.session.fetch(counted).to_pylist()
    }
    return {
        str(text.file.path)
        for text in texts
        if delimiters.get(str(text.file.path), 0)
        != sum(line.count(dialect.delimiter) for line in _lines(text.file, text.skip))
    }
