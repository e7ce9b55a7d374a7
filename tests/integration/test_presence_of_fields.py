"""A feed of changed fields: an absent field is unchanged, and a null sets the field to null."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from code_location import CodeLocation, loaded, standalone
from declared import source

COLUMNS = [
    {"name": "id", "type": "integer", "nullable": False},
    {"name": "note"},
    {"name": "note_given", "type": "boolean", "presence_of": "note"},
    {"name": "city", "source_name": "ship.city"},
    {"name": "city_given", "type": "boolean", "presence_of": "ship.city"},
]
MERGE = {"note": {"take": "last", "when": "note_given"}, "city": {"take": "last", "when": "city_given"}}
DAYS: Mapping[str, list[dict[str, Any]]] = {
    "2024-01-01": [{"id": 1, "note": "a", "ship": {"city": "Oslo"}}, {"id": 2, "note": "b"}, {"id": 3, "note": "c"}],
    "2024-01-02": [{"id": 1, "note": None}, {"id": 2, "ship": {"city": None}}, {"id": 3, "ship": {}}],
    "2024-01-03": [{"id": 1, "ship": None}, {"id": 2, "note": "d", "ship": {"city": "Rome"}}],
}
EXPECTED = [(1, None, "Oslo"), (2, "d", "Rome"), (3, "c", None)]


def feed(layout: Mapping[str, Any], ending: str, **refresh: Any) -> dict[str, Any]:
    return standalone() | {
        "connection": {
            "type": "files",
            "path": "orders/*",
            "format": layout,
            "extract_time": {"pattern": f"orders_%Y-%m-%d.{ending}"},
            "settle_seconds": 0,
        },
        "columns": COLUMNS,
        "drift": {"missing_column": "ignore"},
        "refresh": {"type": "key", "key": ["id"], "merge": MERGE, "ignore_changes_in": ["note_given", "city_given"]},
    }


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)], ids=["in order", "late"])
def test_an_absent_field_is_unchanged_and_a_null_is_taken(
    order: tuple[int, ...], instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    with loaded(feed({"type": "jsonl"}, "jsonl")) as definitions:
        here = CodeLocation(definitions, instance, tmp_path)
        for number in order:
            day = f"2024-01-0{number}"
            here.land("orders", f"orders_{day}.jsonl", "\n".join(map(json.dumps, DAYS[day])) + "\n")
            assert all(result.success for result in here.settle("orders"))
        assert here.rows("hub/orders", "id", "note", "city") == EXPECTED


def test_in_a_file_of_columns_a_field_is_there_if_its_column_is(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    with loaded(feed({"type": "csv"}, "csv")) as definitions:
        here = CodeLocation(definitions, instance, tmp_path)
        contents = ["id,note,ship.city\n1,a,Oslo\n2,b,\n", "id,note\n1,\n", "id,ship.city\n2,Rome\n"]
        for number, content in enumerate(contents, 1):
            here.land("orders", f"orders_2024-01-0{number}.csv", content)
        assert all(result.success for result in here.settle("orders"))
        assert here.rows("hub/orders", "id", "note", "city") == [(1, None, "Oslo"), (2, "b", "Rome")]
        assert here.rows("lake/orders_quarantine", "s_row_id") == []


def test_a_separate_file_of_keys_deletes_them_whenever_it_arrives(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    declared = feed({"type": "csv"}, "csv")
    declared["connection"] |= {"extract_time": {"pattern": "*_%Y-%m-%d.csv"}}
    declared["columns"] = [{"name": "id", "type": "integer"}, {"name": "note", "nullable": False}, COLUMNS[2]]
    declared["refresh"] = {"type": "key", "key": ["id"], "delete_when": "not note_given"}
    with loaded(declared) as definitions:
        here = CodeLocation(definitions, instance, tmp_path)
        # before the rows that it deletes, which are older; a row of a later day is back
        here.land("orders", "deleted_2024-01-02.csv", "\ufeffid\r\n1\r\n2\r\n9\r\n")
        assert all(result.success for result in here.settle("orders"))
        here.land("orders", "orders_2024-01-01.csv", "id,note\n1,a\n2,b\n3,c\n")
        here.land("orders", "orders_2024-01-03.csv", "id,note\n2,d\n")
        assert all(result.success for result in here.settle("orders"))
        assert here.rows("hub/orders", "id", "note") == [(2, "d"), (3, "c")]


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"type": "text"}, "so its type is boolean"), ({"source_name": "x"}, "so it has no source_name")],
)
def test_a_presence_that_is_also_something_else_is_refused(changes: dict[str, str], message: str) -> None:
    column = {"name": "given", "type": "boolean", "presence_of": "note", **changes}
    declared = source("orders", {"id": "integer"})
    with pytest.raises(ValueError, match=message):
        type(declared).model_validate(declared.model_dump() | {"columns": [{"name": "id"}, column]})
