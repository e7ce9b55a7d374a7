"""A value in the lake is what was sent, or its row is rejected: in every format, whatever else is in the run."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import json
import re
from collections.abc import Callable, Sequence
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from declared import arrived
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dataops_assets.config.environment import environment_from
from dataops_assets.config.source import Source
from dataops_assets.connections.python import Extract, encode
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.sql import query
from dataops_assets.steps.parse import parse
from dataops_assets.steps.source_context import SourceContext

START = dt.datetime(2013, 1, 1, tzinfo=dt.UTC)
Lake = Callable[..., list[list[dict[str, Any]]]]
DIGITS = {"decimal(18,2)": (18, 2), "decimal(38,0)": (38, 0), "decimal(38,9)": (38, 9)}
KINDS = ("integer", "double", "text", *DIGITS)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> DuckDBEngine:
    home = tmp_path_factory.mktemp("engine")
    return DuckDBEngine(environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home))


@pytest.fixture
def lake(tmp_path_factory: pytest.TempPathFactory, engine: DuckDBEngine) -> Lake:
    """Rows of the lake by file, of files that one run parsed; a column that a value does not fit is null."""

    def parsed(
        columns: Sequence[dict[str, Any]], *files: tuple[str, bytes], **fields: Any
    ) -> list[list[dict[str, Any]]]:
        home: Path = tmp_path_factory.mktemp("home")
        environment = environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home)
        source = Source.model_validate(
            {
                "name": "sales",
                "area": "shop",
                # takes files of any ending
                "connection": {"type": "python", "function": "feeds:extracts"},
                "columns": [{"name": "n", "type": "integer"}, *columns],
                "refresh": {"type": "append"},
                "drift": {"changed_type": "ignore"},
                **fields,
            }
        )
        metadata = MetadataStore(environment.metadata_url)
        metadata.migrate()
        metadata.contracts.register(source)
        context = SourceContext(environment, source, {"sales": source}, engine, metadata)
        inputs = []
        for day, (name, content) in enumerate(files):
            digest, time = hashlib.sha256(content).hexdigest(), START + dt.timedelta(days=day)
            item = arrived(time, f"{time:%Y%m%dT%H%M%SZ}-{digest[:12]}", digest, f"/landing/{name}", len(content))
            context.raw.add(item, [content], None)
            inputs.append(item)
        metadata.register_inputs("sales", inputs)
        report = parse(context, inputs)
        assert [str(found.error) for found in report.failures] == []
        snapshot = context.lake.snapshot()
        assert snapshot is not None
        with engine.session() as session:
            rows = session.fetch(
                query("SELECT * FROM $t AS t ORDER BY s_input_id, s_row_id", t=session.scan(snapshot))
            ).to_pylist()
        return [[row for row in rows if row["s_input_id"] == item.input_id] for item in inputs]

    return parsed


def values(rows: Sequence[dict[str, Any]], name: str = "v") -> list[Any]:
    return [row[name] for row in rows]


def parquet(array: pa.Array, **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"n": range(len(array)), "v": array}), buffer, **options)
    return buffer.getvalue()


def workbook(texts: Sequence[Any]) -> bytes:
    book = openpyxl.Workbook()
    book.active.append(["n", "v"])
    for place, text in enumerate(texts):
        book.active.append([place, text])
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


# --- numbers ---------------------------------------------------------------------------------------------------------


def meant(text: str, kind: str) -> str | None:
    """What a number is in a column of a kind, as its text, by Python's exact arithmetic."""
    number = Decimal(text)
    if kind == "text":
        return text
    if kind == "integer":
        is_whole = re.fullmatch(r"-?[0-9]+(\.0*)?", text) and -(2**63) <= number < 2**63
        return str(int(number)) if is_whole else None
    if kind == "double":
        is_whole = re.fullmatch(r"-?[0-9]+(\.0*)?", text)
        is_lost = is_whole and (Decimal(float(text)) != number or abs(number) >= 10**38)
        return None if is_lost or abs(float(text)) == float("inf") else _shown(float(text))
    precision, scale = DIGITS[kind]
    with localcontext(prec=500):
        scaled = number.scaleb(scale)
        fits = scaled == scaled.to_integral_value() and abs(scaled) < 10**precision
        # a decimal has no negative zero
        return str(abs(number).quantize(Decimal(1).scaleb(-scale)).copy_sign(number or 1)) if fits else None


