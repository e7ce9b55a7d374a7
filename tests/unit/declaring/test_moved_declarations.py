"""Declarations move between folders and deployments: previewed, cloned by parameters, read from dbt and dlt."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dataops_assets.components.declarations import declared_sources
from dataops_assets.components.declared_state import declared_parts
from dataops_assets.declaring.foreign.dlt_schema import read_dlt
from dataops_assets.errors import ConfigError, InputError
from dataops_assets.operations import project
from dataops_assets.operations.cli import main
from dataops_assets.operations.moving.bundle import Bundle, bundle_of, bundle_of_recorded, read_bundle
from dataops_assets.operations.moving.cloning import cloned, parameters_of
from dataops_assets.operations.moving.importing import preview, write
from dataops_assets.storage import durable

SOURCE = "dataops_assets.components.SourceComponent"
ORDERS = f"""\
# delivered each night by the ERP of Germany
type: {SOURCE}
attributes:
  name: erp_de_orders
  area: erp_de
  connection: {{type: files, path: erp/DE/orders_*.csv}}
  columns:
    - {{name: id, type: integer}}
    - {{name: customer, type: integer}}
  refresh: {{type: key, key: [id]}}
  relations:
    customer: {{source: erp_de_customers, on: {{customer: id}}}}
  rules:
    - {{name: named, expression: customer.name, mode: keep_current}}
"""
CUSTOMERS = f"""\
type: {SOURCE}
attributes:
  name: erp_de_customers
  area: erp_de
  connection: {{type: database, database: shop, table: de.customers, incremental: {{cursor: id}}}}
  columns: [{{name: id, type: integer}}, {{name: name}}]
  refresh: {{type: key, key: [id]}}
"""
SHOP = """\
type: dataops_assets.components.ConnectionsComponent
attributes:
  connections:
    shop: {type: sqlite, path: shop.db}
