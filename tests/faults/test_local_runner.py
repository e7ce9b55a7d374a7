"""The runner of the demonstration, killed in a run: the next one goes on where it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from story import begin, in_child

from dataops_assets.components.local import local_runner
from dataops_assets.components.local_runs import alone, cursor_of, lock_of
from dataops_assets.components.status import source_status
from dataops_assets.engines.duckdb import DuckDBSession
from dataops_assets.errors import ConfigError
from dataops_assets.operations.signals import obeying_signals

sys.path.append(str(Path(__file__).parents[1] / "integration"))
from code_location import CodeLocation, loaded, standalone

HEADER = "id,customer,amount\n"


def run_what_is_due(home: Path) -> list[Any]:
    """Rows of the hub, and how each run ended, once nothing is due any more."""
    with loaded(standalone()) as definitions, dg.DagsterInstance.get() as instance:
        here = CodeLocation(definitions, instance, home)
        cursor = cursor_of(here.environment)
        with local_runner(lambda: here.definitions, cursor, lambda _: None) as runner:
            assert all(run.succeeded for run in runner.run_new_inputs())
            with pytest.raises(ConfigError, match="another process does this already"):
                local_runner(lambda: here.definitions, cursor, lambda _: None).__enter__()
        return [here.rows("hub/orders", "id", "amount"), sorted(run.status.value for run in instance.get_runs())]


def told_of_a_wrong_rule(home: Path) -> str:
    """The error of a load that Dagster wraps in one that shows a tree of folders."""
    wrong = standalone()
    wrong["validations"] = [{"name": "sane", "expression": "amountt > 0"}]

    def load() -> dg.Definitions:
        with loaded(wrong) as definitions:
            return definitions

    with pytest.raises(ConfigError) as told:
        local_runner(load, home / "cursor", lambda _: None).__enter__()
    assert told.value.__cause__ is None
    return str(told.value)


def test_a_wrong_declaration_is_told_in_its_own_words(landed: Path, tmp_path: Path) -> None:
    # a runner keeps SQLite open for its whole process
    told = in_child(told_of_a_wrong_rule, landed, answer=tmp_path / "answer")
    assert "has no column or rule 'amountt', did you mean 'amount'" in told


def die_at_the_first_write(home: Path) -> None:
    # for good: the process has no other life
    DuckDBSession.write = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]
    run_what_is_due(home)


@pytest.fixture
def landed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home with a Dagster instance and three files."""
    dagster_home = tmp_path / "dagster"
    dagster_home.mkdir()
    (dagster_home / "dagster.yaml").write_text("telemetry: {enabled: false}\nnux: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(dagster_home))
    landing = tmp_path / "landing" / "orders"
    landing.mkdir(parents=True)
    for day in (1, 2, 3):
        (landing / f"orders_2024-01-0{day}.csv").write_text(f"{HEADER}{day},7,{day}\n")
    return tmp_path


def be_interrupted_at_the_first_write(home: Path, number: signal.Signals) -> str:
    """A script starts it in the background, so that SIGINT is ignored; return how it ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    write = DuckDBSession.write

    def interrupted(*given: Any) -> Any:
        os.kill(os.getpid(), number)
        return write(*given)

    DuckDBSession.write = interrupted  # type: ignore[method-assign]
    try:
        with (
            loaded(standalone()) as definitions,
            obeying_signals() as stop_if_told,
            local_runner(
                lambda: CodeLocation(definitions, dg.DagsterInstance.get(), home).definitions,
                home / "cursor",
                lambda _: stop_if_told(),
            ) as runner,
        ):
            list(runner.run_new_inputs())
    except KeyboardInterrupt:
        return "interrupted"
    return "it went on"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_runner_that_a_script_started_obeys_signals(landed: Path, tmp_path: Path, number: signal.Signals) -> None:
    assert in_child(be_interrupted_at_the_first_write, landed, number, answer=tmp_path / "how") == "interrupted"
    rows, ends = in_child(run_what_is_due, landed, answer=tmp_path / "answer")
    assert rows == [(1, 1.0), (2, 2.0), (3, 3.0)]
    # what was interrupted is tried again in halves
    assert ends == ["FAILURE", "SUCCESS", "SUCCESS"]


def test_what_a_killed_runner_left_under_way_is_done_by_the_next(landed: Path, tmp_path: Path) -> None:
    killed = begin(die_at_the_first_write, landed)
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    rows, ends = in_child(run_what_is_due, landed, answer=tmp_path / "answer")
    assert rows == [(1, 1.0), (2, 2.0), (3, 3.0)]
    # what was killed is tried again in halves
    assert ends == ["FAILURE", "SUCCESS", "SUCCESS"]


def looked_at_by_a_daemon(home: Path) -> list[Any]:
    """Rows of the hub after the looks of a daemon, which finds a run of a killed runner."""
    with loaded(standalone()) as definitions, dg.DagsterInstance.get() as instance:
        (dead,) = instance.get_runs()
        here, elsewhere = (CodeLocation(definitions, instance, place) for place in (home, home / "elsewhere"))

        def ended() -> bool:
            run = instance.get_run_by_id(dead.run_id)
            assert run is not None
            return run.is_finished

        def shown() -> set[tuple[str, bool]]:
            found = source_status(here.platform.source_context(here.sources["orders"].source, {})).inputs
            return {(item.state, f"run {dead.run_id} was killed" in item.message) for item in found}

        elsewhere.tick("orders")
        assert not ended(), "the run belongs to another home"
        with alone(lock_of(here.environment)):
            assert not here.tick("orders").run_requests
            assert not ended(), "a runner is alive"
            assert shown() == {("running", False)}
        assert shown() == {("to do", True)}
        requests = here.tick("orders", seen_late=True).run_requests
        assert ended()
        assert all(here.run(request).success for request in requests)
        return here.rows("hub/orders", "id", "amount")


def test_a_daemon_ends_the_run_of_a_killed_runner_and_tries_its_inputs_again(landed: Path, tmp_path: Path) -> None:
    killed = begin(die_at_the_first_write, landed)
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    rows = in_child(looked_at_by_a_daemon, landed, answer=tmp_path / "answer")
    assert rows == [(1, 1.0), (2, 2.0), (3, 3.0)]


# in a process without threads, which may have forks
_SIDE_BY_SIDE = """
import json, os, signal, sys
from pathlib import Path
from dataops_assets.components.forking import import_without_threads

import_without_threads()
os.cpu_count = lambda: 2
import dagster as dg
from code_location import CodeLocation, loaded, standalone
from dataops_assets.components.local import local_runner
from dataops_assets.engines.duckdb import DuckDBSession

home, own = Path(sys.argv[1]), os.getpid()
write = DuckDBSession.write

def killed_once(*given):
    if os.getpid() != own and not (home / "killed").exists():
        (home / "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return write(*given)

DuckDBSession.write = killed_once
with loaded(standalone(), standalone() | {"name": "returns"}) as definitions, dg.DagsterInstance.get() as instance:
    here = CodeLocation(definitions, instance, home)
    with local_runner(lambda: here.definitions, home / "cursor", lambda _: None) as runner:
        failures = [list(run.failures) for run in runner.run_new_inputs() if not run.succeeded]
    rows = [here.rows(f"hub/{name}", "id", "amount") for name in ("orders", "returns")]
    print(json.dumps([failures, rows, sorted(run.status.value for run in instance.get_runs())]))
"""


def test_a_killed_fork_loses_its_run_alone_which_is_tried_again(landed: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SIDE_BY_SIDE, str(landed)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "integration")},
        capture_output=True,
        text=True,
        check=True,
    )
    failures, rows, ends = json.loads(done.stdout.splitlines()[-1])
    assert (landed / "killed").exists()
    assert failures == [["The process of this run was killed."]]
    assert rows == [[[1, 1.0], [2, 2.0], [3, 3.0]]] * 2
    # one in each half, and the other source's run
    assert ends == ["FAILURE", "SUCCESS", "SUCCESS", "SUCCESS"]
