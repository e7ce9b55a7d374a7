"""kill -9 at every write and every commit of every step: run again, and all is as if nothing had happened."""

from __future__ import annotations

import datetime as dt
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cuts import run_and_die
from story import (
    SALES,
    STEPS,
    TABLES,
    WRITES,
    Story,
    Tables,
    begin,
    big_day,
    files_below,
    in_child,
    metadata_of,
    prepare,
    put_back,
    run,
    tables_of,
)

from dataops_assets.report import Input
from dataops_assets.storage.delta import Table
from dataops_assets.storage.vacuum import vacuum

NOTHING = dt.timedelta(0)


@dataclass(frozen=True)
class State:
    """Tables and metadata at one moment."""

    tables: Tables
    metadata: dict[str, Any]


@dataclass(frozen=True)
class Undisturbed:
    """A run that nothing disturbed: for each step a copy of what it found, its operations, states before and after."""

    story: Story
    inputs: list[Input]
    before: dict[str, Path]
    operations: dict[str, list[str]]
    states: dict[str, tuple[State, State]]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    root = tmp_path_factory.mktemp("kill")
    story, answer = prepare(root, SALES), root / "answer"
    days = {day: big_day(story, day) for day in (1, 2, 3, 4)}
    for day in (1, 3):
        in_child(run_and_die, story, [days[day]], STEPS, 0, answer=answer)
    # one that is late and one that is not
    inputs = [days[2], days[4]]
    before, operations, states = {}, {}, {}
    old = in_child(state_of, story, answer=answer)
    for step in STEPS:
        before[step] = root / f"before {step}"
        shutil.copytree(story.now, before[step], copy_function=shutil.copy2)
        operations[step] = in_child(run_and_die, story, inputs, [step], 0, answer=answer)
        new = in_child(state_of, story, answer=answer)
        states[step] = (old, new)
        old = new
    return Undisturbed(story, inputs, before, operations, states)


def state_of(story: Story) -> State:
    return State(tables_of(story), metadata_of(story))


def come_back(story: Story, inputs: list[Input], step: str) -> tuple[Tables, Tables, dict[str, Any]]:
    """In a fresh process: what a reader sees, then tables and metadata once the step was run again."""
    seen = tables_of(story, WRITES[step])
    assert run(story, inputs, [step], "again") == []
    for table in tables_below(story):
        vacuum(table, young=NOTHING)
    story.source_context().raw.vacuum(young=NOTHING)
    return seen, tables_of(story, WRITES[step]), metadata_of(story)


def tables_below(story: Story) -> list[Table]:
    return [Table(str(story.now / "storage" / key)) for key in TABLES]


def orphans(story: Story) -> set[str]:
    """Files that are no part of the log and that no version names."""
    found = set()
    for table in tables_below(story):
        folder = Path(table.uri)
        kept = table.kept_since(dt.datetime.fromtimestamp(0, dt.UTC))
        named = kept.paths if kept else frozenset()
        log = {f"_delta_log/{path}" for path in files_below(folder / "_delta_log") if "#" not in path}
        found |= {f"{folder.name}/{path}" for path in files_below(folder) - named - log}
    return found | files_below(story.now / "storage" / "raw" / "sales" / "temporary")


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_a_step_killed_at_any_write_or_commit_is_run_again(step: str, undisturbed: Undisturbed, tmp_path: Path) -> None:
    """Tables and metadata are then what the step leaves undisturbed, so the steps after it cannot tell either."""
    story, inputs, names = undisturbed.story, undisturbed.inputs, undisturbed.operations[step]
    old, new = undisturbed.states[step]
    # several inputs give the same operations several times
    cuts = [at for at, name in enumerate(names, 1) if names.index(name) == at - 1]
    assert len(cuts) >= 4
    left_behind = 0
    for at in cuts:
        where = f"{step} killed in operation {at}: {names[at - 1]}"
        put_back(undisturbed.before[step], story)
        child = begin(run_and_die, story, inputs, [step], at)
        child.join()
        assert child.exitcode == -signal.SIGKILL, where
        left_behind += len(orphans(story))
        seen, tables, metadata = in_child(come_back, story, inputs, step, answer=tmp_path / "answer")
        for key in WRITES[step]:
            assert seen[key] in (old.tables[key], new.tables[key]), f"{where}: half a version of {key}"
            assert tables[key] == new.tables[key], where
        for part, found in metadata.items():
            assert found == new.metadata[part], f"{where}: {part}"
        assert orphans(story) == set(), where
    # otherwise the last assertion said nothing
    assert left_behind > 0
