"""SIGTERM and SIGINT end a command in order, also if a script started it in the background."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def obeying_signals() -> Iterator[Callable[[], None]]:
    """Let SIGTERM and SIGINT interrupt this process, also if a script started it in the background.

    A shell lets a background process of a script ignore SIGINT, and Dagster does with SIGTERM what is done with SIGINT.
    During a run Dagster takes the signals, and the run fails. So call the yielded function before the next run: it
    raises KeyboardInterrupt if a signal came.
    """
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    woken = signal.set_wakeup_fd(write, warn_on_full_buffer=False)

    def stop_if_told() -> None:
        with suppress(BlockingIOError):
            if set(os.read(read, 4096)) & set(_SIGNALS):
                raise KeyboardInterrupt

    for number in _SIGNALS:
        signal.signal(number, signal.default_int_handler)
    try:
        yield stop_if_told
        stop_if_told()
    finally:
        signal.set_wakeup_fd(woken)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(read)
        os.close(write)
