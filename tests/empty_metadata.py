"""A metadata database with its tables, made once by each process: migrations take longer than a test."""

from __future__ import annotations

import sqlite3
import tempfile
from functools import cache
from pathlib import Path

from dataops_assets.metadata.store import MetadataStore


@cache
def empty_metadata() -> bytes:
    """The bytes of its file. A process that keeps SQLite open would leave the tables in the log beside it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "metadata.db")
        MetadataStore(f"sqlite:///{path}").migrate()
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        return path.read_bytes()
