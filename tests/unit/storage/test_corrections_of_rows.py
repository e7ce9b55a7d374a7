"""Corrections of raw rows: what is valid now and was at a time, and what a killed writer leaves."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from dataops_assets.storage.corrections import Corrections, Repair

NOON = dt.datetime(2024, 5, 1, 12, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)


def test_the_values_of_a_time_are_put_back_by_further_corrections(tmp_path: Path) -> None:
    made = Corrections(str(tmp_path))
    made.record(Repair("a", "ann", NOON, {1: {"x": "1", "y": "1"}, 2: {"x": "2"}}))
    then = made.corrected(["a", "b"])
    made.record(Repair("a", "ann", NOON + HOUR, {1: {"x": "9"}, 2: None, 3: {"x": "3"}}))
    made.record(Repair("b", "ann", NOON + HOUR, {1: {"x": "1"}}))
    assert made.corrected(["a", "b"], NOON) == then
    made.put_back(["a"], NOON, "rollback")
    # inputs that are not named keep theirs
    assert made.corrected(["a", "b"]) == {**then, ("b", 1): {"x": "1"}}
    count = len(made.repairs(["a", "b"]))
    made.put_back(["a"], NOON, "rollback")
    assert len(made.repairs(["a", "b"])) == count


def test_what_a_killed_writer_leaves_is_no_correction(tmp_path: Path) -> None:
    made = Corrections(str(tmp_path))
    made.record(Repair("a", "ann", NOON, {1: {"x": "1"}}))
    (whole,) = (tmp_path / "corrections" / "a").iterdir()
    whole.with_name(f"{whole.name}#123").write_bytes(whole.read_bytes()[:10])
    assert made.corrected(["a"]) == {("a", 1): {"x": "1"}}
