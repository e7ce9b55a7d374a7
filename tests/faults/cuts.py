"""Kills a process at its n-th write or commit, so that a test can cut everywhere."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from deltalake import DeltaTable
from sqlalchemy import event
from story import Story, run

from dataops_assets.engines.duckdb import DuckDBSession
from dataops_assets.report import Input
from dataops_assets.storage import delta


class Cut:
    """Counts the operations of this process and kills it at operation `at` (from 1); 0 only counts."""

    def __init__(self, at: int) -> None:
        self._at = at
        self.names: list[str] = []

    def reach(self, name: str, leave: Callable[[], Any] = lambda: None) -> None:
        """An operation is about to happen. Where it is the one to die in, `leave` makes what is left of half of it."""
        self.names.append(name)
        if len(self.names) == self._at:
            leave()
            os.kill(os.getpid(), signal.SIGKILL)

    def install(self) -> None:
        """Put this into all that writes: commits, deletion vectors, data files, checkpoints, raw files, transactions.

        The moment after one operation is, on the disk, the moment before the next: it needs no cut of its own.
        """
        link, write, checkpoint = os.link, DuckDBSession.write, DeltaTable.create_checkpoint
        fsync, rename = os.fsync, Path.replace

        def cut_link(staged: Path, target: Path) -> None:
            kind = "commit" if target.parent.name == "_delta_log" else "deletion vector"
            table = target.parent.parent if kind == "commit" else target.parent
            # what a killed writer leaves: a part of the content under a name that no reader takes
            self.reach(f"{kind} of {_table(table)}", lambda: _halve(staged))
            link(staged, target)

        def cut_write(session: DuckDBSession, query: Any, uri: str, columns: Any) -> Any:
            files = write(session, query, uri, columns)
            self.reach(f"data files of {_table(uri)}", lambda: _halve(*[Path(uri, file.path) for file in files]))
            return files

        def cut_checkpoint(table: DeltaTable) -> None:
            name = _table(table.table_uri)
            self.reach(f"checkpoint of {name}")
            checkpoint(table)
            self.reach(f"half checkpoint of {name}", lambda: _forget_checkpoint(table))

        def cut_fsync(descriptor: int) -> None:
            self.reach("fsync")
            fsync(descriptor)

        def cut_rename(path: Path, target: Path) -> Path:
            kind = "manifest" if target.suffix == ".json" else "object"
            self.reach(f"half {kind}", lambda: _halve(path))
            self.reach(f"rename of {kind}")
            return rename(path, target)

        for owner, name, cut in (
            (os, "link", cut_link),
            (DuckDBSession, "write", cut_write),
            (DeltaTable, "create_checkpoint", cut_checkpoint),
            (os, "fsync", cut_fsync),
            (Path, "replace", cut_rename),
        ):
            # for good: the process has no other life
            setattr(owner, name, cut)
        event.listen(sa.Engine, "commit", lambda _connection: self.reach(f"transaction {len(self.names)}"))


def run_and_die(story: Story, inputs: Sequence[Input], steps: Sequence[str], at: int) -> list[str]:
    """Run steps, and be killed at operation `at`; the result are the operations where there are fewer."""
    delta.CHECKPOINT_EVERY = 2
    story.source_context()
    cut = Cut(at)
    cut.install()
    assert run(story, inputs, steps) == []
    return cut.names


def _halve(*paths: Path) -> None:
    for path in paths:
        os.truncate(path, path.stat().st_size // 2)


def _forget_checkpoint(table: DeltaTable) -> None:
    Path(table.table_uri.removeprefix("file://"), "_delta_log", "_last_checkpoint").unlink()


def _table(uri: Any) -> str:
    return str(uri).rstrip("/").rpartition("/")[2]