def _shown(value: Any) -> str:
    # the two zeros of doubles are one value; which of them a file keeps is up to its writer's dictionary
    return str(value + 0.0) if isinstance(value, float) else str(value)


EDGES = (
    "90071992547409.93 12345678901234567.891e0 9007199254740993 1.50 1.500 -0 1e3 0.1 -0.0 1E+38 1e-400 0.000000001 "
    "9223372036854775807 9223372036854775808 99999999999999999999999999999999999999 "
    "1152921504606846976 1152921504606846980 "
    f"{2**120} {2**120 + 1} {2**126} {2**140} -{10**40}"
)
NUMBERS = st.one_of(
    st.integers(-(10**40), 10**40).map(str),
    st.decimals(-(10**16), 10**16, places=2).map(str),
    st.decimals(allow_nan=False, allow_infinity=False)
    .map(lambda number: format(number, "f"))
    .filter(lambda t: len(t) < 60),
    st.from_regex(r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,12})?([eE][+-]?[0-9]{1,2})?", fullmatch=True),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
)


@settings(max_examples=6, deadline=None)
@given(texts=st.lists(NUMBERS, min_size=1, max_size=40))
@example(texts=EDGES.split())
# its square is more than a double holds
@example(texts=["0", "0", "-1.6355060331427234e+244"])
def test_numbers_are_what_was_written_in_every_format(lake: Lake, texts: list[str]) -> None:
    lines = [f'{{"n":{place},"v":{text}}}' for place, text in enumerate(texts)]
    files = {
        "a.csv": "n,v\n" + "".join(f"{place},{text}\n" for place, text in enumerate(texts)),
        "b.jsonl": "\n".join(lines),
        "c.json": f"[{', '.join(lines)}]",
        "d.jsonl": "\n".join(json.dumps({"n": place, "v": text}) for place, text in enumerate(texts)),
        "e.parquet": parquet(pa.array(texts, pa.string())),
        "f.xlsx": workbook([f"{text}" for text in texts]),
        "g.parquet": encode(Extract(START, [{"n": n, "v": text} for n, text in enumerate(texts)]), "m:f")[1],
    }
    columns = [{"name": kind, "type": kind, "source_name": "v"} for kind in KINDS]
    contents = [(name, text.encode() if isinstance(text, str) else text) for name, text in files.items()]
    for name, rows in zip(files, lake(columns, *contents), strict=True):
        for kind in KINDS:
            found = [None if value is None else _shown(value) for value in values(rows, kind)]
            assert found == [meant(text, kind) for text in texts], (name, kind)


@pytest.mark.parametrize(
    "array",
    [
        pa.array([Decimal("90071992547409.93"), Decimal("-0.01"), None], pa.decimal256(50, 2)),
        pa.array([Decimal("90071992547409.93"), Decimal("-0.01"), None], pa.decimal128(30, 10)),
        pa.array(["90071992547409.93", "-0.01", None]),
        pa.array(["90071992547409.93", "-0.01", None]).dictionary_encode(),
    ],
)
def test_decimals_of_parquet_are_exact(lake: Lake, array: pa.Array) -> None:
    ((rows),) = lake([{"name": "v", "type": "decimal(18,2)"}], ("a.parquet", parquet(array)))
    assert values(rows) == [Decimal("90071992547409.93"), Decimal("-0.01"), None]


def test_a_decimal_that_no_column_holds_is_none(lake: Lake) -> None:
    large = pa.array([Decimal(10) ** 45, Decimal("1.23")], pa.decimal256(50, 2))
    columns = [{"name": "v", "type": "decimal(38,2)"}, {"name": "t", "source_name": "v"}]
    ((rows),) = lake(columns, ("a.parquet", parquet(large)))
    assert values(rows) == [None, Decimal("1.23")]
    assert [Decimal(text) for text in values(rows, "t")] == [Decimal(10) ** 45, Decimal("1.23")]


