"""Column lineage is read from SQL as people write it."""

from __future__ import annotations

import pytest

from dataops_assets.components.dbt_catalogue import Catalogue, ColumnEntry, SourceEntry
from dataops_assets.components.dbt_lineage import LineageReader, Origin

SALES = ("hub", "sales")
STORES = ("hub", "stores")


def table(key: tuple[str, ...], *columns: str) -> SourceEntry:
    relation = f'"warehouse"."hub"."{key[-1]}"'
    return SourceEntry(
        key=key,
        relation=relation,
        columns=tuple(ColumnEntry(name=name, type="bigint", description="") for name in columns),
        file="models/sources.yml",
    )


def lineage(compiled: str, dialect: str = "duckdb") -> dict[str, set[Origin]]:
    known = Catalogue(
        dialect=dialect, models=(), sources=(table(SALES, "Store", "Sales", "Date"), table(STORES, "Store", "Type"))
    )
    return {name: set(origins) for name, origins in LineageReader(known).read(compiled).columns.items()}


@pytest.mark.parametrize(
    ("compiled", "expected"),
    [
        pytest.param(
            'select Store as id, SALES * 2 as twice, 1 as one from "warehouse"."hub"."sales"',
            {"id": {(SALES, "Store")}, "twice": {(SALES, "Sales")}, "one": set()},
            id="any case, as declared",
        ),
        pytest.param(
            'select * from "warehouse"."hub"."stores"',
            {"store": {(STORES, "Store")}, "type": {(STORES, "Type")}},
            id="star",
        ),
        pytest.param(
            'select s.store, max(t.type) as type from "warehouse"."hub"."sales" as s'
            ' left join "warehouse"."hub"."stores" as t on s.store = t.store and s.date is not null group by s.store',
            {"store": {(SALES, "Store")}, "type": {(STORES, "Type")}},
            id="conditions are no origin",
        ),
        pytest.param(
            'with a as (select store as x, sales from "warehouse"."hub"."sales"),'
            " b as (select x, sum(sales) as total from a group by x)"
            " select coalesce(b.x, t.store) as store, b.total from b full join"
            ' "warehouse"."hub"."stores" as t on b.x = t.store',
            {"store": {(SALES, "Store"), (STORES, "Store")}, "total": {(SALES, "Sales")}},
            id="through common tables",
        ),
        pytest.param(
            'select store from "warehouse"."hub"."sales" union all select store from "warehouse"."hub"."stores"',
            {"store": {(SALES, "Store"), (STORES, "Store")}},
            id="union",
        ),
        pytest.param(
            'select sum(sales) over (partition by store order by date) as running from "warehouse"."hub"."sales"',
            {"running": {(SALES, "Sales"), (SALES, "Store"), (SALES, "Date")}},
            id="a window's order is part of its value",
        ),
        pytest.param('select x from "elsewhere"."a"."b"', {"x": set()}, id="unknown tables are left out"),
        pytest.param("this is no query at all, is it", {}, id="what cannot be read has none"),
    ],
)
def test_columns_come_from(compiled: str, expected: dict[str, set[Origin]]) -> None:
    assert lineage(compiled) == expected
