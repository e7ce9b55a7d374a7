"""Every declared format is loaded by the code location, and new ones come from the landing folder into their hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import dagster as dg
from code_location import CodeLocation, loaded, standalone

from dataops_assets.config.connection import FileFormat

# what a format needs besides its type
NEEDED: dict[str, dict[str, Any]] = {
    "python": {"function": f"{__name__}:no_records"},
    "fixed_width": {"fields": [{"name": "id", "start": 1, "width": 4}]},
    "text": {"pattern": r"(?P<id>\d+) (?P<message>.*)"},
    "xml": {"records": "orders.order"},
    "yaml": {"explode": ["items"]},
}
LINES = [
    {"name": "id", "type": "integer", "nullable": False},
    {"name": "line", "type": "integer", "source_name": "items#"},
    {"name": "sku", "source_name": "items.sku"},
]


def no_records(_path: Path) -> list[dict[str, Any]]:
    return []


def feed(kind: str) -> dict[str, Any]:
    declared = standalone() | {
        "name": f"in_{kind}",
        "connection": {
            "type": "files",
            "path": f"in_{kind}/*",
            "format": {"type": kind, **NEEDED.get(kind, {})},
            "extract_time": {"pattern": "%Y-%m-%d.*"},
            "settle_seconds": 0,
        },
        "columns": [{"name": "id", "type": "integer"}, {"name": "message"}],
        "refresh": {"type": "append"},
        "drift": {"missing_column": "ignore"},
    }
    if kind == "yaml":
        replaced = {"type": "key", "key": ["id", "line"], "group_deletes": [{"when": "line = 0", "by": ["id"]}]}
        declared |= {"columns": LINES, "refresh": replaced}
    return declared


def test_every_format_is_loaded_and_new_ones_are_read(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    kinds = [get_args(model.model_fields["type"].annotation)[0] for model in get_args(get_args(FileFormat)[0])]
    assert NEEDED.keys() <= set(kinds)
    with loaded(*map(feed, kinds)) as definitions:
        here = CodeLocation(definitions, instance, tmp_path)
        assert {f"in_{kind}" for kind in kinds} <= {
            key.path[-1] for key in here.repository.asset_graph.get_all_asset_keys()
        }
        here.land("in_text", "2024-01-01.log", "1 failed\n  because\n2 ok\n")
        here.land(
            "in_yaml", "2024-01-01.yaml", "- {id: 1, items: [{sku: a}, {sku: b}]}\n- {id: 2, items: [{sku: c}]}\n"
        )
        here.land("in_yaml", "2024-01-02.yaml", "- {id: 1, items: [{sku: d}]}\n- {id: 2, items: []}\n")
        here.settle("in_text", "in_yaml")
        assert here.rows("hub/in_text", "id", "message") == [(1, "failed\n  because"), (2, "ok")]
        assert here.rows("hub/in_yaml", "id", "line", "sku") == [(1, 1, "d")]
