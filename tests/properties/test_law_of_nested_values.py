"""Values within nested data, and computed columns, are those that plain Python takes from each record by itself."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from parsed_files import typed

from dataops_assets.config.environment import environment_from
from dataops_assets.config.source import Source
from dataops_assets.connections.formats.nested_names import joined, parts_of
from dataops_assets.engines.duckdb import DuckDBEngine

NUMBERS = st.sampled_from([None, 0, 7, -3, 2**53 + 1])
TEXTS = st.sampled_from([None, "", "x", "5", 'a"b', "ä"])
INNER = st.none() | st.fixed_dictionaries(
    {}, optional={"id": NUMBERS, "a.b": TEXTS, "deep": st.none() | st.fixed_dictionaries({}, optional={"t": TEXTS})}
)
RECORDS = st.lists(
    st.fixed_dictionaries({}, optional={"after": INNER, "before": INNER, "after.id": NUMBERS, "op": TEXTS}),
    min_size=1,
    max_size=8,
)
COLUMNS = [
    {"name": "new", "type": "integer", "source_name": "after.id"},
    {"name": "old", "type": "integer", "source_name": "before.id"},
    {"name": "dotted", "source_name": 'after."a.b"'},
    {"name": "deep", "source_name": "before.deep.t"},
    {"name": "either", "type": "integer", "expression": "coalesce(new, old)"},
    {"name": "twice", "type": "integer", "nullable": False, "expression": "either * 2"},
    {"name": "number", "type": "integer", "expression": "deep"},
    {"name": "day", "type": "date", "expression": "cast(s_extract_time as date)"},
]
# in Tokyo the next day has begun
DAY = dt.date(2024, 4, 1)


def declared(layout: str) -> Source:
    return Source.model_validate(
        {
            "name": "things",
            "area": "shop",
            "connection": {"type": "files", "path": "things/*", "format": {"type": layout}},
            "columns": COLUMNS,
            "refresh": {"type": "append"},
            "discovery": {"timezone": "Asia/Tokyo"},
        }
    )


def at(record: dict[str, Any], *path: str) -> Any:
    value: Any = record.get(".".join(path))
    if value is not None:
        return value
    value = record
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def expected(record: dict[str, Any]) -> dict[str, Any]:
    """The values of a record, from the definitions, and whether it is rejected."""
    new, old, deep = at(record, "after", "id"), at(record, "before", "id"), at(record, "before", "deep", "t")
    either = old if new is None else new
    number = int(deep) if deep == "5" else None
    is_rejected = either is None or (deep is not None and number is None)
    return {
        "new": new,
        "old": old,
        "dotted": at(record, "after", "a.b"),
        "deep": deep,
        "either": either,
        "twice": None if either is None else 2 * either,
        "number": number,
        "day": DAY,
        "rejected": is_rejected,
    }


def found(engine: DuckDBEngine, path: Path, layout: str) -> list[dict[str, Any]]:
    rows = typed(engine, path, declared(layout))
    return [
        {**{item["name"]: row[item["name"]] for item in COLUMNS}, "rejected": row["s_fault"] is not None}
        for row in rows
    ]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> DuckDBEngine:
    home = tmp_path_factory.mktemp("engine")
    return DuckDBEngine(environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(records=RECORDS)
def test_values_of_json_records(engine: DuckDBEngine, tmp_path_factory: pytest.TempPathFactory, records: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "things.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    assert found(engine, path, "jsonl") == [expected(record) for record in records]


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(records=RECORDS)
def test_values_of_parquet_structs(
    engine: DuckDBEngine, tmp_path_factory: pytest.TempPathFactory, records: Any
) -> None:
    path = tmp_path_factory.getbasetemp() / "things.parquet"
    inner = pa.struct({"id": pa.int64(), "a.b": pa.string(), "deep": pa.struct({"t": pa.string()})})
    schema = pa.schema({"op": pa.string(), "after": inner, "before": inner})
    nested = [{name: value for name, value in record.items() if name != "after.id"} for record in records]
    pq.write_table(pa.Table.from_pylist(nested, schema=schema), path)
    assert found(engine, path, "parquet") == [expected(record) for record in nested]


@given(st.lists(st.text(min_size=1), min_size=2, max_size=4))
def test_a_path_is_written_and_read_alike(parts: list[str]) -> None:
    assert parts_of(joined(parts)) == tuple(parts)


@pytest.mark.parametrize("name", ["", ".", "a.", ".a", "a..b", '"', 'a."b', 'a"b.c', 'a."b"c'])
def test_a_name_that_is_no_path_is_one_name(name: str) -> None:
    assert parts_of(name) == (name,)
