"""Every record is accounted for: independent counts against Python's readers, and no result depends on the batch."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dataops_assets.config.connection import (
    CsvFormat,
    ExcelFormat,
    FileFormat,
    JsonFormat,
    JsonLinesFormat,
    ParquetFormat,
)
from dataops_assets.config.limits import Limits
from dataops_assets.connections.formats import json_count, record_count
from dataops_assets.connections.formats.compression import unpack
from dataops_assets.connections.formats.csv_text import Dialect, records
from dataops_assets.connections.formats.json_count import count_records
from dataops_assets.connections.formats.reader import read
from dataops_assets.connections.formats.record_count import Marks, RecordCount, whole_lines
from dataops_assets.connections.formats.staging import RawFile, Reading, Staging, Wanted
from dataops_assets.engines.duckdb import DuckDBSession
from dataops_assets.errors import InputError

FAST = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
PIECES = ["a", " ", "  ", ",", ",", '"', '"', '""', "\n", "\n\n", "é", "\\", "\r\n", "\r", '"a"', '"b\n"', ',"', '\n"']
TEXT = st.lists(st.sampled_from(PIECES), max_size=25).map("".join)


@pytest.fixture(scope="module")
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("SET threads = 2")
        yield connection


def rows_of(
    database: duckdb.DuckDBPyConnection,
    contents: list[bytes],
    layout: FileFormat,
    names: list[str],
    limits: Limits | None = None,
) -> tuple[Reading, dict[str, list[Any]]]:
    """What each input gives: problem, or texts by name."""
    with tempfile.TemporaryDirectory() as folder, database.cursor() as cursor:
        session = DuckDBSession(cursor)
        files = []
        for index, content in enumerate(contents):
            path = Path(folder) / f"file_{index}"
            path.write_bytes(content)
            files.append(RawFile(f"input{index}", f"file_{index}", path))
        inner = Path(folder) / "staged"
        inner.mkdir()
        reading = read(Staging(session, inner), files, layout, Wanted(names), limits or Limits())
        found: dict[str, list[Any]] = {file.input_id: [] for file in files}
        for some in reading.rows:
            shown = sorted(session.fetch(some.query).to_pylist(), key=lambda row: row["s_row_id"])
            for row in shown:
                values = {item.name: row[item.column] for item in some.fields}
                found[row["s_input_id"]].append(row["s_problem"] or values)
    return reading, found


def accounted(reading: Reading, found: dict[str, list[Any]]) -> None:
    for input_id, rows in found.items():
        assert input_id in reading.errors or reading.records[input_id] == len(rows)


def counted(content: bytes, dialect: Dialect, chunk: int, *, has_header: bool, keeps_blank: bool) -> int:
    count = RecordCount(Marks(*(mark.encode() for mark in (dialect.delimiter, dialect.quote, dialect.escape))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record_count, "_CHUNK", chunk)
        for lines in whole_lines(io.BytesIO(content), 1 << 20, ValueError):
            count.feed(lines)
    return count.records(has_header=has_header, keeps_blank=keeps_blank)


@settings(max_examples=400, deadline=None)
@given(
    text=TEXT,
    marks=st.sampled_from([(",", '"', '"'), (",", '"', "\\"), (";;", '"', '"'), (",", '"', ""), (",", "", "")]),
    chunk=st.sampled_from([1, 3, 7, 1000]),
    keeps_blank=st.booleans(),
)
def test_the_count_is_that_of_the_careful_reader_however_it_is_cut(
    text: str, marks: tuple[str, str, str], chunk: int, keeps_blank: bool
) -> None:
    dialect = Dialect(*marks)
    wanted = sum(1 for _ in records(io.StringIO(text, newline=""), dialect, keeps_blank=keeps_blank))
    assert counted(text.encode(), dialect, chunk, has_header=False, keeps_blank=keeps_blank) == wanted


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(st.lists(st.text(st.sampled_from('a",\n\r 5é'), max_size=4), min_size=1, max_size=3), max_size=8),
    chunk=st.sampled_from([1, 5, 1000]),
)
def test_the_count_of_well_formed_text_is_that_of_pythons_reader(rows: list[list[str]], chunk: int) -> None:
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows(rows)
    wanted = sum(1 for _ in csv.reader(io.StringIO(out.getvalue(), newline="")))
    dialect = Dialect(",", '"', '"')
    assert counted(out.getvalue().encode(), dialect, chunk, has_header=False, keeps_blank=False) == wanted == len(rows)


@FAST
@given(bodies=st.lists(TEXT, min_size=1, max_size=4), header=st.sampled_from(["id,note", "id", "id,note,"]))
@example(bodies=["1,x\n", "2,x\n", '9,"never\n10,ok\n11,ok\n', "3,x\n", "4,x\n"], header="id,note")
@example(bodies=["1\n\n2\n\n"], header="id")
def test_files_of_any_text_are_accounted_for_and_read_together_as_they_are_read_alone(
    database: duckdb.DuckDBPyConnection, bodies: list[str], header: str
) -> None:
    contents = [f"{header}\n{body}".encode() for body in bodies]
    reading, together = rows_of(database, contents, CsvFormat(), ["id", "note"])
    accounted(reading, together)
    for index, content in enumerate(contents):
        alone, rows = rows_of(database, [content], CsvFormat(), ["id", "note"])
        assert rows["input0"] == together[f"input{index}"]
        assert alone.undeclared.get("input0") == reading.undeclared.get(f"input{index}")


def test_a_quote_that_is_never_closed_costs_its_line_whatever_is_read_with_it(
    database: duckdb.DuckDBPyConnection,
) -> None:
    good = [f"id,note\n{n},x\n".encode() for n in range(4)]
    reading, found = rows_of(database, [*good, b'id,note\n9,"never\n10,ok\n11,ok\n'], CsvFormat(), ["id", "note"])
    assert [row if isinstance(row, str) else row["id"] for row in found["input4"]] == [
        "a quoted field is not closed before the end of the file",
        "10",
        "11",
    ]
    assert reading.records["input4"] == 3


def test_lines_after_a_quote_that_is_never_closed_take_linear_time() -> None:
    lines = ['x","y\n'] * 20_000
    found = list(records(lines, Dialect(",", '"', '"')))
    assert len(found) == len(lines)


def test_a_column_without_a_name_is_told_with_its_values_and_is_none_where_it_has_none(
    database: duckdb.DuckDBPyConnection,
) -> None:
    contents = [b"id,note,\n1,x,LOST\n", b"id,note,\n1,x,\n"]
    reading, _ = rows_of(database, contents, CsvFormat(), ["id", "note"])
    assert reading.headers == {"input0": ("id", "note", "column_3"), "input1": ("id", "note")}
    assert reading.undeclared == {"input0": {"column_3": 1}, "input1": {}}


VALUE = st.recursive(
    st.one_of(st.integers(-5, 5), st.none(), st.text(st.sampled_from('a,"{[]}\\:é'), max_size=3)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from('ab"'), inner, max_size=2)),
    max_leaves=5,
)


@settings(max_examples=200, deadline=None)
@given(
    elements=st.lists(VALUE, max_size=4),
    names=st.sampled_from([[], ["data"], ["data", 'q"']]),
    beside=VALUE,
    chunk=st.sampled_from([1, 2, 5, 1000]),
    indent=st.sampled_from([None, 1]),
)
def test_the_count_of_a_document_is_that_of_pythons_reader(
    tmp_path_factory: pytest.TempPathFactory,
    elements: list[Any],
    names: list[str],
    beside: Any,
    chunk: int,
    indent: int | None,
) -> None:
    document: Any = elements
    for name in reversed(names):
        document = {"before": beside, name: document, "after": beside}
    path = tmp_path_factory.getbasetemp() / "document.json"
    path.write_text(json.dumps(document, indent=indent, ensure_ascii=False), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_count, "_CHUNK", chunk)
        assert count_records(path, names) == len(elements)


REPEATED = ['{"id":1,"id":2}', '{"id":1,"x":{"a":1,"a":1}}', '{"id":1,"x":[{"a":{"b":1,"b":2}}]}']


@pytest.mark.parametrize("bad", REPEATED)
def test_two_members_of_one_name_reject_the_record_in_json_and_in_json_lines(
    database: duckdb.DuckDBPyConnection, bad: str
) -> None:
    good = '{"id":7,"x":{"a":1,"b":{"a":2}}}'
    document, by_document = rows_of(database, [f"[{bad},{good}]".encode()], JsonFormat(type="json"), ["id"])
    lines, by_line = rows_of(database, [f"{bad}\n\n{good}\n".encode()], JsonLinesFormat(type="jsonl"), ["id"])
    assert by_document == by_line
    assert str(by_line["input0"][0]).startswith("more than one member")
    assert by_line["input0"][1] == {"id": "7"}
    assert document.records == lines.records == {"input0": 2}
    assert document.undeclared == lines.undeclared == {"input0": {"x": 1 + ('"x"' in bad)}}


def nested(value: Any) -> int:
    """How many objects and arrays are in one another."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return max(map(nested, inner), default=0) + isinstance(value, (dict, list))


