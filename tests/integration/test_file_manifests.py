"""Files with a manifest beside them: it tells the period of an input without rows, and totals that are checked."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from code_location import CodeLocation, loaded, standalone

from dataops_assets.config.file_manifest import FileManifest
from dataops_assets.config.source import Source
from dataops_assets.connections.file_manifests import manifest_of

FEED: dict[str, Any] = standalone() | {
    "connection": {
        "type": "files",
        "path": "orders",
        "extract_time": {"pattern": "orders_*_%Y-%m-%d.csv*"},
        "settle_seconds": 0,
        "manifest": {
            "rows": "counts.rows",
            "sums": {"amount": 'counts."total.amount"'},
            "size": "bytes",
            "sha256": "digest",
        },
    },
    "columns": [
        {"name": "id", "type": "integer", "nullable": False},
        {"name": "sold_on", "type": "date"},
        {"name": "amount", "type": "decimal(12,2)"},
    ],
    "refresh": {"type": "timestamp", "range_by": "sold_on", "period": {"from": "period.from", "to": "period.to"}},
}
DAYS = ("2026-11-07", "2026-11-08")
HEADER = "id,sold_on,amount\n"


def manifest(content: str | bytes, days: tuple[str, str], rows: int, amount: str, **others: Any) -> str:
    received = content.encode() if isinstance(content, str) else content
    told: dict[str, Any] = {
        "period": {"from": days[0], "to": days[1]},
        "counts": {"rows": rows, "total.amount": amount},
        "bytes": len(received),
        "digest": hashlib.sha256(received).hexdigest().upper(),
    }
    # as editors on Windows write it
    return "\ufeff" + json.dumps(told | others).replace("\n", "\r\n")


def hub(here: CodeLocation) -> list[int]:
    return [row[0] for row in here.rows("hub/orders", "id")]


def test_a_day_without_rows_is_told_by_its_manifest(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    week = HEADER + "".join(f"{day},2026-11-{day:02},1.10\n" for day in range(1, 8))
    with loaded(FEED) as definitions:
        here = CodeLocation(definitions, instance, tmp_path)
        # the file waits for its manifest, and is told meanwhile
        here.land("orders", "orders_b_2026-12-02.csv", HEADER)
        answer = here.tick("orders")
        assert not answer.new_partitions
        assert "waits for its manifest" in str(answer.skip_message)
        # the manifest alone is no input
        here.land("orders", "orders_a_2026-12-01.manifest.json", manifest(week, ("2026-11-01", "2026-11-08"), 7, "7.7"))
        assert not here.tick("orders").new_partitions
        here.land("orders", "orders_a_2026-12-01.csv", week)
        assert all(result.success for result in here.settle("orders"))
        assert hub(here) == [1, 2, 3, 4, 5, 6, 7]
        empty = manifest(HEADER, ("2026-11-03", "2026-11-05"), 0, "0")
        here.land("orders", "orders_b_2026-12-02.manifest.json", empty)
        # a file without a byte, packed or not, is right if its manifest tells no rows
        for number, (content, days) in enumerate(((b"", ("2026-11-05", "2026-11-06")), (gzip.compress(b""), DAYS))):
            name = f"orders_c_2026-12-1{number}"
            here.land("orders", f"{name}.csv{'.gz' if content else ''}", content)
            here.land("orders", f"{name}.manifest.json", manifest(content, days, 0, "0"))
        here.restart()
        assert all(result.success for result in here.settle("orders"))
        assert hub(here) == [1, 2, 6]
        # the same manifest again is nothing new; another one is another input of the same file, and arrived later
        here.land("orders", "orders_b_2026-12-02.manifest.json", empty)
        assert not here.tick("orders", seen_late=True).new_partitions
        here.land("orders", "orders_b_2026-12-02.manifest.json", manifest(HEADER, ("2026-11-01", "2026-11-05"), 0, "0"))
        assert all(result.success for result in here.settle("orders"))
        assert hub(here) == [6]
        # what was taken needs its manifest no longer, not even to be made again
        os.unlink(here.landing / "orders/orders_b_2026-12-02.manifest.json")
        assert "manifest" not in str(here.tick("orders", seen_late=True).skip_message)
        raw = next((tmp_path / "storage/raw/orders/inputs").glob("2026-12-02_*.json"), None)
        assert raw is not None
        assert '"to": "2026-11-0' in json.loads(raw.read_text())["manifest"]


WRONG: dict[str, dict[str, Any]] = {
    "the manifest tells 2 records": {"counts": {"rows": 2, "total.amount": 7}},
    "tells 7.0000000000000001 as the sum of amount": {"counts": {"rows": 1, "total.amount": "7.0000000000000001"}},
    "'one' as rows in the manifest, which is no number": {"counts": {"rows": "one", "total.amount": 7}},
    "no number or text at counts.rows": {"counts": [1, 7]},
    "where it tells 3 bytes": {"bytes": 3},
    f"bytes and {'0' * 64}": {"digest": "0" * 64},
    "a manifest that does not tell it": {"period": {"from": "2026-11-04"}},
    "that ends at 2026-11-04": {"period": {"from": "2026-11-04", "to": "2026-11-04"}},
}


def test_an_input_that_its_manifest_does_not_fit_fails_alone(
    instance: dg.DagsterInstance, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = HEADER + "1,2026-11-03,7\n"
    days = ("2026-11-01", "2026-11-08")
    told = [{}, *WRONG.values()]
    with loaded(FEED) as definitions:
        here = CodeLocation(definitions, instance, tmp_path)
        for number, changed in enumerate(told, start=1):
            here.land("orders", f"orders_{number}_2026-12-{number:02}.csv", content)
            text = manifest(content, days, 1, "7.000", **changed)
            here.land("orders", f"orders_{number}_2026-12-{number:02}.manifest.json", text)
        assert not all(result.success for result in here.settle("orders"))
        assert [expected for expected in WRONG if expected not in caplog.text] == []
        assert sorted(here.status("orders", "parse").values()) == ["done"] + ["failed"] * len(WRONG)
        assert hub(here) == [1]


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("sales_2026.11.28.csv.gz", "sales_2026.11.28.json"),
        ("sales.csv", "sales.json"),
        ("sales", "sales.json"),
        (".csv", ".csv.json"),
    ],
)
def test_the_stem_of_a_name_is_without_its_endings(file: str, name: str) -> None:
    assert manifest_of(FileManifest(name="{stem}.json"), file) == name


@pytest.mark.parametrize(
    ("connection", "refresh", "told"),
    [
        ({"manifest": None}, {}, "declare connection.manifest"),
        ({"manifest": {"sums": {"sold_on": "total"}}}, {}, "no column of whole or decimal numbers"),
        ({"manifest": {"name": "manifest.json"}}, {}, "once, and no slash"),
        ({"manifest": {"name": "{stem}"}}, {}, "add an ending"),
        ({"members": "*.csv"}, {}, "members of archives have no manifests"),
        ({}, {"period": {"from": "a", "to": "b", "through": "c"}}, "declare either a pattern"),
        ({}, {"period": {"from": "a", "to": "b", "pattern": "(?P<from>.)(?P<to>.)"}}, "declare either a pattern"),
        ({}, {"period": {"from": "a"}}, "declare either a pattern"),
    ],
)
def test_what_does_not_fit_together_is_refused(connection: Any, refresh: Any, told: str) -> None:
    changed = {"connection": FEED["connection"] | connection, "refresh": FEED["refresh"] | refresh}
    with pytest.raises(ValueError, match=told):
        Source.model_validate(FEED | changed)
