"""Any step of any input can be reset and run again; what it made before stays until it is made anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from command_line import dataops
from story import SALES, Story, big_day, prepare, rows_of, run

from dataops_assets.components.requests import progress
from dataops_assets.report import PER_INPUT, Input
from dataops_assets.sql import query
from dataops_assets.steps.refresh import remove
from dataops_assets.steps.upkeep.reset import forget
from dataops_assets.storage.delta import Table
from dataops_assets.storage.publish import replace_inputs

SETTINGS = {**SALES, "rules": SALES["rules"][:1]}  # type: ignore[index]
TABLES = ("lake/sales", "lake/sales_quarantine", "hub/sales_enriched", "hub/sales")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Story, list[Input]]:
    story = prepare(tmp_path_factory.mktemp("reset") / "story", SETTINGS)
    inputs = [big_day(story, day, 20) for day in (1, 2, 3)]
    for item in inputs:
        assert run(story, [item], PER_INPUT) == []
    return story, inputs


def emptied(table: Table, story: Story, item: Input) -> None:
    """Lose what a table has of an input."""
    snapshot = table.snapshot()
    assert snapshot is not None
    with story.source_context().engine.session() as session:
        nothing = query("SELECT * FROM $t AS t WHERE FALSE", t=session.scan(snapshot))
        replace_inputs(session, table, nothing, [item.input_id])


def overwritten(story: Story, item: Input) -> None:
    """Spoil the copy in the raw area, which keeps its size."""
    story.source_context().raw.local_path(item).write_bytes(b"x" * item.size)


SPOILED: dict[str, Callable[[Story, Input], object]] = {
    "ingest": overwritten,
    "parse": lambda story, item: emptied(story.source_context().lake, story, item),
    "cdc": lambda story, item: emptied(story.source_context().changes, story, item),
    "enrich": lambda story, item: emptied(story.source_context().enriched, story, item),
    "refresh": lambda story, item: remove(story.source_context(), [item.input_id]),
}


def state(story: Story) -> dict[str, Any]:
    context = story.source_context()
    found: dict[str, Any] = {key: rows_of(context, key) for key in TABLES}
    inputs = context.metadata.inputs("sales")
    return {**found, "raw": [context.raw.local_path(item).read_bytes() for item in inputs]}


@pytest.mark.parametrize("step", PER_INPUT)
def test_a_step_that_is_reset_is_made_anew(step: str, told: tuple[Story, list[Input]]) -> None:
    story, inputs = told
    before = state(story)
    # the newest, because of an older one a change set says what it changes now
    SPOILED[step](story, inputs[-1])
    ended = dataops([story.source_context()], "reset", "sales", step, inputs[-1].input_id)
    assert ended.code == 0
    assert state(story) == before
    assert ended.lines[0] == f"  {step} of 1 inputs ..."
    assert [line.split()[0] for line in ended.lines[:-1]] == list(PER_INPUT[PER_INPUT.index(step) :])
    assert ended.lines[-1].startswith("hub/sales: ")


def test_all_inputs_can_be_reset_at_once(told: tuple[Story, list[Input]]) -> None:
    story, _ = told
    hub = rows_of(story.source_context(), "hub/sales")
    ended = dataops([story.source_context()], "reset", "sales", "parse", "--json")
    assert (ended.code, ended.data["failed"], ended.data["table"]["asset"]) == (0, [], "hub/sales")
    assert ended.err.splitlines()[0] == "  parse of 3 inputs ..."
    assert rows_of(story.source_context(), "hub/sales") == hub


@pytest.mark.parametrize("step", ["ingest", "enrich"])
def test_killed_after_it_forgot_the_next_run_goes_on_from_there(step: str, told: tuple[Story, list[Input]]) -> None:
    story, inputs = told
    before = state(story)
    context = story.source_context()
    forget(context, step, inputs[1:2])
    assert state(story) == before
    todo = progress(inputs, context.metadata.processes("sales")).todo
    assert todo == {inputs[1].input_id: PER_INPUT.index(step)}
    assert run(story, inputs[1:2], PER_INPUT[PER_INPUT.index(step) :]) == []
    assert rows_of(context, "hub/sales") == before["hub/sales"]
    assert progress(inputs, context.metadata.processes("sales")).todo == {}


def test_an_input_that_is_not_known_and_a_step_that_is_none_are_refused(
    told: tuple[Story, list[Input]],
) -> None:
    story, _ = told
    unknown = dataops([story.source_context()], "reset", "sales", "parse", "x")
    assert (unknown.code, unknown.out) == (2, "")
    assert "not registered" in unknown.err
    none = dataops([story.source_context()], "reset", "sales", "pars")
    assert none.code == 2
    assert "'pars' is not one of 'ingest', 'parse', 'cdc', 'enrich', 'refresh'" in none.err
