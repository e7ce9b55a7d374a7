"""An object store that vanishes in the middle of a step: a clear error, and once it is back all goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from objectstore import BUCKET, Line, object_store
from story import SALES, STEPS, WRITES, Story, big_day, in_child, one_step, prepare, run, tables_of

from dataops_assets.errors import StorageError
from dataops_assets.report import Input

# how many requests of each step are still answered: it goes away at the start, while the log is read, or while rows are
ANSWERED = {"ingest": 3, "parse": 4, "cdc": 13, "enrich": 0, "refresh": 16, "recalculate": 7}


@pytest.fixture(scope="module")
def line() -> Iterator[Line]:
    with pytest.MonkeyPatch.context() as patch, object_store(patch, by_line=True) as line:
        yield line


def errors_of(story: Story, inputs: list[Input], step: str) -> list[str]:
    """What a step says in a store that goes away; all of it must be worth another try."""
    source_context = story.source_context()
    try:
        errors: list[Any] = [item.error for item in one_step(source_context, step, inputs).failures]
    except StorageError as error:
        errors = [error]
    assert all(isinstance(error, StorageError) and not error.permanent for error in errors), errors
    return [str(error) for error in errors]


@pytest.mark.slow
def test_a_store_that_goes_away_in_any_step_is_named_and_nothing_is_lost(line: Line, tmp_path: Path) -> None:
    prepared, answer = prepare(tmp_path), tmp_path / "answer"
    story = Story(prepared.root, SALES, f"s3://{BUCKET}/hub")
    first, *inputs = (big_day(story, day) for day in (3, 1, 4))
    assert in_child(run, story, [first], answer=answer) == []
    story.source_context().metadata.register_inputs("sales", inputs)
    for step in STEPS:
        old = in_child(tables_of, story, WRITES[step], answer=answer)
        line.cut_after(ANSWERED[step])
        said = in_child(errors_of, story, inputs, step, answer=answer)
        line.mend()
        assert in_child(tables_of, story, WRITES[step], answer=answer) == old, step
        assert said, step
        for error in said:
            assert f"s3://{BUCKET}" in error or f"/{BUCKET}/hub" in error, f"{step} does not name the store: {error}"
        assert in_child(run, story, inputs, [step], answer=answer) == []
    undisturbed = Story(tmp_path / "undisturbed", SALES)
    undisturbed.root.mkdir()
    undisturbed.now.mkdir()
    (undisturbed.root / "engine").symlink_to(story.root / "engine")
    (undisturbed.root / "landing").symlink_to(story.root / "landing")
    in_child(run, undisturbed, [first], answer=answer)
    in_child(run, undisturbed, inputs, answer=answer)
    assert in_child(tables_of, story, answer=answer) == in_child(tables_of, undisturbed, answer=answer)
