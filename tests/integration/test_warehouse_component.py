"""The warehouse in Dagster: one graph with the hub, and a run tells what came of every model, test and check."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pyarrow as pa
import pytest
import yaml
from dagster.components.testing import create_defs_folder_sandbox
from deltalake import write_deltalake
from warehouse_hub import DBT_PROJECT, PROJECT, environment, flights, sales, weather, write_hub

from dataops_assets.components import dbt_catalogue, warehouse
from dataops_assets.components.warehouse import WarehouseComponent
from dataops_assets.components.warehouse_results import warehouse_tables
from dataops_assets.config.data_products import DataProducts
from dataops_assets.config.environment import Environment
from dataops_assets.engines.dbt import DbtProject
from dataops_assets.errors import ConfigError, DataOpsError
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.reporting.making import make_report, save_results
from dataops_assets.reporting.service_levels import service_levels

STORES = [
    {"Store": store, "StoreType": "a", "Assortment": "a", "s_input_id": "one", "s_row_id": store}
    for store in range(1, 8)
]
MODELS = len(list((DBT_PROJECT / "models").rglob("*.sql")))
PLATFORM = ("service_levels", "service_level_days", "quality_scores", "quality_losses", "incident_times", "source_days")
AIRLINES = [{"carrier": "AA", "name": "American", "s_input_id": "one", "s_row_id": 0}]


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """One deployment for all tests here: its dbt project is parsed once. Each test says what is in the hub."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATAOPS_ENV", "test")
        patch.setenv("DATAOPS_HOME", str(home))
        for name in ("DATAOPS_STORAGE", "DATAOPS_LANDING", "DATAOPS_METADATA_URL", "DATAOPS_WAREHOUSE"):
            patch.delenv(name, raising=False)
        yield environment(home)


def load(**attributes: Any) -> dg.Definitions:
    with create_defs_folder_sandbox() as sandbox:
        declared = {
            "type": "dataops_assets.components.warehouse.WarehouseComponent",
            "attributes": {"project": str(DBT_PROJECT), "owners": ["team:analytics"], **attributes},
        }
        path = sandbox.scaffold_component(component_cls=WarehouseComponent, defs_yaml_contents=declared)
        with sandbox.load_component_and_build_defs(defs_path=path) as (_, definitions):
            return definitions


@pytest.fixture(scope="module")
def definitions(deployment: Environment) -> dg.Definitions:
    return load()


@pytest.fixture
def empty_hub(deployment: Environment) -> None:
    shutil.rmtree(f"{deployment.storage}/hub", ignore_errors=True)
    Path(deployment.warehouse).unlink(missing_ok=True)


@pytest.fixture
def hub(deployment: Environment, empty_hub: None) -> Environment:
    """Both areas, all well."""
    write_hub(deployment, "airlines", AIRLINES)
    write_hub(deployment, "flights_current", flights(1, 2, 3))
    write_hub(deployment, "weather", weather(12))
    write_hub(deployment, "stores", STORES)
    write_hub(deployment, "sales", sales(1, 2))
    return deployment


class Told:
    """What a run told of assets and checks."""

    def __init__(self, result: dg.ExecuteInProcessResult) -> None:
        self.is_success = result.success
        self.metadata = {
            event.asset_key.path[-1]: event.materialization.metadata
            for event in result.get_asset_materialization_events()
            if event.asset_key
        }
        self.checks = {
            (check.asset_key.path[-1], check.check_name): check for check in result.get_asset_check_evaluations()
        }
        self.failures = [
            event.step_failure_data.user_failure_data or event.step_failure_data.error
            for event in result.all_events
            if event.is_step_failure
        ]

    @property
    def failed_checks(self) -> set[tuple[str, str]]:
        return {key for key, check in self.checks.items() if not check.passed}


def materialize(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    *names: str,
    selection: dg.AssetSelection | None = None,
    config: dict[str, Any] | None = None,
) -> Told:
    chosen = selection or (dg.AssetSelection.assets(*[["warehouse", name] for name in names]) if names else None)
    run_config = {"ops": {"warehouse_rossmann": {"config": config}}} if config else None
    made = dg.materialize(
        [
            asset
            for asset in (*(definitions.assets or ()), *(definitions.asset_checks or ()))
            if isinstance(asset, dg.AssetsDefinition)
        ],
        instance=instance,
        selection=chosen,
        run_config=run_config,
        raise_on_error=False,
    )
    return Told(made)


