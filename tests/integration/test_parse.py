"""Parse on a real context: every kind of trouble a file can be, its clear outcome, and nothing half-written."""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
import io
import json
import re
import zipfile
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest import mock

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from declared import arrived
from pandera.pandas import Check, Column, DataFrameSchema

from dataops_assets.config.environment import environment_from
from dataops_assets.config.source import Source
from dataops_assets.demo.bad_inputs import png
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.errors import ConfigError, GateFailed, InputError, StorageError
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.quality.pandera_checks import row_count_between
from dataops_assets.report import Input, InputReport, StepReport
from dataops_assets.sql import query
from dataops_assets.steps import parse as parse_module
from dataops_assets.steps.parse import parse
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.storage.delta import Table


def gzipped(content: bytes) -> bytes:
    """The same bytes in every process: without the time, which would name tests differently."""
    return gzip.compress(content, mtime=0)


START = dt.datetime(2013, 1, 1, tzinfo=dt.UTC)
COLUMNS = [
    {"name": "id", "type": "integer", "nullable": False},
    {"name": "amount", "type": "decimal(10,2)"},
    {"name": "day", "type": "date"},
    {"name": "note"},
]
HEADER = "id,amount,day,note\n"

few_rows = DataFrameSchema({"id": Column(int, Check.ge(0))}, checks=[row_count_between(0, 3)])
in_order = DataFrameSchema({name: Column(nullable=True) for name in ("id", "amount", "day")}, ordered=True)

Make = Callable[..., SourceContext]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> DuckDBEngine:
    """One for all tests: opening it takes longer than they do."""
    home = tmp_path_factory.mktemp("engine")
    return DuckDBEngine(environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home))


@pytest.fixture
def make(tmp_path: Path, engine: DuckDBEngine) -> Make:
    def context(columns: Sequence[dict[str, Any]] = COLUMNS, **fields: Any) -> SourceContext:
        environment = environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(tmp_path)}, tmp_path)
        connection = {"type": "files", "path": "sales", **fields.pop("connection", {})}
        source = Source.model_validate(
            {
                "name": "sales",
                "area": "shop",
                "connection": connection,
                "columns": columns,
                "refresh": {"type": "append"},
                **fields,
            }
        )
        metadata = MetadataStore(environment.metadata_url)
        metadata.migrate()
        metadata.contracts.register(source)
        return SourceContext(environment, source, {"sales": source}, engine, metadata)

    return context


def deliver(context: SourceContext, *files: tuple[str, bytes | str], first_day: int = 0) -> list[Input]:
    """Put files into the raw area, one a day, as ingest does."""
    inputs = []
    for day, (name, content) in enumerate(files, start=first_day):
        content = content.encode() if isinstance(content, str) else content
        digest, time = hashlib.sha256(content).hexdigest(), START + dt.timedelta(days=day)
        item = arrived(time, f"{time:%Y%m%dT%H%M%SZ}-{digest[:12]}", digest, f"/landing/{name}", len(content))
        context.raw.add(item, [content], None)
        inputs.append(item)
    context.metadata.register_inputs("sales", inputs)
    return inputs


def rows_of(context: SourceContext, table: Table, item: Input | None = None) -> list[dict[str, Any]]:
    snapshot = table.snapshot()
    if snapshot is None:
        return []
    with context.engine.session() as session:
        found = session.fetch(query("SELECT * FROM $t AS t ORDER BY s_input_id, s_row_id", t=session.scan(snapshot)))
    return [row for row in found.to_pylist() if item is None or row["s_input_id"] == item.input_id]


def values_of(context: SourceContext, item: Input | None = None) -> list[tuple[Any, ...]]:
    names = context.source.column_names
    return [tuple(row[name] for name in names) for row in rows_of(context, context.lake, item)]


def quarantined(context: SourceContext, item: Input | None = None) -> list[tuple[Any, ...]]:
    names = ("s_row_id", "s_line", "s_reason", "s_column", "s_value")
    return [tuple(row[name] for name in names) for row in rows_of(context, context.quarantine, item)]


def report_of(report: StepReport, item: Input) -> InputReport:
    return next(found for found in report.inputs if found.input_id == item.input_id)


def error_of(context: SourceContext, name: str, content: bytes | str) -> str:
    """What a bad file says for itself, delivered beside a good one that must go through."""
    good, bad = deliver(context, ("good.csv", HEADER + "1,2.50,2013-01-05,x\n"), (name, content))
    report = parse(context, [good, bad])
    assert [found.input_id for found in report.failures] == [bad.input_id]
    assert len(values_of(context, good)) == 1
    assert values_of(context, bad) == []
    error = report_of(report, bad).error
    assert isinstance(error, InputError)
    assert name in str(error)
    return str(error)


# --- rows and their types --------------------------------------------------------------------------------------------


