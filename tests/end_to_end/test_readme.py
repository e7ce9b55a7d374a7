"""What README.md tells a newcomer to do is done, in its order, in a fresh copy.

The environment is the one that `make` made for the tests: .ci/run begins with a fresh clone, as a newcomer does.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.error import URLError

import duckdb
import pytest
from live_dagster import PROJECT, free_port, wait_until
from project_copy import project_copy

from dataops_assets.config.environment import environment_from
from dataops_assets.demo import flights, rossmann
from dataops_assets.demo.bad_inputs import bad_inputs
from dataops_assets.engines.duckdb import DuckDBEngine

# What a newcomer waits for at most
SECONDS = 6000
SERVERS = {"make dev"}
# .ci/run runs these commands: a test that runs the tests would never end, and Spark is installed once
ELSEWHERE = {"make test", "make spark"}


def readme() -> str:
    return (PROJECT / "README.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    """Every command that README.md names, in a block or within a sentence, once and in its order."""
    found: list[str] = []
    for match in re.finditer(r"^```sh\n(.*?)^```$|`((?:make|\.venv/bin/\w+) [^`\n]+)`", readme(), re.M | re.S):
        lines = [match[2]] if match[2] else match[1].replace("\\\n", " ").splitlines()
        found += [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return list(dict.fromkeys(found))


def files() -> dict[str, str]:
    """The files that README.md shows: a block of YAML whose first line is a comment with the path."""
    return {match[1]: match[0] for match in re.finditer(r"(?<=^```yaml\n)# (\S+)\n.*?(?=^```$)", readme(), re.M | re.S)}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = project_copy(tmp_path_factory.mktemp("newcomer") / "project")
    (copy / ".venv").symlink_to(sys.prefix, target_is_directory=True)
    # else make would install the copy into the environment of the tests
    run(f"make --question {copy}/.venv/.installed || (echo 'run make setup: the environment is old'; false)", copy)
    return copy


@pytest.fixture(scope="module")
def demonstrated(copy: Path) -> Path:
    """The copy after `make demo`; `demo.txt` beside it is what that printed."""
    (copy.parent / "demo.txt").write_text(run("make demo PORT=4321", copy), encoding="utf-8")
    return copy


def newcomer(folder: Path) -> dict[str, str]:
    """The variables of someone who has never worked here; the package is the one of the folder."""
    ours = ("DAGSTER_", "DATAOPS_", "PYTEST_", "VIRTUAL_ENV", "VENV", "MAKE", "MFLAGS", "DBT_")
    variables = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    active = str(Path(sys.prefix) / "bin")
    variables["PATH"] = os.pathsep.join(part for part in variables["PATH"].split(os.pathsep) if part != active)
    return variables | {"PYTHONPATH": str(folder)}


def run(command: str, folder: Path) -> str:
    """What the command prints."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env=newcomer(folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def serve(command: str, folder: Path) -> None:
    """Start a server, wait until it answers, interrupt it as Ctrl-C does: the whole group at once."""
    port = free_port()
    log = folder.parent / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["bash", "-c", command],
            cwd=folder,
            env=newcomer(folder) | {"PORT": str(port)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def answers() -> bool:
        assert process.poll() is None, log.read_text(errors="replace")[-4000:]
        with suppress(URLError, ConnectionError, TimeoutError):
            return bool(urllib.request.urlopen(f"http://127.0.0.1:{port}/server_info", timeout=60).read())
        return False

    try:
        wait_until(answers, command, 300)
        told = log.read_text(errors="replace")
        assert told.startswith(f"Dagster UI: http://127.0.0.1:{port} "), told[:400]
        assert "Warning: " not in told
    finally:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


FLIGHTS = (
    "year, month, day, dep_time, sched_dep_time, dep_delay, arr_time, sched_arr_time, arr_delay, carrier, flight, "
    "tailnum, origin, dest, air_time, distance, hour, minute, time_hour"
)
SALES = "Store, DayOfWeek, Date, Sales, Customers, Open, Promo, StateHoliday, SchoolHoliday"


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB with the package's flights and the generator's sales as the tables `flights` and `sales`."""
    environment = environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(tmp_path)}, tmp_path)
    (tmp_path / "flights.csv").write_bytes(flights.packaged("flights.csv.zip"))
    with DuckDBEngine(environment).session() as session:
        package = session.connection.read_csv(str(tmp_path / "flights.csv"), na_values=["NA", ""], all_varchar=True)
        package.create("flights")
        session.connection.register("sales", rossmann.sales())
        yield session.connection


@pytest.mark.slow
@pytest.mark.parametrize(("table", "columns", "rows"), [("flights", FLIGHTS, 336_776), ("sales", SALES, 1_017_209)])
def test_the_demo_s_hubs_are_the_true_tables(
    demonstrated: Path, connection: duckdb.DuckDBPyConnection, table: str, columns: str, rows: int
) -> None:
    place = str(demonstrated / ".dataops" / "storage" / "hub" / table)
    connection.sql("SELECT * FROM delta_scan($1)", params=[place]).project(columns).create("hub")
    hub = connection.table("hub")
    casts = [f"CAST({name} AS {kind})" for name, kind in zip(hub.columns, hub.types, strict=True)]
    connection.table(table).project(", ".join(casts)).create("truth")
    assert connection.execute("SELECT count(*) FROM hub").fetchall() == [(rows,)]
    assert connection.execute("SELECT * FROM truth EXCEPT ALL SELECT * FROM hub LIMIT 3").fetchall() == []


@pytest.mark.slow
def test_the_demo_says_what_is_wrong_and_where_to_look(demonstrated: Path) -> None:
    told = (demonstrated.parent / "demo.txt").read_text(encoding="utf-8")
    for bad in bad_inputs():
        assert Path(bad.path).name in told, bad.trouble
    ends = told.rpartition("\nsource ")[2]
    counts = {words[0]: words[1:7] for words in map(str.split, ends.splitlines()) if len(words) > 7}
    assert counts["weather"][-2:] == ["0", "1"], "a validation keeps a row out"
    assert counts["sales"][2:] == ["5", "0", "3", "0"]
    assert ends.count("failed  input") == 5
    assert "make dev, then http://127.0.0.1:4321" in ends


@pytest.mark.slow
def test_the_demo_again_changes_nothing(demonstrated: Path) -> None:
    def state() -> dict[str, bytes]:
        storage = demonstrated / ".dataops" / "storage"
        return {str(path.relative_to(storage)): path.read_bytes() for path in storage.rglob("*.json")}

    before = state()
    told = run("make demo", demonstrated)
    assert told.count("nothing to do") >= 5
    assert "done in" not in told
    assert state() == before


@pytest.mark.slow
def test_every_command_works(demonstrated: Path) -> None:
    copy = demonstrated
    for command in commands():
        if command not in SERVERS | ELSEWHERE | {"make demo"}:
            run(command, copy)
    for path, text in files().items():
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        (copy / path).write_text(text, encoding="utf-8")
    run(".venv/bin/dg check defs", copy)
    for command in SERVERS:
        serve(command, copy)


def test_ci_runs_what_the_readme_says() -> None:
    assert {"make demo", "make dev", "make test"} <= set(commands())
    assert files()
    ci = (PROJECT / ".ci" / "run").read_text().splitlines()
    assert all(command in ci for command in ELSEWHERE)
    # the environment of a fresh clone, before anything else is there
    assert next(line for line in ci if line.startswith("make ")) == "make setup"


def test_what_the_readme_points_at_is_there() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", readme()):
        assert (PROJECT / target).exists(), target
