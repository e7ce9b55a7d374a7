"""Rollback and the law: afterwards a hub is the function of the inputs that the rollback leaves, and so it goes on."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from story import SALES, STEPS, TABLES, Story, prepare, rows_of, run

from dataops_assets.components.source_progress import read_progress
from dataops_assets.metadata.release_store import LaterInputs
from dataops_assets.report import PER_INPUT, Input
from dataops_assets.steps.refresh import remove
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.upkeep.lost_data import lost
from dataops_assets.steps.upkeep.releases import Code, make_release
from dataops_assets.steps.upkeep.rollback import Wanted, begin, carry_out

CODE = Code("abc", "", "", "a person")
KINDS = {
    "key with history": SALES["refresh"],
    "full": {"type": "full", "key": ["id"]},
}
_RUNS = itertools.count()


def settings_of(refresh: Any) -> dict[str, Any]:
    return {**SALES, "refresh": refresh, "gates": {"deletes": {"max_share": 1.0}}}


def roll_back(context: SourceContext, later: LaterInputs) -> None:
    begun = begin(context.metadata, context.sources, Wanted("v1", later, "a person"))
    carry_out(context.environment, context.metadata, begun)


def do_what_is_due(story: Story) -> None:
    """Run the steps that the sensor would request."""
    context = story.source_context()
    assert lost(context) == []
    todo = read_progress(context).state.todo
    for first in sorted(set(todo.values())):
        inputs = context.metadata.inputs("sales", [one for one, step in todo.items() if step == first])
        assert run(story, inputs, PER_INPUT[first:], f"run {next(_RUNS)}") == []
    run(story, [], ["recalculate"], f"run {next(_RUNS)}")
    assert lost(story.source_context()) == []


@st.composite
def days_of(draw: st.DrawFn) -> list[list[str]]:
    """The lines of five days: few keys, so that days change, delete and bring back the rows of others."""
    line = st.builds(
        lambda key, at, amount, op: f"{key},{at},shop {key % 2},{amount},{op}",
        *(st.integers(1, 5), st.integers(1, 6), st.sampled_from(["5", "60", "-5", "much"]), st.sampled_from("UUUD")),
    )
    return [draw(st.lists(line, min_size=1, max_size=5, unique_by=lambda text: text.split(",")[0])) for _ in range(5)]


@pytest.mark.parametrize("refresh", KINDS.values(), ids=KINDS.keys())
@settings(max_examples=3, deadline=None)
@given(
    days=days_of(),
    order=st.permutations(range(5)),
    cuts=st.sampled_from([(1, 3), (2, 4), (3, 4), (0, 2)]),
    later=st.sampled_from(["leave-out", "replay"]),
    gone=st.booleans(),
)
# a release of no table
@example(days=[["1,1,shop 1,5,U"]] * 5, order=range(5), cuts=(0, 2), later="leave-out", gone=False)
def test_what_a_rollback_leaves_and_what_follows_is_the_function_of_the_remaining_inputs(
    refresh: Any, days: list[list[str]], order: Sequence[int], cuts: tuple[int, int], later: LaterInputs, gone: bool
) -> None:
    with tempfile.TemporaryDirectory() as place:
        story = prepare(Path(place) / "a", settings_of(refresh))
        inputs = [story.deliver(day, days[day]) for day in order]
        before, since, after = inputs[: cuts[0]], inputs[cuts[0] : cuts[1]], inputs[cuts[1] :]
        for some in filter(None, (before[:1], before[1:])):
            assert run(story, some, STEPS, f"run {next(_RUNS)}") == []
        context = story.source_context()
        released = {key: rows_of(context, key) for key in TABLES}
        make_release([context], "v1", CODE)
        assert run(story, since, STEPS, f"run {next(_RUNS)}") == []
        if gone and before:
            # taken out since the release: the rollback takes it back in
            remove(context, [before[0].input_id])
            context.metadata.decisions.remove("sales", [before[0].input_id])
        roll_back(context, later)
        for key, rows in released.items():
            assert (rows_of(context, key) or []) == (rows or []), key
        do_what_is_due(story)
        kept = [*before, *(since if later == "replay" else [])]
        assert_made_of(story, kept, Path(place) / "b")
        if after:
            context.metadata.register_inputs("sales", after)
            do_what_is_due(story)
            assert_made_of(story, [*kept, *after], Path(place) / "c")


def assert_made_of(story: Story, inputs: Sequence[Input], place: Path) -> None:
    """The hubs are those of a deployment that never had any other input."""
    other = prepare(place, story.settings)
    if inputs:
        shutil.copytree(story.root / "landing", other.root / "landing")
        moved = [replace(item, origin=item.origin.replace(str(story.root), str(other.root))) for item in inputs]
        assert run(other, sorted(moved), STEPS) == []
    ours, theirs = story.source_context(), other.source_context()
    for key in ("hub/sales", "hub/sales_current"):
        # what was once a table is a table without rows
        assert (rows_of(ours, key) or []) == (rows_of(theirs, key) or []), key
    with_rejects = rows_of(theirs, "lake/sales_quarantine") or []
    assert (rows_of(ours, "lake/sales_quarantine") or []) == with_rejects