def test_rows_have_the_contracts_columns_and_types_and_their_place(make: Make) -> None:
    context = make()
    (item,) = deliver(context, ("a.csv", HEADER + "1,2.5,2013-01-05,x\n2,,,\n3.0,-1e2,2013-1-6,\n"))
    report = parse(context, [item])
    assert list(report.columns.items()) == [
        ("id", "BIGINT"),
        ("amount", "DECIMAL(10,2)"),
        ("day", "DATE"),
        ("note", "VARCHAR"),
        ("s_input_id", "VARCHAR"),
        ("s_row_id", "BIGINT"),
    ]
    assert values_of(context) == [
        (1, Decimal("2.50"), dt.date(2013, 1, 5), "x"),
        (2, None, None, None),
        (3, Decimal("-100.00"), dt.date(2013, 1, 6), None),
    ]
    assert [row["s_row_id"] for row in rows_of(context, context.lake)] == [0, 1, 2]
    assert (report.rows, report.inputs[0].counts) == (3, {"rows": 3, "rejected": 0, "records": 3})
    assert quarantined(context) == []


def test_a_bad_row_is_quarantined_with_its_reason_and_the_others_keep_their_place(make: Make) -> None:
    context = make()
    content = HEADER + "\n".join(
        [
            "1,1,2013-01-01,good",
            ",1,2013-01-01,no id",
            "x,1,2013-01-01,no number",
            "4,1.239,2013-01-01,cents",
            "5,1,2013-02-30,no day",
            "6,1,2013-01-01",
            "7,1,2013-01-01,too,many",
            '8,1,2013-01-01,"a"b',
            "9,1,2013-01-01,",
            "10,1,2013-01-01,last",
        ]
    )
    (item,) = deliver(context, ("a.csv", content))
    report = parse(context, [item])
    assert [(row["id"], row["s_row_id"]) for row in rows_of(context, context.lake)] == [(1, 0), (9, 8), (10, 9)]
    assert quarantined(context) == [
        (1, 3, "null where a value must be", "id", None),
        (2, 4, "not an integer of 64 bits", "id", "x"),
        (3, 5, "not decimal(10,2)", "amount", "1.239"),
        (4, 6, "not a date", "day", "2013-02-30"),
        (5, 7, "3 fields where the file has 4", None, None),
        (6, 8, "5 fields where the file has 4", None, None),
        (7, 9, "text follows the closing quote of a field", None, None),
    ]
    records = [json.loads(row["s_record"]) for row in rows_of(context, context.quarantine)]
    assert records[1] == {"id": "x", "amount": "1", "day": "2013-01-01", "note": "no number"}
    assert records[4] == ["6", "1", "2013-01-01"]
    assert records[6] == '8,1,2013-01-01,"a"b'
    assert report.inputs[0].error is None
    assert report.inputs[0].counts == {"rows": 3, "rejected": 7, "records": 10}
    assert report.notes["rejected"] == 7


def test_a_record_over_many_lines_knows_its_line_only_where_it_is_certain(make: Make) -> None:
    context = make()
    one, other = deliver(
        context,
        ("a.csv", HEADER + "1,1,,plain\nx,1,,bad\n"),
        ("b.csv", HEADER + '1,1,,"two\nlines"\nx,1,,bad\n'),
    )
    parse(context, [one, other])
    assert quarantined(context, one)[0][:2] == (1, 3)
    assert quarantined(context, other)[0][:2] == (1, None)


@pytest.mark.parametrize("threads", [1, 4])
def test_places_are_those_in_the_file_however_many_threads_read_it(make: Make, threads: int) -> None:
    context = make([{"name": "n", "type": "integer"}, {"name": "pad"}])
    pad = "p" * 120
    files = [
        (f"f{day}.csv", "n,pad\n" + "".join(f"{day * 1_000_000 + n},{pad}\n" for n in range(size)))
        for day, size in enumerate((60_000, 3, 0, 40_000))
    ]
    inputs = deliver(context, *files)
    with context.engine.session() as session:
        session.connection.execute(f"SET threads = {threads}")
    report = parse(context, list(reversed(inputs)))
    assert [found.counts["rows"] for found in reversed(report.inputs)] == [60_000, 3, 0, 40_000]
    for day, item in enumerate(inputs):
        rows = rows_of(context, context.lake, item)
        assert all(row["n"] == day * 1_000_000 + row["s_row_id"] for row in rows)
        assert len({row["s_row_id"] for row in rows}) == len(rows)


def test_a_mixed_column_of_numbers_and_letters_is_text(make: Make) -> None:
    context = make([{"name": "Store", "type": "integer"}, {"name": "StateHoliday"}])
    (item,) = deliver(context, ("train.csv", '"Store","StateHoliday"\n1,"0"\n2,0\n3,a\n4,"a"\n'))
    parse(context, [item])
    assert values_of(context) == [(1, "0"), (2, "0"), (3, "a"), (4, "a")]


def test_defaults_replace_nulls_but_not_what_is_wrong(make: Make) -> None:
    context = make(
        [
            {"name": "distance", "type": "double", "default": "100000"},
            {"name": "interval", "default": "''", "nullable": False},
            {"name": "since", "type": "date", "default": "DATE '1900-01-01'"},
        ]
    )
    (item,) = deliver(context, ("a.csv", "distance,interval,since\n,,\n5,x,2013-01-01\nfar,,\n"))
    parse(context, [item])
    assert values_of(context) == [(100000.0, "", dt.date(1900, 1, 1)), (5.0, "x", dt.date(2013, 1, 1))]
    assert quarantined(context) == [(2, 4, "not a number", "distance", "far")]


