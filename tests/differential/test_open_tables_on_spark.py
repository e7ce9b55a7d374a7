"""Delta Lake's own reader finds the rows of our tables, whatever was done to them, and by either engine."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from delta_readers import bag, bag_of
from table_story import OPERATIONS, Story

from dataops_assets.engines.base import Engine
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.engines.spark import SparkEngine
from dataops_assets.storage import delta

STEPS = 24


@pytest.mark.parametrize("writer", ["duckdb", "spark"])
def test_delta_lake_finds_the_rows_after_every_operation(
    writer: str, spark: SparkEngine, duckdb: DuckDBEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delta, "CHECKPOINT_EVERY", 2)
    engines: dict[str, Engine] = {"duckdb": duckdb, "spark": spark}
    chance = random.Random(7)
    drawn = [(operation, seed) for seed, operation in enumerate(("append", "evolve", "append", *OPERATIONS))]
    drawn += [(chance.choice(OPERATIONS), chance.randrange(1000)) for _ in range(STEPS - len(drawn))]
    story = Story(str(tmp_path / "table"), engines[writer])
    with spark.session() as session:
        for operation, seed in drawn:
            story.do(operation, seed)
            found = session.spark.read.format("delta").load(story.table.uri).toArrow()
            assert bag_of(found, list(story.columns)) == bag(story.shown()), operation