def test_a_column_of_many_types_in_one_run_is_read_by_each_files_own(lake: Lake) -> None:
    large = Decimal("90071992547409.93")
    files: list[tuple[pa.Array, list[Decimal | None]]] = [
        (pa.array([1, 2], pa.int32()), [Decimal(1), Decimal(2)]),
        (pa.array([2**53 + 1, 2], pa.int64()), [Decimal(2**53 + 1), Decimal(2)]),
        (pa.array([2**64 - 1, 2], pa.uint64()), [Decimal(2**64 - 1), Decimal(2)]),
        (pa.array([0.5, 0.125], pa.float32()), [Decimal("0.5"), None]),
        (pa.array([0.1, 0.1 + 0.2], pa.float64()), [Decimal("0.1"), None]),
        (pa.array([large, Decimal("0.125")], pa.decimal128(30, 3)), [large, None]),
        (pa.array(["1.50", "x"]), [Decimal("1.5"), None]),
    ]
    parts = [(f"{place}.parquet", parquet(array)) for place, (array, _) in enumerate(files)]
    together = lake([{"name": "v", "type": "decimal(22,2)"}], *parts)
    assert [values(rows) for rows in together] == [expected for _, expected in files]


def test_a_workbooks_numbers_are_doubles_by_their_shortest_text(lake: Lake) -> None:
    book = workbook([0.1, 1e16, 12, 1.5, 90071992547409.93])
    columns = [{"name": "v", "type": "decimal(20,2)"}, {"name": "i", "type": "integer", "source_name": "v"}]
    ((rows),) = lake(columns, ("a.xlsx", book))
    assert values(rows) == [*map(Decimal, ("0.1", "1e16", "12", "1.5", "90071992547409.94"))]
    assert values(rows, "i") == [None, None, 12, None, None]


# --- times -----------------------------------------------------------------------------------------------------------

NANOS = pa.array([1_000, 1_001, None], pa.timestamp("ns"))
FIRST = [START.replace(year=1970, microsecond=1, tzinfo=None), None, None]


def test_nanoseconds_are_rejected_in_every_batch(lake: Lake) -> None:
    files = [
        parquet(NANOS, use_deprecated_int96_timestamps=True),
        parquet(NANOS),
        parquet(NANOS.cast(pa.timestamp("ns", "UTC"))),
        parquet(NANOS.cast(pa.timestamp("ns", "Europe/Berlin"))),
        parquet(pc_text(["1970-01-01 00:00:00.000001", "1970-01-01 00:00:00.000001001", None])),
    ]
    columns = [{"name": "v", "type": "timestamp"}, {"name": "z", "type": "timestamptz", "source_name": "v"}]
    named = [(f"{place}.parquet", content) for place, content in enumerate(files)]
    instants = [FIRST[0] and FIRST[0].replace(tzinfo=dt.UTC), None, None]
    for rows in [*lake(columns, *named), *lake(columns, *named[::-1]), *(lake(columns, one)[0] for one in named)]:
        assert values(rows) == FIRST
        assert [value and value.astimezone(dt.UTC) for value in values(rows, "z")] == instants


def test_values_inside_nested_ones_are_what_was_sent(lake: Lake) -> None:
    """Beside what the engine reads by itself: nanoseconds of a day, durations, long decimals, in lists and maps."""
    long = pa.decimal256(50, 2)
    files = [
        (
            pa.array([[1, 86_399_999_999_999, None]], pa.list_(pa.time64("ns"))),
            '["00:00:00.000000001","23:59:59.999999999",null]',
        ),
        (pa.array([[1, 2]], pa.list_(pa.duration("ms"))), '["1 ms","2 ms"]'),
        (pa.array([[("a", Decimal("1.10")), ("a", None)]], pa.map_(pa.string(), long)), '{"a":1.10,"a":null}'),
        (pa.array([[(5, Decimal("0.10"))]], pa.map_(pa.int32(), long)), '{"5":0.10}'),
        (
            pa.array(
                [{"d": Decimal("1.10"), "f": float("nan"), "b": b"a\xff"}],
                pa.struct([("d", long), ("f", pa.float64()), ("b", pa.binary())]),
            ),
            '{"d":1.10,"f":NaN,"b":"a\\\\xFF"}',
        ),
    ]
    parts = [(f"{place}.parquet", parquet(array)) for place, (array, _) in enumerate(files)]
    assert [values(rows) for rows in lake([{"name": "v"}], *parts)] == [[text] for _, text in files]


def pc_text(texts: list[str | None]) -> pa.Array:
    return pa.array(texts, pa.string())


