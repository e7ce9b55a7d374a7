"""A delete marker needs its key and its order, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from code_location import CodeLocation, loaded
from pandera.pandas import Check, Column, DataFrameSchema

# a file's rows, its marker among them, have values in v
strict = DataFrameSchema({"v": Column(nullable=False, checks=Check.ge(1))})

SOURCE: dict[str, Any] = {
    "name": "things",
    "area": "shop",
    "connection": {
        "type": "files",
        "path": "things/*",
        "extract_time": {"pattern": "things_%Y-%m-%d.*"},
        "settle_seconds": 0,
    },
    "columns": [
        {"name": "id", "type": "integer", "nullable": False},
        {"name": "at", "type": "integer"},
        {"name": "v", "type": "integer", "nullable": False},
        {"name": "gone", "type": "boolean", "nullable": False},
    ],
    "refresh": {"type": "key", "key": ["id"], "order_by": "at", "delete_when": "gone"},
    "rules": [{"name": "half", "expression": "v / 2"}],
    "validations": [{"name": "told", "expression": "v is not null and v > 0", "severity": "fail"}],
    "gates": {
        "lake": {"contract": f"{__name__}:strict", "severity": "fail"},
        "hub": {"contract": f"{__name__}:strict", "severity": "fail"},
    },
}
FIRST = "id,at,v,gone\n1,1,5,false\n2,1,5,false\n3,1,5,false\n4,1,5,false\n5,1,5,false\n"
MARKERS = (
    # taken: no value, a value of another type, one that no validation takes
    "id,at,v,gone\n1,2,,true\n2,2,many,true\n3,2,-1,true\n"
    # rejected: the key, the order or what marks it cannot be read, or it is a row without a value
    "x,2,,true\n4,soon,,true\n5,2,,maybe\n5,2,,false\n"
)


@pytest.mark.parametrize("order", [("01", "02"), ("02", "01")], ids=["in order", "late"])
def test_a_marker_needs_its_key_and_its_order_alone(
    tmp_path: Path, instance: dg.DagsterInstance, order: tuple[str, str]
) -> None:
    content = {"01": FIRST, "02": MARKERS}
    with loaded(SOURCE) as definitions:
        location = CodeLocation(definitions, instance, tmp_path)
        for day in order:
            location.land("things", f"things_2024-01-{day}.csv", content[day])
            assert all(result.success for result in location.settle("things"))
        assert location.rows("hub/things", "id", "half") == [(4, 2.5), (5, 2.5)]
        rejected = location.rows("lake/things_quarantine", "s_row_id", "s_column")
        assert rejected == [(3, "id"), (4, "at"), (5, "gone"), (6, "v")]
        assert [row for row in location.rows("lake/things", "id", "gone") if row[1]] == [
            (1, True),
            (2, True),
            (3, True),
        ]


def test_what_a_marker_could_not_say_is_told(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    with loaded(SOURCE) as definitions:
        location = CodeLocation(definitions, instance, tmp_path)
        location.land("things", "things_2024-01-01.csv", FIRST)
        location.land("things", "things_2024-01-02.csv", MARKERS)
        (result, *_) = location.settle("things")
        schema = [item for item in result.get_asset_check_evaluations() if item.check_name == "schema"]
        told = [item.description or str(item.metadata) for item in schema if item.asset_key.path == ["lake", "things"]]
        assert any("values left out because of their type: v (1)" in text for text in told), told


def test_a_marker_of_a_history_ends_the_key(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    history = {**SOURCE, "refresh": {**SOURCE["refresh"], "history": True}}
    with loaded(history) as definitions:
        location = CodeLocation(definitions, instance, tmp_path)
        location.land("things", "things_2024-01-01.csv", "id,at,v,gone\n1,1,5,false\n")
        location.land("things", "things_2024-01-02.csv", "id,at,v,gone\n1,2,,true\n")
        location.settle("things")
        assert [row[:2] for row in location.rows("hub/things", "s_valid_from", "s_is_deleted")] == [
            (1, False),
            (2, True),
        ]
