"""Fixed width, XML, ORC and Avro: what was sent is in the lake, or its row or its file is refused with a reason."""

from __future__ import annotations

import datetime as dt
import io
import tempfile
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import dagster as dg
import fastavro
import pyarrow as pa
import pytest
from code_location import CodeLocation, loaded, standalone
from declared import source
from hypothesis import given, settings
from hypothesis import strategies as st
from parsed_files import typed
from pyarrow import orc

from dataops_assets.config.environment import environment_from
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.errors import DataOpsError

FIELDS = [{"name": "id", "start": 1, "width": 4}, {"name": "name", "start": 5, "width": 6}]
FIXED: Mapping[str, Any] = {"type": "fixed_width", "fields": [*FIELDS, {"name": "amount", "start": 11, "width": 8}]}
KINDS = {"id": "integer", "name": "text", "amount": "decimal(10,2)"}
Rows = Sequence[Mapping[str, Any]]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> DuckDBEngine:
    home = tmp_path_factory.mktemp("engine")
    return DuckDBEngine(environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home))


def parsed(engine: DuckDBEngine, layout: Mapping[str, Any], content: bytes, kinds: Mapping[str, str] = KINDS) -> Rows:
    """The rows of a file, with None in place of one that is rejected."""
    declared = source("orders", kinds, connection={"type": "files", "path": "x/*", "format": layout})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "orders.txt"
        path.write_bytes(content)
        found = typed(engine, path, declared)
    return [{name: row[name] for name in kinds} if row["s_fault"] is None else None for row in found]


def test_a_line_has_its_fields_at_their_places(engine: DuckDBEngine) -> None:
    lines = [
        "   1Zoë   1,204.50",
        "",
        f"{2:<10}{12:>8}",
        "3   long name  1.5x",
        "   4cut",
        "   5ends      1.00!",
        "6",
    ]
    layout = {**FIXED, "encoding": "latin-1", "thousands_mark": ","}
    content = "\r\n".join(["HEADER", *lines]).encode("latin-1")
    first, second = (
        {"id": 1, "name": "Zoë", "amount": Decimal("1204.50")},
        {"id": 2, "name": None, "amount": Decimal(12)},
    )
    rows = parsed(engine, {**layout, "skip_rows": 1}, content)
    assert rows == [first, second, None, None, None, None]
    padded = parsed(engine, {**layout, "skip_rows": 1, "short_lines": "pad"}, content)
    assert padded[3] == {"id": 4, "name": "cut", "amount": None}
    assert padded[4] is None
    assert padded[5] == {"id": 6, "name": None, "amount": None}


TEXTS = st.text(st.characters(codec="latin-1", exclude_categories=["Cc", "Zs", "Zl", "Zp"]), max_size=6)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9999), TEXTS, st.integers(-9999, 99999)), min_size=1, max_size=20))
def test_any_value_is_read_where_it_was_written(engine: DuckDBEngine, rows: list[tuple[int, str, int]]) -> None:
    content = "".join(f"{number:04d}{name:<6}{cents / 100:>8.2f}\n" for number, name, cents in rows)
    expected = [
        {"id": number, "name": name or None, "amount": Decimal(cents).scaleb(-2)} for number, name, cents in rows
    ]
    assert parsed(engine, {**FIXED, "encoding": "latin-1"}, content.encode("latin-1")) == expected


ORDER = st.fixed_dictionaries(
    {
        "id": st.integers(-(2**63), 2**63 - 1),
        "name": st.none() | st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")),
        "amount": st.none() | st.decimals(-(10**7), 10**7, places=2),
        "at": st.none() | st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2100, 1, 1)),  # noqa: DTZ001
        "tags": st.none() | st.lists(st.text("ab", max_size=2), max_size=3),
    }
)
COLUMNS = KINDS | {"at": "timestamp", "city": "text"}


def as_orc(rows: Rows) -> bytes:
    kinds = pa.struct(
        [
            ("id", pa.int64()),
            ("name", pa.string()),
            ("amount", pa.decimal128(10, 2)),
            ("at", pa.timestamp("us")),
            ("city", pa.struct([("name", pa.string())])),
            ("tags", pa.list_(pa.string())),
        ]
    )
    written = io.BytesIO()
    table = pa.Table.from_struct_array(pa.array([row | {"city": {"name": row["name"]}} for row in rows], kinds))
    orc.write_table(table, written)
    return written.getvalue()


def as_avro(rows: Rows, codec: str = "deflate") -> bytes:
    place = {"type": "record", "name": "place", "fields": [{"name": "name", "type": ["null", "string"]}]}
    amount = {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}
    schema = {
        "type": "record",
        "name": "order",
        "fields": [
            {"name": "id", "type": "long"},
            {"name": "name", "type": ["null", "string"]},
            {"name": "amount", "type": ["null", amount]},
            {"name": "at", "type": ["null", {"type": "long", "logicalType": "local-timestamp-micros"}]},
            {"name": "city", "type": place},
            {"name": "home", "type": ["null", "place"], "default": None},
            {"name": "tags", "type": ["null", {"type": "array", "items": "string"}]},
        ],
    }
    written = io.BytesIO()
    fastavro.writer(written, schema, [row | {"city": {"name": row["name"]}} for row in rows], codec=codec)
    return written.getvalue()


def told(rows: Rows) -> Rows:
    return [{name: row["name"] if name == "city" else row[name] for name in COLUMNS} for row in rows]


