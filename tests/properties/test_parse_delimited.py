"""Laws of reading delimited text: what was written is read, and the fast and the careful way read the same."""

from __future__ import annotations

import csv
import io
import itertools
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dataops_assets.config.connection import CsvFormat
from dataops_assets.config.limits import Limits
from dataops_assets.connections.formats import delimited
from dataops_assets.connections.formats.csv_text import Dialect, records
from dataops_assets.connections.formats.delimited import read_delimited
from dataops_assets.connections.formats.staging import RawFile, Reading, Staging, Wanted
from dataops_assets.engines.duckdb import DuckDBSession
from dataops_assets.errors import InputError

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
VALUE = st.one_of(
    st.sampled_from(["", " ", "a", '"', ",", "\n", "\r\n", "\r", '""', " a", "x,y", "\\", "'", "\ufeff", "\x01"]), TEXT
)


@pytest.fixture(scope="module")
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


def read(
    database: duckdb.DuckDBPyConnection, contents: list[bytes], layout: CsvFormat, names: list[str]
) -> tuple[Reading, list[dict[str, Any]]]:
    with tempfile.TemporaryDirectory() as folder, database.cursor() as cursor:
        session = DuckDBSession(cursor)
        files = []
        for index, content in enumerate(contents):
            path = Path(folder) / f"file_{index}"
            path.write_bytes(content)
            files.append(RawFile(f"input{index}", f"file_{index}.csv", path))
        inner = Path(folder) / "staged"
        inner.mkdir()
        reading = read_delimited(Staging(session, inner), files, layout, Wanted(names), Limits())
        rows = [row for some in reading.rows for row in session.fetch(some.query).to_pylist()]
    return reading, sorted(rows, key=lambda row: (row["s_input_id"], row["s_row_id"]))


def outcome(database: duckdb.DuckDBPyConnection, contents: list[bytes], layout: CsvFormat) -> list[Any]:
    """What of a row must not depend on the way it is read: lines are not always known to the fast way."""
    reading, rows = read(database, contents, layout, ["a", "b"])
    shown = [
        (row["s_input_id"], row["s_row_id"], row["s_problem"], row["s_record"])
        + ((row.get("f0"), row.get("f1")) if row["s_problem"] is None else ())
        for row in rows
    ]
    return [shown, reading.headers, {key: str(error) for key, error in reading.errors.items()}]


@st.composite
def written(draw: Any) -> tuple[list[list[str]], str, str]:
    width = draw(st.integers(1, 4))
    rows = draw(st.lists(st.lists(VALUE, min_size=width, max_size=width), max_size=6))
    return rows, draw(st.sampled_from([",", ";", "\t", "|"])), draw(st.sampled_from(["\n", "\r\n"]))


@settings(max_examples=100, deadline=None)
@given(case=written(), bom=st.booleans())
def test_what_a_writer_wrote_is_read(
    database: duckdb.DuckDBPyConnection, case: tuple[list[list[str]], str, str], bom: bool
) -> None:
    rows, delimiter, ending = case
    names = [f"c{index}" for index in range(len(rows[0]) if rows else 1)]
    out = io.StringIO()
    # the header is unquoted; of an empty single field csv writes the quotes, so no row is an empty line
    # Python's writer leaves a carriage return unquoted where it is not part of the line's end
    quoting = csv.QUOTE_ALL if any("\r" in value for row in rows for value in row) else csv.QUOTE_MINIMAL
    csv.writer(out, delimiter=delimiter, lineterminator=ending, quoting=quoting).writerows([names, *rows])
    content = (b"\xef\xbb\xbf" if bom else b"") + out.getvalue().encode()
    reading, found = read(database, [content], CsvFormat(delimiter=delimiter), names)
    assert reading.headers == {"input0": tuple(names)}
    assert [row["s_row_id"] for row in found] == list(range(len(rows)))
    assert [[row[f"f{index}"] for index in range(len(names))] for row in found] == rows
    assert not [row for row in found if row["s_problem"]]


PIECES = st.sampled_from(["a", "b", "1", " ", "  ", ",", ",", ",", '"', '""', "\n", "\n", "\n\n", "é"])
HOSTILE = st.lists(PIECES, max_size=25).map("".join)
FIELD = st.one_of(
    st.sampled_from(["", "x", "y z", " p", "q ", 'm"n', ' "s"', '"t" ', '"u" "v"', '"w"x', '"open']),
    st.lists(st.sampled_from(["a", '""', ",", "\n", " "]), max_size=4).map(lambda parts: f'"{"".join(parts)}"'),
)
RECORD = st.lists(FIELD, min_size=1, max_size=3).map(",".join)
SHAPED = st.lists(st.one_of(st.tuples(FIELD, FIELD).map(",".join), RECORD), max_size=6).map("\n".join)


