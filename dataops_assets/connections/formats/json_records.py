"""Reads JSON Lines and JSON documents as raw rows of texts.

The engine reads each line as text until it is known to be a JSON object. So a damaged line does not affect other lines.
Nested values become their JSON text. Numbers keep their digits: the engine would read `90071992547409.93` as a double.
So a number is passed to the engine as a text if its double would be written differently.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from sqlglot import exp

from dataops_assets.config.connection import CsvFormat, JsonFormat
from dataops_assets.config.limits import Limits
from dataops_assets.connections.formats.delimited import read_delimited
from dataops_assets.connections.formats.exact_json import NUMBER, Repeated, read_exactly, written_exactly
from dataops_assets.connections.formats.json_count import count_records, levels
from dataops_assets.connections.formats.json_members import member_names, pointer
from dataops_assets.connections.formats.nested_names import parts_of
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
    presence_fields,
)
from dataops_assets.errors import InputError, nearest
from dataops_assets.sql import Relation, alias, column, columns, literal, query

# JSON text holds no raw control character, so each line is one field
_ONE_FIELD = CsvFormat(delimiter="\x01", quote="", escape="", header=False)
# texts, and all signs but brackets
_NO_BRACKET = r'"(?:[^"\\]|\\.)*"|[^\[\]{}"]'
# what may be a number that the engine writes otherwise: with an exponent, a zero at its end or start, more digits than
# a double surely keeps, or a negative zero
_INEXACT = r"[:,\[][ \t]*(?:-0[^.0-9]|-?(?:[0-9.]{17}|[0-9]+(?:\.[0-9]+)?[eE]|[0-9]+\.[0-9]+0(?:[^0-9]|$)|0\.0000))"
# At the end of each text and at the start of each number that is made a text, so that both can be told apart. It needs
# not be rare: a text that has it at its end gets another one.
_MARK = "\ue000"
_TEXT_OR_NUMBER = rf'"((?:[^"\\]|\\.)*)"|({NUMBER})'
_MARKED = rf'"\1{_MARK}\2"'
_MARKED_NUMBER = rf'"{_MARK}({NUMBER})"'


def read_json_lines(staging: Staging, files: Sequence[RawFile], wanted: Wanted, limits: Limits) -> Reading:
    """Return the objects of `files`, one for each line, with the wanted members. Any other line has a problem.

    An object with two members of one name, at any depth, has a problem, too: readers differ in which of them counts.
    """
    lines = read_delimited(staging, files, _ONE_FIELD, Wanted(["line"]), limits, has_blank_records=False)
    reading = Reading(errors=lines.errors, records=lines.records)
    names_of = {file.input_id: file for file in files}
    for every in lines.rows:
        deep = _too_deep(staging, every, limits.nesting)
        for input_id, row in deep.items():
            reading.errors[input_id] = names_of[input_id].refused(
                f"more than {limits.nesting:,} levels (limits.nesting) in record {row + 1:,}",
                "deliver flat records, or raise the limit",
            )
        some = _without(every, deep)
        if not some.input_ids:
            continue
        found = member_names(staging, some, wanted)
        for input_id in some.input_ids:
            names = found.get(input_id, tuple(wanted.names))
            reading.headers[input_id] = (*names, *wanted.presences)
            if len(names) > limits.columns:
                reading.errors[input_id] = names_of[input_id].refused(
                    f"{len(names):,} different members, more than limits.columns ({limits.columns:,})",
                    "deliver names as values, or raise the limit",
                )
        names_found = sorted({name for names in found.values() for name in names[: limits.columns]})
        there = [name for name in names_found if wanted.has(name) and name not in wanted.names]
        objects = _objects(some, [*wanted.names, *there], _repeated(staging, some), wanted.presences)
        reading.rows.append(objects)
        unknown = [name for name in names_found if not wanted.knows(name)]
        if unknown:
            others = _objects(some, unknown, None, {})
            held = staging.held(others.query, some.input_ids, others.fields)
            for input_id in some.input_ids:
                header = reading.headers[input_id]
                reading.undeclared[input_id] = {name: held[input_id][name] for name in unknown if name in header}
    return reading


def _too_deep(staging: Staging, lines: RawRows, most: int) -> dict[str, int]:
    """Return the first row with more than `most` levels, of each input that has one.

    The engine's functions that walk through all members take memory in proportion to the square of the levels.
    """
    text = column(lines.fields[0].column)
    brackets = query("translate(regexp_replace($text, $other, '', 'g'), '{}', '[]')", text=text, other=_NO_BRACKET)
    # each round removes the innermost level
    rest = query(
        "list_reduce(list_transform(range($most), lambda n: ''), lambda b, n: replace(b, '[]', ''), $brackets)",
        most=most,
        brackets=brackets,
    )
    # few brackets have few levels
    is_deep = query(
        "CASE WHEN 2 * length($text) - length(replace($text, '{', '')) - length(replace($text, '[', '')) > $most "
        "THEN json_valid($text) AND $rest <> '' END",
        text=text,
        most=most,
        rest=rest,
    )
    found = query(
        "SELECT s_input_id, min(s_row_id) AS s_row FROM $lines AS l WHERE s_problem IS NULL AND $is_deep "
        "GROUP BY s_input_id",
        lines=lines.query,
        is_deep=is_deep,
    )
    return {row["s_input_id"]: row["s_row"] for row in staging.session.fetch(found).to_pylist()}


def _without(rows: RawRows, input_ids: Collection[str]) -> RawRows:
    if not input_ids:
        return rows
    kept = query("SELECT * FROM $rows AS r WHERE s_input_id NOT IN ($gone)", rows=rows.query, gone=sorted(input_ids))
    return RawRows(tuple(key for key in rows.input_ids if key not in input_ids), rows.fields, kept)


def json_as_lines(staging: Staging, file: RawFile, layout: JsonFormat, limits: Limits) -> tuple[Path, int]:
    """Write a document's records to a new file, one on each line. Return it, and the count by brackets and commas.

    Raises InputError for a document that is damaged, beyond the limits, or has no array of records.
    """
    size = file.path.stat().st_size
    if size > limits.document_bytes:
        raise file.refused(
            f"a document of {size:,} bytes, more than limits.document_bytes ({limits.document_bytes:,})",
            "deliver JSON Lines, which are read line by line, or raise the limit",
        )
    names = layout.records.split(".") if layout.records else []
    records, mark = _records(file, names, limits)
    path = staging.path()
    with path.open("w", encoding="ascii") as out:
        out.writelines(written_exactly(record, mark) + "\n" for record in records)
    count = count_records(file.path, names)
    if count is None:
        raise file.refused("a document whose records cannot be counted", DELIVER_AGAIN)
    return path, count


def _objects(lines: RawRows, names: Sequence[str], repeated: Relation | None, presences: Mapping[str, str]) -> RawRows:
    """Return the members `names` of lines, and whether other members are there, see `Wanted.presences`.

    The table `repeated` has the rows with two members of one name.
    """
    text = column(lines.fields[0].column)
    rows_of = lines.query if repeated is None else _with_repeated(lines, repeated)
    fields = tuple(RawField(name, field_name(index)) for index, name in enumerate(names))
    told = presence_fields(presences)
    known = query(
        "SELECT s_input_id, s_row_id, s_line, coalesce(s_record, $text) AS s_text, CASE "
        "WHEN s_problem IS NOT NULL THEN s_problem "
        "WHEN NOT json_valid($text) THEN 'not JSON' "
        "WHEN json_type($text) <> 'OBJECT' THEN 'a JSON ' || lower(json_type($text)) || ', not an object' "
        "END AS s_problem FROM $lines AS l",
        text=text,
        lines=rows_of,
    )
    # all members at once, because each call parses the text again; as pointers, which accept any name
    places = {name: _places(name) for name in names}
    pointed = {path: place for place, path in enumerate(dict.fromkeys(chain.from_iterable(places.values())), 1)}
    exact, inexact = (
        exp.Anonymous(
            this="json_extract_string",
            expressions=[text, exp.array(*[literal(pointer(path, mark)) for path in pointed])],
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
        "CASE WHEN s_problem IS NULL THEN $members END AS s_members, $there FROM $known AS k",
        members=members,
        there=[alias(_is_there(presences[item.name]), item.column) for item in told],
        known=known,
    )
    rows = query(
        "SELECT s_input_id, s_row_id, s_line, s_problem, s_record, $fields FROM $extracted AS e",
        fields=[
            *[
                alias(_first([_extracted(pointed[path]) for path in places[field.name]]), field.column)
                for field in fields
            ],
            *columns([item.column for item in told]),
        ],
        extracted=extracted,
    )
    return RawRows(lines.input_ids, (*fields, *told), rows)


def _is_there(name: str) -> exp.Expr:
    """Return whether the record has a member, also with a null."""
    found = [query("json_exists(s_text, $path)", path=pointer(path)) for path in _places(name)]
    return query("CASE WHEN s_problem IS NULL THEN $found END", found=exp.or_(*found))


def _unmarked() -> exp.Expr:
    """Return the member `m` as it is written in its record."""
    return query(
        "CASE WHEN left(m, 1) IN ('{', '[') AND NOT suffix(m, $mark) "
        "THEN replace(regexp_replace(m, $number, '\\1', 'g'), $end, '\"') "
        "WHEN suffix(m, $mark) THEN left(m, length(m) - 1) "
        "WHEN left(m, 1) = $mark THEN substr(m, 2) ELSE m END",
        mark=_MARK,
        number=_MARKED_NUMBER,
        end=f'{_MARK}"',
    )


def _with_repeated(lines: RawRows, repeated: Relation) -> exp.Query:
    found: exp.Query = query(
        "SELECT l.s_input_id, l.s_row_id, l.s_line, coalesce(l.s_problem, "
        "'more than one member ' || d.s_name) AS s_problem, coalesce(l.s_record, "
        "CASE WHEN d.s_name IS NOT NULL THEN $text END) AS s_record, $text FROM $lines AS l "
        "LEFT JOIN $repeated AS d ON d.s_input_id = l.s_input_id AND d.s_row_id = l.s_row_id",
        text=column(lines.fields[0].column, "l"),
        lines=lines.query,
        repeated=repeated,
    )
    return found


def _repeated(staging: Staging, lines: RawRows) -> Relation | None:
    """Make a table of rows with two members of one name, at any depth, with that name; None if there are none."""
    text = column(lines.fields[0].column)
    # a walk through all members is expensive, so it is done only for nested objects
    outer = query(
        "SELECT s_input_id, s_row_id, s_name FROM (SELECT s_input_id, s_row_id, unnest(s_names) AS s_name "
        "FROM (SELECT s_input_id, s_row_id, json_keys($text) AS s_names FROM $lines AS l "
        "WHERE s_problem IS NULL AND json_valid($text)) AS k WHERE len(list_distinct(s_names)) < len(s_names)) AS m "
        "GROUP BY s_input_id, s_row_id, s_name HAVING count(*) > 1",
        text=text,
        lines=lines.query,
    )
    inner = query(
        "SELECT l.s_input_id, l.s_row_id, j.key AS s_name FROM (SELECT s_input_id, s_row_id, $text AS s_text "
        "FROM $lines AS n WHERE s_problem IS NULL AND json_valid($text) "
        "AND length($text) - length(replace($text, '{', '')) > 1) AS l, json_tree(l.s_text) AS j "
        "GROUP BY l.s_input_id, l.s_row_id, j.parent, j.key HAVING count(*) > 1",
        text=text,
        lines=lines.query,
    )
    found = staging.session.create(
        query(
            "SELECT s_input_id, s_row_id, min(CAST(to_json(s_name) AS VARCHAR)) AS s_name FROM $all AS a "
            "GROUP BY s_input_id, s_row_id",
            all=exp.union(outer, inner, distinct=False),
        )
    )
    there = staging.session.fetch(query("SELECT count(*) AS n FROM $found AS f", found=found))
    return found if there.column(0)[0].as_py() else None


def _places(name: str) -> list[tuple[str, ...]]:
    """Return the paths of a member, the first one with a value counts: its whole name, then the parts of its name."""
    return list(dict.fromkeys([(name,), parts_of(name)]))


def _extracted(place: int) -> exp.Expr:
    found: exp.Expr = query("list_extract(s_members, $place)", place=place)
    return found


def _first(values: Sequence[exp.Expr]) -> exp.Expr:
    return values[0] if len(values) == 1 else exp.func("coalesce", *values)


def _records(file: RawFile, names: Sequence[str], limits: Limits) -> tuple[list[Any], str]:
    """Return the records of a document, and a character. Each number is a text that starts with this character."""
    with file.path.open("rb") as stream:
        kind = kind_of(stream.read(HEAD_BYTES))
    if kind:
        raise file.refused(f"{kind}, not JSON", "correct format and compression, or deliver the right file")
    try:
        with file.path.open(encoding="utf-8-sig") as stream:
            text = stream.read()
        found, mark = read_exactly(text)
    except UnicodeError as error:
        raise file.refused(f"text that is not utf-8: {error}", "deliver JSON in UTF-8") from error
    except RecursionError as error:
        raise _nested(file, limits) from error
    except ValueError as error:
        raise file.refused(f"damaged JSON: {error}", "deliver it again; for an object a line, declare jsonl") from error
    # the records are in an array, below the objects of the path
    if levels(file.path) > len(names) + 1 + limits.nesting:
        raise _nested(file, limits)
    walked: list[str] = []
    for name in names:
        known = list(found) if isinstance(found, dict) else []
        if name not in known:
            raise InputError(
                f"reading {file.name}",
                received=f"no {name!r} in {'.'.join(walked) or 'the document'}",
                known=known[:20],
                next_step=nearest(name, known) or "correct the format's records",
            )
        if isinstance(found, Repeated) and [key for key, _ in found.pairs].count(name) > 1:
            raise file.refused(f"more than one member {name!r}", "deliver the records once")
        found = found[name]
        walked.append(name)
    if not isinstance(found, list):
        names = f" with {', '.join(map(str, list(found)[:10]))}" if isinstance(found, dict) else ""
        raise file.refused(
            f"{type(found).__name__}{names} where an array of records is expected",
            "set the format's records to the path of the array",
        )
    return found, mark


def _nested(file: RawFile, limits: Limits) -> InputError:
    return file.refused(
        f"a document with records of more than {limits.nesting:,} levels (limits.nesting), or too many to read",
        "deliver flat records, or raise the limit",
    )