def test_models_are_assets_of_one_graph_with_the_hub(definitions: dg.Definitions) -> None:
    specs = {
        spec.key.path[-1]: spec for spec in definitions.resolve_all_asset_specs() if spec.key.path[0] == "warehouse"
    }
    groups = {name: spec.group_name for name, spec in specs.items()}
    assert groups == {
        **dict.fromkeys(("dim_airlines", "dim_airports", "dim_planes", "fct_flights", "fct_weather"), "flights"),
        **dict.fromkeys(("dim_stores", "fct_sales", "sales_features", "sales_weekly"), "rossmann"),
        **dict.fromkeys(PLATFORM, "platform"),
        "flight_delays_daily": "flights",
        "activity_daily": "overview",
    }
    reads = {name: {"/".join(dep.asset_key.path) for dep in spec.deps} for name, spec in specs.items()}
    assert reads["fct_flights"] == {"hub/flights_current"}
    assert reads["sales_features"] == {"hub/sales_current"}
    assert reads["activity_daily"] == {"warehouse/fct_flights", "warehouse/fct_sales"}
    for name, spec in specs.items():
        assert spec.kinds == {"dbt", "duckdb"}, name
        assert spec.owners == ["team:analytics"], name
        assert spec.description, name
        assert spec.freshness_policy is not None, name
        assert spec.automation_condition is not None, name
        assert spec.code_version, name
        assert spec.metadata["dagster/column_schema"].columns, name


def test_every_table_has_the_kinds_of_check_and_its_dbt_tests(definitions: dg.Definitions) -> None:
    checks: dict[str, dict[str, bool]] = {}
    for definition in definitions.assets or []:
        assert isinstance(definition, dg.AssetsDefinition)
        for spec in definition.check_specs:
            checks.setdefault(spec.asset_key.path[-1], {})[spec.name] = spec.blocking
    assert len(checks) == MODELS
    for name, found in checks.items():
        assert {"volume", "schema", "distribution", f"{name}_grain"} <= set(found), name
        assert found[f"{name}_grain"], "a broken grain stops what follows"
    assert not checks["fct_sales"]["fct_sales_store_is_known"]


