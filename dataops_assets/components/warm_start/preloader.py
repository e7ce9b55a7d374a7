"""Loads the code location once, and forks for each run that a client asks for.

It ends when the code server has ended, and when the project has changed since it was loaded. Its forks go on then. A
fork belongs to one client: Dagster takes the client for the run, so the fork ends at once if the client is killed.
"""

from __future__ import annotations

import fcntl
import gc
import json
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Set
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from multiprocessing import spawn
from pathlib import Path
from typing import Any

import dagster as dg

from dataops_assets.components.forking import end_idle_threads, end_with, has_threads, import_without_threads
from dataops_assets.components.kept_connections import keep_sqlite_open
from dataops_assets.components.project_state import FileState, other_modules, project_files

STALE = "stale\n"
_MOST_FILES = 250
_SECONDS_TO_ASK = 5.0
_FIRST_FREE = 3
# what runs import besides what a load imports; pandas is what Arrow imports when it makes the first array
_USED_BY_RUNS = ("alembic.command", "deltalake", "duckdb", "pandas", "pyarrow.parquet")


def main(folder: Path) -> None:
    """Load what the settings of the folder name, then serve forks until the code server ends."""
    settings = json.loads((folder / "settings.json").read_text())
    project = Path(settings["project"])
    variables, files = dict(os.environ), project_files(project)
    # a fork has its own way to handle an interrupt from the terminal
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    owner = os.pidfd_open(settings["owner"])
    # a fork would lack other threads, and what these lock would stay locked
    if _load(settings) != project or has_threads():
        return
    modules = other_modules()
    gc.collect()
    gc.freeze()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(folder / "unready"))
    listener.listen(64)
    (folder / "unready").rename(folder / "socket")
    preloader = _Preloader(listener, owner, lambda: _is_same(project, files, modules), variables)
    request = preloader.serve()
    if request is not None:
        request.do()


def _load(settings: dict[str, Any]) -> Path:
    """Import what the code server has imported, load the definitions as a run does, and return their project."""
    import_without_threads()
    for name in settings["modules"]:
        with suppress(ImportError):
            import_module(name)
    module, _, attribute = settings["definitions"].partition(":")
    loaded = import_module(module)
    definitions = getattr(loaded, attribute)
    definitions()
    for name in _USED_BY_RUNS:
        import_module(name)
    # again, because imports can set variables that a load depends on
    repository = definitions().get_repository_def()
    repository.load_all_definitions()
    repository.get_implicit_global_asset_job_def()
    loaded.prepare_runs()
    with dg.DagsterInstance.local_temp() as instance:
        # what Dagster reads and compiles for the first instance of a process
        instance.get_runs(limit=1)
    end_idle_threads()
    return Path(loaded.PROJECT)


def _is_same(project: Path, files: Set[FileState], modules: Set[FileState]) -> bool:
    return project_files(project) == files and other_modules() == modules


@dataclass(frozen=True)
class _Request:
    """A request of a client: the arguments of multiprocessing, the folder of the run, and the client's inherited files.

    `numbers` are the numbers that the files have in the client, `files` the numbers of the same files here.
    """

    asked: dict[str, Any]
    numbers: tuple[int, ...]
    files: tuple[int, ...]
    connection: socket.socket

    def do(self) -> None:
        """Become the process that multiprocessing wanted to start. Ends this process."""
        kept = _moved(self.numbers, self.files, self.connection.detach())
        threading.Thread(target=end_with, args=(kept,), daemon=True).start()
        if not self.asked["ignores_interrupts"]:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(self.asked["folder"])
        keep_sqlite_open("NORMAL")
        sys.argv = ["-c", "--multiprocessing-fork"]
        spawn.spawn_main(tracker_fd=self.asked["tracker_fd"], pipe_handle=self.asked["pipe_handle"])


def _moved(numbers: tuple[int, ...], files: tuple[int, ...], connection: int) -> int:
    """Give the files the numbers that they have in the client and close all others; return the connection's number."""
    free = max((*numbers, _FIRST_FREE)) + 1
    parked = [fcntl.fcntl(file, fcntl.F_DUPFD, free) for file in files]
    kept = fcntl.fcntl(connection, fcntl.F_DUPFD_CLOEXEC, free)
    for number in map(int, os.listdir("/proc/self/fd")):
        if number >= _FIRST_FREE and number not in (*parked, kept):
            with suppress(OSError):
                os.close(number)
    for number, file in zip(numbers, parked, strict=True):
        os.dup2(file, number)
        os.close(file)
    return kept


@dataclass
class _Preloader:
    """Serves clients. `owner` is a file that is ready when the code server has ended."""

    listener: socket.socket
    owner: int
    is_same: Callable[[], bool]
    variables: dict[str, str]
    # by the file that is ready when the fork has ended
    forks: dict[int, tuple[int, socket.socket]] = field(default_factory=dict)

    def serve(self) -> _Request | None:
        """Return None when there is nothing left to serve, and the request in each fork."""
        while True:
            waiting = select.poll()
            for file in (self.listener.fileno(), self.owner, *self.forks):
                waiting.register(file, select.POLLIN)
            ready = {file for file, _ in waiting.poll()}
            if self.owner in ready:
                return None
            for file in ready & set(self.forks):
                self._tell_end(file)
            if self.listener.fileno() in ready:
                connection, _ = self.listener.accept()
                request = _received(connection)
                if request is None:
                    connection.close()
                elif request.asked["variables"] != self.variables or not self.is_same():
                    _tell(connection, STALE)
                    return None
                elif self._fork(request):
                    return request

    def _fork(self, request: _Request) -> bool:
        """Fork; return whether this is the fork."""
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            # the fork closes all files by number
            self.listener.detach()
            for _, connection in self.forks.values():
                connection.detach()
            return True
        self.forks[os.pidfd_open(pid)] = pid, request.connection
        for file in request.files:
            os.close(file)
        _tell(request.connection, f"{pid}\n")
        return False

    def _tell_end(self, file: int) -> None:
        pid, connection = self.forks.pop(file)
        os.close(file)
        _, status = os.waitpid(pid, 0)
        _tell(connection, f"{os.waitstatus_to_exitcode(status)}\n")
        connection.close()


def _received(connection: socket.socket) -> _Request | None:
    """Return the request of a client; None if the client was killed while it asked."""
    connection.settimeout(_SECONDS_TO_ASK)
    try:
        start, files, _, _ = socket.recv_fds(connection, 1, _MOST_FILES)
        read = start
        while start and b"\n" not in read:
            start = connection.recv(1)
            read += start
        length = int(read or b"0")
        text = b""
        while start and len(text) < length:
            start = connection.recv(length - len(text))
            text += start
    except OSError:
        return None
    finally:
        connection.settimeout(None)
    if not start:
        for file in files:
            os.close(file)
        return None
    asked = json.loads(text)
    return _Request(asked, tuple(asked.pop("files")), tuple(files), connection)


def _tell(connection: socket.socket, text: str) -> None:
    # a client that was killed needs no answer
    with suppress(OSError):
        connection.sendall(text.encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
