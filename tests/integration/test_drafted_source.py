"""As a user does it: files lie in the landing area, `dataops init` drafts their source, and the hub has all rows."""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg
import pytest
from code_location import CodeLocation
from dagster.components.testing import create_defs_folder_sandbox

from dataops_assets.config.environment import environment_from
from dataops_assets.operations.declare import Place, init_source

DAYS = ("2024-01-01", "2024-01-02", "2024-01-03")


def lines(day: str, numbers: range) -> str:
    rows = "".join(f"{n};{n:05};{day} 08:00:00;{n},50;{'NA' if n % 7 == 0 else n % 3}\r\n" for n in numbers)
    return f"Order ID;zip;updated_at;amount;rating\r\n{rows}"


def test_a_drafted_source_takes_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("DATAOPS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DATAOPS_ENV", "test")
    monkeypatch.setenv("DATAOPS_HOME", str(tmp_path))
    environment = environment_from(os.environ, tmp_path)
    folder = Path(environment.landing) / "shop"
    folder.mkdir(parents=True)
    for day, numbers in zip(DAYS, (range(60), range(40, 90), range(80, 120)), strict=True):
        file = folder / f"orders_{day}.csv"
        file.write_bytes(lines(day, numbers).encode("cp1252"))
        # a file is taken when it has stood still for a while
        os.utime(file, (0, 0))
    with create_defs_folder_sandbox() as sandbox:
        made = init_source(environment, Place(sandbox.defs_folder_path), "orders", "shop", [folder])
        assert made.draft.refresh.declared == {"type": "key", "key": ["Order ID"], "order_by": "updated_at"}
        with sandbox.build_all_defs() as definitions, dg.DagsterInstance.ephemeral() as instance:
            here = CodeLocation(definitions, instance, tmp_path)
            assert [result.success for result in here.settle("orders")] == [True]
            assert here.rows("lake/orders_quarantine", "s_row_id") == []
            found = here.rows("hub/orders", "Order ID", "zip", "rating")
    assert found == [(n, f"{n:05}", None if n % 7 == 0 else n % 3) for n in range(120)]
