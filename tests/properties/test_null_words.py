"""Which texts mean null: the same by both readers of delimited text, and whatever a file is read with."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
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
from dataops_assets.connections.formats.null_words import present
from dataops_assets.connections.formats.reader import read
from dataops_assets.connections.formats.staging import RawFile, Staging, Wanted
from dataops_assets.engines.duckdb import DuckDBSession
from dataops_assets.sql import alias, column, query

Rows = list[list[str | None]]
Words = tuple[str, ...]


@pytest.fixture(scope="module")
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("SET threads = 2")
        yield connection


def cells(text: str, layout: CsvFormat) -> list[list[tuple[str, bool]]]:
    """The model's reader of well-formed text, one character at a time: text and whether it was in quotes."""
    rows: list[list[tuple[str, bool]]] = [[]]
    value, is_quoted, is_open, place = "", False, False, 0
    while place < len(text):
        mark = text[place]
        if is_open and layout.escape and mark == layout.escape and text[place + 1 : place + 2] == layout.quote:
            value += layout.quote
            place += 1
        elif is_open:
            is_open = mark != layout.quote
            value += mark if is_open else ""
        elif layout.quote and mark == layout.quote and not value.strip(" ") and not is_quoted:
            value, is_quoted, is_open = "", True, True
        elif mark in (layout.delimiter, "\n"):
            rows[-1].append((value, is_quoted))
            value, is_quoted = "", False
            if mark == "\n":
                rows.append([])
        elif not is_quoted:
            value += mark
        place += 1
    return rows[:-1]


def is_null(text: str, is_quoted: bool, words: Words, quoted_nulls: str) -> bool:
    """What the documentation says."""
    if text not in words:
        return False
    return not is_quoted or quoted_nulls == "all" or (quoted_nulls == "empty" and text == "")


def expected(text: str, layout: CsvFormat, of_columns: Mapping[str, Words]) -> Rows:
    header, *rows = cells(text, layout)
    words = [of_columns.get(name, layout.null_words) for name, _ in header]
    return [
        [
            None if is_null(value, is_quoted, words[place], layout.quoted_nulls) else value
            for place, (value, is_quoted) in enumerate(row)
        ]
        for row in rows
        if len(header) == 1 or row != [("", False)]
    ]


def found(
    database: duckdb.DuckDBPyConnection, texts: list[str], layout: CsvFormat, of_columns: Mapping[str, Words]
) -> list[Rows]:
    with tempfile.TemporaryDirectory() as folder, database.cursor() as cursor:
        session = DuckDBSession(cursor)
        files = []
        for index, text in enumerate(texts):
            path = Path(folder) / f"file_{index}"
            path.write_bytes(text.encode())
            files.append(RawFile(f"input{index}", f"file_{index}.csv", path))
        inner = Path(folder) / "staged"
        inner.mkdir()
        wanted = Wanted(["a", "b"], null_words=of_columns)
        reading = read(Staging(session, inner), files, layout, wanted, Limits())
        assert not reading.errors
        rows: dict[str, list[tuple[int, list[str | None]]]] = {file.input_id: [] for file in files}
        for some in reading.rows:
            values = [alias(present(column(item.column, "r"), item), item.column) for item in some.fields]
            shown = session.fetch(
                query(
                    "SELECT r.s_input_id, r.s_row_id, r.s_problem, $values FROM $rows AS r",
                    values=values,
                    rows=some.query,
                )
            )
            for row in shown.to_pylist():
                assert row["s_problem"] is None
                rows[row["s_input_id"]].append((row["s_row_id"], [row[item.column] for item in some.fields]))
    return [[values for _, values in sorted(rows[file.input_id])] for file in files]


TEXTS = ["", "NA", "x", "-", " NA", "NA ", "na", 'N"A', "N,A", "N\nA", '"', "N\\A", "\\", "é"]
WORDS = st.lists(st.sampled_from(TEXTS), max_size=4, unique=True).map(tuple)


@st.composite
def written(draw: Any, layout: CsvFormat, width: int) -> str:
    """A well-formed text of a header and some rows."""

    def field() -> str:
        text = draw(st.sampled_from(TEXTS))
        can_be_bare = not any(mark in text for mark in (layout.delimiter, "\n", layout.quote))
        can_be_quoted = (
            layout.quote
            and (layout.escape or layout.quote not in text)
            and not (layout.escape == "\\" and "\\" in text)
        )
        if can_be_bare and (not can_be_quoted or draw(st.booleans())):
            return text
        if not can_be_quoted:
            return "x"
        before, after = draw(st.sampled_from([("", ""), ("", ""), ("", " "), (" ", "")]))
        return f'{before}"{text.replace(layout.quote, layout.escape + layout.quote)}"{after}'

    rows = [[field() for _ in range(width)] for _ in range(draw(st.integers(0, 4)))]
    names = ["a", "b", "c"][:width]
    return "".join(",".join(row) + "\n" for row in [names, *rows])


@st.composite
def cases(draw: Any) -> tuple[list[str], CsvFormat, dict[str, Words]]:
    quote, escape = draw(st.sampled_from([('"', '"'), ('"', '"'), ('"', "\\"), ("", "")]))
    layout = CsvFormat(
        quote=quote,
        escape=escape,
        null_words=draw(WORDS),
        quoted_nulls=draw(st.sampled_from(["empty", "all", "none"])),
    )
    of_columns = draw(st.dictionaries(st.sampled_from(["a", "b"]), WORDS, max_size=2))
    width = draw(st.integers(1, 3))
    return draw(st.lists(written(layout, width), min_size=1, max_size=3)), layout, of_columns


NAMIBIA = 'a,b,c\n"NA",NA,"NA"\n"",,""\nNA,"NA",NA\n'


@settings(max_examples=60, deadline=None)
@given(case=cases())
@example(case=([NAMIBIA], CsvFormat(null_words=("", "NA")), {}))
@example(case=([NAMIBIA, "a,b,c\nNA,NA,x\n"], CsvFormat(null_words=("", "NA"), quoted_nulls="none"), {"b": ()}))
@example(case=([NAMIBIA], CsvFormat(), {"b": ("NA",)}))
@example(case=(['a\nNA\n\n"NA"\n""\n'], CsvFormat(null_words=("", "NA"), quoted_nulls="none"), {}))
@example(case=(['a,b\n"N""A",N"A\n'], CsvFormat(null_words=('N"A',)), {}))
def test_a_text_is_null_where_the_settings_say_so_by_both_readers_and_in_any_batch(
    database: duckdb.DuckDBPyConnection, case: tuple[list[str], CsvFormat, dict[str, Words]]
) -> None:
    texts, layout, of_columns = case
    wanted = [expected(text, layout, of_columns) for text in texts]
    assert found(database, texts, layout, of_columns) == wanted
    assert [found(database, [text], layout, of_columns)[0] for text in texts] == wanted
    with mock.patch.object(delimited, "_is_known_to_engine", return_value=False):
        assert found(database, texts, layout, of_columns) == wanted


def test_quoted_words_do_not_cost_the_fast_reader_where_all_columns_share_them(
    database: duckdb.DuckDBPyConnection,
) -> None:
    layout = CsvFormat(null_words=("", "NA"))
    with mock.patch.object(delimited, "records", wraps=delimited.records) as careful:
        found(database, [NAMIBIA], layout, {})
        # the header alone
        assert careful.call_count == 1
        found(database, ["a,b,c\nNA,x,NA\n"], layout, {"a": ()})
        assert careful.call_count == 2
        found(database, [NAMIBIA], layout, {"a": ()})
        assert careful.call_count == 4
