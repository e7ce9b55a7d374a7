"""What a process does that writes many events to SQLite: it opens each file once in each thread."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

# in a process of its own, because it is for the rest of the process
_WRITES = """
import json, sqlite3, sys, threading
import sqlalchemy as sa
from sqlalchemy.pool import NullPool
from dataops_assets.components.kept_connections import keep_sqlite_open

opened = []
connect = sqlite3.connect
sqlite3.connect = lambda *given, **options: opened.append(given[0]) or connect(*given, **options)
keep_sqlite_open("NORMAL")
table = sa.Table("t", sa.MetaData(), sa.Column("a", sa.Integer), sa.Column("b", sa.DateTime))

def write(path, values):
    for value in values:
        # as Dagster does it for each event
        with sa.create_engine(f"sqlite:///{path}", poolclass=NullPool).connect() as connection, connection.begin():
            connection.execute(table.insert().values(a=value))

for path in sys.argv[1:]:
    table.create(sa.create_engine(f"sqlite:///{path}", poolclass=NullPool))
for path in sys.argv[1:]:
    write(path, range(20))
    try:
        with sa.create_engine(f"sqlite:///{path}", poolclass=NullPool).connect() as connection:
            connection.execute(table.insert().values(a=99))
            raise ValueError
    except ValueError:
        pass
thread = threading.Thread(target=write, args=(sys.argv[1], range(20, 25)))
thread.start()
thread.join()
with sa.create_engine(f"sqlite:///{sys.argv[1]}", poolclass=NullPool).connect() as connection:
    waits = connection.exec_driver_sql("PRAGMA synchronous").scalar()
print(json.dumps([len(opened), waits]))
"""


def test_files_are_opened_once_a_thread_and_rows_are_all_there(tmp_path: Path) -> None:
    files = [tmp_path / "one.db", tmp_path / "two.db"]
    done = subprocess.run([sys.executable, "-c", _WRITES, *map(str, files)], capture_output=True, text=True, check=True)
    opened, waits = json.loads(done.stdout)
    assert (opened, waits) == (3, 1)
    assert rows(files[0]) == list(range(25))
    # what was not committed is not kept with the connection
    assert rows(files[1]) == list(range(20))


def rows(file: Path) -> list[int]:
    connection = sqlite3.connect(file)
    try:
        return [value for (value,) in connection.execute("SELECT a FROM t ORDER BY a")]
    finally:
        connection.close()