"""


@pytest.fixture
def defs(tmp_path: Path) -> Path:
    made = tmp_path / "defs"
    files = {"erp_de/orders": ORDERS, "erp_de/customers": CUSTOMERS, "connections": SHOP}
    for name, text in files.items():
        (made / name).mkdir(parents=True)
        (made / name / "defs.yaml").write_text(text)
    return made


def actions(defs: Path, bundle: Bundle, *, delete: bool = False) -> dict[str, str]:
    return {item.name: item.action for item in preview(defs, bundle, delete=delete).moved}


def files(defs: Path) -> dict[str, str]:
    return {str(path.relative_to(defs)): path.read_text() for path in defs.rglob("*.yaml")}


def test_an_export_is_imported_with_a_preview(defs: Path, tmp_path: Path) -> None:
    file = tmp_path / "erp.yaml"
    file.write_text(bundle_of(defs, declared_sources(defs), ["erp_de"], []).text())
    bundle = read_bundle(file)
    assert (sorted(bundle.files), bundle.scope) == (
        ["erp_de/customers/defs.yaml", "erp_de/orders/defs.yaml"],
        ("erp_de",),
    )
    assert actions(defs, bundle) == {"erp_de_customers": "unchanged", "erp_de_orders": "unchanged"}
    before = files(defs)
    # elsewhere one source is new, one has another rule, and one is not declared any more
    (defs / "erp_de" / "orders" / "defs.yaml").write_text(ORDERS.replace("customer.name", "upper(customer.name)"))
    (defs / "erp_de" / "old").mkdir()
    (defs / "erp_de" / "old" / "defs.yaml").write_text(CUSTOMERS.replace("erp_de_customers", "erp_de_old"))
    found = preview(defs, bundle, delete=True)
    assert {item.name: item.action for item in found.moved} == {
        "erp_de_orders": "update",
        "erp_de_old": "delete",
        "erp_de_customers": "unchanged",
    }
    (update,) = [item for item in found.moved if item.action == "update"]
    assert [(change.kind, change.name, change.weight) for change in update.changes] == [
        ("rule", "erp_de_orders.named", "breaking")
    ]
    assert "erp_de_old" not in actions(defs, bundle)
    (defs / "erp_de" / "customers" / "defs.yaml").unlink()
    assert actions(defs, bundle)["erp_de_customers"] == "insert"
    assert write(defs, bundle, delete=True).written
    assert files(defs) == before
    assert not preview(defs, bundle, delete=True).differs


def test_an_import_that_would_not_load_changes_nothing(defs: Path, tmp_path: Path) -> None:
    before = files(defs)
    for text, message in (
        (ORDERS.replace("customer.name", "customer.nam"), "erp_de/orders/defs.yaml"),
        (ORDERS.replace("erp_de_customers", "erp_at_customers"), "erp_at_customers"),
        # only the load of the whole code location refuses it
        (
            ORDERS.replace("{type: files, path: erp/DE/orders_*.csv}", "{type: database, database: shops, table: t}"),
            "shops",
        ),
    ):
        with pytest.raises(ConfigError, match=message):
            write(defs, Bundle({"erp_de/orders/defs.yaml": text}), delete=False)
        assert files(defs) == before
    evil = tmp_path / "evil.yaml"
    for content in ("files: {../../evil.py: ''}", "scope: [../other]", f"scope: [{tmp_path}]"):
        evil.write_text(f"dataops_declarations: 1\n{content}\n")
        with pytest.raises(InputError, match="leaves the folder"):
            read_bundle(evil)
    evil.write_text("dataops_declarations: 1\nscope: erp\n")
    with pytest.raises(InputError, match="a scope that is no list"):
        read_bundle(evil)


def test_an_import_that_is_stopped_or_killed_changes_nothing(defs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = files(defs)
    beside = set(os.listdir(defs.parent))
    there = {path: f"# moved\n{text}" for path, text in before.items()}
    moved = Bundle({**there, "new/defs.yaml": SHOP.replace("shop", "other")})
    replace_file = durable.replace_file

    def stop_at(number: int, act: Callable[[], object]) -> None:
        left = iter(range(number))

        def replaced(target: Path, content: bytes) -> None:
            if defs in target.parents and next(left, None) is None:
                act()
            replace_file(target, content)

        monkeypatch.setattr(durable, "replace_file", replaced)

    def interrupt() -> None:
        monkeypatch.setattr(durable, "replace_file", replace_file)
        raise KeyboardInterrupt

    for number in range(len(moved.files)):
        stop_at(number, interrupt)
        with pytest.raises(KeyboardInterrupt):
            write(defs, moved, delete=False)
        assert (files(defs), set(os.listdir(defs.parent))) == (before, beside)

        child = os.fork()
        if child == 0:
            stop_at(number, lambda: os._exit(9))
            write(defs, moved, delete=False)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
        assert any("was killed" in note for note in preview(defs, Bundle({}), delete=False).notes)
        assert not write(defs, Bundle({}), delete=False).notes
        assert files(defs) == before
    # what a person has edited after the kill stays
    child = os.fork()
    if child == 0:
        stop_at(1, lambda: os._exit(9))
        write(defs, moved, delete=False)
    os.waitpid(child, 0)
    (written,) = {path for path, text in files(defs).items() if before.get(path) != text}
    (defs / written).write_text(f"# edited\n{before[written]}")
    assert not write(defs, Bundle({}), delete=False).notes
    assert files(defs)[written].startswith("# edited")
    assert write(defs, moved, delete=False).written
    assert files(defs) == moved.files


def test_what_a_deployment_runs_is_exported_as_declarations(defs: Path, tmp_path: Path) -> None:
    here = declared_sources(defs)
    bundle = bundle_of_recorded(declared_parts(here))
    for path, text in bundle.files.items():
        (tmp_path / "other" / path).parent.mkdir(parents=True)
        (tmp_path / "other" / path).write_text(text)
    there = declared_sources(tmp_path / "other")
    assert there.sources == here.sources
    assert there.databases == here.databases


def test_a_group_is_cloned_by_parameters(defs: Path) -> None:
    group = bundle_of(defs, declared_sources(defs), ["erp_de"], [])
    wanted = cloned(group, parameters_of(["erp_de=erp_fr", "DE=FR", "de=fr", "Germany=France"]))
    assert actions(defs, wanted) == {"erp_fr_orders": "insert", "erp_fr_customers": "insert"}
    write(defs, wanted, delete=False)
    made = declared_sources(defs).sources
    orders = made["erp_fr_orders"]
    assert (orders.area, orders.connection.path, orders.relations["customer"].source) == (  # type: ignore[union-attr]
        "erp_fr",
        "erp/FR/orders_*.csv",
        "erp_fr_customers",
    )
    assert made["erp_fr_customers"].connection.table == "fr.customers"  # type: ignore[union-attr]
    assert "of France" in (defs / "erp_fr" / "orders" / "defs.yaml").read_text()
    # delivered is no word de
    assert "# delivered" in (defs / "erp_fr" / "orders" / "defs.yaml").read_text()
    # cloned again after a change of the group
    (defs / "erp_de" / "orders" / "defs.yaml").write_text(ORDERS.replace("customer.name", "upper(customer.name)"))
    again = cloned(
        bundle_of(defs, declared_sources(defs), ["erp_de"], []), parameters_of(["erp_de=erp_fr", "DE=FR", "de=fr"])
    )
    assert actions(defs, again)["erp_fr_orders"] == "update"
    with pytest.raises(ConfigError, match="place of its own"):
        cloned(group, {"DE": "FR"})


MANIFEST: dict[str, Any] = {
    "sources": {
        "source.shop.crm.customers": {
            "source_name": "crm",
            "name": "customers",
            "schema": "public",
            "identifier": "Customers",
            "description": "One row a customer.",
            "columns": {
                "id": {"name": "id", "data_type": "bigint"},
                "name": {"name": "name", "data_type": "varchar(20)", "description": "As on the invoice."},
                "s_kind": {"name": "s_kind", "data_type": "geography"},
                "credit": {"name": "credit", "data_type": "NUMERIC(12, 2)"},
            },
            "freshness": {"warn_after": {"count": 12, "period": "hour"}, "error_after": {"count": 1, "period": "day"}},
            "loaded_at_field": "loaded_at",
        },
        "source.shop.crm.orders": {
            "source_name": "crm",
            "name": "orders",
            "schema": "public",
            "identifier": "orders",
            "columns": {"id": {"name": "id", "data_type": "int"}, "customer": {"name": "customer", "data_type": "int"}},
        },
        "source.shop.crm.bare": {
            "source_name": "crm",
            "name": "bare",
            "schema": "public",
            "identifier": "bare",
            "columns": {},
        },
    },
    "nodes": {
        "test.1": {
            "resource_type": "test",
            "name": "t",
            "column_name": "id",
            "depends_on": {"nodes": ["source.shop.crm.customers"]},
            "test_metadata": {"name": "unique", "kwargs": {}},
        },
        "test.2": {
            "resource_type": "test",
            "name": "t",
            "column_name": "id",
            "depends_on": {"nodes": ["source.shop.crm.customers"]},
            "test_metadata": {"name": "not_null", "kwargs": {}},
        },
        "test.3": {
            "resource_type": "test",
            "name": "t",
            "column_name": "name",
            "depends_on": {"nodes": ["source.shop.crm.customers"]},
            "test_metadata": {"name": "accepted_values", "kwargs": {"values": ["a", "d'or"]}},
        },
        "test.4": {
            "resource_type": "test",
            "name": "t",
            "column_name": "customer",
            "attached_node": "source.shop.crm.orders",
            "depends_on": {"nodes": ["source.shop.crm.customers", "source.shop.crm.orders"]},
            "test_metadata": {"name": "relationships", "kwargs": {"to": "source('crm', 'customers')", "field": "id"}},
        },
        "snapshot.1": {
            "resource_type": "snapshot",
            "name": "orders_snapshot",
            "depends_on": {"nodes": ["source.shop.crm.orders"]},
            "config": {
                "strategy": "timestamp",
                "unique_key": "id",
                "updated_at": "changed_at",
                "hard_deletes": "invalidate",
            },
        },
    },
}
YAML = {
    "sources": [
        {
            "name": "crm",
            "schema": "public",
            "tables": [
                {
                    "name": "orders",
                    "columns": [
                        {"name": "id", "data_type": "int", "data_tests": ["unique", {"dbt_utils.at_least_one": {}}]},
                        {"name": "note", "data_type": "text"},
                        {"name": "seen", "data_type": "timestamp"},
                    ],
                }
            ],
        }
    ],
    "snapshots": [
        {
            "name": "orders_snapshot",
            "relation": "source('crm', 'orders')",
            "config": {"strategy": "check", "unique_key": "id", "check_cols": ["note"]},
        }
    ],
}
DLT = {
    "name": "github",
    "settings": {"schema_contract": {"columns": "freeze", "data_type": "discard_row"}},
    "tables": {
        "_dlt_loads": {"columns": {"load_id": {"data_type": "text"}}},
        "issues": {
            "write_disposition": "merge",
            "columns": {
                "id": {"data_type": "bigint", "nullable": False, "primary_key": True},
                "changed": {"data_type": "timestamp", "dedup_sort": "desc"},
                "gone": {"data_type": "bool", "hard_delete": True},
                "price": {"data_type": "decimal", "precision": 10, "scale": 2},
                "_dlt_id": {"data_type": "text"},
            },
        },
        "issues__labels": {"parent": "issues", "columns": {"name": {"data_type": "text"}}},
        "stars": {"write_disposition": "append", "columns": {"who": {"data_type": "text"}}},
        "people": {
            "write_disposition": "merge",
            "x-merge-strategy": "scd2",
            "columns": {"id": {"data_type": "bigint", "primary_key": True}},
        },
    },
}


def read(defs: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> dict[str, dict[str, Any]]:
    """Write what a command reads; the result are the attributes of the new sources, which load."""
    monkeypatch.setattr(project, "DEFS", defs)
    before = set(declared_sources(defs).sources)
    assert main(["declarations", *words, "--area", "new"]) == 1
    assert set(declared_sources(defs).sources) == before
    assert main(["declarations", *words, "--area", "new", "--write"]) == 0
    made = declared_sources(defs)
    return {
        name: yaml.safe_load(item.file.read_text())["attributes"]
        for name, item in made.by_name.items()
        if name not in before
    }


def test_a_dbt_project_becomes_sources_that_load(
    defs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dbt" / "target").mkdir(parents=True)
    (tmp_path / "dbt" / "target" / "manifest.json").write_text(json.dumps(MANIFEST))
    made = read(defs, monkeypatch, "read-dbt", str(tmp_path / "dbt"), "--database", "shop")
    told = capsys.readouterr().out
    assert set(made) == {"customers", "orders"}
    customers = made["customers"]
    assert customers["connection"] == {"type": "database", "database": "shop", "table": "public.Customers"}
    assert customers["columns"] == [
        {"name": "id", "type": "integer", "nullable": False},
        {"name": "name", "description": "As on the invoice."},
        {"name": "x_s_kind", "source_name": "s_kind"},
        {"name": "credit", "type": "decimal(12,2)"},
    ]
    assert customers["refresh"] == {"type": "full", "key": ["id"]}
    assert customers["checks"] == {"freshness": {"warn_after_hours": 12, "fail_after_hours": 24}}
    assert "'d''or'" in customers["validations"][0]["expression"]
    assert made["orders"]["refresh"] == {"type": "full", "key": ["id"], "valid_from": "changed_at", "history": True}
    assert made["orders"]["relations"] == {"customers": {"source": "customers", "on": {"customer": "id"}}}
    for message in ("type geography is not known", "bare: no column is declared", "incremental: {cursor: loaded_at}"):
        assert message in " ".join(told.split())


def test_yaml_of_dbt_is_read_as_well(defs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "sources.yml"
    file.write_text(yaml.safe_dump(YAML))
    made = read(defs, monkeypatch, "read-dbt", str(file), "--database", "shop")
    # dbt keeps rows that are gone, as this refresh type does
    assert made["orders"]["refresh"] == {"type": "key", "key": ["id"], "history": True, "ignore_changes_in": ["seen"]}
    assert "dbt_utils.at_least_one of id is not translated" in " ".join(
        (defs / "new" / "orders" / "defs.yaml").read_text().replace("#", "").split()
    )


def test_a_dlt_schema_becomes_sources_that_load(
    defs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "github.schema.yaml"
    file.write_text(yaml.safe_dump(DLT))
    made = read(defs, monkeypatch, "read-dlt", str(file))
    assert set(made) == {"issues", "stars", "people"}
    assert made["issues"]["refresh"] == {"type": "key", "key": ["id"], "order_by": "changed", "delete_when": '"gone"'}
    assert made["issues"]["columns"][3] == {"name": "price", "type": "decimal(10,2)"}
    assert made["issues"]["drift"] == {"new_column": "fail"}
    assert made["stars"]["refresh"] == {"type": "append"}
    assert made["people"]["refresh"] == {"type": "full", "key": ["id"], "history": True}
    assert "issues__labels: it has the items of a list" in " ".join(capsys.readouterr().out.split())
    file.write_text("tables: 3")
    with pytest.raises(InputError, match="no `tables`"):
        read_dlt(file, "new")


DATAFORGE = {
    "meta.yaml": 'format: "core1.0"',
    "relations.yaml": """