@settings(max_examples=150, deadline=None)
@given(
    texts=st.lists(st.one_of(HOSTILE, SHAPED), min_size=1, max_size=3),
    header=st.booleans(),
    skip_rows=st.integers(0, 2),
    ending=st.sampled_from(["\n", "\r\n", "\r"]),
    escape=st.sampled_from(['"', '"', "\\", ""]),
    quote=st.sampled_from(['"', '"', ""]),
)
@example(texts=["a,b\n1,2,\n"], header=True, skip_rows=0, ending="\n", escape='"', quote='"')
@example(texts=['a,b\n1,2\n"open,3\n4,5\n'], header=True, skip_rows=0, ending="\n", escape='"', quote='"')
@example(texts=['"a\nx",b\n1,2\n'], header=True, skip_rows=0, ending="\n", escape='"', quote='"')
@example(texts=['"t" "u",b\n1,2\n'], header=False, skip_rows=0, ending="\n", escape='"', quote='"')
def test_the_fast_and_the_careful_way_read_the_same(
    database: duckdb.DuckDBPyConnection,
    texts: list[str],
    header: bool,
    skip_rows: int,
    ending: str,
    escape: str,
    quote: str,
) -> None:
    layout = CsvFormat(header=header, skip_rows=skip_rows, escape=escape, quote=quote)
    contents = [text.replace("\n", ending).encode() for text in texts]
    fast = outcome(database, contents, layout)
    with mock.patch.object(delimited, "_is_known_to_engine", return_value=False):
        careful = outcome(database, contents, layout)
    assert fast == careful


@settings(max_examples=200, deadline=None)
@given(text=st.one_of(HOSTILE, SHAPED), escape=st.sampled_from(['"', "\\", ""]))
def test_every_line_is_in_exactly_one_record_or_empty(text: str, escape: str) -> None:
    lines = io.StringIO(text, newline="").readlines()
    found = list(records(lines, Dialect(",", '"', escape)))
    numbers = [record.line for record in found]
    assert numbers == sorted(set(numbers))
    for first, following in itertools.pairwise([*numbers, len(lines) + 1]):
        assert lines[first - 1].strip("\r\n")
        if first + 1 == following:
            continue
        # more lines than one: the record goes on over them, or they are empty
        between = lines[first : following - 1]
        record = found[numbers.index(first)]
        assert record.problem or '"' in lines[first - 1] or not "".join(between).strip("\r\n")
    for record in found:
        assert (record.problem is None) == (record.raw is None)
        if record.raw is not None:
            assert json.loads(record.raw)


@settings(max_examples=60, deadline=None)
@given(
    text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters='\0\r\n",'), min_size=1, max_size=5),
    encoding=st.sampled_from(["utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252", "utf-8-sig", "shift_jis", "utf-7"]),
)
def test_any_encoding_that_can_hold_the_text_gives_it_back(
    database: duckdb.DuckDBPyConnection, text: str, encoding: str
) -> None:
    try:
        content = f"a,b\n{text},2\n".encode(encoding)
        assert content.decode(encoding) == f"a,b\n{text},2\n"
    except (UnicodeError, AssertionError):
        return
    reading, rows = read(database, [content], CsvFormat(encoding=encoding), ["a", "b"])
    assert not reading.errors
    assert [(row["f0"], row["f1"]) for row in rows] == [(text, "2")]


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=60), encoding=st.sampled_from(["utf-8", "utf-16", "latin-1"]))
def test_any_bytes_give_rows_or_a_clear_error_and_leave_other_inputs_alone(
    database: duckdb.DuckDBPyConnection, content: bytes, encoding: str
) -> None:
    good = "a,b\n1,2\n".encode(encoding)
    reading, rows = read(database, [content, good], CsvFormat(encoding=encoding), ["a", "b"])
    assert [(row["f0"], row["f1"]) for row in rows if row["s_input_id"] == "input1"] == [("1", "2")]
    assert all(isinstance(error, InputError) and error.received for error in reading.errors.values())
    assert ("input0" in reading.errors) != ("input0" in reading.headers)
