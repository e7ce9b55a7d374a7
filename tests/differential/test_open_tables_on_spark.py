"""Delta Lake's own reader finds the rows of our tables after every kind of operation, by either engine.

Operations in any order, with other readers: `tests/properties/test_open_tables.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from delta_readers import bag, bag_of
from table_story import OPERATIONS, Story

from dataops_assets.engines.base import Engine
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.engines.spark import SparkEngine
from dataops_assets.storage import delta


@pytest.mark.parametrize("writer", ["duckdb", "spark"])
def test_delta_lake_finds_the_rows_after_every_operation(
    writer: str, spark: SparkEngine, duckdb: DuckDBEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delta, "CHECKPOINT_EVERY", 2)
    engines: dict[str, Engine] = {"duckdb": duckdb, "spark": spark}
    drawn = [(operation, seed) for seed, operation in enumerate(("append", "evolve", *OPERATIONS))]
    story = Story(str(tmp_path / "table"), engines[writer])
    with spark.session() as session:
        for operation, seed in drawn:
            before = (story.table.newest(), list(story.columns), bag(story.shown())) if seed == 2 else None
            story.do(operation, seed)
            found = session.spark.read.format("delta").load(story.table.uri).toArrow()
            assert bag_of(found, list(story.columns)) == bag(story.shown()), operation
            if before is not None:
                # as a release is read
                version, columns, rows = before
                assert version is not None
                as_of = session.spark.read.format("delta").option("versionAsOf", version.version)
                assert bag_of(as_of.load(story.table.uri).toArrow(), columns) == rows
