"""Keeps SQLite connections open, so that a run that writes thousands of events does not open one for each event.

For each event, Dagster opens a connection and commits. To do so for each one, and to wait for the disk each time, takes
longer than the work of the run.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import sqlalchemy as sa


def keep_sqlite_open(synchronous: Literal["OFF", "NORMAL"]) -> None:
    """Keep connections open from now on in this process, for all SQLite databases of SQLAlchemy.

    `synchronous` is SQLite's setting. With NORMAL, which keeps the file whole, a power cut can lose the last events; a
    sensor reports lost ones again. With OFF, a power cut can damage the file.
    """
    sa.event.listen(sa.Engine, "do_connect", _kept_open)
    sa.event.listen(sa.Engine, "connect", _NEVER_WAITS if synchronous == "OFF" else _SELDOM_WAITS)


def _with(setting: str) -> Callable[[Any, Any], None]:
    def configure(connection: Any, _record: Any) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute(setting)

    return configure


_NEVER_WAITS, _SELDOM_WAITS = _with("PRAGMA synchronous = OFF"), _with("PRAGMA synchronous = NORMAL")


# file, process and thread: a fork must not use a connection of the process that it comes from
_Place = tuple[str, int, int]


class _KeptOpen(sqlite3.Connection):
    """A SQLite connection that `close` keeps open for its next use in the process and thread that opened it."""

    free: ClassVar[dict[_Place, list[_KeptOpen]]] = defaultdict(list)
    place: _Place

    def close(self) -> None:
        """Roll back the open transaction and keep the connection for its next use."""
        self.rollback()
        self.free[self.place].append(self)


def _kept_open(dialect: sa.Dialect, _record: Any, arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
    if dialect.name != "sqlite" or not arguments or arguments[0] in ("", ":memory:"):
        return None
    place = (str(arguments[0]), os.getpid(), threading.get_ident())
    if _KeptOpen.free[place]:
        return _KeptOpen.free[place].pop()
    made = sqlite3.connect(*arguments, **options, factory=_KeptOpen)
    made.place = place
    return made
