"""The dbt project keeps its own rules, and declares the hub as the hub's sources do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from dataops_assets.config.source import Source
from dataops_assets.config.types import sql_type

PROJECT = Path(__file__).resolve().parents[3]
MODELS = PROJECT / "dbt_project" / "models"
SQL_FILES = sorted(MODELS.rglob("*.sql"))
_SQL_TYPES = {"VARCHAR": "varchar", "TIMESTAMPTZ": "timestamptz"}


def declaration(sql: Path) -> dict[str, Any]:
    return yaml.safe_load(sql.with_suffix(".yml").read_text())


def declared_sources() -> dict[str, Source]:
    found = {}
    for path in sorted((PROJECT / "dataops_assets" / "defs").rglob("defs.yaml")):
        declared = yaml.safe_load(path.read_text())
        if declared["type"].endswith("SourceComponent"):
            source = Source.model_validate(declared["attributes"])
            found[source.name] = source
    return found


def hub_tables() -> dict[str, dict[str, str]]:
    [hub] = yaml.safe_load((MODELS / "sources.yml").read_text())["sources"]
    assert hub["name"] == "hub", "the asset key of a hub table begins with hub"
    return {
        table["name"]: {column["name"]: column["data_type"] for column in table["columns"]} for table in hub["tables"]
    }


@pytest.mark.parametrize("sql", SQL_FILES, ids=lambda path: path.stem)
def test_a_model_has_one_declaration_that_states_and_tests_its_grain(sql: Path) -> None:
    [model] = declaration(sql)["models"]
    assert model["name"] == sql.stem
    assert model["description"].startswith("One row ")
    grains = [test["grain"] for test in model["data_tests"] if "grain" in test]
    assert [grain["name"] for grain in grains] == [f"{sql.stem}_grain"]
    columns = [column["name"] for column in model["columns"]]
    assert set(grains[0]["arguments"]["columns"]) <= set(columns)
    assert all(column["description"] and column["data_type"] for column in model["columns"])
    assert len(columns) == len(set(columns))


@pytest.mark.parametrize("sql", SQL_FILES, ids=lambda path: path.stem)
def test_a_model_that_branches_has_a_unit_test(sql: Path) -> None:
    text = sql.read_text().lower()
    if any(word in text for word in ("case ", "case\n", "coalesce(", "full outer join")):
        assert declaration(sql).get("unit_tests"), "case, coalesce and outer joins are branches"


@pytest.mark.parametrize("sql", sorted((MODELS / "outputs").rglob("*.sql")), ids=lambda path: path.stem)
def test_an_output_has_an_identity_to_be_compared_by(sql: Path) -> None:
    [model] = declaration(sql)["models"]
    columns = {column["name"] for column in model["columns"]}
    assert model.get("config", {}).get("unique_key") in columns or {"s_input_id", "s_row_id"} <= columns


def test_post_process_models_build_on_outputs_only() -> None:
    for sql in sorted((MODELS / "post_process").rglob("*.sql")):
        assert "source(" not in sql.read_text(), sql.stem


@pytest.mark.parametrize("table", sorted(hub_tables()))
def test_a_hub_table_is_declared_as_its_source_declares_it(table: str) -> None:
    declared = declared_sources()
    source = declared[table.removesuffix("_current")]
    assert table == source.name or source.keep_current_rules, f"there is no hub/{table}"
    columns = hub_tables()[table]
    for column in source.columns:
        kind = sql_type(column.type)
        assert columns[column.name] == _SQL_TYPES.get(kind, kind.lower()), column.name
    rules = {rule.name: rule for rule in (source.rules if table.endswith("_current") else source.snapshot_rules)}
    for name in set(columns) - set(source.column_names) - {"s_input_id", "s_row_id"}:
        assert name in rules, f"hub/{table} has no column {name}"
        if rules[name].type:
            assert columns[name] == sql_type(rules[name].type).lower()
    assert {"s_input_id", "s_row_id"} <= set(columns)


def test_sales_features_has_the_32_features() -> None:
    [model] = declaration(MODELS / "outputs" / "rossmann" / "sales_features.sql")["models"]
    features = [column["name"] for column in model["columns"] if column["name"][0].isupper()]
    assert len(features) == 32
    rules = {rule.name: rule.description for rule in declared_sources()["sales"].rules}
    for column in model["columns"]:
        if column["name"] in features:
            assert column["description"] == rules[column["name"]], "the meaning is said in one place and repeated"
