"""A queue of runs does the jobs of different names side by side in forks, and outlives the death of a fork."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dataops_assets.components.run_queue import RunQueue

# in a process of its own, because the process of the tests has threads, and forks only without
_QUEUE = """
import json, multiprocessing, os, signal, sys, time
from pathlib import Path
from dataops_assets.components.forking import import_without_threads

import_without_threads()
from dataops_assets.components.run_queue import RunQueue

folder = Path(sys.argv[1])
os.cpu_count = lambda: 2

def do(job):
    name, text = job
    (folder / text).write_text(str(os.getpid()))
    if text == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if text.startswith("wait for"):
        while not (folder / text.removeprefix("wait for ")).exists():
            time.sleep(0.005)
    return [text, os.getpid() == own]

def main():
    global own
    own = os.getpid()
    begun = []
    begin, lost = lambda job: begun.append(job[1]), lambda job: [job[1], "lost"]
    with RunQueue(do, begin, lost, side_by_side=True, meanwhile=lambda: begun.append("meanwhile")) as queue:
        for fork in multiprocessing.active_children() if sys.argv[3:] == ["idle forks die"] else ():
            fork.kill()
            fork.join()
        for name, texts in json.loads(sys.argv[2]).items():
            queue.add(name, [(name, text) for text in texts])
        done = []
        while queue.names:
            done.append(queue.next())
    print(json.dumps([begun, done]), flush=True)

if sys.argv[3:] == ["daemonic"]:
    process = multiprocessing.get_context("fork").Process(target=main, daemon=True)
    process.start()
    process.join()
else:
    main()
"""


def started(folder: Path, jobs: dict[str, list[str]], *more: str) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", _QUEUE, str(folder), json.dumps(jobs), *more]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def results(folder: Path, jobs: dict[str, list[str]], *more: str) -> tuple[list[str], list[list[object]]]:
    begun, done = json.loads(started(folder, jobs, *more).communicate(timeout=60)[0])
    return begun, done


def test_jobs_of_different_names_are_done_side_by_side_and_those_of_one_name_in_order(tmp_path: Path) -> None:
    # each waits for one that the other process does
    jobs = {"a": ["wait for b2", "a2"], "b": ["b1", "b2", "wait for a2"], "c": ["c"]}
    begun, done = results(tmp_path, jobs)
    for texts in jobs.values():
        assert [text for text in begun if text in texts] == texts
        assert [text for text, _ in done if text in texts] == texts
    assert begun.index("b1") < begun.index("c")
    assert not any(is_here for _, is_here in done)
    assert begun.count("meanwhile") == 1


def test_the_job_of_a_killed_fork_is_lost_and_the_others_are_done(tmp_path: Path) -> None:
    _, done = results(tmp_path, {"a": ["die", "after"], "b": ["b"]})
    assert sorted(done) == [["after", False], ["b", False], ["die", "lost"]]
    # without any fork this process does the rest
    _, done = results(tmp_path, {"a": ["die", "die", "after"]})
    assert done == [["die", "lost"], ["die", "lost"], ["after", True]]


def test_forks_that_were_killed_while_idle_lose_the_job_they_would_get(tmp_path: Path) -> None:
    _, done = results(tmp_path, {"a": ["one", "two"], "b": ["three"]}, "idle forks die")
    assert sorted(done) == [["one", "lost"], ["three", "lost"], ["two", True]]


def test_a_process_that_may_have_no_children_does_the_jobs_itself(tmp_path: Path) -> None:
    begun, done = results(tmp_path, {"a": ["one", "two"], "b": ["three"]}, "daemonic")
    assert "meanwhile" not in begun
    assert sorted(done) == [["one", True], ["three", True], ["two", True]]


def test_forks_end_with_their_process(tmp_path: Path) -> None:
    process = started(tmp_path, {"a": ["wait for ever"], "b": ["wait for nothing"]})
    files = [tmp_path / "wait for ever", tmp_path / "wait for nothing"]
    pids = [int(until(lambda file=file: file.exists() and file.read_text())) for file in files]
    process.kill()
    process.communicate()
    for pid in pids:
        until(lambda pid=pid: not is_alive(pid))


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # nobody in a container may wait for it, so that it stays as a zombie
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def until(found: object) -> str:
    assert callable(found)
    while not (value := found()):
        time.sleep(0.01)
    return str(value)


@pytest.mark.parametrize("side_by_side", [False, True])
def test_a_process_with_threads_does_the_jobs_itself(side_by_side: bool) -> None:
    pids: list[int] = []
    # the process of the tests has threads
    with RunQueue(lambda _: pids.append(os.getpid()), lambda _: None, lambda _: None, side_by_side) as queue:
        queue.add("a", ["one", "two"])
        queue.add("b", ["three"])
        while queue.names:
            queue.next()
    assert pids == [os.getpid()] * 3
