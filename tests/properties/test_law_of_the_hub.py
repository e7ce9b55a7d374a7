"""The hub is a function of its set of inputs: any order, any grouping, repeats and removals; on real storage."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import reference
from hypothesis import example, given, settings
from law import arrive, hub_rows, leave, workspace_for
from law_cases import (
    HISTORIC,
    KINDS,
    MERGED,
    Delivery,
    Kind,
    assert_law,
    deliveries,
    one_after_another,
    source_for,
    without_some_times,
)
from reference import GivenInput

from dataops_assets.config.environment import environment_from
from dataops_assets.engines.duckdb import DuckDBEngine

# of up to 30 families each, with history and without: up to 180 scenarios a type
EXAMPLES = 3


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> DuckDBEngine:
    home = tmp_path_factory.mktemp("engine")
    return DuckDBEngine(environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home))


@pytest.mark.parametrize("history", [False, True], ids=["latest", "history"])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
@settings(max_examples=EXAMPLES, deadline=None)
@given(delivery=deliveries(families=30))
def test_hub_is_a_function_of_its_set_of_inputs(
    kind: Kind, history: bool, delivery: Delivery, engine: DuckDBEngine
) -> None:
    assert_law(kind, history, delivery, engine)


@pytest.mark.parametrize("history", [False, True], ids=["latest", "history"])
@pytest.mark.parametrize("kind", MERGED.values(), ids=MERGED.keys())
@settings(max_examples=EXAMPLES // 2, deadline=None)
@given(delivery=deliveries(families=30))
def test_merged_values_of_the_hub_are_a_function_of_its_set_of_inputs(
    kind: Kind, history: bool, delivery: Delivery, engine: DuckDBEngine
) -> None:
    assert_law(kind, history, delivery, engine)


@pytest.mark.parametrize("kind", HISTORIC.values(), ids=HISTORIC.keys())
@settings(max_examples=1, deadline=None)
@given(delivery=deliveries(families=30))
@example(delivery=one_after_another(30))
def test_versions_of_the_hub_begin_where_their_rows_say(kind: Kind, delivery: Delivery, engine: DuckDBEngine) -> None:
    assert_law(kind, True, without_some_times(delivery), engine)


@settings(max_examples=2 * EXAMPLES, deadline=None)
@given(delivery=deliveries(families=30))
def test_append_keeps_every_row_of_every_input_once(delivery: Delivery, engine: DuckDBEngine) -> None:
    with tempfile.TemporaryDirectory() as home:
        context = workspace_for(source_for({"type": "append"}), Path(home), engine)
        left: dict[str, GivenInput] = {}
        for group in delivery.groups:
            arrive(context, group)
            left |= {item.input_id: item for item in group}
        if delivery.removed:
            leave(context, delivery.removed)
            left = {name: item for name, item in left.items() if name not in delivery.removed}
        found = [(row["s_input_id"], row["s_row_id"]) for row in hub_rows(context)]
        assert sorted(found) == sorted(reference.append(left.values()))
