"""Publications as a person uses them: declared, moved when their tables agree, read, kept by retention, dropped."""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import dagster as dg
import duckdb
import pytest
from code_location import CodeLocation, failures, loaded, orders

from dataops_assets.components.declarations import declared_sources
from dataops_assets.components.publications import publishing_context, require_published_models, told
from dataops_assets.config.publications import Publication
from dataops_assets.config.source import Source
from dataops_assets.engines.duckdb import TRUSTING, load_extensions
from dataops_assets.errors import ConfigError, InputError
from dataops_assets.metadata.decision_store import Hold
from dataops_assets.operations import publications
from dataops_assets.operations.clean_up import clean_up
from dataops_assets.storage import vacuum
from dataops_assets.storage.moments import Moments

DECLARED = orders(
    relations={},
    rules=[{"name": "of_customer", "expression": "sum(amount) over (partition by customer)", "mode": "keep_current"}],
)
HEAD = "id,customer,amount\n"
SHOP = Publication(tables=("hub/orders", "hub/orders_current", "warehouse/fct_orders"))
HUBS = Publication(tables=("hub/orders", "hub/orders_current"), strict=True)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[CodeLocation]:
    with loaded(DECLARED) as definitions, dg.instance_for_test() as instance:
        made = CodeLocation(definitions, instance, tmp_path)
        made.land("orders", "orders_2024-01-01.csv", f"{HEAD}1,7,5\n2,7,400\n")
        go_on(made)
        yield made


def go_on(here: CodeLocation, *, recalculate: bool = True) -> None:
    results = here.settle("orders")
    results += [here.materialize(["hub/orders_current"], {})] if recalculate else []
    assert all(result.success for result in results), [failures(result) for result in results]


def build(here: CodeLocation, version: int) -> None:
    """Stand for dbt: the macros are tested with dbt itself."""
    with duckdb.connect(here.environment.warehouse) as warehouse:
        warehouse.execute("CREATE SCHEMA IF NOT EXISTS dataops")
        warehouse.execute("CREATE OR REPLACE TABLE fct_orders AS SELECT ? AS version", [version])
        warehouse.execute(
            "CREATE OR REPLACE TABLE dataops.built AS SELECT 'warehouse/fct_orders' AS model, ? AS build_id, "
            "false AS is_view, ? AS versions, '{}' AS parents",
            [f"build {version}", f'{{"hub/orders_current": {version}}}'],
        )
        warehouse.execute(
            "CREATE OR REPLACE TABLE dataops.pinned AS SELECT 'hub/orders_current' AS asset, 0 AS version"
        )


def test_readers_see_the_tables_of_one_moment(here: CodeLocation, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source.model_validate(DECLARED)
    context = publishing_context(here.platform, {source.name: source})
    declared = {"shop": SHOP, "hubs": HUBS}

    def states() -> dict[str, str]:
        return {state.name: told(state) for state in publications.publish(context, declared, [])}

    first = states()
    assert "warehouse/fct_orders: it was never built" in first["shop"]
    assert first["hubs"] == "hubs: published moment 1"
    with pytest.raises(InputError, match="never published"):
        publications.connect(here.environment, "shop")
    build(here, 0)
    assert states() == {"shop": "shop: published moment 1", "hubs": "hubs: moment 1 is the newest"}

    # an input is in the hub, and neither recalculated nor in the warehouse
    here.land("orders", "orders_2024-01-02.csv", f"{HEAD}3,7,8\n")
    go_on(here, recalculate=False)
    between = states()
    assert between["shop"] == "shop: moment 1 is the newest"
    assert "hub/orders: it is at version" in between["hubs"]
    # now the hub is recalculated, and the warehouse is not built yet
    go_on(here)
    assert states() == {"shop": "shop: moment 1 is the newest", "hubs": "hubs: published moment 2"}
    with publications.connect(here.environment, "shop") as reader:
        rows = "SELECT (SELECT count(*) FROM hub.orders), (SELECT count(*) FROM hub.orders_current)"
        assert reader.sql(rows).fetchall() == [(2, 2)]
        assert reader.sql("FROM warehouse.main.fct_orders").fetchall() == [(0,)]
        # a vacuum that keeps nothing else keeps what readers need, and dbt may write meanwhile
        monkeypatch.setattr(vacuum, "YOUNG", dt.timedelta(0))
        clean_up(here.platform.source_context(source, {source.name: source}), dt.timedelta(0))
        build(here, 1)
        assert states()["shop"] == "shop: published moment 2"
        assert reader.sql(rows).fetchall() == [(2, 2)]
    with duckdb.connect(config={**TRUSTING}) as other:
        load_extensions(other, remote=False)
        for statement in publications.script(here.environment, "shop")[2:]:
            other.execute(statement)
        assert other.sql("FROM hub.orders_current").fetchall()
        assert other.sql("FROM warehouse.main.fct_orders").fetchall() == [(1,)]
    versions = publications.table_versions(here.environment, "shop")
    assert versions == {"hub/orders": 1, "hub/orders_current": 1}
    with closing(sqlite3.connect(here.environment.metadata_url.removeprefix("sqlite:///"))) as recorded:
        rows_of_moments = recorded.execute("SELECT publication, number FROM publications ORDER BY 1, 2").fetchall()
    assert rows_of_moments == [("hubs", 1), ("hubs", 2), ("shop", 1), ("shop", 2)]

    # what is held stops a strict publication alone
    here.platform.metadata.decisions.hold("orders", [Hold(here.partitions("orders")[-1], "too many deletes", "")])
    assert "is held" in states()["hubs"]
    with pytest.raises(ConfigError, match="it is declared"):
        publications.drop(here.environment, declared, "shop")
    assert publications.drop(here.environment, {}, "shop") == 2
    assert Moments(here.environment.storage).newest("shop") is None


def test_a_wrong_publication_is_refused_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "publications" / "defs.yaml"
    file.parent.mkdir()

    def declare(tables: str) -> None:
        file.write_text(
            "type: dataops_assets.components.PublicationsComponent\n"
            f"attributes:\n  publications:\n    shop: {{tables: {tables}}}\n"
        )

    for tables, message in {
        "[hub/order]": "no source makes this table",
        "[orders]": "is no table; known: hub/<name>, lake/<name>, warehouse/<name>",
        "[warehouse/a, warehouse/a]": "named twice: warehouse/a",
    }.items():
        declare(tables)
        with pytest.raises(ConfigError, match=message) as raised:
            declared_sources(tmp_path)
        assert f"{file}:4" in str(raised.value)
    declare("[warehouse/fct_order]")
    with pytest.raises(ConfigError, match="warehouse/fct_orders"):
        require_published_models(declared_sources(tmp_path), {"warehouse/fct_orders": None}, "duckdb")
    declare("[warehouse/fct_orders]")
    require_published_models(declared_sources(tmp_path), {"warehouse/fct_orders": None}, "duckdb")
    with pytest.raises(ConfigError, match=r"target 'snowflake'.*leave the models out"):
        require_published_models(declared_sources(tmp_path), {"warehouse/fct_orders": None}, "snowflake")
