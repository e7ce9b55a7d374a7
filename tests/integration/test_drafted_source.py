"""As a user does it: files lie in the landing area, or a table in a database; `dataops init` drafts their source, and
the hub has all rows.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import dagster as dg
import pytest
import yaml
from code_location import CodeLocation
from dagster.components.testing import create_defs_folder_sandbox

from dataops_assets.config.databases import SqliteDatabase
from dataops_assets.config.environment import environment_from
from dataops_assets.declaring.draft import DatabaseTable
from dataops_assets.errors import ConfigError, InputError, StorageError
from dataops_assets.operations.declare import Place, init_source, init_table

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


def test_a_drafted_table_is_read(tmp_path: Path) -> None:
    file = tmp_path / "shop.db"
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE orders (id INTEGER, zip TEXT, placed TEXT, amount REAL, country TEXT)")
    connection.execute("CREATE TABLE empty (id INTEGER)")
    rows = [(n, f"{n:05}", f"2024-01-{1 + n % 28:02}", n / 4, "DE") for n in range(120)]
    connection.executemany("INSERT INTO orders VALUES (?, ?, ?, ?, ?)", rows)
    connection.commit()
    connection.close()
    environment = environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(tmp_path)}, tmp_path)
    database = SqliteDatabase(type="sqlite", path=str(file))
    with create_defs_folder_sandbox() as sandbox:
        defs = Place(sandbox.defs_folder_path)
        for table, error in (("empty", InputError), ("none", (StorageError, ConfigError, InputError))):
            with pytest.raises(error, match=table):
                init_table(environment, defs, "orders", "shop", (DatabaseTable("shop", table), database))
        assert not list(defs.folder.rglob("*.yaml"))
        made = init_table(environment, defs, "orders", "shop", (DatabaseTable("shop", "orders"), database))
        assert {item.declared.name: item.declared.type for item in made.draft.columns} == {
            "id": "integer",
            "zip": "text",
            "placed": "date",
            "amount": "decimal(18,2)",
            "country": "text",
        }
        assert made.draft.refresh.declared["type"] == "full"
        assert "country" in {finding.column for finding in made.draft.findings}
        declared = {"type": "sqlite", "path": str(file)}
        connections = {"type": "dataops_assets.components.ConnectionsComponent", "attributes": {}}
        connections["attributes"] = {"connections": {"shop": declared}}
        (defs.folder / "databases").mkdir()
        (defs.folder / "databases" / "defs.yaml").write_text(yaml.safe_dump(connections))
        with sandbox.build_all_defs() as definitions, dg.DagsterInstance.ephemeral() as instance:
            here = CodeLocation(definitions, instance, tmp_path)
            assert [result.success for result in here.settle("orders")] == [True]
            assert here.rows("lake/orders_quarantine", "s_row_id") == []
            found = here.rows("hub/orders", "id", "zip", "amount")
    assert found == [(number, zip_code, amount) for number, zip_code, _, amount, _ in rows]
