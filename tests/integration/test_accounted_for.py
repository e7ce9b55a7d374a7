"""Files in the landing folder, the sensor, the Dagster run: every row of them is in the hub, rejected, or named."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
from code_location import CodeLocation, failures, loaded, standalone

# five files that are read together; the quote of the last is never closed
FILES = [*(f"id,note\n{n},x\n" for n in range(1, 5)), 'id,note\n9,"never\n10,ok\n11,ok\n']
UNNAMED = "id,note,\n1,x,LOST\n"
NOTES = standalone() | {
    "columns": [{"name": "id", "type": "integer", "nullable": False}, {"name": "note"}],
    "drift": {"new_column": "fail"},
}


def test_every_row_of_one_run_is_in_the_hub_rejected_or_named(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    with loaded(NOTES) as definitions:
        here = CodeLocation(definitions, instance, tmp_path)
        for day, content in enumerate([*FILES, UNNAMED], start=1):
            here.land("orders", f"orders_2024-01-0{day}.csv", content)
        # the run that an input stops, and the one that takes the others further
        stopped, rest = here.settle("orders")
        assert rest.success
        good = [(1, "x"), (2, "x"), (3, "x"), (4, "x"), (10, "ok"), (11, "ok")]
        assert here.rows("lake/orders", "id", "note") == good
        assert here.rows("hub/orders", "id", "note") == good
        (rejected,) = here.rows("lake/orders_quarantine", "s_input_id", "s_line", "s_reason", "s_record")
        assert rejected[0].startswith("2024-01-05_")
        assert rejected[1:] == (2, "a quoted field is not closed before the end of the file", '"9,\\"never"')

        told = failures(stopped)
        assert told
        assert all("orders_2024-01-06.csv" in text for text in told)
        assert "columns that are not declared: column_3 (1 value)" in told[0]
        assert {day: status for day, status in here.status("orders", "parse").items() if status != "done"} == {
            "20240106": "failed"
        }
