"""What a plan says about its own estimates: how long work takes, and how wrong that was before."""

from __future__ import annotations

import pytest

from dataops_assets.metadata.store import StepTotal
from dataops_assets.operations.planning.estimate_error import EstimateError, estimate_error
from dataops_assets.operations.planning.work import Past


def test_the_error_is_that_of_the_work_that_was_estimated_and_done() -> None:
    done = [
        {"seconds_predicted": 10.0, "seconds": 10.0 * times, "error": ""} for times in (1, 2, 0.5, 1, 3, 1, 1, 9, 1, 1)
    ]
    other = [
        {"seconds_predicted": None, "seconds": 5.0, "error": ""},
        {"seconds_predicted": 1.0, "seconds": 99.0, "error": "no room"},
    ]
    assert estimate_error([*done, *other]) == EstimateError(10, 1.0, 3.0)
    assert estimate_error(done[:4]) is None
    # what takes no time at all is not divided by
    assert estimate_error([{"seconds_predicted": 0.0, "seconds": 0.02}] * 5) == EstimateError(5, 1.0, 1.0)


@pytest.mark.parametrize(("steps", "seconds"), [(("cdc", "refresh"), 30.0), (("enrich",), 5.0), (("never",), None)])
def test_a_step_that_counts_no_rows_is_timed_by_those_that_were_parsed(
    steps: tuple[str, ...], seconds: float | None
) -> None:
    totals = {
        ("sales", "parse"): StepTotal(1000, 8.0, 2),
        ("sales", "cdc"): StepTotal(0, 10.0, 2),
        ("sales", "refresh"): StepTotal(0, 20.0, 2),
        ("sales", "enrich"): StepTotal(1000, 5.0, 2),
    }
    assert Past(totals).seconds("rebuild", "sales", 1000, steps) == seconds
    assert Past({("sales", "cdc"): StepTotal(0, 10.0, 2)}).seconds("rebuild", "sales", 1000, ("cdc",)) is None