@pytest.mark.parametrize(("kind", "written"), [("orc", as_orc), ("avro", as_avro)])
@settings(max_examples=25, deadline=None)
@given(rows=st.lists(ORDER, max_size=20))
def test_a_typed_file_has_its_values(
    kind: str, written: Callable[[Rows], bytes], rows: Rows, engine: DuckDBEngine
) -> None:
    declared = source(
        "orders",
        KINDS | {"at": "timestamp"},
        connection={"type": "files", "path": "x/*", "format": {"type": kind}},
    )
    nested = declared.model_copy(
        update={
            "columns": (
                *declared.columns,
                declared.columns[1].model_copy(update={"name": "city", "source_name": "city.name"}),
            )
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"orders.{kind}"
        path.write_bytes(written(rows))
        found = typed(engine, path, nested)
    assert [row["s_fault"] for row in found] == [None] * len(rows)
    assert [{name: row[name] for name in COLUMNS} for row in found] == told(rows)


def as_xml(rows: Rows) -> bytes:
    records = []
    for row in rows:
        inner = "" if row["name"] is None else f"<city kind='x'><name>{escape(row['name'])}</name></city>"
        amount = "" if row["amount"] is None else f"<amount>{row['amount']:f}</amount>"
        records.append(f"<order id={quoteattr(str(row['id']))}>{inner}{amount}<other>1</other></order>")
    head = "<?xml version='1.0' encoding='utf-8'?><feed><info>x</info><orders>"
    return (head + "\n".join(records) + "</orders><!-- the end --></feed>").encode()


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(ORDER, max_size=20))
def test_elements_are_records(rows: Rows, engine: DuckDBEngine) -> None:
    declared = standalone_columns()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "orders.xml"
        path.write_bytes(as_xml(rows))
        found = typed(engine, path, declared)
    # XML reads a text without the blanks around it
    names = [row["name"] if row["name"] is None else row["name"].strip(" \t\n\r\xa0") for row in rows]
    assert [(row["id"], row["amount"]) for row in found] == [(row["id"], row["amount"]) for row in rows]
    assert [row["city"] or None for row in found] == [_stripped(name) for name in names]


def _stripped(name: str | None) -> str | None:
    return name.strip() or None if name is not None else None


def standalone_columns() -> Any:
    declared = source("orders", KINDS, connection={"type": "files", "path": "x/*", "format": XML})
    number, name, amount = declared.columns
    return declared.model_copy(
        update={
            "columns": (
                number.model_copy(update={"source_name": "@id"}),
                name.model_copy(update={"name": "city", "source_name": "city.name"}),
                amount,
            )
        }
    )


XML = {"type": "xml", "records": "feed.orders.order"}
BOMB = b"<!DOCTYPE feed [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;'>]><feed><orders><order>&b;</order></orders></feed>"


@pytest.mark.parametrize(
    ("layout", "content", "reason"),
    [
        (XML, as_xml([])[:-9], "damaged XML"),
        (XML, BOMB, "damaged XML"),
        (XML, b"id,name\n1,x\n", "damaged XML"),
        (XML, b"PK\x03\x04" + bytes(99), "zip, not XML"),
        ({"type": "orc"}, b"id\n1\n", "not ORC"),
        ({"type": "orc"}, as_orc([])[:-20] + bytes(20), "damaged ORC"),
        ({"type": "avro"}, b"PAR1" + bytes(99), "parquet, not Avro"),
        (
            {"type": "avro"},
            as_avro([{"id": 1, "name": "x", "amount": None, "at": None, "tags": None}])[:-3],
            "damaged Avro",
        ),
        (FIXED, "1   Zoë".encode("latin-1"), "bytes that are no utf-8"),
        (FIXED, b"PAR1" + bytes(99), "parquet, not text"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(
    layout: Mapping[str, Any], content: bytes, reason: str, engine: DuckDBEngine
) -> None:
    with pytest.raises(DataOpsError, match=reason):
        parsed(engine, layout, content)


def test_a_feed_of_xml_comes_into_its_hub(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    feed = standalone() | {
        "connection": {
            "type": "files",
            "path": "orders/*",
            "format": {"type": "xml", "records": "orders.order"},
            "extract_time": {"pattern": "orders_%Y-%m-%d.xml"},
            "settle_seconds": 0,
        },
        "columns": [
            {"name": "id", "type": "integer", "source_name": "@id", "nullable": False},
            {"name": "city", "source_name": "ship.city.#text"},
        ],
        "drift": {"missing_column": "ignore"},
        "refresh": {"type": "key", "key": ["id"]},
    }
    good = "<order id='1'><ship><city code='x'>Oslo</city></ship></order><order id='two'/><order id='3'/>"
    with loaded(feed) as definitions:
        here = CodeLocation(definitions, instance, tmp_path)
        here.land("orders", "orders_2024-01-01.xml", f"<orders>{good}</orders>")
        here.land("orders", "orders_2024-01-02.xml", "<orders><order id='4'/>")
        here.settle("orders")
        assert here.rows("hub/orders", "id", "city") == [(1, "Oslo"), (3, None)]
        assert here.rows("lake/orders_quarantine", "s_row_id", "s_line", "s_value") == [(1, None, "two")]
        assert sorted(here.status("orders", "parse").values()) == ["done", "failed"]
