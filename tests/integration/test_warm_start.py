"""Processes of runs are forks of a preloader, and behave as the interpreters that they stand for.

The code location is a small one that is made here. One script spawns processes as Dagster's code server does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dataops_assets.components.warm_start.executable import own_folder

LOCATION = """
from pathlib import Path

PROJECT = Path(__file__).parent
VALUE = 1
KEPT = []


class Repository:
    def load_all_definitions(self): pass
    def get_implicit_global_asset_job_def(self): pass


class Definitions:
    def get_repository_def(self): return Repository()


def defs():
    return Definitions()


def prepare_runs():
    KEPT.append(True)
"""
SERVER = """
import json, multiprocessing, os, signal, sys, tempfile, time
from pathlib import Path

def work(queue, how):
    import made_location
    command = Path("/proc/self/cmdline").read_text()
    files = os.listdir("/proc/self/fd")
    queue.put([os.getpid(), "preloader" in command, made_location.VALUE, os.getcwd(), files, made_location.KEPT])
    # the queue's thread sends it
    queue.close()
    queue.join_thread()
    if how == "exit":
        sys.exit(7)
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "wait":
        time.sleep(600)

def spawned(how):
    queue = context.Queue()
    process = context.Process(target=work, args=(queue, how))
    process.start()
    return process, queue.get()

def ended(pid):
    for _ in range(3000):
        if not Path(f"/proc/{pid}").exists() or ") Z " in Path(f"/proc/{pid}/stat").read_text():
            return True
        time.sleep(0.02)
    return False

def preloaders():
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
            command = (process / "cmdline").read_text()
        except OSError:
            continue
        if str(folder) in command and "warm_start.preloader" in command:
            found.append((int(process.name), int(parent)))
    return [pid for pid, parent in found if parent not in {one for one, _ in found}]

if __name__ == "__main__":
    from dataops_assets.components.warm_start.executable import install
    folder, told = Path(sys.argv[1]), {}
    location = Path(sys.argv[2])
    # a busy machine may take minutes to load
    install(folder, sys.executable, location, "made_location:defs", patience_seconds=900)
    context = multiprocessing.get_context("spawn")
    for how in ("return", "exit", "killed"):
        process, seen = spawned(how)
        process.join()
        told[how] = [*seen[1:], process.exitcode]
    process, seen = spawned("wait")
    process.kill()
    process.join()
    told["client killed"] = [seen[1], process.exitcode, ended(seen[0])]
    (preloader,) = preloaders()
    process, seen = spawned("wait")
    os.kill(preloader, signal.SIGKILL)
    ended(preloader)
    told["preloader killed"] = [seen[1], process.is_alive()]
    process.kill()
    told["preloader killed"] += [ended(seen[0])]
    process, seen = spawned("return")
    process.join()
    told["new preloader"] = [seen[1], process.exitcode]
    file = location / "dataops_assets" / "made_location.py"
    file.write_text(file.read_text().replace("VALUE = 1", "VALUE = 22"))
    process, seen = spawned("return")
    process.join()
    told["changed"] = [*seen[1:3], process.exitcode]
    os.environ["ANOTHER"] = "value"
    process, seen = spawned("return")
    process.join()
    told["variable"] = [*seen[1:3], process.exitcode]
    file.write_text(file.read_text() + "\\nif 'warm_start' in __import__('sys').argv[0]: raise ValueError")
    process, seen = spawned("return")
    process.join()
    told["cold"] = [*seen[1:3], process.exitcode]
    told["preloaders"] = len(preloaders())
    print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the server saw, by what it tried."""
    place = tmp_path_factory.mktemp("warm")
    (place / "dataops_assets").mkdir()
    (place / "dataops_assets" / "made_location.py").write_text(
        LOCATION.replace("Path(__file__).parent", "Path(__file__).parents[1]")
    )
    (place / "server.py").write_text(SERVER)
    (place / "runs").mkdir()
    project = Path(__file__).resolve().parents[2]
    variables = os.environ | {"PYTHONPATH": f"{place / 'dataops_assets'}{os.pathsep}{project}"}
    command = [sys.executable, str(place / "server.py"), str(place / "runs"), str(place)]
    done = subprocess.run(command, env=variables, cwd=place, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stderr
    return {**json.loads(done.stdout), "place": str(place)}


@pytest.mark.parametrize(("how", "code"), [("return", 0), ("exit", 7), ("killed", -9)])
def test_a_run_is_a_fork_and_ends_as_a_process_of_its_own_would(told: dict[str, Any], how: str, code: int) -> None:
    is_fork, value, folder, _, kept, exit_code = told[how]
    assert (is_fork, value, folder, kept, exit_code) == (True, 1, told["place"], [True], code)


def test_a_fork_has_only_the_files_of_its_own_run(told: dict[str, Any]) -> None:
    counts = {len(told[how][3]) for how in ("return", "exit", "killed")}
    assert max(counts) < 20, told
    assert len(counts) == 1, told


def test_a_fork_ends_with_its_client_and_not_with_the_preloader(told: dict[str, Any]) -> None:
    assert told["client killed"] == [True, -9, True]
    assert told["preloader killed"] == [True, True, True]
    assert told["new preloader"] == [True, 0]


def test_a_changed_file_or_variable_is_loaded(told: dict[str, Any]) -> None:
    assert told["changed"] == [True, 22, 0]
    assert told["variable"] == [True, 22, 0]


def test_what_a_preloader_cannot_load_runs_cold(told: dict[str, Any]) -> None:
    assert told["cold"] == [False, 22, 0]
    assert told["preloaders"] == 0


def test_a_code_server_removes_the_folders_of_killed_ones_and_no_others(tmp_path: Path) -> None:
    """Not even of one with its own process id, as in another container."""
    other = (
        "import sys; from pathlib import Path; from dataops_assets.components.warm_start.executable import own_folder; "
    )
    script = f"{other} print(own_folder(Path(sys.argv[1])), flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", script, str(tmp_path / "warm")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as alive:
        assert alive.stdout is not None
        theirs = Path(alive.stdout.readline().strip())
        ours = own_folder(tmp_path / "warm")
        assert theirs.is_dir()
        alive.kill()
    own_folder(tmp_path / "warm")
    assert not theirs.exists()
    assert ours.is_dir()
