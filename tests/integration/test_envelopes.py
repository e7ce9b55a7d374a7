"""Change feeds in an envelope are declared with the names of nested values and with computed columns."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import dagster as dg
from code_location import CodeLocation, checks, loaded, standalone

LOG_POSITION = "lpad(upper(split_part(lsn, '/', 1)), 8, '0') || lpad(upper(split_part(lsn, '/', 2)), 8, '0')"
FEED = standalone() | {
    "connection": {
        "type": "files",
        "path": "orders/*",
        "format": {"type": "jsonl"},
        "extract_time": {"pattern": "orders_%Y-%m-%d.jsonl"},
        "settle_seconds": 0,
    },
    "columns": [
        {"name": "id", "type": "integer", "nullable": False, "expression": "coalesce(new_id, old_id)"},
        {"name": "new_id", "type": "integer", "source_name": "after.id"},
        {"name": "old_id", "type": "integer", "source_name": "before.id"},
        {"name": "city", "source_name": 'after.address."city.name"'},
        {"name": "amount", "type": "decimal(20,3)", "source_name": "after.amount"},
        {"name": "op"},
        {"name": "lsn", "source_name": "source.lsn"},
        {"name": "position", "nullable": False, "expression": LOG_POSITION},
        {"name": "day", "type": "date", "expression": "cast(s_extract_time as date)"},
        {"name": "cents", "type": "integer", "expression": "amount * 100"},
        {"name": "is_gone", "type": "boolean", "expression": "op in ('d', 't')"},
    ],
    "keep_when": "op in ('c', 'u', 'd', 'r')",
    "drift": {"missing_column": "ignore"},
    "refresh": {"type": "key", "key": ["id"], "order_by": "position", "delete_when": "is_gone"},
    "discovery": {"timezone": "Asia/Tokyo"},
}


def change(op: str, lsn: str, before: Any = None, after: Any = None) -> str:
    return json.dumps({"op": op, "source": {"lsn": lsn, "table": "orders"}, "before": before, "after": after})


def order(number: Any, city: str | None, amount: Any) -> dict[str, Any]:
    return {"id": number, "address": {"city.name": city, "street": "x"}, "amount": amount}


FIRST = [
    change("r", "0/9", None, order(1, "Oslo", 1.5)),
    change("u", "0/A", {"id": 1}, order(1, "Bergen", 2.25)),
    change("c", "0/16B3748", None, order(2, "Rome", 2)),
    change("c", "0/16B3749", None, order(3, None, 3.005)),
    change("c", "0/B", None, order("x", "Bonn", 4)),
    json.dumps({"op": "heartbeat", "after": 17}),
]
# nothing is known of the members of `after` here
SECOND = [change("d", "1/0", {"id": 2}), change("d", "0/8", {"id": 1})]


def test_an_envelope_is_declared_without_being_flattened(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    with loaded(FEED) as definitions:
        here = CodeLocation(definitions, instance, tmp_path)
        for number, records in ((2, SECOND), (1, FIRST)):
            here.land("orders", f"orders_2024-01-0{number}.jsonl", "\n".join(records) + "\n")
            results = here.settle("orders")
            assert all(result.success for result in results)
        # 0/8 was the older change of 1, although its file is the later one
        hub = here.rows("hub/orders", "id", "city", "cents", "day")
        assert hub == [(1, "Bergen", 225, dt.date(2024, 1, 1))]
        rejected = here.rows("lake/orders_quarantine", "s_row_id", "s_column", "s_reason")
        assert rejected == [
            (3, "cents", "not an integer of 64 bits, computed as amount * 100"),
            (4, "new_id", "not an integer of 64 bits"),
        ]
        (first, *_) = sorted(here.materialized("lake/orders").items())
        assert first[1].metadata["filtered"].value == 1
        told = str(checks(results[0])["lake/orders:schema"].description)
        assert "after.address.street" in told
        assert "source.table" in told
