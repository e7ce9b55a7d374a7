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

from dataops_assets.components import dbt_catalogue, dbt_preparing
from dataops_assets.components.dbt_catalogue import prepare
from dataops_assets.engines.dbt import DbtProject, invoke
from dataops_assets.operations import code_version, project
from dataops_assets.operations.planning import apply
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
      - name: most
        data_type: double
        data_tests:
          - is_small: {name: most_is_small, arguments: {most: 150}}
          - is_small: {name: few, arguments: {most: 1}, config: {severity: warn}}
    data_tests: [{grain: {name: one_row_a_shop, arguments: {columns: [shop]}, config: {severity: warn}}}]
"""
KEYS = {"fct_sales": "id", "per_shop": "shop"}
TABLE = "{{ config(materialized='table') }}\n"
SMALL = """{% test is_small(model, column_name, most) %}
select * from {{ model }} where {{ column_name }} > {{ most }}
{% endtest %}"""
FCT = "select id, shop, doubled, note from {{ source('hub', 'sales_current') }}"
PER_SHOP = "select shop, max(doubled) as most, count(*) as n from {{ ref('fct_sales') }} group by shop"


def write_models(home: Path, fct: str) -> None:
    models = home / "dbt_project" / "models" / "outputs" / "shop"
    models.mkdir(parents=True, exist_ok=True)
    (models / "fct_sales.sql").write_text(fct)
    (models / "per_shop.sql").write_text(TABLE + PER_SHOP)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """A deployment whose two models are built."""
    deliver(tmp_path / "landing")
    with (tmp_path / "landing" / "sales_2024-01-01.csv").open("a") as first:
        first.write("7,1,c,9,z,p\n")
    made = Deployment(tmp_path / "home", tmp_path / "landing")
    folder = made.home / "dbt_project"
    shutil.copytree(DBT, folder, ignore=shutil.ignore_patterns("models", "target", "logs"))
    write_models(made.home, TABLE + FCT)
    (folder / "models" / "sources.yml").write_text(SOURCES)
    (folder / "models" / "models.yml").write_text(DETAILS)
    (folder / "macros" / "tests" / "small.sql").write_text(SMALL)
    monkeypatch.setattr(dbt_catalogue, "make_apart", parse_here)
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


def parse_here(_module: str, parsed: DbtProject, _doing: str, _command: str, *words: str) -> None:
    """Parse in this process, which imports dbt anyway."""
    with pytest.MonkeyPatch.context() as patched:
        for name, value in parsed.variables.items():
            patched.setenv(name, value)
        dbt_preparing.main(str(parsed.folder), str(parsed.artifacts), *words)


def build(here: Deployment, _tables: object = ()) -> Mapping[str, str]:
    parsed, _ = prepare(here.home / "dbt_project", here.environment)
    invoke(parsed, ["--quiet", "run"])
    return {}


def rows(here: Deployment, table: str, key: str) -> dict[Any, Mapping[str, Any]]:
    with duckdb.connect(here.environment.warehouse, read_only=True) as warehouse:
        found = warehouse.table(table).to_arrow_table().to_pylist()
    return {row[key]: row for row in found}


def planned(here: Deployment, tree: Tree, monkeypatch: pytest.MonkeyPatch, *words: str) -> Ended:
    monkeypatch.setattr(project, "tree", lambda: tree)
    return dataops(here.contexts(tree), "plan", "--data", *words)


def test_a_plan_says_what_a_build_of_its_models_then_does(here: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = declarations()
    changed["sales"]["columns"][4]["tags"] = {"pii": "note"}
    EDITS["another expression"](changed)
    write_models(here.home, TABLE + FCT.replace("note", "note || '!' as note") + " where id <> 4")
    tree = here.write(changed)
    before = {name: rows(here, name, key) for name, key in KEYS.items()}
    monkeypatch.setenv(code_version.VARIABLE, "abc")
    released = dataops(here.contexts(tree), "release", "v1")
    assert released.code == 0, released.err
    whole = planned(here, tree, monkeypatch, "--json")
    sample = planned(here, tree, monkeypatch, "--sample", "1", "--json")
    assert (whole.code, sample.code) == (1, 1), whole.err + sample.err
    assert {name: rows(here, name, key) for name, key in KEYS.items()} == before, "the deployment is only read"
    # what it says of all rows is what happens then
    stored = apply.begin(whole.data["plan_id"], tree, here.contexts(tree), here.platform.metadata, "a person")
    list(apply.carry_out(stored, here.contexts(tree), here.platform.metadata, lambda tables: build(here, tables), str))
    told = {item["table"]: item for item in whole.data["data"]["tables"]}
    for name, old in before.items():
        new, item = rows(here, name, KEYS[name]), told[f"warehouse/{name}"]
        both = old.keys() & new.keys()
        differing = {
            column: sum(old[key][column] != new[key][column] for key in both) for column in next(iter(new.values()))
        }
        assert (item["added"], item["removed"]) == (len(new.keys() - old.keys()), len(old.keys() - new.keys()))
        assert {one["name"]: one["changed"] for one in item["columns"]} == {key: n for key, n in differing.items() if n}
        assert (item["rows_before"], item["rows_after"]) == (len(old), len(new))
    fct = told["warehouse/fct_sales"]
    assert fct["removed_rows"] == ["id 4"]
    doubled, note = (next(one for one in fct["columns"] if one["name"] == name) for name in ("doubled", "note"))
    assert doubled["examples"][0] == {"place": "id 1", "before": "12.0", "after": "18.0"}
    assert {(one["before"], one["after"]) for one in note["examples"]} == {("hidden", "hidden")}, "it is personal"
    spread = next(one for one in fct["distributions"] if one["name"] == "doubled")
    assert [(spread[when]["least"], spread[when]["mean"]) for when in ("before", "after")] == [
        ("12.0", 41.5),
        ("18.0", 75.0),
    ]
    # tests of severity error stop, others warn
    assert [text.partition(":")[0] for text in whole.data["data"]["errors"]] == [
        "check most_is_small of warehouse/per_shop"
    ]
    assert [text.partition(":")[0] for text in whole.data["data"]["warnings"]] == ["check few of warehouse/per_shop"]
    # of a sample, both sides are made of the sample
    assert sample.data["data"]["sample"] == 1
    few = {item["table"]: item for item in sample.data["data"]["tables"]}
    assert sample.data["data"]["not_compared"] == []
    counts = ("rows_before", "rows_after", "added", "removed", "changed")
    assert [told["hub/sales_current"][key] for key in counts] == [4, 4, 0, 0, 4]
    assert [few["hub/sales_current"][key] for key in counts] == [3, 3, 0, 0, 3]
    assert [few["warehouse/fct_sales"][key] for key in counts] == [3, 2, 0, 1, 2]
    assert [few["warehouse/per_shop"][key] for key in counts] == [2, 1, 0, 1, 1]
    # dbt builds the models of the release, of the hubs as they were, into another file
    write_models(here.home, TABLE + FCT)
    then = here.environment.model_copy(update={"warehouse": str(here.home / "then.duckdb")})
    parsed, _ = prepare(here.home / "dbt_project", then)
    versions = dataops(here.contexts(tree), "releases", "versions", "v1").out
    invoke(parsed, ["--quiet", "run", "--vars", versions])
    with duckdb.connect(then.warehouse, read_only=True) as warehouse:
        of_release = warehouse.table("fct_sales").to_arrow_table().to_pylist()
    assert {row["id"]: row for row in of_release} == before["fct_sales"]