- {name: "[Lines]- order -[Orders]", expression: "[This].order_id = [Related].id", cardinality: M-1}
- {name: "[Lines]- stock -[Stock]", expression: "[Related].pkey = [This].pkey", cardinality: M-1}
- {name: "[Orders]- customer -[Customers]", expression: "[This].customer = [Related].s_id", cardinality: M-1}
- {name: "[Orders]- twin -[Orders]", expression: "[This].id < [Related].id", cardinality: M-M, active_flag: false}
""",
    "sources/lines.yaml": """
source_name: Lines
source_table: sales.lines
description: One row a line.
raw_attributes: [order_id long, item string, place AS string, Price decimal, quantity int, tags array]
rules:
- {name: net, expression: "[This].price * [This].quantity"}
- {name: taxed, expression: "CASE WHEN [This].item = '[This].item' THEN 0 ELSE [This].net END"}
- {name: customer_name, expression: "[Customers].name"}
- name: customer_city
  expression: "upper([Customers].city)"
  parameters: [{relations: ["[Lines]- order -[Orders]", "[Orders]- customer -[Customers]"]}]
- {name: month_, expression: "date_format([Orders].bought, 'yyyyMM')", cast_datatype: long, description: As booked.}
- {name: pkey, expression: "concat([This].item, '|', [This].place)"}
- {name: available, expression: "[Stock].available", keep_current_flag: true}
- {name: is_short, expression: "[This].available < [This].quantity"}
- {name: rank_, expression: "row_number() over (partition by [This].order_id order by [This].price)"}
- {name: sells, expression: "[This].price >= 0", rule_type_code: V, validation_action_code: F}
- {name: wrong, expression: "[Nobody].x"}
- {name: unknown_function, expression: "input_file_name()"}
""",
    "sources/stock.yaml": """
