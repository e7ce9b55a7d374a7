"""JSON Lines and JSON documents as raw rows of texts.

A line is text to the engine until it is known to be a JSON object, so a damaged line costs itself and no other. Nested
values become their JSON text. Numbers are what is written: the engine would read `90071992547409.93` as a double, so it
gets numbers as texts wherever their double is written otherwise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from sqlglot import exp

from dataops_assets.config.connection import CsvFormat, JsonFormat
from dataops_assets.connections.formats.delimited import read_delimited
from dataops_assets.connections.formats.signatures import HEAD_BYTES, kind_of
from dataops_assets.connections.formats.staging import RawField, RawFile, RawRows, Reading, Staging, Wanted, field_name
from dataops_assets.errors import InputError, nearest
from dataops_assets.sql import alias, column, literal, query

# JSON text holds no raw control character, so each line is one field
_ONE_FIELD = CsvFormat(delimiter="\x01", quote="", escape="", header=False)
_NUMBER = r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
# what may be a number that the engine writes otherwise: with an exponent, a zero at its end or start, more digits than
# a double surely keeps, or a negative zero
_INEXACT = r"[:,\[][ \t]*(?:-0[^.0-9]|-?(?:[0-9.]{17}|[0-9]+(?:\.[0-9]+)?[eE]|[0-9]+\.[0-9]+0(?:[^0-9]|$)|0\.0000))"
# At the end of each text and at the start of each number that is made a text, so that both can be told apart. It needs
# not be rare: a text that has it at its end gets another one.
_MARK = "\ue000"
_TEXT_OR_NUMBER = rf'"((?:[^"\\]|\\.)*)"|({_NUMBER})'
_MARKED = rf'"\1{_MARK}\2"'
_MARKED_NUMBER = rf'"{_MARK}({_NUMBER})"'


def read_json_lines(staging: Staging, files: Sequence[RawFile], wanted: Wanted) -> Reading:
    """The objects of `files`, one a line; of each the wanted members. Lines that hold no object have a problem."""
    lines = read_delimited(staging, files, _ONE_FIELD, ["line"])
    reading = Reading(errors=lines.errors)
    for some in lines.rows:
        found = _members(staging, some)
        there = sorted({name for names in found.values() for name in names if wanted.has(name)} - {*wanted.names})
        reading.rows.append(_objects(some, [*wanted.names, *there]))
        reading.headers |= {input_id: found.get(input_id, tuple(wanted.names)) for input_id in some.input_ids}
    return reading


def read_json(staging: Staging, files: Sequence[RawFile], layout: JsonFormat, wanted: Wanted) -> Reading:
    """The records of JSON documents. Documents that are damaged or hold no array of records get an InputError."""
    errors: dict[str, InputError] = {}
    lines: list[RawFile] = []
    for file in files:
        try:
            records, mark = _records(file, layout)
        except InputError as error:
            errors[file.input_id] = error
            continue
        path = staging.path()
        with path.open("w", encoding="ascii") as out:
            out.writelines(_as_written(record, mark) + "\n" for record in records)
        lines.append(RawFile(file.input_id, file.name, path))
    reading = read_json_lines(staging, lines, wanted)
    reading.errors |= errors
    # a record of a document may have many lines or share one
    reading.rows = [
        RawRows(
            rows.input_ids,
            rows.fields,
            query("SELECT * REPLACE (CAST(NULL AS BIGINT) AS s_line) FROM $rows AS r", rows=rows.query),
        )
        for rows in reading.rows
    ]
    return reading


def _objects(lines: RawRows, names: Sequence[str]) -> RawRows:
    text = column(lines.fields[0].column)
    fields = tuple(RawField(name, field_name(index)) for index, name in enumerate(names))
    known = query(
        "SELECT s_input_id, s_row_id, s_line, coalesce(s_record, $text) AS s_text, CASE "
        "WHEN s_problem IS NOT NULL THEN s_problem "
        "WHEN NOT json_valid($text) THEN 'not JSON' "
        "WHEN json_type($text) <> 'OBJECT' THEN 'a JSON ' || lower(json_type($text)) || ', not an object' "
        "END AS s_problem FROM $lines AS l",
        text=text,
        lines=lines.query,
    )
    # all members at once, because each look parses the text again; as pointers, which take any name
    exact, inexact = (
        exp.Anonymous(
            this="json_extract_string",
            expressions=[text, exp.array(*[literal(_pointer(name) + mark) for name in names])],
        )
        for text, mark in (
            (column("s_text"), ""),
            (query("regexp_replace(s_text, $old, $new, 'g')", old=_TEXT_OR_NUMBER, new=_MARKED), _MARK),
        )
    )
    members = query(
        "CASE WHEN regexp_matches(s_text, $inexact) THEN list_transform($marked, lambda m: $unmarked) ELSE $exact END",
        inexact=_INEXACT,
        marked=inexact,
        unmarked=_unmarked(),
        exact=exact,
    )
    extracted = query(
        "SELECT s_input_id, s_row_id, s_line, s_problem, "
        "CASE WHEN s_problem = 'not JSON' THEN CAST(to_json(s_text) AS VARCHAR) ELSE s_text END AS s_record, "
        "CASE WHEN s_problem IS NULL THEN $members END AS s_members FROM $known AS k",
        members=members,
        known=known,
    )
    rows = query(
        "SELECT s_input_id, s_row_id, s_line, s_problem, s_record, $fields FROM $extracted AS e",
        fields=[
            alias(query("list_extract(s_members, $place)", place=index + 1), field.column)
            for index, field in enumerate(fields)
        ],
        extracted=extracted,
    )
    return RawRows(lines.input_ids, fields, rows)


def _unmarked() -> exp.Expr:
    """The member `m` as it is written in its record."""
    return query(
        "CASE WHEN left(m, 1) IN ('{', '[') AND NOT suffix(m, $mark) "
        "THEN replace(regexp_replace(m, $number, '\\1', 'g'), $end, '\"') "
        "WHEN suffix(m, $mark) THEN left(m, length(m) - 1) "
        "WHEN left(m, 1) = $mark THEN substr(m, 2) ELSE m END",
        mark=_MARK,
        number=_MARKED_NUMBER,
        end=f'{_MARK}"',
    )


def _pointer(name: str) -> str:
    return "/" + name.replace("~", "~0").replace("/", "~1")


def _members(staging: Staging, lines: RawRows) -> Mapping[str, tuple[str, ...]]:
    """The names of members by input, in order of appearance."""
    text = column(lines.fields[0].column)
    found = query(
        "SELECT s_input_id, s_name FROM (SELECT s_input_id, unnest(s_names) AS s_name, "
        "generate_subscripts(s_names, 1) AS s_place, s_first FROM ("
        "SELECT s_input_id, json_keys($text) AS s_names, min(s_row_id) AS s_first FROM $lines AS l "
        "WHERE s_problem IS NULL AND json_valid($text) GROUP BY s_input_id, s_names) AS k) AS n "
        "GROUP BY s_input_id, s_name ORDER BY s_input_id, min(s_first), min(s_place)",
        text=text,
        lines=lines.query,
    )
    members: dict[str, list[str]] = {}
    for row in staging.session.fetch(found).to_pylist():
        members.setdefault(row["s_input_id"], []).append(row["s_name"])
    return {input_id: tuple(names) for input_id, names in members.items()}


def _as_written(record: Any, mark: str) -> str:
    """A record on one line, with its numbers as they were written."""
    escaped = json.dumps(mark).strip('"')
    return re.sub(rf'"{re.escape(escaped)}({_NUMBER})"', r"\1", json.dumps(record, separators=(",", ":")))


def _absent(text: str) -> str:
    """A sign that a text has nowhere, not even as an escape."""
    lower = text.lower()
    return next(
        sign
        for sign in map(chr, range(0xE000, 0xF8FF))
        if sign not in text and json.dumps(sign).strip('"') not in lower
    )


def _records(file: RawFile, layout: JsonFormat) -> tuple[list[Any], str]:
    """The records of a document, in which numbers are texts after the sign that comes with them."""
    with file.path.open("rb") as stream:
        kind = kind_of(stream.read(HEAD_BYTES))
    if kind:
        raise file.refused(f"{kind}, not JSON", "correct format and compression, or deliver the right file")
    try:
        with file.path.open(encoding="utf-8-sig") as stream:
            text = stream.read()
        mark = _absent(text)
        found = json.loads(text, parse_float=mark.__add__, parse_int=mark.__add__)
    except UnicodeError as error:
        raise file.refused(f"text that is not utf-8: {error}", "deliver JSON in UTF-8") from error
    except RecursionError as error:
        raise file.refused("JSON that is nested too deeply to read") from error
    except ValueError as error:
        raise file.refused(f"damaged JSON: {error}", "deliver it again; for an object a line, declare jsonl") from error
    walked: list[str] = []
    for name in layout.records.split(".") if layout.records else ():
        known = list(found) if isinstance(found, dict) else []
        if name not in known:
            raise InputError(
                f"reading {file.name}",
                received=f"no {name!r} in {'.'.join(walked) or 'the document'}",
                known=known[:20],
                next_step=nearest(name, known) or "correct the format's records",
            )
        found = found[name]
        walked.append(name)
    if not isinstance(found, list):
        names = f" with {', '.join(map(str, list(found)[:10]))}" if isinstance(found, dict) else ""
        raise file.refused(
            f"{type(found).__name__}{names} where an array of records is expected",
            "set the format's records to the path of the array",
        )
    return found, mark
