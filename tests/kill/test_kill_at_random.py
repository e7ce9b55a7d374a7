"""kill -9 of any process at any time while the daemon works: at rest, all tables are those of a clean run.

The processes are a daemon with its code server and its runs, and what restarts the daemon when it is gone. After a
few kills of each kind the killing goes on for DATAOPS_KILL_SECONDS; which dies when: DATAOPS_KILL_SEED. It takes
minutes, so it runs by hand: `make kill`.
"""

from __future__ import annotations

import datetime as dt
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from dataops_assets.config.environment import environment_from
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.sql import query
from dataops_assets.storage.delta import Table

sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("end_to_end", "faults")]
from first_delivery import DAYS, INPUTS, history_file, landing_files
from live_dagster import PROJECT, environment
from story import in_child

SECONDS = float(os.environ.get("DATAOPS_KILL_SECONDS", "0"))
SEED = int(os.environ.get("DATAOPS_KILL_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
# how long it may take until everything is at rest: a limit for a fault, not a measure
AT_MOST = 1800.0
# these come first, in any order: all that a short test has time for
FIRST = [("run", "code server"), ("daemon",), ("run",)]
ANY = [*FIRST, ("code server",), ("run",), ("run",), ("daemon", "code server", "run")]
# seconds without a run, after which there is more to do
ENOUGH = 45.0
LAST_DAY = dt.date.fromisoformat(DAYS[-1])
DAEMON = ("dagster-daemon", "run", "--workspace", "workspace.yaml")
LAYERS = ("lake/{}", "lake/{}_changes", "hub/{}_enriched", "hub/{}", "hub/{}_current")
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
Tables = dict[str, list[str]]


def land(home: Path, path: str, content: bytes) -> None:
    """Put a file into a landing folder as a whole."""
    target = home / "landing" / path
    target.parent.mkdir(parents=True, exist_ok=True)
    made = home / "arriving"
    made.write_bytes(content)
    # so that all deployments see the same versions, which have settled
    os.utime(made, (1_700_000_000, 1_700_000_000))
    made.rename(target)


def prepare(home: Path, files: Mapping[str, bytes]) -> dict[str, str]:
    """A deployment below `home` with files in its landing folder; its variables."""
    for path, content in files.items():
        home.mkdir(exist_ok=True)
        land(home, path, content)
    (home / "dagster").mkdir()
    (home / "dagster" / "dagster.yaml").write_bytes((PROJECT / "deploy" / "local" / "dagster.yaml").read_bytes())
    return environment(home)


def run_undisturbed(home: Path, variables: dict[str, str]) -> None:
    """Everything that is due, in this process."""
    os.environ.update(variables)
    from dataops_assets.components.local import local_runner
    from dataops_assets.definitions import defs

    with local_runner(defs, home / "automation.json", lambda _: None) as runner:
        runs = [*runner.run_new_inputs(), *runner.run_automation()]
    assert all(run.succeeded for run in runs), [run.failures for run in runs]


def tables_of(variables: dict[str, str]) -> Tables:
    """The rows of all tables, those of the warehouse included, as sorted texts."""
    settings = environment_from(variables, PROJECT)
    found: Tables = {}
    with DuckDBEngine(settings).session() as session:
        for key in (layer.format(source) for source in INPUTS for layer in LAYERS):
            snapshot = Table(f"{settings.storage}/{key}").snapshot()
            if snapshot is not None:
                rows = session.fetch(query("SELECT * FROM $t AS t", t=session.scan(snapshot))).to_pylist()
                found[key] = sorted(repr(sorted(row.items())) for row in rows)
    if not Path(settings.warehouse).exists():
        return found
    # a copy, because a reader would keep a build away
    copy = shutil.copy(settings.warehouse, Path(settings.home) / "seen.duckdb")
    with duckdb.connect(str(copy), read_only=True) as connection:
        tables = connection.sql(
            # which build made a table is another thing in each deployment
            "SELECT schema_name || '.' || table_name FROM duckdb_tables() "
            "WHERE NOT internal AND NOT temporary AND schema_name <> 'dataops'"
        ).fetchall()
        for (name,) in tables:
            relation = connection.table(name)
            names = relation.columns
            rows = [dict(zip(names, row, strict=True)) for row in relation.fetchall()]
            found[name] = sorted(repr(sorted(row.items())) for row in rows)
    return found


def processes_of(home: Path) -> dict[str, list[int]]:
    """The processes of a deployment by their kind: only these have its folder in their environment."""
    found: dict[str, list[int]] = {"daemon": [], "code server": [], "run": [], "other": []}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            variables, command = (folder / "environ").read_bytes(), (folder / "cmdline").read_bytes().decode()
        except OSError:
            continue
        if f"DATAOPS_HOME={home}\0".encode() not in variables + b"\0":
            continue
        if "dagster-daemon" in command:
            found["daemon"].append(int(folder.name))
        elif "\0api\0grpc" in command:
            found["code server"].append(int(folder.name))
        elif "spawn_main" in command or "forkserver" in command or "warm_start.preloader" in command:
            # a client, the preloader or one of its forks, or an interpreter of a run's own
            found["run"].append(int(folder.name))
        else:
            # such as dbt, which goes on when its run is dead
            found["other"].append(int(folder.name))
    return found


@contextmanager
def deployment(home: Path, variables: dict[str, str]) -> Iterator[Any]:
    """A function that starts the daemon where it is gone; at the end nothing of it is left."""
    started: list[Any] = []

    def keep_up() -> None:
        if not started or started[-1].poll() is not None:
            log = (home / f"daemon-{len(started)}.log").open("wb")
            started.append(
                subprocess.Popen(
                    [str(Path(sys.executable).parent / DAEMON[0]), *DAEMON[1:]],
                    cwd=PROJECT,
                    env=variables,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
            )

    try:
        yield keep_up
    finally:
        for _ in range(3):
            for pids in processes_of(home).values():
                for pid in pids:
                    kill(pid)
            for process in started:
                process.wait(10)


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the processes to kill in /proc")
def test_whatever_is_killed_all_tables_come_to_what_a_clean_run_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sys.stdout.write(f"DATAOPS_KILL_SECONDS={SECONDS:g} DATAOPS_KILL_SEED={SEED}\n")
    chance = random.Random(SEED)
    clean, home = tmp_path / "clean", tmp_path / "killed"
    files = dict(landing_files())
    variables = prepare(home, files)
    monkeypatch.setenv("DAGSTER_HOME", variables["DAGSTER_HOME"])
    killed: Counter[str] = Counter()
    with deployment(home, variables) as keep_up:
        keep_up()
        strikes = chance.sample(FIRST, len(FIRST))
        end = time.monotonic() + SECONDS
        while strikes or time.monotonic() < end:
            kinds = strikes.pop() if strikes else chance.choice(ANY)
            # what there is to harm are runs; the others die in the middle of one, or at any other time
            if "run" in kinds or strikes or chance.random() < 0.5:
                wait_for_a_run(home, keep_up, files)
            time.sleep(chance.uniform(0, 5))
            for kind in kinds:
                for pid in processes_of(home)[kind][:1]:
                    kill(pid)
                    killed[kind] += 1
            keep_up()
        sys.stdout.write(f"killed: {dict(killed)}; {len(files)} files\n")
        # meanwhile, the other comes to rest
        in_child(run_undisturbed, clean, prepare(clean, files), answer=tmp_path / "answer")
        expected = in_child(tables_of, environment(clean), answer=tmp_path / "answer")
        assert {"hub/flights", "hub/flights_current"} <= set(expected)
        assert {"main.fct_flights", "main.flight_delays_daily"} <= set(expected)
        seen: Tables = {}

        def is_right() -> bool:
            if left_to_do(variables, files):
                return False
            seen.clear()
            seen.update(in_child(tables_of, variables, answer=tmp_path / "answer"))
            return seen == expected

        def state() -> str:
            wrong = [name for name in sorted({*expected, *seen}) if expected.get(name) != seen.get(name)]
            return f"after {dict(killed)} with seed {SEED} these differ: {wrong}; {left_to_do(variables, files)}"

        wait_until(is_right, keep_up, state, pause=3)


def wait_for_a_run(home: Path, keep_up: Any, files: dict[str, bytes]) -> None:
    """Wait until a run is there to be killed; where there is nothing left to do, another day arrives.

    In a short test it has begun: that one died before it could say who it is, Dagster finds out after minutes.
    """
    later = time.monotonic() + ENOUGH

    def is_there() -> bool:
        nonlocal later
        if processes_of(home)["run"] and (SECONDS or runs_in([dg.DagsterRunStatus.STARTED])):
            return True
        if time.monotonic() > later:
            later = time.monotonic() + ENOUGH
            path = f"flights/flights/flights_{LAST_DAY + dt.timedelta(days=len(files) - sum(INPUTS.values()) + 1)}.csv"
            files[path] = history_file(path)
            land(home, path, files[path])
        return False

    wait_until(is_there, keep_up, lambda: f"a run of {len(files)} files")


def runs_in(statuses: list[dg.DagsterRunStatus]) -> Sequence[dg.DagsterRun]:
    """Runs of the deployment that DAGSTER_HOME names."""
    with dg.DagsterInstance.get() as instance:
        return instance.get_runs(filters=dg.RunsFilter(statuses=statuses))


def left_to_do(variables: dict[str, str], files: dict[str, bytes]) -> list[str]:
    """What of a deployment is not at rest, or not as it is after a clean run."""
    found = [f"run {run.run_id} is {run.status.value}" for run in runs_in(UNFINISHED)]
    url = environment_from(variables, PROJECT).metadata_url
    if not Path(url.removeprefix("sqlite:///")).exists():
        return [*found, "nothing was looked at"]
    metadata = MetadataStore(url)
    inputs = {source: len(metadata.inputs(source)) for source in INPUTS}
    if sum(inputs.values()) != len(files):
        found.append(f"{len(files)} files and inputs {inputs}")
    return found + [
        f"{source}: {item.step} of {item.input_id} is {item.status}: {item.error}"
        for source in INPUTS
        for item in metadata.processes(source)
        if item.status != "done"
    ]


def wait_until(found: Any, keep_up: Any, what: Callable[[], str], pause: float = 0.2) -> None:
    deadline = time.monotonic() + AT_MOST
    while not found():
        assert time.monotonic() < deadline, f"{what()}: not within {AT_MOST:g} s"
        time.sleep(pause)
        keep_up()