@settings(FAST, max_examples=4)
@given(records=st.lists(st.dictionaries(st.sampled_from("abc"), VALUE, max_size=2), min_size=1, max_size=3))
@example(records=[{"a": "[[[[", "b": '"[[[["'}])
@example(records=[{"a": [{"b": [1]}]}, {}])
def test_json_of_more_levels_than_the_limit_stops_alone(
    database: duckdb.DuckDBPyConnection, records: list[dict[str, Any]]
) -> None:
    flat = {"c": 1}
    lines = [b"\n".join(json.dumps(record).encode() for record in some) for some in (records, [flat])]
    documents = [json.dumps({"rows": some}).encode() for some in (records, [flat])]
    for most in (1, 3):
        limits = Limits(nesting=most)
        by_line, found = rows_of(database, lines, JsonLinesFormat(type="jsonl"), ["c"], limits)
        whole, _ = rows_of(database, documents, JsonFormat(type="json", records="rows"), ["c"], limits)
        is_too_deep = max(map(nested, records)) > most
        for reading in (by_line, whole):
            assert list(reading.errors) == ["input0"] * is_too_deep
            assert all("limits.nesting" in str(error) for error in reading.errors.values())
        assert found["input1"] == [{"c": "1"}]


@pytest.mark.parametrize("opens", [b"[", b'{"a":'])
def test_a_line_of_very_many_levels_costs_nothing(database: duckdb.DuckDBPyConnection, opens: bytes) -> None:
    """Walking through 60,000 levels of a line of 360 KB took 20 GB and minutes."""
    closes = b"]" if opens == b"[" else b"}"
    deep = b'{"id":2,"x":' + opens * 60_000 + b"1" + closes * 60_000 + b"}"
    contents = [b'{"id":1}\n' + deep, b'{"id":3}']
    reading, found = rows_of(database, contents, JsonLinesFormat(type="jsonl"), ["id"])
    assert "limits.nesting) in record 2" in str(reading.errors["input0"])
    assert found["input1"] == [{"id": "3"}]
    reading, _ = rows_of(database, [b"[" + deep + b"]"], JsonFormat(type="json"), ["id"])
    assert "limits.nesting" in str(reading.errors["input0"])


