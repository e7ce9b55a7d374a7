"""Our tables are Delta tables: whatever was done to one, every reader of Delta finds the rows that are in it."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest
from delta_readers import READERS, bag, bag_of, found_by_duckdb, found_by_polars
from hypothesis import example, given, settings
from hypothesis import strategies as st
from table_story import OPERATIONS, Story

from dataops_assets.config.environment import environment_from
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.storage import delta

Drawn = list[tuple[str, int]]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> DuckDBEngine:
    home = tmp_path_factory.mktemp("engine")
    return DuckDBEngine(environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home))


def check(story: Story, chance: random.Random) -> None:
    snapshot = story.table.snapshot()
    if snapshot is None:
        return
    expected = bag(story.shown())
    assert dict(snapshot.columns) == story.columns
    assert snapshot.rows == expected.total()
    for name, read in READERS.items():
        assert bag_of(read(story.table.uri), list(story.columns)) == expected, name
    if (told := story.a_value(chance)) is not None:
        there = sum(dict(zip(story.columns, row, strict=True))[told[0]] == told[1] for row in story.rows())
        assert found_by_polars(story.table.uri, *told) == there
        assert found_by_duckdb(story.table.uri, *told) == there


# each operation after a checkpoint, once for sure
@example(drawn=[("append", 1)] * 3 + [(each, 1) for operation in OPERATIONS for each in (operation, "append")])
@example(drawn=[("append", 3), ("evolve", 2), ("append", 5), ("evolve", 9), ("rebuild", 4), ("evolve", 4)])
@settings(max_examples=15)
@given(
    drawn=st.lists(
        st.tuples(st.one_of(st.just("append"), st.sampled_from(OPERATIONS)), st.integers(0, 2**16)),
        min_size=3,
        max_size=12,
    )
)
def test_every_reader_finds_the_rows_after_every_operation(drawn: Drawn, engine: DuckDBEngine) -> None:
    with tempfile.TemporaryDirectory() as home, pytest.MonkeyPatch.context() as patch:
        patch.setattr(delta, "CHECKPOINT_EVERY", 2)
        # Polars looks for a folder of another name where there is a space in it
        story = Story(str(Path(home, "table")), engine)
        for operation, seed in drawn:
            story.do(operation, seed)
            check(story, random.Random(seed))
