"""Tells multiprocessing, in a code server, to start the client of a preloader instead of an interpreter."""

from __future__ import annotations

import atexit
import json
import multiprocessing
import os
import shutil
import stat
import sys
from multiprocessing import spawn
from pathlib import Path

from dataops_assets.components.warm_start import client, preloader

SWITCH = "DATAOPS_WARM_RUNS"
# limits of the system for the first line of a script, and for the address of a socket
_LONGEST_FIRST_LINE = 120
_LONGEST_ADDRESS = 90
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
    folder = home / "warm" / str(os.getpid())
    if len(os.fsencode(folder)) > _LONGEST_ADDRESS:
        return
    # an earlier process may have had this id
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if os.statvfs(folder).f_flag & os.ST_NOEXEC:
        return
    install(folder, interpreter, project, definitions)


def install(folder: Path, interpreter: str, project: Path, definitions: str) -> Path:
    """Write the client into a folder, let multiprocessing start it, and return it."""
    settings = {
        "python": interpreter,
        "preloader": [interpreter, "-m", preloader.__name__],
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
