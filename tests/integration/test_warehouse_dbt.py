"""The dbt project on real Delta tables: outputs follow the hub exactly, whatever happens to it."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest
from warehouse_hub import DBT_PROJECT, environment, flights, hub_tables, sales, weather, write_hub

from dataops_assets.engines.dbt import DbtProject, Invocation, invoke
from dataops_assets.engines.duckdb import load_extensions
from dataops_assets.engines.warehouse_builds import read_builds
from dataops_assets.errors import DataOpsError, StorageError

OUTPUTS = ["dim_airlines", "fct_weather", "fct_sales"]


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where dbt keeps the parsed project, shared by all tests, so it is parsed once."""
    return tmp_path_factory.mktemp("artifacts")


@pytest.fixture
def project(tmp_path: Path, artifacts: Path) -> DbtProject:
    return DbtProject(DBT_PROJECT, artifacts, environment(tmp_path))


def build(project: DbtProject, *models: str) -> Invocation:
    """Build models, all without names; their tests are another matter."""
    selection = ["--select", *models] if models else []
    done = invoke(project, ["--quiet", "build", "--exclude-resource-type", "unit_test", "test", *selection])
    assert {result.status for result in done.results} == {"success"}, done.results
    return done


@pytest.fixture
def warehouse(project: DbtProject) -> Callable[[str], list[Any]]:
    """Runs a query on the warehouse, with the hub's views readable."""

    def query(text: str) -> list[Any]:
        with duckdb.connect(project.environment.warehouse, read_only=True) as connection:
            load_extensions(connection, remote=False)
            connection.execute("SET TimeZone = 'UTC'")
            return connection.execute(text).fetchall()

    return query


