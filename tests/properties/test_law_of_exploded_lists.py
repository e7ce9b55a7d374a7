"""Items of lists as a feed of their own: a parent that is sent again replaces its items, in any order of arrival."""

from __future__ import annotations

import datetime as dt
import decimal
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from declared import unchecked_source
from hypothesis import given, settings
from hypothesis import strategies as st
from law import hub_rows
from parsed_inputs import context_for, delivered, parsed_inputs
from pyarrow import orc
from pydantic import ValidationError

from dataops_assets.config.environment import environment_from
from dataops_assets.config.source import Source
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.steps.cdc import cdc
from dataops_assets.steps.enrich import enrich
from dataops_assets.steps.parse import parse
from dataops_assets.steps.refresh import refresh

COLUMNS = [
    {"name": "order", "type": "integer", "nullable": False, "source_name": "no.id"},
    {"name": "line", "type": "integer", "nullable": False, "source_name": "content.items#"},
    {"name": "sku", "nullable": False, "source_name": "content.items.sku"},
    {"name": "price", "type": "decimal(20,2)", "source_name": "content.items.price"},
]
REPLACED = {"type": "key", "key": ["order", "line"], "group_deletes": [{"when": "line = 0", "by": ["order"]}]}
Order = Mapping[str, Any]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> DuckDBEngine:
    home = tmp_path_factory.mktemp("engine")
    return DuckDBEngine(environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home))


def lines_of_orders(layout: Mapping[str, Any], **declared: Any) -> Source:
    connection = {"type": "files", "path": "x/*", "format": {"explode": ["content.items"], **layout}}
    found: dict[str, Any] = {"columns": COLUMNS, "connection": connection, "refresh": REPLACED, **declared}
    return unchecked_source("lines", {}, drift={"missing_column": "ignore"}, **found)


def order(number: int, skus: Sequence[str] | None) -> Order:
    content = {} if skus is None else {"items": [{"sku": sku, "price": 1} for sku in skus]}
    return {"no": {"id": number}, "content": content}


ORDERS = st.builds(order, st.integers(1, 3), st.none() | st.lists(st.sampled_from("abc"), max_size=3))
DAYS = st.lists(st.lists(ORDERS, min_size=1, max_size=4), min_size=3, max_size=3)


@settings(max_examples=4, deadline=None)
@given(days=DAYS, places=st.permutations(range(3)))
def test_a_parent_that_is_sent_again_replaces_its_items(
    engine: DuckDBEngine, tmp_path_factory: pytest.TempPathFactory, days: list[list[Order]], places: list[int]
) -> None:
    files = {
        f"{day}.jsonl": "".join(json.dumps(item) + "\n" for item in orders).encode() for day, orders in enumerate(days)
    }
    context = context_for(engine, tmp_path_factory.mktemp("law"), lines_of_orders({"type": "jsonl"}))
    inputs = list(delivered(context, files).values())
    for some in (places[:1], places[1:]):
        taken = [inputs[place] for place in some]
        assert not parse(context, taken).failures
        cdc(context, taken)
        enrich(context, taken)
        refresh(context, taken)
    newest = {item["no"]["id"]: item["content"].get("items", []) for orders in days for item in orders}
    expected = {(number, place, item["sku"]) for number, items in newest.items() for place, item in enumerate(items, 1)}
    assert {(row["order"], row["line"], row["sku"]) for row in hub_rows(context)} == expected


JSON_LINES = """{"no": {"id": 1}, "content": {"items": [{"sku": "a", "price": 90071992547409.93}, null, {"sku": 1.10}]}}

{"no": {"id": 2}, "content": {"items": []}}
{"no": {"id": 3}, "content": null}
{"no": {"id": 4}, "content": {"items": {"sku": "alone"}}}
[1]
not JSON
{"no": {"id": 5}, "content": {"items": [{"sku": "a", "sku": "b"}]}}
"""
XML = """<feed><order><no><id>1</id></no><content><items><sku>a</sku><price>5</price></items></content></order>
<order><no><id>2</id></no><content><items><sku>b</sku></items><items><sku>c</sku></items></content></order></feed>"""


def test_every_record_is_its_parent_or_an_item(engine: DuckDBEngine, tmp_path: Path) -> None:
    kept = lines_of_orders({"type": "jsonl"}, keep_when="line > 0", refresh={"type": "append"})
    made = parsed_inputs(engine, tmp_path / "lines", kept, {"a.jsonl": JSON_LINES.encode()})
    assert [
        (number, line, sku, str(price)) for number, line, sku, price in made.rows("order", "line", "sku", "price")
    ] == [
        (1, 1, "a", "90071992547409.93"),
        (1, 3, "1.10", "None"),
        (4, 1, "alone", "None"),
    ]
    # two lines are no objects, an item is null and without its sku, and one has it twice
    assert [row for (row,) in made.rejected("s_row_id")] == [2, 8, 9, 11]
    assert made.counts["a.jsonl"] == {"rows": 3, "rejected": 4, "filtered": 5, "records": 12}
    # the line of the parent, also where blank lines are left out
    assert [line for (line,) in made.rejected("s_line")] == [1, 6, 7, 8]
    elements = lines_of_orders({"type": "xml", "records": "feed.order"}, keep_when="line > 0")
    made = parsed_inputs(engine, tmp_path / "xml", elements, {"a.xml": XML.encode()})
    assert made.rows("order", "line", "sku") == [(1, 1, "a"), (2, 1, "b"), (2, 2, "c")]
    assert made.counts["a.xml"]["records"] == 5


