"""The model that is written for a source: it reads what the source makes, and nothing is written over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import jinja2
import pytest
import yaml
from sqlglot import exp

from dataops_assets.components.dbt_catalogue import ColumnEntry, SourceEntry
from dataops_assets.components.dbt_sources import require_made
from dataops_assets.components.declarations import Declarations, declared_sources
from dataops_assets.declaring.output_models import with_table
from dataops_assets.errors import ConfigError
from dataops_assets.operations.warehouse_scaffold import Scaffolded, hub_table, scaffold_model

DBT_PROJECT = Path(__file__).parents[3] / "dbt_project"
ORDERS: dict[str, Any] = {
    "name": "orders",
    "area": "shop",
    "description": "One row for each order: all of them.",
    "connection": {"type": "files", "path": "orders/*.csv"},
    "columns": [
        {"name": "Order ID", "type": "integer", "description": "Number of the order."},
        {"name": "amount", "type": "decimal(12,2)"},
        {"name": "seenAt", "type": "timestamptz"},
        {"name": "email", "tags": {"pii": "email"}},
    ],
    "refresh": {"type": "key", "key": ["Order ID"]},
}
CURRENT = [{"name": "total", "expression": "sum(amount) over ()", "mode": "keep_current"}]


def declared(folder: Path, **changes: Any) -> Declarations:
    text = yaml.safe_dump({"type": "dataops_assets.components.SourceComponent", "attributes": {**ORDERS, **changes}})
    (folder / "defs.yaml").write_text(text)
    return declared_sources(folder)


def scaffolded(tmp_path: Path, sources_yml: str = "", **changes: Any) -> tuple[Scaffolded, Declarations]:
    sources = declared(tmp_path, **changes)
    project = tmp_path / "dbt"
    (project / "models").mkdir(parents=True, exist_ok=True)
    if sources_yml:
        (project / "models" / "sources.yml").write_text(sources_yml)
    return scaffold_model(project, sources.sources["orders"], sources.sources), sources


def test_the_model_has_the_columns_types_key_and_tags_of_the_declaration(tmp_path: Path) -> None:
    made, _ = scaffolded(tmp_path)
    sql, properties, _sources = (path.read_text() for path in made.written)
    assert [path.relative_to(tmp_path / "dbt").as_posix() for path in made.written] == [
        "models/outputs/shop/fct_orders.sql",
        "models/outputs/shop/fct_orders.yml",
        "models/sources.yml",
    ]
    assert sql == (
        'select\n    "Order ID" as order_id,\n    amount,\n    seenAt as seen_at,\n    email,\n    s_input_id,\n'
        "    s_row_id\nfrom {{ source('hub', 'orders') }}\n"
    )
    (model,) = yaml.safe_load(properties)["models"]
    assert model["data_tests"] == [{"grain": {"name": "fct_orders_grain", "arguments": {"columns": ["order_id"]}}}]
    assert [(item["name"], item["data_type"]) for item in model["columns"]] == [
        ("order_id", "bigint"),
        ("amount", "decimal(12,2)"),
        ("seen_at", "timestamptz"),
        ("email", "varchar"),
        ("s_input_id", "varchar"),
        ("s_row_id", "bigint"),
    ]
    assert model["columns"][0]["description"] == "Number of the order."
    assert model["columns"][3]["config"] == {"tags": ["pii"]}


@pytest.mark.parametrize("changes", [{}, {"rules": CURRENT}, {"refresh": {**ORDERS["refresh"], "history": True}}])
def test_what_it_reads_is_what_the_source_makes(tmp_path: Path, changes: dict[str, Any]) -> None:
    made, sources = scaffolded(tmp_path, **changes)
    (hub,) = yaml.safe_load((tmp_path / "dbt" / "models" / "sources.yml").read_text())["sources"]
    (table,) = hub["tables"]
    assert f"hub/{table['name']}" == made.table == ("hub/orders_current" if "rules" in changes else "hub/orders")
    columns = tuple(ColumnEntry(name=item["name"], type=item["data_type"], description="") for item in table["columns"])
    require_made([SourceEntry(key=("hub", table["name"]), relation="", columns=columns, file="sources.yml")], sources)
    names = [item["name"] for item in table["columns"]]
    assert ("total" in names, "s_is_current" in names) == ("rules" in changes, "refresh" in changes)


def rendered(text: str) -> str:
    """What dbt makes of the text of a model, and of each value of a YAML file."""
    return jinja2.Template(text).render(source=lambda _hub, name: name)


def test_names_that_sql_or_jinja_reads_otherwise_are_names(tmp_path: Path) -> None:
    """The model reads each column, and gives it a name that needs no quotes."""
    odd = ["order", "null", "true", "Left", "sample", "w {{ x }}", "{% raw %}", "a{#b", 'q"{{{']
    columns = [{"name": name, "description": f"Of {name}."} for name in odd]
    made, _ = scaffolded(tmp_path, columns=[*ORDERS["columns"], *columns])
    sql, properties, sources = (path.read_text() for path in made.written)
    (model,) = yaml.safe_load(properties)["models"]
    described = {rendered(item.get("description", "")): item["name"] for item in model["columns"]}
    (hub,) = yaml.safe_load(sources)["sources"]
    names = [rendered(item["name"]) for item in hub["tables"][0]["columns"]]
    with duckdb.connect() as connection:
        # one row, in which each column has its name as value
        orders = exp.select(*(exp.alias_(exp.Literal.string(name), name, quoted=True) for name in names))
        connection.execute(exp.Create(this=exp.to_table("orders"), kind="TABLE", expression=orders).sql("duckdb"))
        connection.execute(rendered(sql))
        (row,) = connection.to_arrow_table().to_pylist()
        for name in odd:
            assert row[described[f"Of {name}."]] == name
            # a reader writes it as it is
            connection.execute(f"select 1 as {described[f'Of {name}.']}, {described[f'Of {name}.']} + 1")


def test_the_entry_is_added_to_the_project_and_nothing_else_changes(tmp_path: Path) -> None:
    sources = declared(tmp_path)
    before = (DBT_PROJECT / "models" / "sources.yml").read_text()
    table = hub_table(sources.sources["orders"], sources.sources)
    after = with_table(before, table)
    assert after.startswith(before)
    (hub,) = yaml.safe_load(after)["sources"]
    assert hub["tables"][:-1] == yaml.safe_load(before)["sources"][0]["tables"]
    assert hub["tables"][-1]["name"] == "orders"
    assert with_table(after, table) == after


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sources:\n  - name: crm\n    tables:\n      - name: people\n",
        "sources:\n  - name: hub\n    tables:\n      - name: a\n\n# below\n  - name: crm\n    tables: [{name: b}]\n",
        "sources:\n- name: hub\n  schema: hub\n  tables:\n  - name: a\n    columns:\n    - {name: x}\n  # the end\n",
        "sources:\n  - name: hub\n    schema: hub\n    tables:\n      - name: a",
    ],
)
def test_the_entry_goes_into_any_file_of_sources(tmp_path: Path, text: str) -> None:
    sources = declared(tmp_path)
    after = with_table(text, hub_table(sources.sources["orders"], sources.sources))
    found = yaml.safe_load(after)["sources"]
    before = yaml.safe_load(text)["sources"] if text else []
    tables = {item["name"]: [table["name"] for table in item["tables"]] for item in found}
    expected = {item["name"]: [table["name"] for table in item["tables"]] for item in before}
    assert tables == {**expected, "hub": [*expected.get("hub", []), "orders"]}
    assert all(line in after.splitlines() for line in text.splitlines())


def test_no_file_is_written_over(tmp_path: Path) -> None:
    made, sources = scaffolded(tmp_path)
    before = {path: path.read_bytes() for path in made.written}
    with pytest.raises(ConfigError, match="exists"):
        scaffold_model(tmp_path / "dbt", sources.sources["orders"], sources.sources)
    assert {path: path.read_bytes() for path in made.written} == before
    other = scaffold_model(tmp_path / "dbt", sources.sources["orders"], sources.sources, "orders_again")
    # the table is listed already
    assert [path.name for path in other.written] == ["orders_again.sql", "orders_again.yml"]


def test_a_wrong_name_is_refused(tmp_path: Path) -> None:
    sources = declared(tmp_path)
    with pytest.raises(ConfigError, match="take small letters"):
        scaffold_model(tmp_path, sources.sources["orders"], sources.sources, "Fct Orders")
    assert not (tmp_path / "models").exists()
