"""A gate that fails publishes nothing, whoever starts the run, and whatever part of the steps it runs.

Tried: a run of all steps, of the last step alone, and of all steps from each on (what the UI, a run request and another
code location's automation launch), a backfill of a range, the sensor, the steps by hand as the command line runs them,
a rebuild, changed rules, and a late input that makes the hub anew from the lake.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pandera.pandas as pa
import pytest
from code_location import CodeLocation, day_of, loaded, standalone

from dataops_assets.components.by_hand import apply_rules, rebuild, run_steps
from dataops_assets.components.run_attempts import PARTITION_TAG, RANGE_END_TAG, RANGE_START_TAG
from dataops_assets.config.source import Source
from dataops_assets.report import PER_INPUT
from dataops_assets.steps.source_context import SourceContext

STEPS = ("raw/orders", "lake/orders", "lake/orders_changes", "hub/orders_enriched", "hub/orders")
GOOD = "id,customer,amount\n" + "".join(f"{number},7,{number}\n" for number in range(1, 21))
# the amount is wrong, and it has too few rows
BAD = "id,customer,amount\n1,7,5000\n99,7,5000\n"
BAD_DAY, LATE_DAY = "20240105", "20231231"
AMOUNTS = pa.DataFrameSchema({"amount": pa.Column(float, pa.Check.le(1000), nullable=True)})

CONTRACT = {"contract": f"{__name__}:AMOUNTS"}
TOO_MUCH = {"name": "not_too_much", "expression": "amount < 1000", "severity": "fail"}
GATES: Mapping[str, dict[str, Any]] = {
    "contract of the lake": {"gates": {"lake": CONTRACT}},
    "strict check": {"checks": {"volume": {"min_rows": 10, "severity": "fail"}}},
    "contract of the hub": {"gates": {"hub": CONTRACT}},
    "strict validation": {"validations": [TOO_MUCH]},
    "held anomaly": {"gates": {"on_anomaly": "hold"}, "checks": {"volume": {"min_rows": 10}}},
    "held deletes": {"refresh": {"type": "full", "key": ["id"]}, "gates": {"deletes": {"min_rows": 2}}},
}


@pytest.fixture(params=GATES, ids=str)
def gated(request: pytest.FixtureRequest) -> dict[str, Any]:
    return standalone() | GATES[request.param]


@pytest.fixture
def here(gated: dict[str, Any], instance_of_commands: dg.DagsterInstance, tmp_path: Path) -> Iterator[CodeLocation]:
    """A hub of two good days, and a bad day whose partition exists and that no run has taken."""
    with loaded(gated) as definitions:
        here = CodeLocation(definitions, instance_of_commands, tmp_path / "home")
        yield with_a_bad_day(here)


def with_a_bad_day(here: CodeLocation) -> CodeLocation:
    for number in (2, 3):
        here.land("orders", f"orders_2024-01-0{number}.csv", GOOD)
    assert all(result.success for result in here.settle("orders"))
    here.land("orders", "orders_2024-01-05.csv", BAD)
    here.tick("orders")
    return here


def assert_nothing_published(here: CodeLocation, way: str) -> None:
    """Neither the table nor an event has the bad day: whoever reads or follows the hub sees no change."""
    found = here.rows("hub/orders", "id", "amount")
    assert found == [(number, float(number)) for number in range(1, 21)], way
    assert not [one for one in here.materialized("hub/orders") if day_of(one) == BAD_DAY], way


def test_no_way_leads_round_a_gate(gated: dict[str, Any], here: CodeLocation) -> None:
    assert_no_way_round(here, gated)


def assert_no_way_round(here: CodeLocation, gated: Mapping[str, Any]) -> None:
    (bad,) = (one for one in here.partitions("orders") if day_of(one) == BAD_DAY)
    for way in ways():
        result = here.materialize(list(way), {PARTITION_TAG: bad})
        assert_nothing_published(here, f"run of {way}")
        assert "hub/orders" not in way or not result.success, f"a run of {way} says that all is well"
    ids = here.partitions("orders")
    here.materialize(list(STEPS[2:]), {RANGE_START_TAG: ids[0], RANGE_END_TAG: ids[-1]})
    assert_nothing_published(here, "backfill")
    here.settle("orders")
    assert_nothing_published(here, "sensor")

    source = Source.model_validate(gated)
    context = here.platform.source_context(source, {source.name: source})
    by_hand(here, context, bad)
    here.land("orders", "orders_2023-12-31.csv", GOOD)
    here.settle("orders")
    assert_nothing_published(here, "a late input")
    assert LATE_DAY in map(day_of, here.materialized("hub/orders")), "the others go on"


def ways() -> Iterator[tuple[str, ...]]:
    """The assets of a run: the last alone before and after the gate has spoken, all, and all from each on."""
    yield STEPS[4:]
    yield STEPS
    yield STEPS[2:]
    yield STEPS[3:]
    yield STEPS[4:]


def by_hand(here: CodeLocation, context: SourceContext, bad: str) -> None:
    inputs = context.metadata.inputs("orders", [bad])
    for step in PER_INPUT[2:]:
        done = run_steps(context, inputs, step, "by hand", lambda _: None, here.instance)
        assert bad in done.errors, step
        assert_nothing_published(here, f"{step} by hand")
    apply_rules(context)
    rebuild(context)
    assert_nothing_published(here, "rebuild")
