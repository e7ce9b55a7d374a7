"""Files dropped in the landing folder, of which `keep_when` keeps some rows: what is filtered is counted everywhere."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
from code_location import CodeLocation, loaded, standalone
from command_line import dataops

from dataops_assets.config.source import Source

# heartbeats have no id, other tenants any amount
FEED = standalone() | {
    "columns": [
        {"name": "id", "type": "integer", "nullable": False},
        {"name": "amount", "type": "integer"},
        {"name": "op", "nullable": False},
        {"name": "tenant", "type": "integer"},
    ],
    "keep_when": "OP <> 'heartbeat' and tenant = 1",
    "refresh": {"type": "key", "key": ["id"], "delete_when": "op = 'd'"},
}
FIRST = "id,amount,op,tenant\n1,10,c,1\n2,20,c,1\n,,heartbeat,\n3,many,c,2\n3,30,c,2\n"
SECOND = "id,amount,op,tenant\n1,,d,1\n2,,d,2\n2,,d,x\n4,many,c,1\n,5,c,1\n5,50,,1\n"


def test_rows_that_are_not_kept_are_in_no_table_and_counted(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    with loaded(FEED) as definitions:
        here = CodeLocation(definitions, instance, tmp_path)
        here.land("orders", "orders_2024-01-01.csv", FIRST)
        here.land("orders", "orders_2024-01-02.csv", SECOND)
        assert all(result.success for result in here.settle("orders"))
        assert here.rows("lake/orders", "id", "op", "tenant") == [(1, "c", 1), (1, "d", 1), (2, "c", 1)]
        assert here.rows("hub/orders", "id", "amount") == [(2, 20)]
        # what the condition reads cannot be read, or the row is kept and has a fault of its own
        rejected = here.rows("lake/orders_quarantine", "s_row_id", "s_column")
        assert rejected == [(2, "tenant"), (3, "amount"), (4, "id")]
        told = here.materialized("lake/orders")
        shown = [
            tuple(told[name].metadata[count].value for count in ("records", "rows", "rejected", "filtered"))
            for name in sorted(told)
        ]
        assert shown == [(5, 2, 0, 3), (6, 1, 3, 2)]
        source = Source.model_validate(FEED)
        context = here.platform.source_context(source, {source.name: source})
        assert "filtered rows of orders: 5" in dataops([context], "status", "orders").out
        assert dataops([context], "status", "--json").data[0]["filtered"] == 5
