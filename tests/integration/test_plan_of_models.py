"""A plan is tried on data with its dbt models: what it says of their tables is what a build of them then does."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pytest
from command_line import Ended, dataops
from planned_cases import EDITS, Deployment, declarations, deliver

from dataops_assets.engines.dbt import DbtProject, invoke
from dataops_assets.operations import project
from dataops_assets.operations.planning.plan import Tree

DBT = Path(__file__).resolve().parents[2] / "dbt_project"
SOURCES = """version: 2
sources:
  - name: hub
    schema: hub
    tables:
      - name: sales_current
        columns: [{name: id, data_type: bigint}, {name: shop, data_type: varchar}, {name: amount, data_type: double},
                  {name: doubled, data_type: double}, {name: note, data_type: varchar}]
"""
DETAILS = """models:
  - name: fct_sales
    columns: [{name: id, data_type: bigint}, {name: doubled, data_type: double}, {name: note, data_type: varchar}]
    data_tests: [{unique: {name: one_row_a_sale, arguments: {column_name: id}}}]
  - name: per_shop
    columns:
      - {name: shop, data_type: varchar}
      - {name: most, data_type: double, data_tests: [{dbt_utils_is_small: {name: most_is_small}}]}
    data_tests: [{grain: {name: one_row_a_shop, arguments: {columns: [shop]}, config: {severity: warn}}}]
"""
SMALL = "{% test dbt_utils_is_small(model, column_name) %} select * from {{ model }} where {{ column_name }} > 150 {% endtest %}"
FCT = "select id, shop, doubled, note from {{ source('hub', 'sales_current') }}"
PER_SHOP = "select shop, max(doubled) as most, count(*) as n from {{ ref('fct_sales') }} group by shop"


def write_models(home: Path, fct: str) -> None:
    models = home / "dbt_project" / "models" / "outputs" / "shop"
    models.mkdir(parents=True, exist_ok=True)
    (models / "fct_sales.sql").write_text(fct)
    (models / "per_shop.sql").write_text("{{ config(materialized='table') }}\n" + PER_SHOP)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """A deployment whose two models are built."""
    deliver(tmp_path / "landing")
    made = Deployment(tmp_path / "home", tmp_path / "landing")
    folder = made.home / "dbt_project"
    shutil.copytree(DBT, folder, ignore=shutil.ignore_patterns("models", "target", "logs"))
    write_models(made.home, "{{ config(materialized='table') }}\n" + FCT)
    (folder / "models" / "sources.yml").write_text(SOURCES)
    (folder / "models" / "models.yml").write_text(DETAILS)
    (folder / "macros" / "tests" / "small.sql").write_text(SMALL)
    (made.folder / "warehouse").mkdir(parents=True)
    (made.folder / "warehouse" / "defs.yaml").write_text("type: dataops_assets.components.WarehouseComponent\n")
    changed = declarations()
    changed["sales"]["columns"][4]["tags"] = {"pii": "note"}
    tree = made.write(changed)
    assert made.run(tree) == []
    build(made)
    made.platform.metadata.declarations.record(tree.state)
    monkeypatch.setattr(project, "PROJECT", made.home)
    monkeypatch.setattr(project, "environment", lambda: made.environment)
    return made


def build(here: Deployment) -> None:
    invoke(DbtProject(here.home / "dbt_project", here.home / "by_hand", here.environment), ["--quiet", "run"])


def rows(here: Deployment, table: str, key: str) -> dict[Any, Mapping[str, Any]]:
    with duckdb.connect(here.environment.warehouse, read_only=True) as warehouse:
        found = warehouse.execute(f"FROM {table}").fetch_arrow_table().to_pylist()  # noqa: S608
    return {row[key]: row for row in found}


def planned(here: Deployment, tree: Tree, monkeypatch: pytest.MonkeyPatch, *words: str) -> Ended:
    monkeypatch.setattr(project, "tree", lambda: tree)
    return dataops(here.contexts(tree), "plan", "--data", *words)


def test_a_plan_says_what_a_build_of_its_models_then_does(here: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = declarations()
    changed["sales"]["columns"][4]["tags"] = {"pii": "note"}
    EDITS["another expression"](changed)
    write_models(here.home, "{{ config(materialized='table') }}\n" + FCT + " where id <> 4")
    tree = here.write(changed)
    before = {name: rows(here, name, key) for name, key in (("fct_sales", "id"), ("per_shop", "shop"))}
    told = planned(here, tree, monkeypatch, "--json")
    assert told.code == 1, told.err
    assert {name: rows(here, name, key) for name, key in (("fct_sales", "id"), ("per_shop", "shop"))} == before
    print(told.out)
    print(planned(here, tree, monkeypatch).out)
    print(planned(here, tree, monkeypatch, "--sample", "1").out)
    assert 0
