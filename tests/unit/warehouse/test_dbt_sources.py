"""What a dbt project reads from the lake and the hub is what the declared sources make, or it is refused at load."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from dataops_assets.components.dbt_catalogue import ColumnEntry, SourceEntry
from dataops_assets.components.dbt_sources import require_made
from dataops_assets.components.declarations import Declarations, declared_sources
from dataops_assets.errors import ConfigError

PROJECT = Path(__file__).parents[3]
ORDERS: dict[str, Any] = {
    "name": "orders",
    "area": "shop",
    "connection": {"type": "files", "path": "orders/*.csv"},
    "columns": [{"name": "id", "type": "integer"}, {"name": "Amount", "type": "double"}],
    "refresh": {"type": "key", "key": ["id"]},
    "rules": [
        {"name": "twice", "expression": "2 * Amount"},
        {"name": "of_all", "expression": "sum(Amount) over ()", "mode": "keep_current"},
    ],
}


def declared(folder: Path, **changes: Any) -> Declarations:
    text = yaml.safe_dump({"type": "dataops_assets.components.SourceComponent", "attributes": {**ORDERS, **changes}})
    (folder / "defs.yaml").write_text(text)
    return declared_sources(folder)


def table(key: str, *columns: str) -> SourceEntry:
    entries = tuple(ColumnEntry(name=name, type="", description="") for name in columns)
    return SourceEntry(key=tuple(key.split("/")), relation=key, columns=entries, file="shop/models/sources.yml")


@pytest.mark.parametrize(
    ("key", "columns"),
    [
        ("hub/orders", ("id", "amount", "TWICE", "s_input_id", "s_status")),
        ("hub/orders_current", ("id", "twice", "of_all")),
        ("hub/orders_enriched", ("id", "s_failed", "s_change")),
        ("lake/orders", ("id", "s_row_id")),
        ("lake/orders_changes", ("Amount",)),
        ("lake/orders_quarantine", ("s_reason", "whatever")),
        # of another system
        ("crm/customers", ("name",)),
    ],
)
def test_what_a_source_makes_may_be_read(key: str, columns: tuple[str, ...], tmp_path: Path) -> None:
    require_made([table(key, *columns)], declared(tmp_path))


@pytest.mark.parametrize(
    ("key", "columns", "words"),
    [
        ("hub/order", (), ("models/sources.yml: table hub/order", "no declared source", "did you mean 'hub/orders'?")),
        ("hub/orders_recent", (), ("known: hub/orders, hub/orders_current, hub/orders_enriched", "hub/orders_recent")),
        ("hub/zzz", (), ("declare a source that makes it, or remove it here",)),
        ("lake/order", (), ("did you mean 'lake/orders'?",)),
        ("hub/orders", ("id", "amuont"), ("column amuont of table hub/orders", "did you mean 'Amount'?")),
        # a rule that is kept current is a column of the current table alone
        ("hub/orders", ("of_all",), ("column of_all of table hub/orders", "known: id, Amount, twice")),
        ("hub/orders", ("s_input",), ("column s_input of table hub/orders",)),
    ],
)
def test_what_no_source_makes_is_refused_with_the_nearest_name(
    key: str, columns: tuple[str, ...], words: tuple[str, ...], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as refused:
        require_made([table("hub/orders", "id"), table(key, *columns)], declared(tmp_path))
    for word in words:
        assert word in str(refused.value)


def test_a_column_that_may_come_undeclared_may_be_read(tmp_path: Path) -> None:
    require_made([table("hub/orders", "note")], declared(tmp_path, drift={"new_column": "evolve"}))


def test_a_code_location_without_sources_reads_those_of_others(tmp_path: Path) -> None:
    require_made([table("hub/anything", "x")], declared_sources(tmp_path))


def test_the_project_reads_what_its_sources_make() -> None:
    text = (PROJECT / "dbt_project" / "models" / "sources.yml").read_text()
    read: list[Mapping[str, Any]] = yaml.safe_load(text)["sources"]
    tables = [
        table(f"{group['name']}/{item['name']}", *(column["name"] for column in item["columns"]))
        for group in read
        for item in group["tables"]
    ]
    assert tables
    require_made(tables, declared_sources(PROJECT / "dataops_assets" / "defs"))
