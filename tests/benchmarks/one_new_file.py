"""One new file to the warehouse: this project beside what a user would do instead. By hand: `make benchmark-new-file`.

Grain of the output: one line a way, with the median and all values in seconds, and the ratio to the first line. All get
the same files of flights, one day each: ten to begin with, and then one at a time.

* *daemon*: from the start of the run to the materialization of the model, below the real daemon. Gates, history of
  inputs, checks, lineage and the look-ups of five sources are on.
* *dataops run*: the process from its start to its end.
* *dlt and dbt*: a process with a pipeline that reads new files and merges them by key, then `dbt build` of two models
  with three tests.
* *SQLMesh*: a run of a model by unique key that reads the new file, and of two models above it, with three audits.

The peers are started cold, as a scheduler starts them, in the environment of peers.txt.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from first_delivery import history_file, landing_files
from latency import LONGEST, event_time
from live_dagster import environment, live_dagster, wait_until
from project_copy import project_copy

PEERS = Path(os.environ["PEERS_PYTHON"]).parent
FIRST = 10
KEY = ("time_hour", "carrier", "flight")
FACTS = """SELECT make_date(year, month, day) AS flight_date, time_hour, carrier, flight, tailnum,
  origin, dest, dep_delay, arr_delay,
  CASE WHEN dep_time IS NULL THEN 'cancelled' WHEN arr_delay >= 15 THEN 'late' ELSE 'on time' END AS outcome"""
DAILY = """SELECT flight_date, origin, carrier, count(*) AS flights, count(*) FILTER (outcome = 'late') AS late,
  avg(dep_delay) AS mean_delay"""
DLT = """
import sys
import dlt
from dlt.sources.filesystem import filesystem, read_csv_duckdb

files = filesystem(bucket_url=sys.argv[1], file_glob="*.csv", incremental=dlt.sources.incremental("modification_date"))
rows = (files | read_csv_duckdb(use_pyarrow=True, na_values="NA")).with_name("flights")
rows.apply_hints(write_disposition="merge", primary_key=["time_hour", "carrier", "flight"])
pipeline = dlt.pipeline(
    "flights", pipelines_dir="dlt", destination=dlt.destinations.duckdb("warehouse.duckdb"), dataset_name="raw"
)
pipeline.run(rows)
"""

SQLMESH = """
import sys
from pathlib import Path
from sqlmesh import Context

is_first = not Path("state.duckdb").exists()
context = Context(paths=".")
if is_first:
    context.plan(auto_apply=True, no_prompts=True, execution_time=sys.argv[1])
elif not context.run(execution_time=sys.argv[1]).is_success:
    sys.exit("it failed")
"""


def day(number: int) -> str:
    """The day of a file, from 1."""
    return f"2013-01-{number:02}"


def write(folder: Path, files: dict[str, str]) -> None:
    """Write files below a folder."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def dbt_project(home: Path) -> None:
    """Two models above the table that dlt merges, with three tests."""
    output = {"type": "duckdb", "path": str(home / "warehouse.duckdb"), "threads": 2}
    flags = {"send_anonymous_usage_stats": False}
    tests = [{"name": column, "data_tests": ["not_null"]} for column in KEY]
    write(
        home,
        {
            "pipeline.py": DLT,
            "dbt_project.yml": json.dumps({"name": "peer", "profile": "peer", "flags": flags}),
            "profiles.yml": json.dumps({"peer": {"target": "d", "outputs": {"d": output}}}),
            "models/facts.sql": "{{ config(materialized='table') }}\n" + FACTS + " FROM raw.flights",
            "models/daily.sql": "{{ config(materialized='table') }}\n"
            + DAILY
            + " FROM {{ ref('facts') }} GROUP BY ALL",
            "models/schema.yml": json.dumps({"version": 2, "models": [{"name": "facts", "columns": tests}]}),
        },
    )


def by_dlt(home: Path) -> None:
    """Run the pipeline, then dbt."""
    quiet = {**os.environ, "RUNTIME__DLTHUB_TELEMETRY": "false"}
    run([str(PEERS / "python"), "pipeline.py", str(home / "files")], home, quiet)
    run([str(PEERS / "dbt"), "--quiet", "build", "--profiles-dir", "."], home, quiet)


def sqlmesh_project(home: Path) -> None:
    """A model by unique key that reads the files of one folder, and two models above it."""
    gateway = {
        "connection": {"type": "duckdb", "database": str(home / "warehouse.duckdb")},
        "state_connection": {"type": "duckdb", "database": str(home / "state.duckdb")},
    }
    config = {
        "gateways": {"g": gateway},
        "default_gateway": "g",
        "model_defaults": {"dialect": "duckdb", "start": "2013-01-01"},
        "disable_anonymized_analytics": True,
    }
    key = ", ".join(KEY)
    audits = f"audits (not_null(columns := ({key})))"
    kind = f"kind INCREMENTAL_BY_UNIQUE_KEY (unique_key ({key}))"
    write(
        home,
        {
            "run.py": SQLMESH,
            "config.yaml": json.dumps(config),
            "models/flights.sql": f"MODEL (name raw.flights, {kind}, cron '@daily');\n"
            f"SELECT * FROM read_csv('{home / 'new' / '*.csv'}', nullstr = 'NA')",
            "models/facts.sql": f"MODEL (name w.facts, {kind}, cron '@daily', {audits});\n{FACTS} FROM raw.flights",
            "models/daily.sql": f"MODEL (name w.daily, kind FULL, cron '@daily');\n{DAILY} FROM w.facts "
            "GROUP BY flight_date, origin, carrier",
        },
    )


