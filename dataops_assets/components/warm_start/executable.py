"""Tells multiprocessing, in a code server, to start the client of a preloader instead of an interpreter."""

from __future__ import annotations

import atexit
import fcntl
import json
import multiprocessing
import os
import shutil
import stat
import sys
import tempfile
from multiprocessing import spawn
from pathlib import Path

from dataops_assets.components.warm_start import client, preloader

SWITCH = "DATAOPS_WARM_RUNS"
# limits of the system for the first line of a script, and for the address of a socket
_LONGEST_FIRST_LINE = 120
_LONGEST_HOME = 70
# Dagster waits a minute for the process of a run to begin
_PATIENCE_SECONDS = 30.0
# the file whose lock says that the code server of the folder is alive
_OWNER = "owner"
_CODE_SERVER = ["api", "grpc"]


def start_runs_warm(project: Path, home: Path, definitions: str) -> None:
    """Let this code server's runs be forks of a process that has loaded `definitions` ('module:attribute').

    Does nothing in other processes, where it was done already, where the system cannot do it, and where
    DATAOPS_WARM_RUNS is 'off'. Then each run starts an interpreter of its own. The client is in the folder `home`:
    a system cleans its folder of temporary files, and without the client no run would start.
    """
    # a run's process is told the arguments of the code server that started it
    is_server = sys.argv[1:3] == _CODE_SERVER and multiprocessing.parent_process() is None
    if not is_server or os.environ.get(SWITCH) == "off" or not _is_possible():
        return
    interpreter = os.fsdecode(spawn.get_executable())
    if len(os.fsencode(home)) > _LONGEST_HOME:
        return
    folder = own_folder(home / "warm")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if os.statvfs(folder).f_flag & os.ST_NOEXEC:
        return
    install(folder, interpreter, project, definitions)


def own_folder(parent: Path) -> Path:
    """Make a folder for this process, and remove those of processes that were killed.

    Each process holds a lock of its folder, which ends with the process. Process ids would not do: containers that
    share a volume have ids of their own.
    """
    parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    turn = os.open(parent / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(turn, fcntl.LOCK_EX)
        for other in parent.glob("*/"):
            lock = client.lock_of(other / _OWNER)
            if lock is not None:
                shutil.rmtree(other, ignore_errors=True)
                os.close(lock)
        folder = Path(tempfile.mkdtemp(prefix="", dir=parent))
        client.lock_of(folder / _OWNER)
    finally:
        os.close(turn)
    return folder


def install(
    folder: Path, interpreter: str, project: Path, definitions: str, patience_seconds: float = _PATIENCE_SECONDS
) -> Path:
    """Write the client into a folder, let multiprocessing start it, and return it.

    A run becomes an interpreter of its own if no preloader answers within `patience_seconds`.
    """
    settings = {
        "python": interpreter,
        "preloader": [interpreter, "-m", preloader.__name__],
        "patience_seconds": patience_seconds,
        "project": str(project),
        "definitions": definitions,
        "owner": os.getpid(),
        # those of Dagster's server that no load imports
        "modules": sorted(name for name in sys.modules if name.startswith("dagster") and "__main__" not in name),
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    started = folder / "python"
    started.write_text(f"{_first_line(interpreter)}\n{Path(client.__file__).read_text()}")
    started.chmod(started.stat().st_mode | stat.S_IXUSR)
    multiprocessing.set_executable(str(started))
    return started


def _is_possible() -> bool:
    interpreter = os.fsdecode(spawn.get_executable())
    if not hasattr(os, "pidfd_open") or interpreter != sys.executable or " " in interpreter:
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        return False
    return len(_first_line(interpreter)) <= _LONGEST_FIRST_LINE


def _first_line(interpreter: str) -> str:
    return f"#!{interpreter} -I"