def test_records_that_a_document_has_twice_are_refused(database: duckdb.DuckDBPyConnection) -> None:
    layout = JsonFormat(type="json", records="data")
    reading, _ = rows_of(database, [b'{"data":[{"id":1}],"data":[]}'], layout, ["id"])
    assert "more than one member 'data'" in str(reading.errors["input0"])


def workbook(rows: list[list[Any]]) -> bytes:
    made, out = openpyxl.Workbook(), io.BytesIO()
    for row in rows:
        made.active.append(row)
    made.save(out)
    return out.getvalue()


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rows=st.lists(st.lists(st.sampled_from([None, 1, 1.5, "x", "=A1", True]), min_size=1, max_size=3), max_size=6),
    skip_rows=st.integers(0, 1),
)
def test_workbooks_are_accounted_for_and_no_formula_becomes_null(
    database: duckdb.DuckDBPyConnection, rows: list[list[Any]], skip_rows: int
) -> None:
    layout = ExcelFormat(type="excel", skip_rows=skip_rows)
    content = workbook([*[["title"]] * skip_rows, ["a", "b", "c"], *rows])
    reading, found = rows_of(database, [content], layout, ["a", "b", "c"])
    assert not reading.errors
    accounted(reading, found)
    filled = [row for row in rows if any(value is not None for value in row)]
    assert [isinstance(got, str) for got in found["input0"]] == ["=A1" in row for row in filled]


def test_an_error_in_a_workbook_rejects_its_row_unless_it_is_a_word_for_null(
    database: duckdb.DuckDBPyConnection,
) -> None:
    content = workbook([["a", "b"], [1, "#DIV/0!"], [2, "#N/A"]])
    layout = ExcelFormat(type="excel", null_words=("", "#N/A"))
    _, found = rows_of(database, [content], layout, ["a", "b"])
    assert found["input0"][0] == "cell B2 holds the error #DIV/0!"
    assert found["input0"][1]["a"] == "2"


def test_a_number_that_is_no_date_of_the_calendar_rejects_its_row(database: duckdb.DuckDBPyConnection) -> None:
    made, out = openpyxl.Workbook(), io.BytesIO()
    for row in (["a", "b"], [1, 2_958_465], [2, 2_958_466], [3, 10**9]):
        made.active.append(row)
    for line in (2, 3, 4):
        made.active.cell(line, 2).number_format = "yyyy-mm-dd"
    made.save(out)
    with pytest.warns(UserWarning, match="outside the limits for dates"):
        _, found = rows_of(database, [out.getvalue()], ExcelFormat(type="excel"), ["a", "b"])
    assert found["input0"] == [
        {"a": "1", "b": "9999-12-31 00:00:00"},
        "cell B3 holds the error #VALUE!",
        "cell B4 holds the error #VALUE!",
    ]


