"""A copy that is put back is the whole warehouse, and no part of a lost or killed one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import duckdb
import pytest

from dataops_assets.engines.warehouse_copies import copy_to, put_back, remove_leftovers
from dataops_assets.errors import StorageError


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    """A warehouse with one row, and with a second one that is only in DuckDB's log; `copy` has the first alone."""
    made = tmp_path / "warehouse[1].duckdb"
    with duckdb.connect(str(made)) as writer:
        writer.execute("CREATE TABLE t AS SELECT 1 AS k")
    assert copy_to(made, tmp_path / "copy")
    with duckdb.connect(str(made)) as writer:
        writer.execute("PRAGMA disable_checkpoint_on_shutdown")
        writer.execute("INSERT INTO t VALUES (2)")
    assert made.with_name(f"{made.name}.wal").exists()
    return made


def keys(warehouse: Path) -> list[int]:
    with duckdb.connect(str(warehouse), read_only=True) as reader:
        return [key for (key,) in reader.execute("SELECT k FROM t ORDER BY k").fetchall()]


@pytest.mark.parametrize("is_lost", [False, True])
def test_the_log_of_an_old_or_lost_warehouse_is_not_applied_to_a_copy(warehouse: Path, is_lost: bool) -> None:
    if is_lost:
        warehouse.unlink()
    put_back(warehouse.with_name("copy"), warehouse)
    assert keys(warehouse) == [1]


def test_a_damaged_warehouse_is_told_with_what_to_do(warehouse: Path) -> None:
    warehouse.write_bytes(b"damaged")
    with pytest.raises(StorageError, match=r"move it and warehouse\[1\]\.duckdb\.wal away; then roll back"):
        put_back(warehouse.with_name("copy"), warehouse)


def test_what_a_killed_rollback_left_is_removed(warehouse: Path) -> None:
    before = set(os.listdir(warehouse.parent))
    child = os.fork()
    if child == 0:
        copyfile = shutil.copyfile
        shutil.copyfile = lambda *files: (copyfile(*files), os._exit(9))
        put_back(warehouse.with_name("copy"), warehouse)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert set(os.listdir(warehouse.parent)) > before
    remove_leftovers(warehouse)
    assert set(os.listdir(warehouse.parent)) == before
