"""The hub is a function of the rows that pass their validations, whatever was compared with what, and when.

What a validation reads may be left out when rows are compared: a row that changes nothing may be one that is kept out.
"""

from __future__ import annotations

import pytest
from hypothesis import Phase, given, settings
from law_cases import Delivery, Kind, assert_law, deliveries
from validated_cases import SANE, VALIDATED, alike

from dataops_assets.config.environment import environment_from
from dataops_assets.engines.duckdb import DuckDBEngine

# of up to 100 families each; a failing example says which rows differ
EXAMPLES = 2
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> DuckDBEngine:
    home = tmp_path_factory.mktemp("engine")
    return DuckDBEngine(environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home))


@pytest.mark.parametrize("history", [False, True], ids=["latest", "history"])
@pytest.mark.parametrize("kind", VALIDATED.values(), ids=VALIDATED.keys())
@settings(max_examples=EXAMPLES, deadline=None, phases=PHASES)
@given(delivery=deliveries(families=100))
def test_the_hub_is_a_function_of_the_rows_that_pass(
    kind: Kind, history: bool, delivery: Delivery, engine: DuckDBEngine
) -> None:
    assert_law(kind, history, alike(delivery), engine, [SANE])