def by_sqlmesh(home: Path) -> None:
    """Run what is due, a day after the last time: a plan at first."""
    days = len(list((home / "files").glob("*.csv")))
    run([str(PEERS / "python"), "run.py", f"2013-02-{days:02}"], home, dict(os.environ))


def run(command: Sequence[str], folder: Path, variables: dict[str, str]) -> None:
    """Run a command; its output is shown if it fails."""
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")


def of_peer(home: Path, make: Callable[[Path], None], act: Callable[[Path], None], times: int) -> list[float]:
    """Seconds for each new file."""
    home.mkdir()
    make(home)
    seconds = []
    (home / "new").mkdir()
    for number in range(1, FIRST + times + 1):
        content = history_file(f"flights/flights/flights_{day(number)}.csv")
        # SQLMesh's user moves what was read away
        for old in (home / "new").glob("*.csv") if number > FIRST else ():
            old.unlink()
        for folder in (home / "files", home / "new"):
            folder.mkdir(exist_ok=True)
            (folder / f"flights_{day(number)}.csv").write_bytes(content)
        if number >= FIRST:
            started = time.monotonic()
            act(home)
            seconds.append(time.monotonic() - started)
    return seconds[1:]


def of_daemon(home: Path, project: Path, times: int) -> list[float]:
    """Seconds from the start of the run to the materialization of the model, for each new file."""
    seconds = []
    with live_dagster(home, project=project) as server:
        for path, content in first_files().items():
            server.land(path, content)
        wait_until(
            lambda: server.materializations("warehouse/flight_delays_daily"), "the first delivery is in", LONGEST
        )
        wait_until(server.is_quiet, "the last run ends", LONGEST)
        for number in range(FIRST + 1, FIRST + times + 1):
            began = time.time()
            path = f"flights/flights/flights_{day(number)}.csv"
            server.land(path, history_file(path))
            made = wait_until(
                lambda began=began: event_time(server, "warehouse/flight_delays_daily", began),
                "the warehouse has it",
                LONGEST,
            )
            wait_until(server.is_quiet, "the last run ends", LONGEST)
            seconds.append(made - min(one["startTime"] for one in server.runs() if one["startTime"] > began))
    return seconds


def of_command(home: Path, project: Path, times: int) -> list[float]:
    """Seconds of `dataops run` for each new file."""
    variables = environment(home, PYTHONPATH=str(project))
    # it makes the instance of its home
    del variables["DAGSTER_HOME"]
    files = first_files()
    for source in ("sales", "stores"):
        # a folder that is missing would be told, with exit code 1
        (home / "landing" / "rossmann" / source).mkdir(parents=True)
    seconds = []
    for number in range(FIRST, FIRST + times + 1):
        path = f"flights/flights/flights_{day(number)}.csv"
        files = files if number == FIRST else {path: history_file(path)}
        write_bytes(home / "landing", files)
        started = time.monotonic()
        run([str(Path(sys.executable).parent / "dataops"), "run"], project, variables)
        seconds.append(time.monotonic() - started)
    return seconds[1:]


def first_files() -> dict[str, bytes]:
    """What the flights look up, and their first days."""
    days = [f"flights/flights/flights_{day(number)}.csv" for number in range(1, FIRST + 1)]
    return {**landing_files(), **{path: history_file(path) for path in days}}


def write_bytes(folder: Path, files: dict[str, bytes]) -> None:
    """Write files below a landing folder that have settled."""
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
        os.utime(folder / path, (1_700_000_000, 1_700_000_000))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    times = parser.parse_args().times
    with tempfile.TemporaryDirectory() as text:
        place = Path(text)
        project = project_copy(place / "project")
        ways = {
            "daemon, from the start of the run": lambda: of_daemon(place / "daemon", project, times),
            "dataops run, cold": lambda: of_command(place / "command", project, times),
            "dlt and dbt build, cold": lambda: of_peer(place / "dlt", dbt_project, by_dlt, times),
            "SQLMesh, cold": lambda: of_peer(place / "sqlmesh", sqlmesh_project, by_sqlmesh, times),
        }
        base = 0.0
        for what, act in ways.items():
            seconds = act()
            middle = statistics.median(seconds)
            base = base or middle
            told = ", ".join(f"{one:.1f}" for one in seconds)
            print(f"{what:<40}{middle:>6.1f}  x{middle / base:.2f}  {told}", flush=True)


if __name__ == "__main__":
    main()
