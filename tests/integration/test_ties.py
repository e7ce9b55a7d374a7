"""Inputs of one extract time that say different things of a key: the tie is decided, and told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from refresh_scenarios import Scenario, day

from dataops_assets.report import Input
from dataops_assets.steps.cdc import cdc

COLUMNS = {"id": "integer", "v": "text"}


class OneTime(Scenario):
    """All inputs were extracted at once."""

    def input(self, number: int) -> Input:
        return replace(super().input(number), extract_time=day(1))

    def compares(self, *numbers: int) -> dict[str, Any]:
        """The notes of change capture."""
        return dict(cdc(self.context, [self.input(number) for number in numbers]).notes)


@pytest.mark.parametrize(
    "refresh", [{"type": "key", "key": ["id"]}, {"type": "full", "key": ["id"]}], ids=["key", "full"]
)
@pytest.mark.parametrize("runs", [[(1, 2)], [(1,), (2,)], [(2,), (1,)]], ids=str)
def test_a_tie_that_decides_is_told_with_how_many_keys_and_the_inputs(
    tmp_path: Path, refresh: dict[str, Any], runs: Sequence[tuple[int, ...]]
) -> None:
    hub = OneTime(tmp_path, refresh, COLUMNS)
    hub.parsed(1, [(1, "a"), (2, "a"), (3, "same")])
    hub.parsed(2, [(1, "b"), (2, "b"), (3, "same")])
    for run in runs:
        notes = hub.compares(*run)
        assert hub.runs(*run) == []
    assert hub.rows("id", "v") == [(1, "b"), (2, "b"), (3, "same")]
    assert notes["keys decided by a tie"] == 2
    assert notes["ties"] == "day-2 before day-1: 2 keys"


def test_no_tie_is_told_of_inputs_of_different_times(tmp_path: Path) -> None:
    hub = Scenario(tmp_path, {"type": "key", "key": ["id"]}, COLUMNS)
    hub.parsed(1, [(1, "a")])
    hub.parsed(2, [(1, "b")])
    assert "ties" not in cdc(hub.context, [hub.input(1), hub.input(2)]).notes
