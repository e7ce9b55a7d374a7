"""One row of a feed deletes many keys: truncate events, and markers of a part of the key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from code_location import CodeLocation, loaded, standalone
from command_line import dataops
from declared import source

from dataops_assets.config.source import Source
from dataops_assets.errors import ConfigError

FEED = standalone() | {
    "connection": {
        "type": "files",
        "path": "orders/*",
        "format": {"type": "jsonl"},
        "extract_time": {"pattern": "orders_%Y-%m-%d.jsonl"},
        "settle_seconds": 0,
    },
    "columns": [
        {"name": "tenant", "type": "integer", "nullable": False, "source_name": "row.tenant"},
        {"name": "id", "type": "integer", "nullable": False, "source_name": "row.id"},
        {"name": "amount", "type": "integer", "source_name": "row.amount"},
        {"name": "op", "nullable": False},
        {"name": "lsn", "type": "integer", "nullable": False},
    ],
    "drift": {"missing_column": "ignore"},
    "refresh": {
        "type": "key",
        "key": ["tenant", "id"],
        "order_by": "lsn",
        "delete_when": "op = 'd'",
        "group_deletes": [{"when": "op = 't'"}, {"when": "op = 'x'", "by": ["tenant"]}],
    },
    "validations": [{"name": "amount_is_positive", "expression": "amount > 0", "severity": "quarantine"}],
}


def event(op: str, lsn: int, **row: Any) -> str:
    return json.dumps({"op": op, "lsn": lsn, **({"row": row} if row else {})}) + "\n"


DAYS = {
    "orders_2024-01-01.jsonl": event("c", 1, tenant=1, id=1, amount=10) + event("c", 2, tenant=1, id=2, amount=20),
    # everything goes; what comes before it in the log goes, too, wherever it is in the files
    "orders_2024-01-02.jsonl": event("c", 9, tenant=1, id=3, amount=30) + event("t", 5),
    "orders_2024-01-03.jsonl": event("c", 4, tenant=2, id=1, amount=40) + event("c", 6, tenant=2, id=2, amount=50),
    # one tenant goes, and a row of it comes back; a marker without its tenant marks nothing
    "orders_2024-01-04.jsonl": event("x", 20, tenant=1) + event("c", 21, tenant=1, id=1, amount=60) + event("x", 22),
}


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 2, 0)], ids=["in order", "late"])
def test_rows_that_come_before_a_marker_are_deleted(
    order: tuple[int, ...], instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    with loaded(FEED) as definitions:
        here = CodeLocation(definitions, instance, tmp_path)
        for number in order:
            name = list(DAYS)[number]
            here.land("orders", name, DAYS[name])
            assert all(result.success for result in here.settle("orders"))
        assert here.rows("hub/orders", "tenant", "id", "amount") == [(1, 1, 60), (2, 2, 50)]
        rejected = here.rows("lake/orders_quarantine", "s_row_id", "s_column")
        # id is missing, too: of several faults the first name counts
        assert rejected == [(2, "id")]
        # of the eight rows, only the markers would fail the validation
        assert {row[0] for row in here.rows("hub/orders", "s_status")} == {"pass"}


def test_a_removed_marker_gives_the_rows_back(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    with loaded(FEED) as definitions:
        here = CodeLocation(definitions, instance, tmp_path)
        for name in list(DAYS)[:2]:
            here.land("orders", name, DAYS[name])
            assert all(result.success for result in here.settle("orders"))
        assert here.rows("hub/orders", "id") == [(3,)]
        changed = here.materialized("lake/orders_changes")
        (second,) = [told for key, told in changed.items() if key.startswith("2024-01-02")]
        assert second.metadata["deleted"].value == 2
        declared = Source.model_validate(FEED)
        context = here.platform.source_context(declared, {declared.name: declared})
        (input_id,) = [key for key in here.partitions("orders") if key.startswith("2024-01-02")]
        assert dataops([context], "remove", "orders", input_id).code == 0
        assert here.rows("hub/orders", "id") == [(1,), (2,)]


@pytest.mark.parametrize(
    ("by", "message"),
    [(["amount"], "is no column of the key; known: tenant, id"), (["id", "tenant"], "declare delete_when instead")],
)
def test_a_group_that_is_none_is_refused(by: list[str], message: str) -> None:
    refresh = {"type": "key", "key": ["tenant", "id"], "group_deletes": [{"when": "amount = 0", "by": by}]}
    with pytest.raises((ConfigError, ValueError), match=message):
        source("orders", {"tenant": "integer", "id": "integer", "amount": "integer"}, refresh=refresh)