def test_a_run_tells_of_rows_columns_lineage_and_versions(
    hub: Environment, definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    told = materialize(definitions, instance)
    assert told.is_success, told.failures
    assert len(told.metadata) == MODELS
    empty = ("dim_airports", "dim_planes", "sales_features", *PLATFORM)
    assert not told.failed_checks - {(name, "volume") for name in empty}
    found = told.metadata["fct_sales"]
    assert found["dagster/row_count"].value == 2
    assert found["hub_versions"].value == {"hub/sales": 0}
    shown = found["preview"].records
    assert sorted(record.data["store_id"] for record in shown) == ["1", "2"]
    known = {record.data["column"]: record.data for record in found["column_statistics"].records}
    assert (known["store_id"]["nulls"], known["store_id"]["least"], known["store_id"]["most"]) == (0, "1", "2")
    columns = {column.name: column for column in found["dagster/column_schema"].value.columns}
    assert columns["sales_date"].type == "DATE"
    assert columns["sales"].description == "Turnover of the day, euros."
    lineage = told.metadata["fct_sales"]["dagster/column_lineage"].value.deps_by_column
    assert lineage["store_id"] == [dg.TableColumnDep(dg.AssetKey(["hub", "sales"]), "Store")]
    again = materialize(definitions, instance, "fct_sales")
    assert again.metadata["fct_sales"]["run: changed rows"].value == 0
    anew = materialize(definitions, instance, "fct_sales", config={"full_refresh": True})
    assert "run: changed rows" not in anew.metadata["fct_sales"]


def test_of_a_column_made_of_a_personal_one_no_value_is_shown(
    hub: Environment, definitions: dg.Definitions, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warehouse, "personal_columns", lambda _: [(("hub", "sales"), "store")])
    found = materialize(definitions, instance, "fct_sales").metadata["fct_sales"]
    assert {record.data["store_id"] for record in found["preview"].records} == {"***"}
    known = {record.data["column"]: record.data for record in found["column_statistics"].records}
    assert [known["store_id"][fact] for fact in ("least", "most", "mean")] == ["***", "***", None]
    assert known["sales_date"]["least"] != "***"
    profile = {column["name"]: column for column in found["dataops/profile"].value["columns"]}
    assert (profile["store_id"]["min"], profile["store_id"]["max"]) == (None, None)


def test_results_of_the_report_are_tables_of_the_warehouse_with_what_its_tables_lost(
    hub: Environment, definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    # one of four rows is of a store that the list of stores lacks
    write_hub(hub, "sales", sales(1, 2, 3, 99))
    materialize(definitions, instance, "dim_stores", "fct_sales")
    tables = warehouse_tables(definitions, instance, ["sales", "stores", "flights"])
    assert tables["warehouse/fct_sales"].sources == {"sales"}
    assert tables["warehouse/fct_sales"].area == "rossmann"
    product = {"sources": ["sales"], "critical_columns": ["sales.Store"], "objectives": {"completeness": {}}}
    declared = DataProducts.model_validate({"products": {"sales": product}})
    MetadataStore(hub.metadata_url).migrate()
    noon = dt.datetime.now(dt.UTC).replace(hour=12)
    report = make_report(hub.metadata_url, {}, declared, noon, warehouse=tables)
    loaded = {"source": "sales", "input_id": "one", "at": noon, "rows": 200, "rejected": 0, "kept_out": 3}
    facts = replace(report.facts, loaded=[loaded])
    levels_of = {"sales": (declared.products["sales"], service_levels(declared.products["sales"], facts))}
    report = replace(report, facts=facts, products=levels_of)
    save_results(hub.metadata_url, report)
    (fact,) = [item for item in report.scores if item.asset == "warehouse/fct_sales"]
    weights = sum(3 if row["severity"] == "fail" else 1 for row in tables["warehouse/fct_sales"].results)
    unknown = [loss for loss in fact.losses if "fct_sales_store_is_known" in loss.why]
    assert [(loss.points, loss.rows) for loss in unknown] == [(pytest.approx(100 * 3 / 4 / weights), 1)]
    assert "dbt show --select fct_sales_store_is_known" in unknown[0].why
    told = materialize(definitions, instance, *PLATFORM)
    assert not told.failed_checks - {(name, "volume") for name in PLATFORM}
    with duckdb.connect(hub.warehouse, read_only=True) as warehouse:
        levels = warehouse.execute("select product, objective, good, budget, is_newest from service_levels").fetchall()
        scores = warehouse.execute("select scope, name, score from quality_scores order by all").fetchall()
        lost = warehouse.execute("select asset, points, reason, rows_concerned from quality_losses").fetchall()
        days = warehouse.execute("select * from service_level_days").fetchall()
    assert levels == [("sales", "completeness", 0.985, pytest.approx(0.01), True)]
    assert days == [("sales", "completeness", "sales", noon.date(), 197, 200, 0.985, pytest.approx(1.5))]
    tables_known = [("table", "warehouse/dim_stores"), ("table", "warehouse/fct_sales")]
    assert [row[:2] for row in scores] == [("area", "rossmann"), ("product", "sales"), *tables_known]
    assert scores[1][2] == scores[3][2] == fact.score
    assert ("warehouse/fct_sales", unknown[0].points, unknown[0].why, 1) in lost


def test_any_selection_does_that_and_no_more(
    hub: Environment, definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    some = materialize(definitions, instance, "dim_airlines", "fct_flights")
    assert set(some.metadata) == {"dim_airlines", "fct_flights"}
    assert {name for name, _ in some.checks} == {"dim_airlines", "fct_flights"}
    key = dg.AssetKey(["warehouse", "fct_flights"])
    by_dbt = dg.AssetSelection.checks(dg.AssetCheckKey(key, "fct_flights_grain"))
    only_test = materialize(definitions, instance, selection=by_dbt)
    assert (set(only_test.metadata), set(only_test.checks)) == (set(), {("fct_flights", "fct_flights_grain")})
    kinds = ("volume", "distribution")
    of_ours = dg.AssetSelection.checks(*(dg.AssetCheckKey(key, kind) for kind in kinds))
    only_check = materialize(definitions, instance, selection=of_ours)
    assert (set(only_check.metadata), set(only_check.checks)) == (set(), {("fct_flights", kind) for kind in kinds})
    for kind in kinds:
        # the table that is checked is no part of its own baseline
        built, alone = (told.checks["fct_flights", kind] for told in (some, only_check))
        assert alone.description == built.description
    assert only_check.checks["fct_flights", "volume"].metadata["rows"].value == 3


def test_a_failed_test_stops_what_follows_and_nothing_else(
    hub: Environment, definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    # one flight twice, from two inputs
    write_hub(hub, "flights_current", [*flights(1, 2), *flights(1, source="two")])
    told = materialize(
        definitions,
        instance,
        "fct_weather",
        "dim_airlines",
        "fct_flights",
        "flight_delays_daily",
        "fct_sales",
        "activity_daily",
    )
    assert not told.is_success
    broken = told.checks["fct_flights", "fct_flights_grain"]
    assert (broken.passed, broken.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert broken.metadata["failing_rows"].value == 1
    assert set(told.metadata) == {"fct_weather", "dim_airlines", "fct_flights", "fct_sales"}


def test_a_failed_model_is_told_with_its_reason_after_all_others(
    hub: Environment, definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    without_name = pa.table({"carrier": ["AA"]})
    write_deltalake(f"{hub.storage}/hub/airlines", without_name, mode="overwrite", schema_mode="overwrite")
    told = materialize(
        definitions, instance, "dim_airlines", "fct_flights", "fct_weather", "flight_delays_daily", "fct_sales"
    )
    assert not told.is_success
    [failure] = told.failures
    assert '"name" not found' in str(failure)
    assert set(told.metadata) == {"fct_flights", "fct_weather", "fct_sales"}, "the other area goes on, too"


def failing(table: str) -> dg.AssetsDefinition:
    """The last step above a hub table, in a run in which it fails."""

    @dg.asset(key=["hub", table])
    def step() -> None:
        raise dg.Failure(f"{table} was not published", allow_retries=False)

    return step


@pytest.mark.parametrize(
    ("table", "built"),
    [
        ("weather", {"dim_stores", "fct_sales", "sales_features", "sales_weekly"}),
        ("sales", {"dim_airlines", "dim_airports", "dim_planes", "fct_flights", "fct_weather", "flight_delays_daily"}),
    ],
)
def test_a_failed_step_above_one_area_leaves_the_other_areas_models_built(
    hub: Environment, definitions: dg.Definitions, instance: dg.DagsterInstance, table: str, built: set[str]
) -> None:
    both = dg.Definitions.merge(definitions, dg.Definitions([failing(table)]))
    told = materialize(both, instance, selection=dg.AssetSelection.all() - dg.AssetSelection.groups("platform"))
    assert not told.is_success
    assert [str(failure) for failure in told.failures if f"{table} was not published" not in str(failure)] == []
    # what reads both areas waits for both
    assert set(told.metadata) == built


def test_each_area_is_one_op_and_so_is_what_reads_several(definitions: dg.Definitions) -> None:
    ops = {}
    for definition in definitions.assets or []:
        assert isinstance(definition, dg.AssetsDefinition)
        ops[definition.op.name] = {key.path[-1] for key in definition.keys}
        assert definition.op.pool == "warehouse", "one writer"
    assert ops == {
        "warehouse_flights": {
            *("dim_airlines", "dim_airports", "dim_planes", "fct_flights", "fct_weather", "flight_delays_daily"),
        },
        "warehouse_rossmann": {"dim_stores", "fct_sales", "sales_features", "sales_weekly"},
        "warehouse_flights_and_overview_and_rossmann": {"activity_daily"},
        "warehouse_platform": set(PLATFORM),
    }


WINDY_SALES = """
select sales.sales_date, sales.sales, weather.wind_speed_mph
from {{ ref('fct_sales') }} as sales left join {{ ref('fct_weather') }} as weather
    on sales.sales_date = cast(weather.observed_at as date)
"""
ENTANGLED = {
    # either area has a model that reads the other's, and one a model of the other area that reads it back
    "post_process/flights/windy_sales.sql": WINDY_SALES,
    "post_process/rossmann/windy_sales_daily.sql": "select sales_date, 1 as n from {{ ref('windy_sales') }}",
    "post_process/flights/windy_sales_seen.sql": "select n from {{ ref('windy_sales_daily') }}",
    "post_process/rossmann/calm.sql": "select 1 as n from {{ ref('lull') }}",
    "post_process/rossmann/lull.sql": """
        {{ config(materialized='ephemeral') }} select 1 as n from {{ source('hub', 'weather') }}
    """,
}
# a table of one area is compared with one of the other, and with one that is made from it
COMPARED = {
    "fct_sales": ("store_id", "fct_weather", "wind_speed_mph"),
    "fct_weather": ("wind_speed_mph", "windy_sales_seen", "n"),
}


@pytest.fixture(scope="module")
def entangled(deployment: Environment, tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    folder = tmp_path_factory.mktemp("entangled") / "dbt_project"
    shutil.copytree(DBT_PROJECT, folder, ignore=shutil.ignore_patterns("target", "logs"))
    for path, text in ENTANGLED.items():
        (folder / "models" / path).write_text(text)
    for model, (column, other, field) in COMPARED.items():
        [path] = folder.rglob(f"{model}.yml")
        declared = yaml.safe_load(path.read_text())
        arguments = {"column_name": column, "to": f"ref('{other}')", "field": field}
        declared["models"][0]["data_tests"].append(
            {"relationships": {"name": f"{model}_in_{other}", "arguments": arguments}}
        )
        path.write_text(yaml.safe_dump(declared))
    return load(project=str(folder))


def test_areas_that_read_each_other_are_still_built_in_order(
    hub: Environment, entangled: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    names = ("fct_sales", "fct_weather", "windy_sales", "windy_sales_daily", "windy_sales_seen", "calm")
    told = materialize(entangled, instance, *names)
    assert set(told.metadata) == set(names), told.failures
    assert told.metadata["calm"]["hub_versions"].value == {"hub/weather": 0}
    # comparisons come after all they compare, tell what they found, and stop nothing
    compared = {name: check for (_, name), check in told.checks.items() if "_in_" in name}
    assert set(compared) == {"fct_sales_in_fct_weather", "fct_weather_in_windy_sales_seen"}
    assert {check.metadata["failing_rows"].value for check in compared.values()} == {1, 2}
    assert {(check.severity, check.blocking) for check in compared.values()} == {(dg.AssetCheckSeverity.ERROR, False)}
    only = dg.AssetSelection.checks(
        dg.AssetCheckKey(dg.AssetKey(["warehouse", "fct_sales"]), "fct_sales_in_fct_weather")
    )
    alone = materialize(entangled, instance, selection=only)
    assert (set(alone.metadata), len(alone.checks)) == (set(), 1)


READ = """
import sys, duckdb
held = duckdb.connect(sys.argv[1], read_only=True)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def impatient(deployment: Environment, tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    """dbt asks for the warehouse's file once."""
    folder = tmp_path_factory.mktemp("impatient") / "dbt_project"
    shutil.copytree(DBT_PROJECT, folder, ignore=shutil.ignore_patterns("target", "logs"))
    profiles = (folder / "profiles.yml").read_text()
    assert "connect_attempts: 6" in profiles
    (folder / "profiles.yml").write_text(profiles.replace("connect_attempts: 6", "connect_attempts: 1"))
    return load(project=str(folder))


@pytest.mark.parametrize("leaves", [True, False])
@pytest.mark.parametrize("check", [None, "volume"])
def test_a_run_is_tried_again_while_someone_reads_the_warehouse_and_then_says_who(
    hub: Environment,
    impatient: dg.Definitions,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    check: str | None,
    leaves: bool,
) -> None:
    assert materialize(impatient, instance, "dim_airlines").is_success
    key = dg.AssetKey(["warehouse", "dim_airlines"])
    selection = dg.AssetSelection.checks(dg.AssetCheckKey(key, check)) if check else dg.AssetSelection.assets(key)
    command = [sys.executable, "-c", READ, hub.warehouse]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "held\n"
        tries = []
        stopped = warehouse._stopped

        def leave(context: dg.OpExecutionContext, error: DataOpsError) -> dg.Failure | dg.RetryRequested:
            tries.append(error)
            if leaves:
                reader.kill()
                reader.wait()
            return stopped(context, error)

        monkeypatch.setattr(warehouse, "_RETRY_SECONDS", 0.1)
        monkeypatch.setattr(warehouse, "_stopped", leave)
        told = materialize(impatient, instance, selection=selection)
        reader.kill()
    assert (told.is_success, len(tries)) == ((True, 1) if leaves else (False, 3))
    for failure in told.failures:
        # the words of a dg.Failure, no stack trace
        assert f"PID {reader.pid}); next: close the warehouse's file" in failure.description


def test_a_test_that_warns_stops_nothing(
    hub: Environment, definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    write_hub(hub, "sales", sales(1, 99))
    told = materialize(definitions, instance, "dim_stores", "fct_sales", "sales_weekly")
    assert told.is_success
    warned = told.checks["fct_sales", "fct_sales_store_is_known"]
    assert (warned.passed, warned.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert set(told.metadata) == {"dim_stores", "fct_sales", "sales_weekly"}


def test_checks_compare_with_the_declared_columns_and_the_builds_before(
    hub: Environment, definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    for version in range(4):
        write_hub(hub, "weather", weather(*range(20 + version)))
        calm = materialize(definitions, instance, "fct_weather")
        assert calm.failed_checks == set()
    write_hub(hub, "weather", weather(*range(20), wind=None) + weather(1, at="EWR"))
    told = materialize(definitions, instance, "fct_weather")
    assert told.failed_checks == {("fct_weather", "distribution")}
    assert "wind_speed_mph: 95.2% nulls" in (told.checks["fct_weather", "distribution"].description or "")
    write_hub(hub, "weather", weather(1))
    told = materialize(definitions, instance, "fct_weather")
    assert ("fct_weather", "volume") in told.failed_checks
    # the newest event tells the rows of all builds
    builds = told.metadata["fct_weather"]["dataops/builds"].value
    assert [rows for _, rows in builds] == [20, 21, 22, 23, 21, 1]


def test_checks_are_tuned_in_yaml(hub: Environment, instance: dg.DagsterInstance) -> None:
    off = {"enabled": False}
    tuned = load(
        checks={"volume": {"min_rows": 2}, "distribution": off, "freshness": off},
        model_checks={"fct_sales": {"volume": {"min_rows": 3, "severity": "fail"}}},
    )
    told = materialize(tuned, instance, "fct_sales", "fct_flights")
    assert not told.is_success
    assert ("fct_flights", "distribution") not in told.checks
    assert told.checks["fct_flights", "volume"].passed
    assert told.checks["fct_sales", "volume"].severity == dg.AssetCheckSeverity.ERROR
    assert ("fct_sales", "distribution") in told.checks
    with pytest.raises(Exception, match="Error while building") as refused:
        load(model_checks={"fct_sale": {}})
    assert isinstance(refused.value.__cause__, ConfigError)
    assert "did you mean 'fct_sales'" in str(refused.value.__cause__)


FRESH = """
import json, sys
from pathlib import Path
import dagster
from dataops_assets.components import dbt_catalogue
from dataops_assets.config.environment import environment_from
import os
_, catalogue = dbt_catalogue.prepare(Path(sys.argv[1]), environment_from(os.environ, Path(sys.argv[1]).parent))
print(json.dumps([len(catalogue.models), "dbt" in sys.modules, "dagster_dbt" in sys.modules]))
"""


def test_a_hub_that_no_source_makes_is_refused_when_it_is_loaded(deployment: Environment) -> None:
    other = {
        "name": "airlnes",
        "area": "flights",
        "connection": {"type": "files", "path": "airlines/*.csv"},
        "columns": [{"name": "carrier"}],
        "refresh": {"type": "full", "key": ["carrier"]},
    }
    with create_defs_folder_sandbox() as sandbox:
        folder = sandbox.defs_folder_path / "airlines"
        folder.mkdir()
        declared = {"type": "dataops_assets.components.SourceComponent", "attributes": other}
        (folder / "defs.yaml").write_text(yaml.safe_dump(declared))
        warehouse = {
            "type": "dataops_assets.components.warehouse.WarehouseComponent",
            "attributes": {"project": str(DBT_PROJECT)},
        }
        path = sandbox.scaffold_component(component_cls=WarehouseComponent, defs_yaml_contents=warehouse)
        with (
            pytest.raises(Exception, match="while building definitions") as refused,
            sandbox.load_component_and_build_defs(defs_path=path),
        ):
            pass
    told = str(refused.value.__cause__)
    assert "models/sources.yml: table hub/airlines" in told
    assert "did you mean 'hub/airlnes'?" in told


def test_models_that_are_off_for_a_target_are_known() -> None:
    off = {"model.w.levels": [{"name": "levels", "resource_type": "model"}]}
    off |= {"test.w.levels_grain": [{"name": "levels_grain", "resource_type": "test"}]}
    project = {"adapter_type": "snowflake", "project_name": "w"}
    found = dbt_catalogue.translate({"metadata": project, "nodes": {}, "sources": {}, "disabled": off})
    # so that `model_checks` can name them
    assert found.disabled == ("levels",)


def test_a_known_project_is_loaded_without_dbt(definitions: dg.Definitions) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FRESH, str(DBT_PROJECT)], cwd=PROJECT, capture_output=True, text=True, timeout=1200
    )
    assert done.returncode == 0, done.stderr
    models, knows_dbt, knows_dagster_dbt = json.loads(done.stdout)
    assert (models, knows_dbt, knows_dagster_dbt) == (MODELS, False, False)


def test_a_changed_project_is_another_and_a_wrong_one_is_refused_with_dbts_words(
    deployment: Environment, definitions: dg.Definitions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "dbt_project"
    shutil.copytree(DBT_PROJECT, copy, ignore=shutil.ignore_patterns("target", "logs"))
    model = copy / "models" / "outputs" / "flights" / "dim_airlines.sql"
    model.write_text("select * from {{ source('hub', 'airlinez') }}")
    with pytest.raises(ConfigError, match=r"dim_airlines[\s\S]*hub\.airlinez") as refused:
        dbt_catalogue.prepare(copy, deployment)
    assert "Traceback" not in str(refused.value)
    known = sorted((deployment.home / "dbt").iterdir())
    assert not [path for path in known if path.name.startswith("preparing")]
    # a setting that profiles.yml reads makes another project as well
    project, catalogue = dbt_catalogue.prepare(DBT_PROJECT, deployment)
    asked: list[DbtProject] = []

    def make(_module: str, made: DbtProject, *_words: str) -> None:
        asked.append(made)
        made.artifacts.mkdir(exist_ok=True)
        (made.artifacts / "catalogue.json").write_text(catalogue.model_dump_json())

    monkeypatch.setattr(dbt_catalogue, "make_apart", make)
    monkeypatch.setenv("SNOWFLAKE_SCHEMA", "other")
    other, _ = dbt_catalogue.prepare(DBT_PROJECT, deployment)
    assert other.artifacts != project.artifacts
    assert dbt_catalogue.prepare(DBT_PROJECT, deployment) == (other, catalogue)
    assert len(asked) == 1
    # only the newest few are kept, and the current one whatever the clock says
    os.utime(other.artifacts / "catalogue.json", (0, 0))
    for number in range(6):
        monkeypatch.setenv("SNOWFLAKE_SCHEMA", f"other{number}")
        newest, _ = dbt_catalogue.prepare(DBT_PROJECT, deployment)
    kept = {path.name for path in (deployment.home / "dbt").iterdir() if path.is_dir()}
    assert len(kept) == 5
    assert newest.artifacts.name in kept
    assert other.artifacts.name not in kept
