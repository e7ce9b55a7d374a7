"""Outputs choose rows by what the validations say of them, and read what is kept out, in a copy of the project."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
import yaml
from deltalake import write_deltalake
from warehouse_hub import DBT_PROJECT, environment

from dataops_assets.components.dbt_catalogue import prepare
from dataops_assets.engines.dbt import DbtProject, Invocation, invoke
from dataops_assets.errors import ConfigError

COLUMNS = [("Store", "bigint"), ("s_status", "varchar"), ("s_input_id", "varchar"), ("s_row_id", "bigint")]
MOVES = [
    ("number", "bigint"),
    ("s_key", "varchar"),
    ("s_input_id", "varchar"),
    ("s_row_id", "bigint"),
    ("s_valid_from", "bigint"),
    ("s_valid_to", "bigint"),
    ("s_is_deleted", "boolean"),
]
QUARANTINE = [("s_input_id", "varchar"), ("s_row_id", "bigint"), ("s_reason", "varchar")]
MODELS = {
    "chosen_all": "select Store, s_status from {{ hub_rows('visits') }}",
    "chosen_pass": "select Store, s_status from {{ hub_rows('visits', ['pass']) }}",
    "chosen_warn": "select Store, s_status from {{ hub_rows('visits', statuses=['warn']) }}",
    "chosen_fail": "select Store, s_status from {{ hub_rows('visits', ['fail']) }}",
    "chosen_every": "select Store, s_status from {{ hub_rows('visits', ['pass', 'warn', 'fail']) }}",
    "chosen_current": "select Store, s_status from {{ hub_rows('visits_current', ['warn', 'fail']) }}",
    "declared": "select Store, s_status from {{ hub_rows('strict') }}",
    "moved": "select number, ends, {{ valid_at('3', 'moves') }} as is_valid from "
    "{{ hub_versions('moves', valid_to='ends', open_end='99', version_key='move_key') }} where move_key is not null",
    "rejected": "select s_row_id, s_reason from {{ source('lake', 'visits_quarantine') }}",
    "rejected_nothing": "select s_row_id, s_reason from {{ source('lake', 'strict_quarantine') }}",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> DbtProject:
    """A project of its own models, with the macros of the real one."""
    home = tmp_path_factory.mktemp("statuses")
    copy = home / "dbt_project"
    shutil.copytree(DBT_PROJECT, copy, ignore=shutil.ignore_patterns("models", "target", "logs", "*.user.yml"))
    declared = yaml.safe_load((copy / "dbt_project.yml").read_text())
    declared["vars"] = {"statuses": {"strict": ["pass"]}}
    (copy / "dbt_project.yml").write_text(yaml.safe_dump(declared))
    folder = copy / "models" / "post_process" / "tests"
    folder.mkdir(parents=True)
    for name, text in MODELS.items():
        (folder / f"{name}.sql").write_text(text)

    def table(name: str, columns: Sequence[tuple[str, str]]) -> dict[str, Any]:
        return {"name": name, "columns": [{"name": column, "data_type": kind} for column, kind in columns]}

    hub = [
        table(name, MOVES if name == "moves" else COLUMNS)
        for name in ("visits", "visits_current", "visits_enriched", "strict", "moves")
    ]
    sources = [
        {"name": "hub", "schema": "hub", "tables": hub},
        {
            "name": "lake",
            "schema": "lake",
            "tables": [table(name, QUARANTINE) for name in ("visits_quarantine", "strict_quarantine")],
        },
    ]
    (copy / "models" / "sources.yml").write_text(yaml.safe_dump({"sources": sources}))
    made = DbtProject(copy, home / "artifacts", environment(home))
    rows = [(1, "pass"), (2, "warn"), (3, "pass")]
    for name in ("visits", "visits_current", "strict"):
        write(made, f"hub/{name}", rows)
    # a change set holds all rows, with what failed
    write(made, "hub/visits_enriched", [*rows, (4, "fail")])
    quarantine = pa.table({"s_input_id": ["a"], "s_row_id": [9], "s_reason": ["not a number"]})
    write_deltalake(f"{made.environment.storage}/lake/visits_quarantine", quarantine)
    moves = [(1, "k", "a", 0, 1, 3, False), (0, "k", "b", -1, 3, 3, True), (2, "k", "c", 0, 3, None, False)]
    versions = pa.Table.from_pylist([dict(zip([name for name, _ in MOVES], row, strict=True)) for row in moves])
    write_deltalake(f"{made.environment.storage}/hub/moves", versions)
    return made


def write(project: DbtProject, key: str, rows: Sequence[tuple[int, str]]) -> None:
    stores, statuses = zip(*rows, strict=True)
    columns: Mapping[str, Any] = {
        "Store": stores,
        "s_status": statuses,
        "s_input_id": ["a"] * len(rows),
        "s_row_id": range(len(rows)),
        "loaded": [dt.date(2024, 1, 1)] * len(rows),
    }
    write_deltalake(f"{project.environment.storage}/{key}", pa.table({k: pa.array(v) for k, v in columns.items()}))


@pytest.fixture(scope="module")
def built(project: DbtProject) -> Invocation:
    return invoke(project, ["--quiet", "build"])


@pytest.fixture(scope="module")
def rows_of(project: DbtProject, built: Invocation) -> Callable[[str], list[Any]]:
    assert {result.status for result in built.results} == {"success"}, built.results

    def rows(model: str) -> list[Any]:
        with duckdb.connect(project.environment.warehouse, read_only=True) as connection:
            return connection.table(model).order("1").fetchall()

    return rows


@pytest.mark.parametrize(
    ("model", "rows"),
    [
        ("chosen_all", [(1, "pass"), (2, "warn"), (3, "pass")]),
        ("chosen_pass", [(1, "pass"), (3, "pass")]),
        ("chosen_warn", [(2, "warn")]),
        ("chosen_fail", [(4, "fail")]),
        ("chosen_every", [(1, "pass"), (2, "warn"), (3, "pass"), (4, "fail")]),
        ("chosen_current", [(2, "warn"), (4, "fail")]),
        ("declared", [(1, "pass"), (3, "pass")]),
        ("moved", [(1, 3, False), (2, 99, True)]),
        ("rejected", [(9, "not a number")]),
        ("rejected_nothing", []),
    ],
)
def test_a_model_has_the_rows_that_it_chooses(rows_of: Callable[[str], list[Any]], model: str, rows: list[Any]) -> None:
    assert rows_of(model) == rows


def test_what_is_read_is_told_with_its_version(built: Invocation) -> None:
    assert built.versions["lake/visits_quarantine"] == 0
    assert built.versions["hub/visits_enriched"] == 0
    assert built.versions["lake/strict_quarantine"] is None


def test_the_assets_that_are_read_are_those_of_the_source(project: DbtProject, tmp_path: Path) -> None:
    _, catalogue = prepare(project.folder, environment(tmp_path))
    reads = {model.name: {"/".join(key) for key in model.reads} for model in catalogue.models}
    assert reads["rejected"] == {"lake/visits_quarantine"}
    assert reads["chosen_every"] == {"hub/visits", "hub/visits_enriched"}
    assert reads["chosen_pass"] == {"hub/visits"}


def test_an_unknown_status_is_refused(project: DbtProject, tmp_path: Path) -> None:
    copy = tmp_path / "dbt_project"
    shutil.copytree(project.folder, copy)
    model = copy / "models" / "post_process" / "tests" / "chosen_pass.sql"
    model.write_text(model.read_text().replace("'pass'", "'passed'"))
    with pytest.raises(ConfigError, match=r"known: \['pass', 'warn', 'fail'\]"):
        prepare(copy, environment(tmp_path))
