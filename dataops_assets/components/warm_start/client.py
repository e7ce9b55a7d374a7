"""The process that Dagster starts for a run: it asks the preloader for a fork that does the work, and ends with it.

It is copied to a folder of the code server and started there with `python -I`, so it imports the standard library only.
The folder has the preloader's socket, and `settings.json`: the command that starts a preloader, and the seconds to wait
for it.

If there is no preloader within some seconds, or the arguments are not as expected, this process becomes the interpreter
that multiprocessing wanted to start.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

FOLDER = Path(__file__).resolve().parent
# what multiprocessing gives to a process that it spawns
_SPAWN = re.compile(r"from multiprocessing\.spawn import spawn_main; spawn_main\(tracker_fd=(\d+), pipe_handle=(\d+)\)")
_MOST_STARTS = 2


def main(arguments: list[str]) -> None:
    """Let a fork of the preloader run the command in the arguments, and exit with its exit code."""
    settings = json.loads((FOLDER / "settings.json").read_text())
    asked = next(filter(None, map(_SPAWN.fullmatch, arguments)), None)
    found = _fork(settings, _request(asked)) if asked else None
    if found is None:
        os.execv(settings["python"], [settings["python"], *arguments])  # noqa: S606  the interpreter that was asked for
    connection, pid = found
    # an interrupt from the terminal reaches the fork, too: it decides what to do
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(pid, signal.SIGTERM))
    _end(int(_line(connection) or 1))


def _request(asked: re.Match[str]) -> dict[str, Any]:
    return {
        "tracker_fd": int(asked[1]),
        "pipe_handle": int(asked[2]),
        "folder": str(Path.cwd()),
        "variables": dict(os.environ),
        "ignores_interrupts": signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
    }


def _fork(settings: dict[str, Any], request: dict[str, Any]) -> tuple[socket.socket, int] | None:
    """Return the connection to a fork, with its process id; None if no preloader answers in time."""
    deadline = time.monotonic() + settings["patience_seconds"]
    starts = 0
    while time.monotonic() < deadline:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        answer = _answer(connection, request)
        if answer.isdigit():
            return connection, int(answer)
        connection.close()
        # the preloader has it as long as it lives
        lock = lock_of(FOLDER / "lock")
        if lock is not None and starts == _MOST_STARTS:
            # it ends before it answers, as where a declaration is wrong: the cold process will tell why
            os.close(lock)
            return None
        if lock is not None:
            starts += 1
            _start(settings["preloader"], lock)
        time.sleep(0.02)
    return None


def _answer(connection: socket.socket, request: dict[str, Any]) -> str:
    """Send the request with all inherited files, and return the answer; empty if there is no preloader."""
    files = [number for number in map(int, os.listdir("/proc/self/fd")) if _is_inherited(number)]
    text = json.dumps({**request, "files": files}).encode()
    try:
        connection.connect(str(FOLDER / "socket"))
        socket.send_fds(connection, [f"{len(text)}\n".encode()], files)
        connection.sendall(text)
        return _line(connection)
    except OSError:
        return ""


def _is_inherited(number: int) -> bool:
    try:
        return os.get_inheritable(number)
    except OSError:
        # the number that the listing itself had
        return False


def _start(preloader: list[str], lock: int) -> None:
    """Start a preloader. It keeps the lock, which shows that there is one."""
    (FOLDER / "socket").unlink(missing_ok=True)
    subprocess.Popen([*preloader, str(FOLDER)], pass_fds=[lock], stdin=subprocess.DEVNULL)  # noqa: S603  our own command
    os.close(lock)


def lock_of(file: Path) -> int | None:
    """Take the lock of a file until this process ends; None if another process has it."""
    lock = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _line(connection: socket.socket) -> str:
    read = b""
    while not read.endswith(b"\n"):
        try:
            part = connection.recv(1)
        except ConnectionResetError:
            part = b""
        if not part:
            return ""
        read += part
    return read.decode().strip()


def _end(code: int) -> NoReturn:
    if code < 0:
        # the parent sees the signal that ended the fork
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