def test_times_of_parquet_in_any_unit_are_the_times(lake: Lake) -> None:
    times = [dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59), dt.datetime(2013, 6, 1, 12)]  # noqa: DTZ001
    micros = pa.array(times, pa.timestamp("us"))
    files = [
        parquet(micros, use_deprecated_int96_timestamps=True),
        parquet(micros),
        parquet(micros.cast(pa.timestamp("ms"))),
        parquet(micros.cast(pa.timestamp("us", "America/New_York"))),
    ]
    named = [(f"{place}.parquet", content) for place, content in enumerate(files)]
    for rows in lake([{"name": "v", "type": "timestamp"}], *named):
        assert values(rows) == times


def test_times_beyond_the_years_are_none(lake: Lake) -> None:
    beyond = pa.array([3_000_000, -800_000, 0], pa.date32())
    far = pa.array([2**62, -(2**62), 0], pa.timestamp("us"))
    for array, kind in ((beyond, "date"), (beyond, "timestamp"), (far, "timestamp"), (far, "timestamptz")):
        ((rows),) = lake([{"name": "v", "type": kind}], ("a.parquet", parquet(array)))
        assert [value is None for value in values(rows)] == [True, True, False]


def test_a_date_in_one_of_several_formats_is_read(lake: Lake) -> None:
    columns = [{"name": "v", "type": "date", "date_format": ["%d.%m.%Y", "%m/%d/%Y", ""]}]
    ((rows),) = lake(columns, ("a.csv", b"n,v\n1,05.01.2013\n2,1/5/2013\n3,2013-01-05\n4,05.01.13\n5,3/2/20\n"))
    assert values(rows) == [dt.date(2013, 1, 5)] * 3 + [None] * 2


# --- rows of a Python hook -------------------------------------------------------------------------------------------


def test_rows_of_a_hook_are_what_python_holds(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    # as importing pandera does
    monkeypatch.setenv("PYARROW_IGNORE_TIMEZONE", "1")
    noon = dt.datetime(2013, 6, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    rows = [
        {"n": 1, "at": noon, "day": dt.date(2013, 1, 5), "price": 1, "mix": 2**53 + 1, "bag": {"a": [Decimal("1.50")]}},
        {"n": 2, "at": None, "day": dt.datetime(2013, 1, 5, 12), "price": Decimal("1.25"), "mix": 0.5, "bag": []},  # noqa: DTZ001
    ]
    columns = [
        {"name": "at", "type": "timestamptz"},
        {"name": "day", "type": "timestamp"},
        {"name": "date", "type": "date", "source_name": "day"},
        {"name": "price", "type": "decimal(18,2)"},
        {"name": "mix", "type": "decimal(18,2)"},
        {"name": "bag"},
    ]
    ((found),) = lake(columns, encode(Extract(START, rows), "m:f"))
    assert [value and value.astimezone(dt.UTC) for value in values(found, "at")] == [noon.astimezone(dt.UTC), None]
    assert [value.hour for value in values(found, "day")] == [0, 12]
    assert values(found, "date") == [dt.date(2013, 1, 5), None]
    assert values(found, "price") == [Decimal(1), Decimal("1.25")]
    assert values(found, "mix") == [Decimal(2**53 + 1), Decimal("0.5")]
    assert values(found, "bag") == ['{"a":[1.50]}', "[]"]


def test_no_records_are_an_input_without_rows(lake: Lake) -> None:
    nothing, something = lake(
        [{"name": "v"}], encode(Extract(START, []), "m:f"), encode(Extract(START, [{"n": 1, "v": "x"}]), "m:f")
    )
    assert (nothing, values(something)) == ([], ["x"])


# --- raw names -------------------------------------------------------------------------------------------------------


def test_raw_data_may_use_the_names_of_engines(lake: Lake) -> None:
    names = [
        "file_row_number",
        "filename",
        "File_Index",
        "rowid",
        "s_file",
        "s_file_",
        "s_row_id",
        "_metadata",
        "a.b",
        'q"',
    ]
    columns = [{"name": f"c{place}", "source_name": name} for place, name in enumerate(names)]
    table = pa.table({"n": [5, 6], **{name: [f"{name} {row}" for row in (0, 1)] for name in names}})
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    lines = "\n".join(json.dumps(row) for row in table.to_pylist())
    for rows in lake(columns, ("a.parquet", buffer.getvalue()), ("b.jsonl", lines.encode())):
        assert [row["s_row_id"] for row in rows] == [0, 1]
        assert values(rows, "n") == [5, 6]
        for place, name in enumerate(names):
            assert values(rows, f"c{place}") == [f"{name} 0", f"{name} 1"]