@pytest.mark.parametrize("default", ["abc", "'x'", "now()", "1 +", "(select 1)"])
def test_a_default_that_is_no_literal_of_its_column_is_refused(make: Make, default: str) -> None:
    context = make([{"name": "n", "type": "integer", "default": default}])
    with pytest.raises(ConfigError, match="default of column 'n'"):
        parse(context, deliver(context, ("a.csv", "n\n1\n")))


# --- the usual trouble of delimited text -----------------------------------------------------------------------------


def test_rejected_dates_of_another_format_say_what_they_look_like(make: Make) -> None:
    rows = "1,1,31.12.2013,x\n2,1,1.2.2014,x\n3,1,2014-02-01,x\n"
    accepting = make(drift={"changed_type": "evolve"})
    report = parse(accepting, deliver(accepting, ("a.csv", HEADER + rows)))
    (schema,) = [check for check in report.inputs[0].checks if check.check == "schema"]
    assert schema.explanation.endswith("; rejected day looks like %d.%m.%Y: set date_format")
    refusing = make(drift={"changed_type": "fail"})
    report = parse(refusing, deliver(refusing, ("b.csv", HEADER + rows)))
    assert str(report.inputs[0].error).endswith("; next: day looks like %d.%m.%Y: set date_format")


def test_every_mark_of_a_csv_can_be_declared(make: Make) -> None:
    context = make(
        [
            {"name": "id", "type": "integer", "source_name": "Nr."},
            {"name": "amount", "type": "double", "source_name": "Betrag"},
            {"name": "day", "type": "date", "source_name": "Tag", "date_format": "%d.%m.%Y"},
            {"name": "name", "source_name": "Straße"},
        ],
        connection={
            "format": {
                "type": "csv",
                "delimiter": ";",
                "quote": "'",
                "escape": "\\",
                "encoding": "cp1252",
                "skip_rows": 2,
                "null_words": ["NA", "-", ""],
                "decimal_mark": ",",
                "thousands_mark": ".",
            }
        },
    )
    text = (
        "Bericht 'x\n\nNr.;Betrag;Tag;Straße\r\n1.234;1.234,5;05.01.2013;'Größe; \\'x\\''\r\n"
        "2;-;NA;NA\r\n3;1,5e3;5.1.2013;-\r\n4;1.5;05.01.2013;no group\r\n5;1;2013-01-05;iso\r\n"
    )
    (item,) = deliver(context, ("a.csv", text.encode("cp1252")))
    parse(context, [item])
    assert values_of(context) == [
        (1234, 1234.5, dt.date(2013, 1, 5), "Größe; 'x'"),
        (2, None, None, None),
        (3, 1500.0, dt.date(2013, 1, 5), None),
    ]
    assert [row[2:] for row in quarantined(context)] == [
        ("not a number", "amount", "1.5"),
        ("not a date of the form %d.%m.%Y", "day", "2013-01-05"),
    ]


def test_without_a_header_the_contract_names_the_fields(make: Make) -> None:
    context = make(connection={"format": {"type": "csv", "header": False}})
    (item,) = deliver(context, ("a.csv", "short\n1,2,2013-01-05,x\n2,2,2013-01-05,y\n"))
    parse(context, [item])
    assert [row[0] for row in values_of(context)] == [1, 2]
    assert quarantined(context) == [(0, 1, "1 fields where the file has 4", None, None)]


def test_huge_fields_nul_bytes_and_line_breaks_in_fields(make: Make) -> None:
    context = make()
    huge = "x" * 1_000_000
    content = HEADER + f'1,1,,{huge}\n2,1,,"a\nb ""c"" , d"\n3,1,,nul\0\n4,1,,"{huge * 3}"\n5,1,,end'
    (item,) = deliver(context, ("a.csv", content))
    parse(context, [item])
    assert [(row["id"], row["s_row_id"]) for row in rows_of(context, context.lake)] == [
        (1, 0),
        (2, 1),
        (4, 3),
        (5, 4),
    ]
    assert [row[3] for row in values_of(context)] == [huge, 'a\nb "c" , d', huge * 3, "end"]
    assert [row[2] for row in quarantined(context)] == ["a NUL byte"]


def test_a_header_alone_is_an_input_without_rows_and_the_volume_check_says_so(make: Make) -> None:
    context = make()
    (item,) = deliver(context, ("a.csv", HEADER))
    report = parse(context, [item])
    assert report.inputs[0].error is None
    assert report.inputs[0].counts == {"rows": 0, "rejected": 0, "records": 0}
    volume = next(check for check in report.inputs[0].checks if check.check == "volume")
    assert (volume.passed, volume.explanation) == (False, "rows 0, expected at least 1")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.csv", b"", "an empty file (0 bytes)"),
        ("image.csv", png(), "a PNG image, not delimited text"),
        ("page.csv", b"<!DOCTYPE html><html>sign in</html>", "an HTML page"),
        ("cut.csv.gz", gzipped((HEADER + "1,1,,x\n" * 5000).encode())[:-20], "a gzip file that is cut off"),
        ("plain.csv.gz", HEADER, "bytes of another kind instead of gzip"),
        ("zipped.csv", gzipped(HEADER.encode()), "gzip bytes, declared as not compressed"),
        ("empty.csv.gz", gzipped(b""), "an empty file inside gzip"),
        ("latin.csv", (HEADER + "1,1,,é\n").encode("latin-1"), "text that is not utf-8: byte 0xE9"),
        ("wide.csv", HEADER.encode("utf-16"), "text in utf-16, not utf-8"),
        ("blank.csv", b"\n\n", "no header row"),
        ("missing.csv", "id,Amount,day\n1,2,3\n", "no column amount, note; its columns are id, Amount, day"),
        ("twice.csv", "id,amount,day,note,id\n", "more than one column id"),
    ],
)
def test_a_file_that_cannot_be_taken_says_why_and_stops_no_other(
    make: Make, name: str, content: bytes | str, words: str
) -> None:
    assert words in error_of(make(), name, content)