def random_hub(generator: random.Random, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Another state of a table: rows vanish, change, come back, come late from another input; at times none is left."""
    if generator.random() < 0.15:
        return []
    kept = [dict(row) for row in rows if generator.random() < 0.7]
    for row in kept:
        if generator.random() < 0.2:
            # what the row says changes, or only where it comes from
            name = generator.choice(
                [name for name in ("wind_speed", "visib", "Sales", "name", "s_input_id") if name in row]
            )
            row[name] = {
                "wind_speed": None,
                "visib": 1.0,
                "Sales": generator.randint(0, 9),
                "name": "New",
                "s_input_id": "0",
            }[name]
    return kept


def test_outputs_equal_a_full_refresh_after_every_state_of_the_hub(
    project: DbtProject, warehouse: Callable[[str], list[Any]]
) -> None:
    generator = random.Random(20130101)
    everything = {
        "airlines": [
            {"carrier": code, "name": code * 2, "s_input_id": "one", "s_row_id": at} for at, code in enumerate("ABC")
        ],
        "weather": weather(*range(12)) + weather(*range(12), at="LGA", source="two"),
        "sales": sales(*range(1, 15)) + sales(*range(1, 15), day=2, source="two"),
    }
    for step in range(6):
        for table, rows in everything.items():
            write_hub(project.environment, table, rows if step == 0 else random_hub(generator, rows))
        done = build(project, *OUTPUTS)
        compiled = {result.unique_id.split(".")[2]: result.compiled for result in done.results}
        for model in OUTPUTS:
            difference = (
                f"(from {model} except all ({compiled[model]})) union all (({compiled[model]}) except all from {model})"
            )
            assert warehouse(difference) == [], (step, model)


def test_an_unchanged_run_writes_nothing(project: DbtProject, warehouse: Callable[[str], list[Any]]) -> None:
    write_hub(project.environment, "sales", sales(1, 2, 3))
    first = build(project, "fct_sales")
    places = warehouse("select rowid, * from fct_sales order by store_id")
    # the same rows in a new version, in other files and another order
    write_hub(project.environment, "sales", sales(3, 1, 2))
    again = build(project, "fct_sales")
    assert again.changed == {"model.warehouse.fct_sales": 0}
    assert warehouse("select rowid, * from fct_sales order by store_id") == places
    assert (first.versions["hub/sales"], again.versions["hub/sales"]) == (0, 1)
    # then only what differs is written: one changes, one goes, one comes
    write_hub(project.environment, "sales", [*sales(1), *sales(2, amount=7), *sales(4)])
    assert build(project, "fct_sales").changed == {"model.warehouse.fct_sales": 3}
    assert warehouse("select rowid, * from fct_sales where store_id = 1") == [places[0]]
    assert warehouse("select store_id, sales from fct_sales order by 1") == [(1, 100), (2, 7), (4, 100)]


def test_a_hub_without_a_single_input_breaks_no_model(
    project: DbtProject, warehouse: Callable[[str], list[Any]]
) -> None:
    write_hub(project.environment, "flights_current", flights(1, 2))
    done = build(project)
    assert done.versions == {f"hub/{table}": 0 if table == "flights_current" else None for table in hub_tables()}
    assert warehouse("select flight_date::text, flights, airline_name from flight_delays_daily") == [
        ("2013-01-01", 2, None)
    ]
    assert warehouse("select count(*) from sales_features") == [(0,)]
    # what each model was built of is recorded with it
    with duckdb.connect(project.environment.warehouse, read_only=True) as connection:
        builds = read_builds(connection)
    delays, facts = (builds.by_model[f"warehouse/{name}"] for name in ("flight_delays_daily", "fct_flights"))
    assert (facts.versions, facts.parents) == ({"hub/flights_current": 0}, {})
    assert (delays.versions, set(delays.parents)) == (
        {},
        {"warehouse/fct_flights", "warehouse/dim_airlines", "warehouse/fct_weather"},
    )
    assert delays.parents["warehouse/fct_flights"] == facts.build_id
    # and once there are inputs, the models follow
    write_hub(project.environment, "sales", sales(1))
    write_hub(
        project.environment, "airlines", [{"carrier": "AA", "name": "American", "s_input_id": "one", "s_row_id": 0}]
    )
    build(project, "dim_airlines", "fct_sales", "flight_delays_daily", "activity_daily")
    assert warehouse("select activity_date::text, flights, stores_open from activity_daily order by 1") == [
        ("2013-01-01", 2, None),
        ("2015-06-01", None, 1),
    ]
    assert warehouse("select airline_name from flight_delays_daily") == [("American",)]


def test_the_hub_is_read_at_the_version_of_the_run(project: DbtProject, warehouse: Callable[[str], list[Any]]) -> None:
    write_hub(project.environment, "weather", weather(1, 2))
    build(project, "fct_weather")
    write_hub(project.environment, "weather", weather(1, 2, 3))
    # a commit after the run began is not seen through the run's views
    assert warehouse("select count(*) from hub.weather") == [(2,)]
    # a run moves the views of what it reads, and of nothing else; a test reads models only
    assert set(build(project, "dim_airlines").versions) == {"hub/airlines"}
    assert invoke(project, ["--quiet", "test", "--select", "fct_weather_grain"]).versions == {}
    assert warehouse("select view_name from duckdb_views() where schema_name = 'hub'") == [("airlines",), ("weather",)]
    assert warehouse("select count(*) from hub.weather") == [(2,)]
    assert build(project, "fct_weather").versions == {"hub/weather": 1}
    assert warehouse("select count(*) from hub.weather") == [(3,)]
    # as of a release
    given = json.dumps({"table_versions": {"hub/weather": 0}})
    command = ["--quiet", "build", "--exclude-resource-type", "unit_test", "test", "--select", "fct_weather"]
    assert invoke(project, [*command, "--vars", given]).versions == {"hub/weather": 0}
    assert warehouse("select count(*) from fct_weather") == [(2,)]


def test_a_new_column_of_a_model_is_filled_for_old_rows_too(
    project: DbtProject, warehouse: Callable[[str], list[Any]]
) -> None:
    write_hub(project.environment, "weather", weather(1, 2))
    build(project, "fct_weather")
    with duckdb.connect(project.environment.warehouse) as connection:
        connection.execute("alter table fct_weather drop column wind_speed_mph")
    assert build(project, "fct_weather").changed == {"model.warehouse.fct_weather": 2}
    assert warehouse("select wind_speed_mph from fct_weather") == [(10.0,), (10.0,)]


def test_every_unit_test_of_the_project_passes(project: DbtProject) -> None:
    build(project)
    tested = invoke(project, ["--quiet", "test", "--select", "test_type:unit"])
    outcomes = {
        result.unique_id.split(".")[-1]: result.status for result in tested.results if "unit_test" in result.unique_id
    }
    assert len(outcomes) >= 6
    assert set(outcomes.values()) == {"pass"}


def test_a_unit_test_needs_nothing_built_before(project: DbtProject) -> None:
    tested = invoke(project, ["--quiet", "test", "--select", "fct_flights,test_type:unit"])
    assert tested.versions == {"hub/flights_current": None}
    assert {result.status for result in tested.results} == {"success", "pass"}


HOLD = """
import sys, duckdb
held = duckdb.connect(sys.argv[1], read_only=len(sys.argv) > 2)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other_writer(project: DbtProject) -> Iterator[subprocess.Popen[str]]:
    project.environment.home.mkdir(exist_ok=True)
    command = [sys.executable, "-c", HOLD, project.environment.warehouse]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_another_writer_of_the_warehouse_is_waited_for(
    project: DbtProject, other_writer: subprocess.Popen[str]
) -> None:
    subprocess.Popen(["sh", "-c", f"sleep 3; kill -9 {other_writer.pid}"])
    build(project, "dim_airlines")
    assert other_writer.poll() is not None


def test_a_hub_table_that_is_gone_empties_no_output(
    project: DbtProject, warehouse: Callable[[str], list[Any]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its volume may not be mounted; what was built from it stays, and is built on once it is back."""
    write_hub(project.environment, "weather", weather(1, 2, 3))
    build(project, "fct_weather")
    right = warehouse("select * from fct_weather order by all")
    assert right
    folder, away = Path(project.environment.storage, "hub", "weather"), tmp_path / "away"
    folder.rename(away)
    with pytest.raises(DataOpsError, match=r"hub/weather was read before and is not there any more.*mount its volume"):
        invoke(project, ["build", "--select", "fct_weather"])
    told = capfd.readouterr().out
    assert "Running with dbt" in told
    assert "\x1b" not in told, "this is no terminal"
    assert warehouse("select * from fct_weather order by all") == right
    away.rename(folder)
    build(project, "fct_weather")
    assert warehouse("select * from fct_weather order by all") == right


@pytest.mark.parametrize("command", [["build", "--select", "dim_airlines"], ["run-operation", "pin_hub"]])
def test_a_reader_that_stays_is_named(project: DbtProject, tmp_path: Path, command: list[str]) -> None:
    copy = tmp_path / "dbt_project"
    shutil.copytree(DBT_PROJECT, copy, ignore=shutil.ignore_patterns("target", "logs"))
    profiles = (copy / "profiles.yml").read_text()
    assert "connect_attempts: 6" in profiles
    (copy / "profiles.yml").write_text(profiles.replace("connect_attempts: 6", "connect_attempts: 1"))
    duckdb.connect(project.environment.warehouse).close()
    hold = [sys.executable, "-c", HOLD, project.environment.warehouse, "read only"]
    with subprocess.Popen(hold, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "held\n"
        with pytest.raises(StorageError, match=rf"PID {reader.pid}\).*next: close the warehouse's file") as refused:
            invoke(DbtProject(copy, project.artifacts, project.environment), command)
        reader.kill()
    assert not refused.value.permanent
    assert "Traceback" not in str(refused.value)


def test_the_warehouse_is_free_for_others_when_dbt_is_done(project: DbtProject) -> None:
    before = dict(os.environ), os.getcwd()
    build(project, "dim_airlines")
    command = (
        "import sys, duckdb; print(duckdb.connect(sys.argv[1]).execute('select count(*) from dim_airlines').fetchall())"
    )
    done = subprocess.run(
        [sys.executable, "-c", command, project.environment.warehouse], capture_output=True, text=True, timeout=600
    )
    assert done.stdout == "[(0,)]\n", done.stderr
    assert (dict(os.environ), os.getcwd()) == before


@pytest.mark.slow
def test_a_person_runs_dbt_in_its_folder(project: DbtProject, warehouse: Callable[[str], list[Any]]) -> None:
    write_hub(project.environment, "sales", sales(1, 2))
    program = Path(sys.executable).with_name("dbt")
    places = ["--target-path", str(project.artifacts), "--log-path", str(project.artifacts)]
    done = subprocess.run(
        [program, "build", "--select", "dim_stores", "fct_sales", "--exclude-resource-type", "unit_test", *places],
        cwd=DBT_PROJECT,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(project.environment.home),
            "DATAOPS_HOME": str(project.environment.home),
            "PYTHONPATH": str(DBT_PROJECT.parent),
        },
        capture_output=True,
        text=True,
        timeout=3000,
    )
    assert done.returncode == 0, done.stdout
    assert warehouse("select count(*) from fct_sales") == [(2,)]


@pytest.mark.slow
def test_the_project_parses_for_snowflake(project: DbtProject, tmp_path: Path) -> None:
    pytest.importorskip("dbt.adapters.snowflake")
    names = ("ACCOUNT", "USER", "PASSWORD", "ROLE", "WAREHOUSE", "DATABASE")
    settings = {f"SNOWFLAKE_{name}": "given" for name in names}
    places = ["--target-path", str(tmp_path), "--log-path", str(tmp_path)]
    done = subprocess.run(
        [
            Path(sys.executable).with_name("dbt"),
            "compile",
            "--target",
            "snowflake",
            "--no-populate-cache",
            "--no-introspect",
            *("--vars", "metadata_is_copied: true"),
            *places,
        ],
        cwd=DBT_PROJECT,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), **settings},
        capture_output=True,
        text=True,
        timeout=3000,
    )
    assert done.returncode == 0, done.stdout
    compiled = (tmp_path / "compiled/warehouse/models/outputs/flights/fct_flights.sql").read_text()
    assert "date_from_parts(year, month, day) as flight_date" in compiled
    assert "from given.hub.flights_current" in compiled
    losses = (tmp_path / "compiled/warehouse/models/platform/quality_losses.sql").read_text()
    assert "lateral flatten(input => try_parse_json(losses))" in losses