def test_lists_within_lists_have_a_position_each(engine: DuckDBEngine, tmp_path: Path) -> None:
    columns = [
        {"name": name, "source_name": source} for name, source in {"a": "a#", "b": "a.b#", "value": "a.b"}.items()
    ]
    layout = {"type": "json", "explode": ["a", "a.b"]}
    content = b'[{"a": [{"b": [1, 2]}, {"b": null}, 5]}, {"c": 1}]'
    found = lines_of_orders(layout, columns=columns, refresh={"type": "append"})
    made = parsed_inputs(engine, tmp_path, found, {"a.json": content})
    given_rows = [
        ("0", None, None),
        ("1", "0", None),
        ("1", "1", "1"),
        ("1", "2", "2"),
        ("2", "0", None),
        ("3", None, None),
    ]
    assert made.rows("a", "b", "value") == [*given_rows, ("0", None, None)]
    assert made.counts["a.json"]["records"] == 7
    with pytest.raises(ValidationError, match="'c' is not within the items of 'a'; known"):
        lines_of_orders({"type": "json", "explode": ["a", "c"]})


def written(kind: str, path: Path) -> bytes:
    """Two parents with a list of structs and a map, in a format whose values have types."""
    item = pa.struct([("sku", pa.string()), ("price", pa.decimal128(20, 2)), ("at", pa.timestamp("us", "UTC"))])
    items, prices = pa.list_(item), pa.map_(pa.string(), pa.float64())
    at = dt.datetime(2024, 1, 1, 12, 30, tzinfo=dt.UTC)
    one = {"sku": "a", "price": decimal.Decimal("90071992547409.93"), "at": at}
    table = pa.table(
        {
            "id": pa.array([1, 2], pa.int64()),
            "items": pa.array([[one, {"sku": None, "price": None, "at": None}], []], items),
            "prices": pa.array([[("eur", 1.5), ("a.b", float("inf"))], None], prices),
        }
    )
    if kind == "parquet":
        pq.write_table(table, path)
    elif kind == "orc":
        orc.write_table(table, path)
    else:
        rows = [{**row, "prices": dict(row["prices"] or [])} for row in table.to_pylist()]
        price = {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 2}
        fields = {"sku": "string", "price": price, "at": {"type": "long", "logicalType": "timestamp-micros"}}
        record = {
            "type": "record",
            "name": "item",
            "fields": [{"name": n, "type": ["null", t]} for n, t in fields.items()],
        }
        schema = {
            "type": "record",
            "name": "parent",
            "fields": [
                {"name": "id", "type": "long"},
                {"name": "items", "type": {"type": "array", "items": record}},
                {"name": "prices", "type": {"type": "map", "values": "double"}},
            ],
        }
        with path.open("wb") as out:
            fastavro.writer(out, schema, rows)
    return path.read_bytes()


@pytest.mark.parametrize("kind", ["parquet", "orc", "avro"])
def test_lists_and_maps_of_typed_formats_are_read_exactly(kind: str, engine: DuckDBEngine, tmp_path: Path) -> None:
    content = written(kind, tmp_path / f"a.{kind}")
    columns = [
        {"name": "order", "type": "integer", "source_name": "id"},
        {"name": "line", "type": "integer", "source_name": "items#"},
        {"name": "sku", "source_name": "items.sku"},
        {"name": "price", "type": "decimal(20,2)", "source_name": "items.price"},
        {"name": "at", "type": "timestamptz", "source_name": "items.at"},
    ]
    shape: dict[str, Any] = {"columns": columns, "refresh": {"type": "append"}}
    made = parsed_inputs(
        engine,
        tmp_path / "list",
        lines_of_orders({"type": kind, "explode": ["items"]}, **shape),
        {f"a.{kind}": content},
    )
    at = dt.datetime(2024, 1, 1, 12, 30, tzinfo=dt.UTC)
    assert made.rows("order", "line", "sku", "price", "at") == [
        (1, 0, None, None, None),
        (1, 1, "a", decimal.Decimal("90071992547409.93"), at),
        (1, 2, None, None, None),
        (2, 0, None, None, None),
    ]
    assert made.counts[f"a.{kind}"]["records"] == 4
    shape["columns"] = [
        {"name": "order", "type": "integer", "source_name": "id"},
        {"name": "currency", "source_name": "prices.key"},
        {"name": "price", "type": "double", "source_name": "prices.value"},
    ]
    entries = lines_of_orders({"type": kind, "explode": ["prices{}"]}, keep_when="currency is not null", **shape)
    made = parsed_inputs(engine, tmp_path / "map", entries, {f"a.{kind}": content})
    assert sorted(made.rows("order", "currency", "price")) == [(1, "a.b", float("inf")), (1, "eur", 1.5)]


def test_lists_within_maps_have_a_position_each(engine: DuckDBEngine, tmp_path: Path) -> None:
    names = {"store": "stock.key", "place": "stock.value.items#", "sku": "stock.value.items"}
    columns = [{"name": name, "source_name": source} for name, source in names.items()]
    layout = {"type": "jsonl", "explode": ["stock{}", "stock.value.items"]}
    content = b'{"stock": {"b": {"items": ["x", "y"]}, "a": {}}}\n{"stock": [{"key": "c"}]}\n{"stock": {}}\n'
    made = parsed_inputs(
        engine, tmp_path, lines_of_orders(layout, columns=columns, refresh={"type": "append"}), {"a.jsonl": content}
    )
    assert made.rows("store", "place", "sku") == [
        (None, None, None),
        ("b", "0", None),
        ("b", "1", "x"),
        ("b", "2", "y"),
        ("a", "0", None),
        (None, None, None),
        ("c", "0", None),
        (None, None, None),
    ]
    assert made.counts["a.jsonl"]["records"] == 8
