"""How often the sensor of a source looks for inputs."""

from __future__ import annotations

import pytest

from dataops_assets.config.connection import Discovery


@pytest.mark.parametrize(("sources", "seconds"), [(1, 5), (10, 5), (20, 10), (60, 30), (2000, 30)])
def test_more_sources_are_looked_at_less_often_at_most_every_half_minute(sources: int, seconds: int) -> None:
    assert Discovery().seconds_between_looks(sources) == seconds


def test_a_declared_interval_holds_for_any_number_of_sources() -> None:
    assert {Discovery(every_seconds=7).seconds_between_looks(number) for number in (1, 2000)} == {7}
