"""The order of the declared columns is part of the row hash, so a hub with another order is built again."""

from __future__ import annotations

from pathlib import Path

import pytest
from refresh_scenarios import Scenario

from dataops_assets.errors import ConfigError

HISTORY = {"type": "full", "key": ["k"], "history": True}


def test_columns_in_another_order_make_no_new_versions(tmp_path: Path) -> None:
    Scenario(tmp_path, HISTORY, {"k": "integer", "v": "integer", "t": "text"}).arrives(1, [(1, 1, "x")])
    moved = Scenario(tmp_path, HISTORY, {"k": "integer", "t": "text", "v": "integer"})
    # the same row: with the other order its hash differs, and it would count as changed
    with pytest.raises(ConfigError, match="order of the columns"):
        moved.arrives(2, [(1, "x", 1)])
    moved.rebuilds()
    moved.runs(2)
    assert moved.rows("k", "v", "t") == [(1, 1, "x")]
