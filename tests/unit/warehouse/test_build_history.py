"""The rows of warehouse tables are judged by those of the builds before, which the newest event tells of."""

from __future__ import annotations

import datetime as dt
import random

import pytest

from dataops_assets.components.build_history import MOST_BUILDS, Build, as_data, builds_of, judged_rows
from dataops_assets.config.quality import Checks

FIRST = dt.datetime(2024, 1, 1, 6, tzinfo=dt.UTC)


def grown(number: int) -> list[Build]:
    """A table of some thousand rows that grows by about a hundred each day."""
    chance, rows, found = random.Random(5), 5000, []
    for day in range(number):
        rows += chance.randint(80, 120)
        found.append(Build(FIRST + dt.timedelta(days=day), rows))
    return found


@pytest.mark.parametrize(("factor", "is_alarm"), [(1.0, False), (2.0, True), (0.8, True), (0.0, True)])
def test_a_join_that_doubles_rows_is_told_and_growth_is_not(factor: float, is_alarm: bool) -> None:
    *before, last = grown(70)
    judged = judged_rows("warehouse/fct_sales", Build(last.at, round(last.rows * factor)), before, Checks(), 10)
    assert judged is not None
    assert judged.of_rows is not None
    assert judged.of_rows.is_alarm is is_alarm
    assert judged.trend is not None


def test_an_event_tells_of_the_last_builds_and_of_nothing_that_it_cannot_read() -> None:
    builds = grown(MOST_BUILDS + 5)
    assert builds_of(as_data(builds)) == builds[-MOST_BUILDS:]
    for other in (None, {}, [1], [[1]], [["a", 1]]):
        assert builds_of(other) == []
