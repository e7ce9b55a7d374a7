"""Gates bind on Spark as they do embedded: no way leads round them."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
from code_location import CodeLocation, loaded, standalone
from test_gates_bind import GATES, assert_no_way_round, with_a_bad_day

from dataops_assets.components import platform
from dataops_assets.engines.spark import SparkEngine


def test_no_way_leads_round_a_gate_on_spark(
    spark: SparkEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(platform, "SparkEngine", lambda *_: spark)
    declared = standalone() | GATES["contract of the hub"] | {"engine": "spark"}
    with loaded(declared) as definitions, dg.instance_for_test() as instance:
        here = with_a_bad_day(CodeLocation(definitions, instance, tmp_path / "home"))
        assert_no_way_round(here, declared)
