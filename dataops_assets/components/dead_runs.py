"""Runs as Dagster knows them: which are under way, which ended, and which are dead although Dagster does not know it.

Dagster's launcher on one machine notices a dead run while the code server that started it lives. When both were
killed, the run would stay 'started' for ever, and would hold its place in the queue.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import dagster as dg

# a run that was made and not launched is launched when its run key is requested again
UNDER_WAY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]

_WITH_A_PROCESS = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
# Dagster's own tag: how the code server that started the run is reached. By a socket, it is on this machine, and so is
# the run's process.
_LAUNCHED_BY = ".dagster/grpc_info"
_BOOTED = "btime "
_START_FIELD = 22
# clocks of the two kinds differ by less
_SLACK_SECONDS = 5.0


def end_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Tell Dagster of each run on this machine whose process is gone that it failed; the result are their ids."""
    ended = []
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=_WITH_A_PROCESS)):
        if not json.loads(run.tags.get(_LAUNCHED_BY, "{}")).get("socket"):
            continue
        started = _process_of(instance, run.run_id)
        if started is None or _is_alive(*started):
            continue
        # it may have ended in the meantime
        again = instance.get_run_by_id(run.run_id)
        if again is not None and not again.is_finished:
            instance.report_run_failed(again, f"The process of this run (pid {started[0]}) was killed.")
            ended.append(run.run_id)
    return ended


def _process_of(instance: dg.DagsterInstance, run_id: str) -> tuple[int, float] | None:
    """The process that a run said it is executed by, and when it said so."""
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        event = entry.dagster_event
        pid = event.engine_event_data.metadata.get("pid") if event is not None else None
        if event is not None and pid is not None and "process for run" in (event.message or ""):
            return int(str(pid.value)), entry.timestamp
    return None


def _is_alive(pid: int, seen: float) -> bool:
    """Whether the process that had this id at the time `seen` still lives."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        # it is another user's, so it is another process or one that can be seen only
        return True
    state, began = _state(pid)
    return state != "Z" and (began is None or began <= seen + _SLACK_SECONDS)


def _state(pid: int) -> tuple[str, float | None]:
    """A process's state letter and when it began; nothing where the system does not say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith(_BOOTED))
    except (OSError, StopIteration):
        return "", None
    # the name in brackets and the id before it are cut off
    ticks = int(fields[_START_FIELD - 3])
    return fields[0], int(boot.removeprefix(_BOOTED)) + ticks / os.sysconf("SC_CLK_TCK")
