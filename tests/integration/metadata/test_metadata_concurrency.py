"""Many processes and threads on one database, and processes that are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from metadata_examples import an_input, source

from dataops_assets.metadata import tables
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.report import CheckOutcome, InputReport, StepReport

PROJECT = Path(__file__).parents[3]
PROCESSES = 3
ROUNDS = 6

WORKER = """
import json, sys
from metadata_examples import an_input, source
from test_metadata_concurrency import work
print(json.dumps(work(sys.argv[1], sys.argv[2])))
"""
KILLED_WHILE_RUNNING = """
import os, signal, sys
from metadata_examples import an_input
from dataops_assets.metadata.store import MetadataStore
MetadataStore(sys.argv[1]).start("sales", "parse", [an_input(0).input_id], "killed")
os.kill(os.getpid(), signal.SIGKILL)
"""
KILLED_WHILE_WRITING = """
import os, signal, sys
import sqlalchemy as sa
from dataops_assets.metadata import tables
from dataops_assets.metadata.database import Database
with Database(sys.argv[1]).write("being killed") as connection:
    connection.execute(tables.inputs.update().values(origin="half written"))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def work(url: str, worker: str) -> list[str]:
    """What one process does: migrate, register, and run a step over inputs that others take too. Gives its new ids."""
    store = MetadataStore(url)
    store.migrate()
    store.contracts.register(source())
    inputs = [an_input(number) for number in range(40)]
    # each process meets the inputs in an order of its own
    turned = inputs[int(worker) * 11 :] + inputs[: int(worker) * 11]
    new = store.register_inputs("sales", turned)
    ids = [item.input_id for item in turned]
    check = CheckOutcome("lake/sales", "volume", True, "warn", "fine")
    for number in range(ROUNDS):
        run = f"{worker}/{number}"
        store.start("sales", "parse", ids, run)
        done = tuple(InputReport(input_id, {"rows": 1}, checks=(check,)) for input_id in ids)
        store.finish("sales", StepReport("parse", "lake/sales", done, 1, 1, {}, 0.1), run)
    return new


def _python(program: str, *arguments: str) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(PROJECT), str(Path(__file__).parent)])
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _assert_all_is_counted_once(url: str, workers: int, new: list[list[str]]) -> None:
    store = MetadataStore(url)
    ids = sorted(item.input_id for item in store.inputs("sales"))
    # each input was new to exactly one
    assert sorted(input_id for some in new for input_id in some) == ids
    assert len(ids) == 40
    processes = store.processes("sales")
    assert [process.attempts for process in processes] == [workers * ROUNDS] * 40
    # the last to start is the one that counts, and it has finished
    assert {process.status for process in processes} == {"done"}
    assert len(store.check_results("sales")) == workers * ROUNDS * 40
    with sa.create_engine(url, poolclass=sa.NullPool).connect() as connection:
        assert connection.execute(sa.select(tables.contracts.c.version)).scalars().all() == [1]


def test_processes_that_all_begin_with_an_empty_database(empty_url: str) -> None:
    running = [_python(WORKER, empty_url, str(number)) for number in range(PROCESSES)]
    ended = [process.communicate(timeout=1200) for process in running]
    assert [process.returncode for process in running] == [0] * PROCESSES, ended
    _assert_all_is_counted_once(empty_url, PROCESSES, [json.loads(output) for output, _ in ended])


def test_threads_that_all_begin_with_an_empty_database(empty_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        new = list(pool.map(lambda number: work(empty_url, str(number)), range(4)))
    _assert_all_is_counted_once(empty_url, 4, new)


@pytest.mark.parametrize("program", [KILLED_WHILE_RUNNING, KILLED_WHILE_WRITING])
def test_a_killed_process_is_in_nobodys_way(store: MetadataStore, url: str, program: str) -> None:
    item = an_input(0)
    store.contracts.register(source())
    store.register_inputs("sales", [item])
    killed = _python(program, url)
    _, errors = killed.communicate(timeout=600)
    assert killed.returncode == -signal.SIGKILL, errors
    store.start("sales", "parse", [item.input_id], "retry")
    done = StepReport("parse", "lake/sales", (InputReport(item.input_id),), 1, 1, {}, 0.1)
    store.finish("sales", done, "retry")
    (process,) = store.processes("sales")
    assert (process.status, process.attempts) == ("done", 2 if program == KILLED_WHILE_RUNNING else 1)
    assert store.inputs("sales") == [item]


def test_readers_read_the_last_commit_while_one_writes(store: MetadataStore, url: str) -> None:
    store.contracts.register(source())
    writing, read = threading.Event(), threading.Event()

    def write() -> None:
        with store._database.write("holding the lock") as connection:
            connection.execute(tables.sources.update().values(area="not yet"))
            writing.set()
            assert read.wait(20)

    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(write)
        assert writing.wait(20)
        # the same declaration is found unchanged, so nothing is written and nothing waits
        assert MetadataStore(url).contracts.register(source()) == 1
        read.set()
        writer.result(20)