def test_a_near_miss_of_a_column_is_named(make: Make) -> None:
    assert "amount: did you mean 'Amount'?" in error_of(make(), "missing.csv", "id,Amount,day,note\n1,2,3,4\n")


def test_drift_follows_the_declared_policy(make: Make) -> None:
    ignoring = make(drift={"missing_column": "ignore", "new_column": "ignore"})
    (item,) = deliver(ignoring, ("a.csv", "note,id,extra\nx,1,2\n"))
    report = parse(ignoring, [item])
    assert values_of(ignoring) == [(1, None, None, "x")]
    schema = next(check for check in report.inputs[0].checks if check.check == "schema")
    assert schema.passed
    assert "missing in the input, so null: amount, day; in the input and not declared: extra" in schema.explanation
    failing = make(drift={"new_column": "fail"})
    assert "columns that are not declared: extra" in error_of(failing, "b.csv", "id,amount,day,note,extra\n1,,,,\n")


def test_bytes_that_are_not_in_the_raw_area_fail_their_input_alone(make: Make) -> None:
    context = make()
    good, gone = deliver(context, ("a.csv", HEADER + "1,,,\n"), ("b.csv", HEADER + "2,,,\n"))
    context.raw.delete([gone.input_id])
    report = parse(context, [good, gone])
    assert isinstance(report_of(report, gone).error, StorageError)
    assert [row[0] for row in values_of(context)] == [1]


def test_only_bad_inputs_publish_nothing(make: Make) -> None:
    context = make()
    report = parse(context, deliver(context, ("a.csv", b"")))
    assert len(report.failures) == 1
    assert context.lake.snapshot() is None
    assert context.quarantine.snapshot() is None
    assert (report.rows, report.version, report.columns) == (None, None, {})


def test_no_inputs_are_no_work(make: Make) -> None:
    report = parse(make(), [])
    assert report.inputs == ()


# --- compressed and other formats ------------------------------------------------------------------------------------

CSV = (HEADER + "1,2.5,2013-01-05,x\n").encode()
ROW = (1, Decimal("2.50"), dt.date(2013, 1, 5), "x")


def zipped(*files: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return buffer.getvalue()


def misleading_zip() -> bytes:
    """A zip whose directory says that it starts behind the end of the file."""
    content = bytearray(zipped(("a.csv", CSV)))
    place = content.rfind(b"PK\x05\x06") + 16
    content[place : place + 4] = (60_000).to_bytes(4, "little")
    return bytes(content)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv.gz", gzipped(CSV)),
        ("a.csv.gz", gzipped(CSV[:10]) + gzipped(CSV[10:])),
        ("a.csv.zst", zstandard.compress(CSV)),
        ("a.csv.zst", zstandard.compress(CSV[:10]) + zstandard.compress(CSV[10:])),
        ("a.zip", zipped(("a.csv", CSV), ("__MACOSX/._a.csv", b"x"))),
    ],
)
def test_compressed_files_are_read_through(make: Make, name: str, content: bytes) -> None:
    context = make()
    parse(context, deliver(context, (name, content)))
    assert values_of(context) == [ROW]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.zip", zipped(("a.csv", CSV), ("b.csv", CSV)), "a zip of 2 files (a.csv, b.csv)"),
        ("a.zip", zipped(("a.csv", CSV))[:-30], "a damaged zip file"),
        ("a.zip", misleading_zip(), "a damaged zip file"),
        ("a.zip", zipped(("a.csv", CSV), method=zipfile.ZIP_BZIP2), "a zip of the compression method 12"),
        ("a.csv.zst", zstandard.compress(CSV * 100)[:-5], "a zstd file that is cut off"),
        ("a.csv.gz", gzipped(CSV)[:-4] + b"\0\0\0\0", "a damaged gzip file"),
    ],
)
def test_damaged_archives_are_refused(make: Make, name: str, content: bytes, words: str) -> None:
    assert words in error_of(make(), name, content)