source_name: Stock
source_table: sales.stock
refresh_type: key
cdc_refresh_parameters: {key_columns: [item, place]}
raw_attributes: [item string, place string, available int]
rules: [{name: pkey, expression: "concat([This].item, '|', [This].place)"}]
""",
    "sources/orders.yaml": """
source_name: Orders
source_table: sales.orders
raw_attributes: [id long, customer long, bought date]
rules: [{name: lines, expression: "sum([Lines].price)"}]
""",
    "sources/customers.yaml": """
source_name: Customers
source_table: sales.customers
raw_attributes: [s_id long, name string, city string]
""",
    "outputs/per_customer.yaml": """
output_name: per_customer
columns: [customer string, net decimal, note string]
channels:
- source_name: Lines
  filter: "[This].quantity > 0"
  operation_type: Aggregate
  mappings: [customer_name customer, sum(net) net]
""",
}


def test_a_dataforge_project_becomes_sources_that_load(
    defs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in DATAFORGE.items():
        file = tmp_path / "project" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    made = read(defs, monkeypatch, "read-dataforge", str(tmp_path / "project"), "--database", "shop")
    told = " ".join(capsys.readouterr().out.split())
    assert set(made) == {"lines", "stock", "orders", "customers"}
    lines = made["lines"]
    assert lines["connection"] == {"type": "database", "database": "shop", "table": "sales.lines"}
    kinds = {item["name"]: item.get("type", "text") for item in lines["columns"]}
    assert kinds == {
        "order_id": "integer",
        "item": "text",
        "place": "text",
        "price": "decimal(38,12)",
        "quantity": "integer",
        "tags": "text",
        "pkey": "text",
    }
    assert made["stock"]["refresh"] == {"type": "key", "key": ["item", "place"]}
    assert lines["relations"] == {
        "orders": {"source": "orders", "on": {"order_id": "id"}},
        "stock": {"source": "stock", "on": {"pkey": "pkey"}},
    }
    assert made["orders"]["relations"]["customers"] == {"source": "customers", "on": {"customer": "x_s_id"}}
    assert made["orders"]["relations"]["lines"]["cardinality"] == "to_many"
    rules = {item["name"]: item for item in lines["rules"]}
    assert {name: rule["expression"] for name, rule in rules.items()} == {
        "net": "price * quantity",
        "taxed": "CASE WHEN item = '[This].item' THEN 0 ELSE net END",
        "customer_name": "orders.customers.name",
        "customer_city": "UPPER(orders.customers.city)",
        "month_": "STRFTIME(CAST(orders.bought AS TIMESTAMP), '%Y%m')",
        "available": "stock.available",
        "is_short": "available < quantity",
        "rank_": "ROW_NUMBER() OVER (PARTITION BY order_id ORDER BY price NULLS FIRST)",
    }
    assert (rules["month_"]["type"], rules["month_"]["description"]) == ("integer", "As booked.")
    current = {name for name, rule in rules.items() if rule.get("mode") == "keep_current"}
    assert current == {"available", "is_short", "rank_"}, "what depends on a current rule is current"
    assert lines["validations"] == [{"name": "sells", "expression": "price >= 0", "severity": "quarantine"}]
    (total,) = made["orders"]["rules"]
    assert total["expression"] == "SUM(lines.price)"
    for message in (
        "relation [Orders]- twin -[Orders]: it is not active",
        "rule wrong: not translated: finding the source [Nobody]",
        "rule unknown_function:",
        "select customer_name as customer, SUM(net) as net, null as note from {{ source('hub', 'lines_current') }} "
        "where quantity > 0 group by customer_name",
    ):
        assert message in told, message
    # read again it changes nothing; another format is refused
    words = ["declarations", "read-dataforge", str(tmp_path / "project"), "--database", "shop", "--area", "new"]
    assert main(words) == 0
    (tmp_path / "project" / "meta.yaml").write_text('format: "core2.0"')
    assert main(words) == 2
    assert "known: core1.0" in capsys.readouterr().err
