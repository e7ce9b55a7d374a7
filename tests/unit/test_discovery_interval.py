"""How often a source is looked at for new inputs."""

from __future__ import annotations

import pytest

from dataops_assets.config.connection import Discovery


@pytest.mark.parametrize(
    ("sources", "sensors", "seconds"),
    [(1, 1, 5), (100, 1, 5), (100, 20, 13), (400, 4, 20), (60, 60, 30), (2000, 20, 30)],
)
def test_more_sources_are_looked_at_less_often_at_most_every_half_minute(
    sources: int, sensors: int, seconds: int
) -> None:
    assert Discovery().seconds_between_looks(sources, sensors) == seconds


def test_a_declared_interval_holds_for_any_number_of_sources() -> None:
    assert {Discovery(every_seconds=7).seconds_between_looks(number) for number in (1, 2000)} == {7}
