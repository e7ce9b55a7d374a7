"""Processes that change one source at once, or two sources: as if one had come after the other, without an error."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import pytest
from story import SALES, STEPS, WRITES, Story, begin, big_day, in_child, outcome, prepare, rows_of, run, tables_of

from dataops_assets.report import Input
from dataops_assets.storage.delta import Table
from dataops_assets.storage.vacuum import vacuum

ROUNDS = 5
HUBS = ("hub/sales", "hub/sales_current")


def rounds(story: Story, inputs: list[Input], start: float) -> list[str]:
    """A run for each input; the result are all errors."""
    time.sleep(max(0.0, start - time.time()))
    return [error for item in inputs for error in run(story, [item], STEPS, f"run {item.input_id}")]


def look(story: Story, stop: Path) -> int:
    """Read the hub until told to stop; every version has all versions of a key without a gap. How often it was read."""
    source_context, times = story.source_context(), 0
    while not stop.exists():
        snapshot = source_context.hub.snapshot()
        rows = rows_of(source_context, "hub/sales") or []
        if snapshot is None:
            continue
        names = sorted(snapshot.columns)
        key, begins, ends = (names.index(name) for name in ("s_key", "s_valid_from", "s_valid_to"))
        by_key: dict[str, list[Any]] = {}
        for row in rows:
            by_key.setdefault(row[key], []).append((row[begins], row[ends]))
        for versions in by_key.values():
            ordered = sorted(versions)
            assert sum(end is None for _, end in ordered) <= 1
            assert all(end is not None and end <= after for (_, end), (after, _) in itertools.pairwise(ordered))
        times += 1
    return times


@pytest.mark.slow
def test_two_runs_of_a_source_at_once(tmp_path: Path) -> None:
    """They start on an empty folder, so that they also race for extensions, schema and first versions."""
    story = Story(tmp_path / "race", SALES)
    story.root.mkdir()
    story.now.mkdir()
    inputs = [big_day(story, day) for day in range(1, 2 * ROUNDS + 1)]
    stop, start = tmp_path / "stop", time.time() + 1
    reader = begin(look, story, stop, answer=tmp_path / "reads")
    writers = [begin(rounds, story, inputs[half::2], start, answer=tmp_path / f"errors {half}") for half in (0, 1)]
    errors = [outcome(writer, tmp_path / f"errors {half}") for half, writer in enumerate(writers)]
    stop.touch()
    assert outcome(reader, tmp_path / "reads") > 0
    assert errors == [[], []]

    reference = prepare_beside(tmp_path / "reference", story)
    assert in_child(run, reference, inputs, answer=tmp_path / "answer") == []
    raced, alone = (in_child(tables_of, one, HUBS, answer=tmp_path / "answer") for one in (story, reference))
    assert raced == alone
    # whoever recalculates last does it from a hub that may lack nothing
    assert in_child(again, story, answer=tmp_path / "answer") == alone["hub/sales_current"]


def again(story: Story) -> Any:
    run(story, [], ["recalculate"])
    return rows_of(story.source_context(), "hub/sales_current")


def prepare_beside(root: Path, story: Story) -> Story:
    """A story of the same deliveries with nothing done yet."""
    root.mkdir()
    (root / "now").mkdir()
    (root / "engine").symlink_to(story.root / "engine")
    (root / "landing").symlink_to(story.root / "landing")
    return Story(root, story.settings)


@pytest.mark.slow
@pytest.mark.parametrize("step", ["cdc", "refresh", "recalculate"])
def test_the_loser_of_a_race_tries_again(step: str, tmp_path: Path) -> None:
    """Between what it read and its commit, another run does the whole step."""
    story = prepare(tmp_path / "race")
    inputs = [big_day(story, day) for day in (1, 3, 2)]
    assert in_child(overtaken, story, inputs, step, answer=tmp_path / "answer") > 1
    reference = prepare_beside(tmp_path / "reference", story)
    assert in_child(run, reference, inputs, answer=tmp_path / "answer") == []
    raced, alone = (in_child(tables_of, one, HUBS, answer=tmp_path / "answer") for one in (story, reference))
    assert raced == alone


def overtaken(story: Story, inputs: list[Input], step: str) -> int:
    """How often the run that is overtaken in `step` tried to commit there."""
    first, second, third = inputs
    assert run(story, [first]) == []
    before, after = STEPS[: STEPS.index(step)], STEPS[STEPS.index(step) + 1 :]
    assert run(story, [second], before) == []
    commit, name = Table.commit, story.source_context().table(WRITES[step][0]).uri
    tries = 0

    def late(table: Table, *arguments: Any, **options: Any) -> Any:
        nonlocal tries
        if table.uri == name:
            tries += 1
            if tries == 1:
                assert run(story, [third]) == []
        return commit(table, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Table, "commit", late)
        assert run(story, [second], [step, *after]) == []
    return tries


@pytest.mark.slow
def test_two_sources_at_once(tmp_path: Path) -> None:
    """They share storage, metadata and engine folder."""
    sales = prepare(tmp_path)
    costs = Story(tmp_path, {**SALES, "name": "costs", "connection": {"type": "files", "path": "costs_*.csv"}})
    stories = (sales, costs)
    days = [[big_day(story, day) for day in (1, 2, 3)] for story in stories]
    start = time.time() + 0.5
    writers = [
        begin(rounds, story, inputs, start, answer=tmp_path / f"errors {index}")
        for index, (story, inputs) in enumerate(zip(stories, days, strict=True))
    ]
    assert [outcome(writer, tmp_path / f"errors {index}") for index, writer in enumerate(writers)] == [[], []]
    found = [hub_of(story) for story in stories]
    assert found[0] is not None
    alone = prepare_beside(tmp_path / "alone", sales)
    assert in_child(rounds, alone, days[0], 0.0, answer=tmp_path / "answer") == []
    assert found == [hub_of(alone)] * 2


def hub_of(story: Story) -> Any:
    """The rows of the hub, but for what is the input's own name."""
    source_context = story.source_context()
    return rows_of(source_context, f"hub/{source_context.source.name}")


@pytest.mark.slow
def test_a_vacuum_while_runs_go_on(tmp_path: Path) -> None:
    """It keeps what is young, so it can go on all the time."""
    story = prepare(tmp_path)
    inputs = [big_day(story, day) for day in (1, 2, 3, 4)]
    writer = begin(rounds, story, inputs, 0.0, answer=tmp_path / "errors")
    source_context = story.source_context()
    while writer.is_alive():
        assert sum(vacuum(table).removed for table in source_context.tables) == 0
        time.sleep(0.05)
    assert outcome(writer, tmp_path / "errors") == []
