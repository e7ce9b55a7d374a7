"""A bit that a disk turned in the warehouse's file is found, and a sound file has no damage."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from command_line import dataops

from dataops_assets.config.environment import environment_from
from dataops_assets.config.source import Source
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.engines.duckdb_file import examine_file
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.steps.source_context import SourceContext


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    """A file with tables in two schemas, one with a name that must be quoted, and a view of a file that is gone."""
    path = tmp_path / "warehouse.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE \"a b\" AS SELECT range AS n, 'x' || range AS t FROM range(100000)")
        connection.execute("CREATE SCHEMA hub; CREATE TABLE hub.small AS SELECT 1 AS a")
        connection.execute("CREATE VIEW seen AS SELECT * FROM hub.small; DROP TABLE hub.small")
    return path


def test_a_sound_file_and_no_file_have_no_damage(warehouse: Path) -> None:
    assert examine_file(warehouse, deep=True) == []
    assert examine_file(warehouse.with_name("none.duckdb"), deep=True) == []
    assert not warehouse.with_name("none.duckdb").exists()


def test_a_single_turned_bit_is_found(warehouse: Path) -> None:
    content, chance = warehouse.read_bytes(), random.Random(1)
    for _ in range(20):
        damaged, bit = bytearray(content), chance.randrange(8 * len(content))
        damaged[bit // 8] ^= 1 << bit % 8
        warehouse.write_bytes(damaged)
        assert examine_file(warehouse, deep=True), bit


def test_a_file_that_another_process_writes_is_not_examined(warehouse: Path) -> None:
    writes = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", writes, str(warehouse)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"open\n"
        assert examine_file(warehouse, deep=True) == []
        writer.communicate()


def test_doctor_names_the_file_and_says_what_to_do(warehouse: Path) -> None:
    environment = environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(warehouse.parent)}, warehouse.parent)
    fields = {"area": "tests", "connection": {"type": "files", "path": "x_*.csv"}, "refresh": {"type": "append"}}
    source = Source.model_validate({"name": "things", "columns": [{"name": "id"}], **fields})
    metadata = MetadataStore(environment.metadata_url)
    metadata.migrate()
    context = SourceContext(environment, source, {"things": source}, DuckDBEngine(environment), metadata)

    def told(*words: str) -> list[dict[str, str]]:
        ended = dataops([context], "doctor", "--deep", "--json", *words)
        found: list[dict[str, str]] = ended.data
        assert ended.code == (1 if found else 0)
        return found

    assert told() == []
    warehouse.write_bytes(b"\0" * 4096 + warehouse.read_bytes()[4096:])
    (finding,) = told()
    assert finding["place"] == "warehouse.duckdb"
    assert "materialize the warehouse's assets" in finding["next_step"]
    # who asks for one source asks for its tables
    assert told("things") == []
