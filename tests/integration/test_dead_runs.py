"""Runs whose process is gone although Dagster takes them for alive are ended, and their inputs are tried again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import dagster as dg
import pytest
from code_location import CodeLocation, loaded, standalone

# what the process of a run tells when it begins; Dagster has no public way to make such an event
from dagster._core.events import EngineEventData

from dataops_assets.components.dead_runs import end_dead_runs

HERE = {".dagster/grpc_info": json.dumps({"host": "localhost", "socket": "made-up.sock"})}
ELSEWHERE = {".dagster/grpc_info": json.dumps({"host": "code-server", "port": 4000})}
FAILURE, STARTED = dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.STARTED


@dg.op
def work() -> None:
    """Nothing."""


@dg.job
def some_job() -> None:
    """Nothing."""
    work()


@pytest.fixture
def alive() -> Iterator[subprocess.Popen[bytes]]:
    """A process that lives until it is killed."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()


def started(
    instance: dg.DagsterInstance,
    pid: int | None,
    tags: Mapping[str, str] = HERE,
    ago: float = 0.0,
    job: dg.JobDefinition = some_job,
) -> str:
    """A run that a process `pid` said it executes, so many seconds ago."""
    run = instance.create_run_for_job(job, tags=dict(tags), status=STARTED)
    if pid is not None:
        began(instance, run, pid, ago)
    return run.run_id


def began(instance: dg.DagsterInstance, run: dg.DagsterRun, pid: int, ago: float = 0.0) -> None:
    """A process tells, so many seconds ago, that it executes a run."""
    message = f"Started process for run (pid: {pid})."
    event = dg.DagsterEvent(
        dg.DagsterEventType.ENGINE_EVENT.value,
        run.job_name,
        event_specific_data=EngineEventData.in_process(pid),
        message=message,
    )
    instance.handle_new_event(
        dg.EventLogEntry(
            error_info=None,
            level=20,
            user_message=message,
            run_id=run.run_id,
            timestamp=time.time() - ago,
            job_name=run.job_name,
            dagster_event=event,
        )
    )


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """The lock of a home in which nobody ran `dataops run`."""
    return tmp_path / "local" / "automation.lock"


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def test_a_run_whose_process_was_killed_has_failed(
    instance: dg.DagsterInstance, alive: subprocess.Popen[bytes], lock: Path
) -> None:
    run_id = started(instance, alive.pid)
    assert end_dead_runs(instance, lock) == []
    assert status(instance, run_id) == STARTED
    alive.kill()
    # nobody has taken its exit status: it is a zombie
    os.waitid(os.P_PID, alive.pid, os.WEXITED | os.WNOWAIT)
    assert end_dead_runs(instance, lock) == [run_id]
    assert status(instance, run_id) == FAILURE
    messages = [entry.message for entry in instance.all_logs(run_id)]
    assert any(f"The process of this run (pid {alive.pid}) was killed." in message for message in messages)
    assert end_dead_runs(instance, lock) == [], "once is enough"
    alive.wait()
    gone = started(instance, alive.pid)
    assert end_dead_runs(instance, lock) == [gone]


def test_a_process_that_got_the_number_of_a_dead_one_is_another(
    instance: dg.DagsterInstance, alive: subprocess.Popen[bytes], lock: Path
) -> None:
    run_id = started(instance, alive.pid, ago=3600)
    assert end_dead_runs(instance, lock) == [run_id]


@pytest.mark.parametrize("executes", ["first", "second"])
def test_a_run_that_was_started_twice_lives_as_long_as_one_of_its_processes(
    instance: dg.DagsterInstance, alive: subprocess.Popen[bytes], executes: str, lock: Path
) -> None:
    # the code server answered too late: Dagster's queue starts the run again, and one of the two processes ends at once
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    run = instance.create_run_for_job(some_job, tags=HERE, status=dg.DagsterRunStatus.STARTING)
    start = dg.DagsterEvent(dg.DagsterEventType.RUN_STARTING.value, run.job_name)
    first, second = (alive, ended) if executes == "first" else (ended, alive)

    instance.report_dagster_event(start, run.run_id)
    began(instance, run, first.pid)
    instance.report_dagster_event(start, run.run_id)
    assert end_dead_runs(instance, lock) == [], "the second process has not begun"
    began(instance, run, second.pid)
    assert end_dead_runs(instance, lock) == []
    alive.kill()
    alive.wait()
    assert end_dead_runs(instance, lock) == [run.run_id]


def test_what_is_not_known_to_be_dead_is_left_alone(
    instance: dg.DagsterInstance, alive: subprocess.Popen[bytes], lock: Path
) -> None:
    alive.kill()
    alive.wait()
    runs = [started(instance, alive.pid, ELSEWHERE), started(instance, alive.pid, {}), started(instance, None)]
    assert end_dead_runs(instance, lock) == []
    assert {status(instance, run_id) for run_id in runs} == {STARTED}


def test_the_look_that_finds_a_dead_run_asks_for_its_inputs_again(
    instance: dg.DagsterInstance, alive: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    with loaded(standalone()) as definitions:
        here = CodeLocation(definitions, instance, tmp_path)
        here.land("orders", "orders_2024-01-01.csv", "id,customer,amount\n1,1,5\n")
        (request,) = here.tick("orders").run_requests or ()
        (partition,) = here.partitions("orders")
        job = here.repository.get_implicit_global_asset_job_def()
        dead = started(instance, alive.pid, {**request.tags, **HERE}, job=job)
        here.platform.metadata.start("orders", "ingest", [partition], dead)
        assert not here.tick("orders").run_requests, "it is under way"
        alive.kill()
        alive.wait()
        (again,) = here.tick("orders").run_requests or ()
        assert again.run_key != request.run_key
        (process,) = here.platform.metadata.processes("orders")
        assert (process.status, process.error_type) == ("failed", "RunDied")
        assert here.run(again).success
        assert here.rows("hub/orders", "id") == [(1,)]
        assert status(instance, dead) == FAILURE