def test_json_lines(make: Make) -> None:
    context = make(connection={"format": {"type": "jsonl"}})
    lines = [
        '{"id": 1, "amount": 2.5, "day": "2013-01-05", "note": "x"}',
        '{"note": {"a": [1, "b"]}, "id": 2, "extra": 1}',
        '{"id": 3',
        "[1]",
        '{"id": 4.5}',
        '{"id": "5", "note": "line\\nbreak"}',
        "",
        '{"id": 6, "amount": null, "note": true}',
    ]
    (item,) = deliver(context, ("a.jsonl", "\r\n".join(lines)))
    report = parse(context, [item])
    assert values_of(context) == [
        ROW,
        (2, None, None, '{"a":[1,"b"]}'),
        (5, None, None, "line\nbreak"),
        (6, None, None, "true"),
    ]
    assert [(row[0], *row[2:]) for row in quarantined(context)] == [
        (2, "not JSON", None, None),
        (3, "a JSON array, not an object", None, None),
        (4, "not an integer of 64 bits", "id", "4.5"),
    ]
    assert [json.loads(row["s_record"]) for row in rows_of(context, context.quarantine)] == [
        '{"id": 3',
        [1],
        {"id": 4.5},
    ]
    schema = next(check for check in report.inputs[0].checks if check.check == "schema")
    assert "not declared: extra" in schema.explanation


def test_json_members_that_no_record_has_are_missing_columns(make: Make) -> None:
    context = make(connection={"format": {"type": "jsonl"}})
    good, bad = deliver(
        context, ("a.jsonl", '{"id":1,"amount":1}\n{"id":2,"day":null,"note":""}'), ("b.jsonl", '{"id":1}')
    )
    report = parse(context, [good, bad])
    assert "no column amount, day, note" in str(report_of(report, bad).error)
    assert len(values_of(context, good)) == 2


def test_json_documents(make: Make) -> None:
    records = [{"id": 1, "amount": 2.5, "day": "2013-01-05", "note": "x"}, {"id": 2, "a/b": 1}, 7]
    flat = make([*COLUMNS, {"name": "ab", "source_name": "a/b"}], connection={"format": {"type": "json"}})
    (item,) = deliver(flat, ("a.json", json.dumps(records, indent=2)))
    parse(flat, [item])
    assert values_of(flat) == [(*ROW, None), (2, None, None, None, "1")]
    assert [row[:3] for row in quarantined(flat)] == [(2, None, "a JSON ubigint, not an object")]


def test_json_documents_hold_their_records_under_a_path(make: Make) -> None:
    context = make(connection={"format": {"type": "json", "records": "data.rows"}})
    good, wrong, damaged = deliver(
        context,
        ("a.json", json.dumps({"data": {"rows": [{"id": 1, "amount": 2.5, "day": "2013-01-05", "note": "x"}]}})),
        ("b.json", json.dumps({"data": {"row": []}})),
        ("c.json", '{"data": {"rows": [{"id": 1}'),
    )
    report = parse(context, [good, wrong, damaged])
    assert values_of(context) == [ROW]
    assert "no 'rows' in data; known: row; next: did you mean 'row'?" in str(report_of(report, wrong).error)
    assert "damaged JSON" in str(report_of(report, damaged).error)


def test_parquet_values_stay_what_they_are_or_are_quarantined(make: Make) -> None:
    columns = [
        {"name": "id", "type": "integer"},
        {"name": "amount", "type": "decimal(10,2)"},
        {"name": "at", "type": "timestamptz"},
        {"name": "nested"},
        {"name": "flag", "type": "boolean"},
    ]
    context = make(columns, connection={"format": {"type": "parquet"}})

    def parquet(**values: Any) -> bytes:
        buffer = io.BytesIO()
        pq.write_table(pa.table(values), buffer)
        return buffer.getvalue()

    time = dt.datetime(2013, 1, 5, 10, tzinfo=dt.UTC)
    one, other, damaged = deliver(
        context,
        (
            "a.parquet",
            parquet(
                id=[1.0, 2.5, None], amount=[1.25, 2.0, None], at=[time] * 3, nested=[[1], [], None], flag=[1, 0, 2]
            ),
        ),
        (
            "b.parquet",
            parquet(
                flag=[True],
                nested=["x"],
                at=["2013-01-05T11:00:00+01:00"],
                amount=[Decimal("3.10")],
                id=[7],
                filename=["a column of the reader's name"],
            ),
        ),
        ("c.parquet", parquet(id=[1])[:-9]),
    )
    report = parse(context, [one, other, damaged])
    assert values_of(context) == [(1, Decimal("1.25"), time, "[1]", True), (7, Decimal("3.10"), time, "x", True)]
    assert quarantined(context) == [
        (1, None, "not an integer of 64 bits", "id", "2.5"),
        (2, None, "not true or false", "flag", "2"),
    ]
    assert "damaged Parquet" in str(report_of(report, damaged).error)