def changed_sheet(content: bytes, old: bytes, new: bytes) -> bytes:
    out, part = io.BytesIO(), "xl/worksheets/sheet1.xml"
    with zipfile.ZipFile(io.BytesIO(content)) as book, zipfile.ZipFile(out, "w") as other:
        for name in book.namelist():
            other.writestr(name, book.read(name).replace(old, new) if name == part else book.read(name))
    return out.getvalue()


@pytest.mark.parametrize("cell", ["A2", "B2", "B1", "C1", "A9", "2", "B"])
def test_a_cell_out_of_its_place_stops_the_workbook(database: duckdb.DuckDBPyConnection, cell: str) -> None:
    """The reader lets such a cell replace another one, or the whole row."""
    good = workbook([["a", "b"], ["x", 1]])
    bad = changed_sheet(good, b"</row></sheetData>", f'<c r="{cell}"><v>7</v></c></row></sheetData>'.encode())
    assert bad != good
    reading, found = rows_of(database, [bad, good], ExcelFormat(type="excel"), ["a", "b"])
    assert f"a damaged workbook: a cell {cell!r} after column 2 of row 2" in str(reading.errors["input0"])
    assert found["input1"] == [{"a": "x", "b": "1"}]


def test_a_carriage_return_in_a_cell_is_one(database: duckdb.DuckDBPyConnection) -> None:
    texts = ["a_x000D_\nb", "_x005F_x000D_", "_x", "x_000D_", "_x000d_", "_xD_", "_xD83D__xDE00_", "_xD83D_"]
    _, found = rows_of(database, [workbook([["a"], *([text] for text in texts)])], ExcelFormat(type="excel"), ["a"])
    assert [row["a"] for row in found["input0"]] == [
        "a\r\nb",
        "_x000D_",
        "_x",
        "x_000D_",
        "\r",
        "_xD_",
        "\U0001f600",
        "_xD83D_",
    ]


@FAST
@given(content=st.binary(max_size=200), cut=st.integers(1, 4000))
def test_any_bytes_stop_that_input_alone(database: duckdb.DuckDBPyConnection, content: bytes, cut: int) -> None:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"a": ["1"]}), buffer)
    cases: list[tuple[FileFormat, bytes]] = [
        (ExcelFormat(type="excel"), workbook([["a"], [1]])),
        (ParquetFormat(type="parquet"), buffer.getvalue()),
        (JsonFormat(type="json"), b'[{"a":"1"}]'),
    ]
    for layout, good in cases:
        damaged = bytearray(good)
        damaged[cut % len(damaged)] ^= 0x55
        reading, found = rows_of(database, [content, bytes(damaged), good], layout, ["a"])
        assert found["input2"] == [{"a": "1"}]
        assert "input2" not in reading.errors
        assert all("file_" in str(error) for error in reading.errors.values())
        accounted(reading, found)


def test_a_file_of_too_many_columns_or_of_too_long_a_record_stops_alone(database: duckdb.DuckDBPyConnection) -> None:
    wide = ",".join(f"c{n}" for n in range(20_000)) + "\n"
    long = "id,note\n1," + "x" * 2000 + "\n"
    contents = [wide.encode(), long.encode(), b'id,note\n1,"' + b"y\n" * 1000, b"id,note\n1,x\n"]
    reading, found = rows_of(database, contents, CsvFormat(), ["id", "note"], Limits(record_bytes=1000))
    limited = {key: str(error) for key, error in reading.errors.items()}
    assert "limits.record_bytes" in limited["input0"]
    assert "limits.record_bytes" in limited["input1"]
    assert "limits.record_bytes" in limited["input2"]
    assert found["input3"] == [{"id": "1", "note": "x"}]
    reading, _ = rows_of(database, contents, CsvFormat(), ["id", "note"])
    assert "20,000 columns, more than limits.columns" in str(reading.errors["input0"])


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_file_that_unpacks_to_too_much_is_refused_and_leaves_nothing(tmp_path: Path, compression: Any) -> None:
    content = bytes(3_000_000)
    packed = gzip.compress(content) if compression == "gzip" else zstandard.ZstdCompressor().compress(content)
    path, target = tmp_path / "bomb", tmp_path / "out"
    path.write_bytes(packed)
    with pytest.raises(InputError, match=r"limits\.unpacked_bytes"):
        unpack(RawFile("input", "bomb", path), compression, target, Limits(unpacked_bytes=1_000_000))
    assert not target.exists()
    assert unpack(RawFile("input", "bomb", path), compression, target, Limits()).path.stat().st_size == len(content)
