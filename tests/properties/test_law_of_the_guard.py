"""What is held is a function of the set of inputs and of the approvals: any order, any grouping, repeats and removals.

Inputs go through the steps as a run lets them, and whatever the sensor would ask for afterwards is run until it asks
for nothing. Then the hub is that of the inputs that are not held, and held are those that the reference holds.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import reference
from guard_reference import Guard
from guarded_world import World
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from law import hub_rows, workspace_for
from law_cases import KINDS, Delivery, Kind, actual_rows, deliveries, expected_rows, replaces, source_for
from reference import GivenInput
from validated_cases import SANE, VALIDATED, alike

from dataops_assets.config.environment import environment_from
from dataops_assets.config.source import Source
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.steps.refresh import rebuild

EXAMPLES = 3
FEW = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
LIMITS = {"max_share": 0.1, "min_rows": 2}


def everything(_item: GivenInput, _row: reference.Row) -> bool:
    return True


def guard(kind: Kind, covers: Callable[[GivenInput, reference.Row], bool], *, of_table: bool) -> Guard:
    of_keys = "key" in kind.refresh
    return Guard(**LIMITS, meaning=kind.meaning, covers=covers, of_keys=of_keys, of_table=of_table)


def guards(kinds: Mapping[str, Kind]) -> list[Any]:
    """The refresh types that delete by absence: each with what an input of it covers."""
    covering = {
        "full": (everything, True),
        "full_keyless": (everything, True),
        "timestamp": (reference.covers_range("seen"), False),
        "timestamp_of_a_week": (reference.covers_days("seen", 7), False),
        "sequence": (reference.covers_range("number"), False),
        "custom": (replaces, False),
    }
    found = {name: covering[name] for name in kinds if name in covering}
    return [
        pytest.param(kinds[name], guard(kinds[name], covers, of_table=of_table), id=name)
        for name, (covers, of_table) in found.items()
    ]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with an empty metadata structure."""
    home = tmp_path_factory.mktemp("home")
    workspace_for(source_for({"type": "full"}), home).metadata.migrate()
    return home


@pytest.fixture(scope="module")
def engine(home: Path) -> DuckDBEngine:
    return DuckDBEngine(environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home))


@pytest.mark.parametrize(("kind", "guard"), guards(KINDS))
@FEW
@given(delivery=deliveries(families=12), history=st.booleans(), data=st.data())
def test_what_is_held_is_a_function_of_the_set_of_inputs(
    kind: Kind, guard: Guard, delivery: Delivery, history: bool, data: st.DataObject, home: Path, engine: DuckDBEngine
) -> None:
    source = source_for({**kind.refresh, "history": history}, gates={"deletes": LIMITS})
    assert_verdicts(source, kind, guard, delivery, data, home, engine)


@pytest.mark.parametrize(("kind", "guard"), guards(VALIDATED))
@FEW
@given(delivery=deliveries(families=12), history=st.booleans(), data=st.data())
def test_rows_that_are_kept_out_decide_no_verdict_whenever_they_are_found(
    kind: Kind, guard: Guard, delivery: Delivery, history: bool, data: st.DataObject, home: Path, engine: DuckDBEngine
) -> None:
    """A row that changes nothing may be one that fails: nobody has validated it until another row needs it."""
    source = source_for({**kind.refresh, "history": history}, gates={"deletes": LIMITS}, validations=[SANE])
    assert_verdicts(source, kind, guard, alike(delivery), data, home, engine)


def assert_verdicts(
    source: Source, kind: Kind, guard: Guard, delivery: Delivery, data: st.DataObject, home: Path, engine: DuckDBEngine
) -> None:
    """Let inputs arrive, approve and remove some: each time the held ones and the hub are those of the reference."""
    history = bool(source.refresh.history)
    with tempfile.TemporaryDirectory() as place:
        shutil.copytree(home, place, dirs_exist_ok=True)
        world = World(workspace_for(source, Path(place), engine))

        def holds() -> None:
            held = guard.held(world.given.values(), world.approved)
            assert set(world.rests()) == held
            taken = [item for name, item in world.given.items() if name not in held]
            found: list[Mapping[str, Any]] = hub_rows(world.context)
            assert actual_rows(found, history) == expected_rows(kind.meaning(taken), None, history)

        for group in delivery.groups:
            world.arrives(group)
            holds()
        approved = data.draw(st.lists(st.sampled_from(sorted(world.given)), max_size=1), label="approved")
        for input_id in approved:
            world.approves(input_id)
            holds()
        if delivery.removed:
            world.removes(delivery.removed)
            holds()
        if world.context.hub.snapshot() is not None and data.draw(st.booleans(), label="rebuilt"):
            rebuild(world.context)
            holds()
