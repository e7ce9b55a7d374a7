"""Find runs whose process was killed although Dagster shows them as started, and report them as failed.

Dagster's launcher on one machine notices a dead run only while the code server that started it lives. If both were
killed, the run would stay 'started' forever and would keep its place in the queue. The same is true of the runs of a
killed `dataops run`, which no launcher knows.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path

import dagster as dg

from dataops_assets.components.local_runs import forget, killed_runs, noted

KILLED = "The process of this run was killed."

# runs that were created but not launched are missing here: they are launched when their run key is requested again
UNDER_WAY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]

_WITH_A_PROCESS = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
# Dagster's own tag: the address of the code server that started the run. If the address is a socket, the server and the
# run's process are on this machine.
_LAUNCHED_BY = ".dagster/grpc_info"
_STARTS = {dg.DagsterEventType.RUN_STARTING, dg.DagsterEventType.ENGINE_EVENT}
_BOOTED = "btime "
_START_FIELD = 22
# the clocks of the log and of the process table differ by less than this
_SLACK_SECONDS = 5.0


def end_dead_runs(instance: dg.DagsterInstance, lock: Path) -> list[str]:
    """Report each run on this machine whose process is gone as failed, and return the ids of these runs.

    `lock` is what `dataops run` of this home holds: if it is free, the runs that it left unfinished are dead, too.
    """
    ended = _end(instance, lock, killed_runs(lock))
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=_WITH_A_PROCESS)):
        if not json.loads(run.tags.get(_LAUNCHED_BY, "{}")).get("socket"):
            continue
        processes = _processes_of(instance, run.run_id)
        if not processes or any(_is_alive(*process) for process in processes):
            continue
        if _report_failed(instance, run.run_id, f"The process of this run (pid {processes[-1][0]}) was killed."):
            ended.append(run.run_id)
    return ended


def end_runs_left_behind(instance: dg.DagsterInstance, lock: Path) -> None:
    """Report the runs of a killed `dataops run` of this home as failed. Call it only while you hold the lock."""
    _end(instance, lock, noted(lock))


def _end(instance: dg.DagsterInstance, lock: Path, run_ids: Collection[str]) -> list[str]:
    ended = []
    for run_id in run_ids:
        if _report_failed(instance, run_id, KILLED):
            ended.append(run_id)
        forget(lock, run_id)
    return ended


def _report_failed(instance: dg.DagsterInstance, run_id: str, why: str) -> bool:
    """Report a run as failed, and return whether that was needed: it may have ended in the meantime."""
    run = instance.get_run_by_id(run_id)
    if run is None or run.is_finished:
        return False
    instance.report_run_failed(run, why)
    return True


def _processes_of(instance: dg.DagsterInstance, run_id: str) -> list[tuple[int, float]]:
    """Return the id of each process that began to execute a run and the time when it logged this, in order.

    There are several if the code server answered too late: the run went back to the queue and was started again. One of
    them executes the run, and the others end. There are none as long as the last start has not logged its process.
    """
    found, is_begun = [], False
    for entry in instance.all_logs(run_id, of_type=_STARTS):
        event = entry.dagster_event
        if event is None or event.event_type is dg.DagsterEventType.RUN_STARTING:
            is_begun = False
            continue
        pid = event.engine_event_data.metadata.get("pid")
        if pid is not None and "process for run" in (event.message or ""):
            found.append((int(str(pid.value)), entry.timestamp))
            is_begun = True
    return found if is_begun else []


def _is_alive(pid: int, seen: float) -> bool:
    """Return whether the process that had this id at the time `seen` still lives."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        # the process belongs to another user, so its state cannot be read; do not call it dead
        return True
    state, began = _state(pid)
    return state != "Z" and (began is None or began <= seen + _SLACK_SECONDS)


def _state(pid: int) -> tuple[str, float | None]:
    """Return the state letter and the start time of a process; empty if the system does not provide them."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith(_BOOTED))
    except (OSError, StopIteration):
        return "", None
    # the id and the name in brackets, the first two fields, are cut off
    ticks = int(fields[_START_FIELD - 3])
    return fields[0], int(boot.removeprefix(_BOOTED)) + ticks / os.sysconf("SC_CLK_TCK")