def test_a_parquet_file_with_a_damaged_page_fails_alone(make: Make) -> None:
    context = make([{"name": "n", "type": "integer"}], connection={"format": {"type": "parquet"}})
    buffer = io.BytesIO()
    pq.write_table(pa.table({"n": list(range(10_000))}), buffer, compression="zstd")
    whole = buffer.getvalue()
    # the end, where the schema is, stays whole
    broken = whole[:100] + bytes(len(whole) // 2) + whole[100 + len(whole) // 2 :]
    good, bad = deliver(context, ("a.parquet", whole), ("b.parquet", broken))
    report = parse(context, [good, bad])
    assert [found.input_id for found in report.failures] == [bad.input_id]
    assert len(values_of(context, good)) == 10_000


def test_excel(make: Make) -> None:
    context = make(connection={"format": {"type": "excel", "sheet": "Data", "skip_rows": 1, "null_words": ["", "n/a"]}})
    book = openpyxl.Workbook()
    sheet = book.create_sheet("Data")
    for row in (
        ["A report"],
        ["id", "amount", "day", "note", None],
        [1.0, 2.5, dt.date(2013, 1, 5), "x"],
        [],
        [2, "n/a", "2013-01-06", True],
        [3, None, dt.datetime.fromisoformat("2013-01-07 12:00"), None],
        [4, None, None, None, "beyond"],
    ):
        sheet.append(row)
    buffer = io.BytesIO()
    book.save(buffer)
    good, other = deliver(context, ("a.xlsx", buffer.getvalue()), ("b.xlsx", CSV))
    report = parse(context, [good, other])
    assert values_of(context) == [ROW, (2, None, dt.date(2013, 1, 6), "true")]
    assert quarantined(context) == [
        (2, 6, "not a date", "day", "2013-01-07 12:00:00"),
        (3, 7, "values beyond the 4 columns of the sheet", None, None),
    ]
    assert "not an .xlsx workbook" in str(report_of(report, other).error)


def _workbook(*rows: Sequence[Any], sheet: str = "Data") -> bytes:
    book, out = openpyxl.Workbook(), io.BytesIO()
    book.active.title = sheet
    for row in rows:
        book.active.append(row)
    book.save(out)
    return out.getvalue()


def _changed(part: str, change: Callable[[bytes], bytes | None]) -> bytes:
    """A workbook in which one part of the archive is another, or is not there."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(BOOK)) as book, zipfile.ZipFile(out, "w") as other:
        for name in book.namelist():
            content = change(book.read(name)) if name == part else book.read(name)
            if content is not None:
                other.writestr(name, content)
    return out.getvalue()


def _locked() -> bytes:
    """A workbook whose parts are marked as encrypted in the archive."""
    content = bytearray(BOOK)
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = -1
        while (start := content.find(mark, start + 1)) >= 0:
            content[start + place] |= 1
    return bytes(content)


def _sharing(sheet: bytes) -> bytes:
    """The sheet with its texts in a part of their own, which is not there."""
    return re.sub(rb't="inlineStr"><is><t>[^<]*</t></is>', b't="s"><v>0</v>', sheet)


def _packed_with_bzip2() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(BOOK)) as book, zipfile.ZipFile(out, "w", zipfile.ZIP_BZIP2) as other:
        for name in book.namelist():
            other.writestr(name, book.read(name))
    return out.getvalue()


def _foreign_zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.txt", "no workbook")
    return out.getvalue()


BOOK = _workbook(["id", "amount", "day", "note"], [1, 2.5, "2013-01-05", "x"])
SHEET = "xl/worksheets/sheet1.xml"
BROKEN_WORKBOOKS: dict[str, tuple[Callable[[], bytes], str]] = {
    "truncated zip": (lambda: BOOK[: len(BOOK) // 2], "a damaged workbook"),
    "not a zip": (lambda: b"id,amount\n1,2\n", "not an .xlsx workbook"),
    "a zip of something else": (_foreign_zip, "a damaged workbook"),
    "no workbook.xml": (lambda: _changed("xl/workbook.xml", lambda _: None), "xl/workbook.xml"),
    "wrong sheet name": (lambda: _workbook(["id"], [1], sheet="Dat"), "no sheet 'Data'"),
    "encrypted by Excel": (lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "encrypted Excel workbook"),
    "encrypted in the archive": (_locked, "encrypted"),
    "packed with bzip2": (_packed_with_bzip2, "parts of an unknown compression"),
    "no XML in the sheet": (lambda: _changed(SHEET, lambda _: b"<worksheet><sheetData>"), "a damaged workbook"),
    "sheet cut off": (lambda: _changed(SHEET, lambda content: content[: len(content) // 2]), "a damaged workbook"),
    "sheet missing": (lambda: _changed(SHEET, lambda _: None), SHEET),
    "shared strings missing": (lambda: _changed(SHEET, _sharing), "a shared text or a style that is not in it"),
    "no cells": (lambda: _workbook(), "no header row"),
}


def test_every_kind_of_broken_workbook_stops_alone_and_says_what_is_wrong(make: Make) -> None:
    context = make(connection={"format": {"type": "excel", "sheet": "Data"}})
    files = [(f"{name}.xlsx", content()) for name, (content, _) in BROKEN_WORKBOOKS.items()]
    good, *bad = deliver(context, ("good.xlsx", BOOK), *files)
    report = parse(context, [good, *bad])
    assert values_of(context) == [ROW]
    for item, (name, (_, words)) in zip(bad, BROKEN_WORKBOOKS.items(), strict=True):
        error = report_of(report, item).error
        assert isinstance(error, InputError), name
        assert words in str(error), f"{name}: {error}"
        assert f"{name}.xlsx" in str(error)


# --- words for null --------------------------------------------------------------------------------------------------

COUNTRIES = [
    {"name": "code"},
    {"name": "own", "null_words": ["-"]},
    {"name": "size", "type": "integer"},
    {"name": "day", "type": "date", "null_words": ["", "never"]},
]


def test_namibia_is_no_null(make: Make) -> None:
    context = make(COUNTRIES, connection={"format": {"type": "csv", "null_words": ["", "NA"]}})
    text = 'code,own,size,day\n"NA",NA,NA,never\nNA,-,"",""\n"",,1,2024-01-01\nx,"-","NA",\n'
    (item,) = deliver(context, ("a.csv", text))
    report = parse(context, [item])
    assert values_of(context) == [
        ("NA", "NA", None, None),
        (None, None, None, None),
        (None, "", 1, dt.date(2024, 1, 1)),
    ]
    # a text in quotes is a text, and none of a number
    assert [row[2:] for row in quarantined(context)] == [("not an integer of 64 bits", "size", "NA")]
    assert report.inputs[0].counts == {"rows": 3, "rejected": 1, "records": 4}


@pytest.mark.parametrize(("quoted", "first"), [("empty", ("NA", None)), ("all", (None, None)), ("none", ("NA", ""))])
def test_a_setting_says_whether_a_text_in_quotes_can_be_null(
    make: Make, quoted: str, first: tuple[str | None, str | None]
) -> None:
    layout = {"type": "csv", "null_words": ["", "NA"], "quoted_nulls": quoted}
    context = make([{"name": "a"}, {"name": "b"}], connection={"format": layout})
    (item,) = deliver(context, ("a.csv", 'a,b\n"NA",""\nNA,\n'))
    parse(context, [item])
    assert values_of(context) == [first, (None, None)]


def test_a_column_has_words_for_null_of_its_own_in_every_format(make: Make) -> None:
    record = {"code": "NA", "own": "-", "size": 1, "day": "never"}
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([record]), buffer)
    files = {
        "json": json.dumps([record]).encode(),
        "jsonl": json.dumps(record).encode(),
        "parquet": buffer.getvalue(),
        "excel": _workbook(list(record), list(record.values())),
    }
    for form, content in files.items():
        context = make(COUNTRIES, connection={"format": {"type": form}})
        (item,) = deliver(context, (f"a.{form}", content))
        parse(context, [item])
        assert values_of(context, item) == [("NA", None, 1, None)], form


# --- every record is accounted for -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "counter"),
    [
        ({"type": "csv"}, "dataops_assets.connections.formats.delimited.RecordCount.records"),
        ({"type": "json"}, "dataops_assets.connections.formats.json_records.count_records"),
    ],
)
def test_a_difference_of_the_counts_stops_that_input_alone_with_both_numbers(
    make: Make, form: dict[str, str], counter: str
) -> None:
    record = {"id": 1, "amount": 2.5, "day": "2013-01-05", "note": "x"}
    content = CSV + b"2,,,\n" if form["type"] == "csv" else json.dumps([record, {**record, "id": 2}]).encode()
    context = make(connection={"format": form})
    good, short, other = deliver(
        context, *[(f"{name}.{form['type']}", content + b"\n" * n) for n, name in enumerate("abc")]
    )
    with mock.patch(counter, side_effect=[2, 3, 2]):
        report = parse(context, [good, short, other])
    assert [found.input_id for found in report.failures] == [short.input_id]
    error = report_of(report, short).error
    assert isinstance(error, InputError)
    assert "3 records, of which 2 became rows (2 for the lake, 0 rejected)" in str(error)
    assert report_of(report, short).counts["records"] == 3
    assert {row["s_input_id"] for row in rows_of(context, context.lake)} == {good.input_id, other.input_id}
    assert rows_of(context, context.quarantine) == []


# --- publishing ------------------------------------------------------------------------------------------------------


def test_parsing_again_gives_the_same_and_leaves_other_inputs(make: Make) -> None:
    context = make()
    one, other = deliver(context, ("a.csv", HEADER + "1,,,\nx,,,\n"), ("b.csv", HEADER + "2,,,\n"))
    parse(context, [one, other])
    before = rows_of(context, context.lake), rows_of(context, context.quarantine)
    parse(context, [one])
    assert (rows_of(context, context.lake), rows_of(context, context.quarantine)) == before


def test_a_row_that_parses_after_all_leaves_the_quarantine(make: Make) -> None:
    strict = make()
    (item,) = deliver(strict, ("a.csv", HEADER + ",1,,\n2,1,,\n"))
    parse(strict, [item])
    assert len(quarantined(strict)) == 1
    lenient = make([{**column, "nullable": True} for column in COLUMNS])
    parse(lenient, [item])
    assert quarantined(lenient) == []
    assert [row[0] for row in values_of(lenient)] == [None, 2]


def test_a_crash_between_quarantine_and_lake_is_mended_by_running_again(make: Make) -> None:
    context = make()
    (item,) = deliver(context, ("a.csv", HEADER + "1,,,\nx,,,\n"))
    publish = parse_module.replace_inputs

    def crash(session: Any, table: Table, *rest: Any, **options: Any) -> Any:
        if table.uri == context.lake.uri:
            raise StorageError("writing the lake")
        return publish(session, table, *rest, **options)

    with mock.patch.object(parse_module, "replace_inputs", crash), pytest.raises(StorageError):
        parse(context, [item])
    assert context.lake.snapshot() is None
    parse(context, [item])
    assert (len(values_of(context)), len(quarantined(context))) == (1, 1)


def test_a_gate_publishes_nothing_of_the_input_that_fails_it(make: Make) -> None:
    context = make(gates={"lake": {"contract": f"{__name__}:few_rows"}})
    good, negative, many, empty = deliver(
        context,
        ("a.csv", HEADER + "1,,,\nx,,,\n"),
        ("b.csv", HEADER + "1,,,\n-2,,,\nx,,,\n"),
        ("c.csv", HEADER + "1,,,\n" * 4),
        ("d.csv", HEADER),
    )
    report = parse(context, [good, negative, many, empty])
    assert {row["s_input_id"] for row in rows_of(context, context.lake)} == {good.input_id}
    assert {row["s_input_id"] for row in rows_of(context, context.quarantine)} == {good.input_id}
    assert [type(found.error) for found in report.failures] == [GateFailed, GateFailed]
    failed = report_of(report, negative)
    assert "id: greater_than_or_equal_to(0) fails for 1 of 2 rows; for example -2 (row 1)" in str(failed.error)
    assert "fails for 4 rows, expected between 0 and 3" in str(report_of(report, many).error)
    outcomes = {found.input_id: found.checks[0] for found in report.inputs}
    assert [outcomes[item.input_id].passed for item in (good, negative, many, empty)] == [True, False, False, True]
    assert outcomes[negative.input_id].check == "contract"
    assert outcomes[negative.input_id].numbers["failing rows"] == 1


def test_a_gate_that_warns_publishes(make: Make) -> None:
    context = make(gates={"lake": {"contract": f"{__name__}:few_rows", "severity": "warn"}})
    report = parse(context, deliver(context, ("a.csv", HEADER + "-1,,,\n")))
    assert not report.failures
    contract = report.inputs[0].checks[0]
    assert (contract.check, contract.passed, contract.severity) == ("contract", False, "warn")
    assert len(values_of(context)) == 1


def test_an_ordered_contract_judges_the_order_of_the_raw_columns(make: Make) -> None:
    context = make(gates={"lake": {"contract": f"{__name__}:in_order"}})
    good, swapped = deliver(context, ("a.csv", HEADER + "1,,,\n"), ("b.csv", "amount,id,day,note\n,1,,\n"))
    report = parse(context, [good, swapped])
    assert [found.input_id for found in report.failures] == [swapped.input_id]
    assert "columns are out of order: place 1 has amount, the contract has id" in str(report.failures[0].error)


def test_what_failed_a_gate_now_keeps_what_was_published_before(make: Make) -> None:
    context = make()
    (item,) = deliver(context, ("a.csv", HEADER + "-1,,,\n"))
    parse(context, [item])
    gated = make(gates={"lake": {"contract": f"{__name__}:few_rows"}})
    assert parse(gated, [item]).failures
    assert len(values_of(gated)) == 1


# --- profiles and checks ---------------------------------------------------------------------------------------------


def test_inputs_are_compared_with_those_before_them_and_never_with_themselves(make: Make) -> None:
    context = make(checks={"volume": {"max_change_ratio": 2}})
    sizes = [100, 110, 90, 100, 20, 100]
    files = [
        (f"f{day}.csv", HEADER + "".join(f"{n},{day},2013-01-01,{'x' if day < 5 else ''}\n" for n in range(size)))
        for day, size in enumerate(sizes)
    ]
    inputs = deliver(context, *files)
    first = parse(context, inputs[:4])
    report = parse(context, inputs[4:])
    volume = {check.input_id: check for check in report.outcomes if check.check == "volume"}
    assert volume[inputs[4].input_id].explanation == "rows 20, expected between 50 and 200"
    assert [volume[item.input_id].passed for item in inputs[4:]] == [False, True]
    distribution = {check.input_id: check for check in report.outcomes if check.check == "distribution"}
    assert "note: 100.0% nulls, expected at most 20.0%" in distribution[inputs[5].input_id].explanation
    assert all(check.passed for check in first.outcomes)
    known = {profile.input_id: profile for profile in context.metadata.profiles.newest("sales", "lake/sales")}
    assert {input_id: profile.rows for input_id, profile in known.items()} == {
        item.input_id: size for item, size in zip(inputs, sizes, strict=True)
    }
    amount = next(item for item in known[inputs[2].input_id].columns if item.name == "amount")
    assert (amount.mean, amount.nulls, amount.min, amount.max) == (2.0, 0, "2.00", "2.00")


def test_profiles_show_no_value_of_a_personal_column(make: Make) -> None:
    context = make([{"name": "email", "tags": {"pii": "email"}}, {"name": "n", "type": "double"}])
    parse(context, deliver(context, ("a.csv", "email,n\na@b.c,1\nd@e.f,nan\n,inf\n")))
    email, number = context.metadata.profiles.newest("sales", "lake/sales")[0].columns
    assert (email.min, email.max, email.nulls, email.distinct) == (None, None, 1, 2)
    assert number.mean == 1.0
