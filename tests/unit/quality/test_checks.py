"""Comparing an input with what is declared and with the inputs before it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataops_assets.config.quality import Checks, DistributionCheck, VolumeCheck
from dataops_assets.profiles import ColumnProfile, Profile
from dataops_assets.quality.checks import (
    BASELINE,
    EarlierInputs,
    distribution,
    input_outcomes,
    table_outcomes,
    volume,
)


def profile(day: int, rows: int = 100, **columns: Any) -> Profile:
    """A profile of an input of that day; a column is (nulls, mean)."""
    found = tuple(
        ColumnProfile(name, "DOUBLE", nulls, 0, None, None, mean, None) for name, (nulls, mean) in columns.items()
    )
    return Profile("lake/sales", f"2013{day:04}T000000Z-x", rows, found)


@pytest.mark.parametrize(
    ("rows", "earlier", "check", "passed", "explanation"),
    [
        (5, [], VolumeCheck(), True, "rows 5, expected at least 1"),
        (0, [], VolumeCheck(), False, "rows 0, expected at least 1"),
        (0, [], VolumeCheck(min_rows=0), True, "rows 0, expected at least 0"),
        (2_000, [], VolumeCheck(max_rows=1_500), False, "rows 2,000, expected between 1 and 1,500"),
        # two inputs are no measure, three are
        (10, [1_000_000] * 2, VolumeCheck(), True, "rows 10, expected at least 1"),
        (
            112,
            [1_000, 990, 1_010],
            VolumeCheck(max_change_ratio=1.02),
            False,
            "rows 112, expected between 981 and 1,020",
        ),
        (5_000, [1_000] * 3, VolumeCheck(max_rows=6_000), True, "rows 5,000, expected between 100 and 6,000"),
        (50, [1_000] * 3, VolumeCheck(min_rows=200), False, "rows 50, expected between 200 and 10,000"),
        # one odd input among the earlier moves nothing
        (100, [100, 100, 1_000_000, 100], VolumeCheck(), True, "rows 100, expected between 10 and 1,000"),
    ],
)
def test_volume(rows: int, earlier: list[int], check: VolumeCheck, passed: bool, explanation: str) -> None:
    outcome = volume(profile(20, rows), [profile(day, count) for day, count in enumerate(earlier)], check)
    assert (outcome.passed, outcome.explanation) == (passed, explanation)
    assert outcome.numbers["rows"] == rows


def test_a_share_of_nulls_may_rise_by_as_much_as_declared() -> None:
    before = [profile(day, 100, a=(10, None), b=(0, None)) for day in range(3)]
    check = DistributionCheck(max_null_share_increase=0.2)
    assert distribution(profile(9, 100, a=(30, None), b=(20, None)), before, check).passed
    outcome = distribution(profile(9, 100, a=(31, None), b=(0, None)), before, check)
    assert (outcome.passed, outcome.explanation) == (False, "a: 31.0% nulls, expected at most 30.0%")
    assert distribution(profile(9, 100, a=(31, None)), before, DistributionCheck(ignore=("a",))).passed


def test_a_mean_may_move_by_so_many_deviations_of_earlier_means() -> None:
    before = [profile(day, 100, a=(0, mean)) for day, mean in enumerate([10.0, 12.0, 11.0, 9.0, 8.0])]
    check = DistributionCheck(max_mean_shift=2)
    assert distribution(profile(9, 100, a=(0, 13.0)), before, check).passed
    outcome = distribution(profile(9, 100, a=(0, 14.0)), before, check)
    assert (outcome.passed, outcome.explanation) == (False, "a: mean 14, expected between 6.838 and 13.16")
    # four inputs are no measure of a deviation, and a constant has none
    assert distribution(profile(9, 100, a=(0, 99.0)), before[:4], check).passed
    constant = [profile(day, 100, a=(0, 1.0)) for day in range(10)]
    assert distribution(profile(20, 100, a=(0, 2.0)), constant, check).passed


def test_an_input_without_rows_or_without_inputs_before_it_is_not_judged_by_distribution() -> None:
    before = [profile(day, 100, a=(0, 1.0)) for day in range(5)]
    empty = distribution(profile(9, 0, a=(0, None)), before, DistributionCheck())
    assert (empty.explanation, empty.numbers) == ("no rows to compare", {"columns": 0})
    assert (
        "2 earlier inputs, 3 are needed"
        in distribution(profile(9, 1, a=(1, None)), before[:2], DistributionCheck()).explanation
    )


@given(days=st.lists(st.integers(1, 60), unique=True), day=st.integers(1, 60))
def test_an_input_is_compared_with_the_last_before_it_only(days: list[int], day: int) -> None:
    found = EarlierInputs([profile(other) for other in days]).before(profile(day))
    expected = sorted(other for other in days if other < day)[-BASELINE:]
    assert [item.input_id for item in found] == [profile(other).input_id for other in expected]


def test_inputs_of_one_extract_time_are_no_history_of_each_other() -> None:
    own, other = (replace(profile(9), input_id=f"{profile(9).input_id}{version}") for version in "ba")
    before = [profile(day) for day in (3, 5)]
    known = EarlierInputs([other, own, *before])
    assert known.before(own) == known.before(other) == before


def test_columns_and_types_are_compared_with_the_declared_ones() -> None:
    expected = {"a": "DOUBLE", "b": "BIGINT", "c": "VARCHAR"}
    outcomes = table_outcomes("hub/sales", 10, {"a": "DOUBLE", "b": "VARCHAR", "d": "DATE"}, expected, Checks())
    assert [(item.check, item.passed, item.input_id) for item in outcomes] == [
        ("volume", True, None),
        ("schema", False, None),
    ]
    assert outcomes[1].explanation == "c is missing; d is not declared; b is VARCHAR, expected BIGINT"


def test_checks_that_are_off_give_no_outcome() -> None:
    off = Checks.model_validate({kind: {"enabled": False} for kind in ("volume", "schema", "distribution")})
    assert input_outcomes(profile(1), [], off, {}) == ()
    assert table_outcomes("hub/sales", 0, {}, {}, off) == ()


def test_every_outcome_names_its_asset_input_and_severity() -> None:
    strict = Checks.model_validate({"volume": {"severity": "fail"}})
    outcomes = input_outcomes(profile(1, 5, a=(0, 1.0)), [], strict, {"a": "DOUBLE"}, "a note")
    assert {(item.asset, item.input_id) for item in outcomes} == {("lake/sales", "20130001T000000Z-x")}
    assert [(item.check, item.severity) for item in outcomes] == [
        ("volume", "fail"),
        ("schema", "warn"),
        ("distribution", "warn"),
    ]
    assert outcomes[1].explanation == "1 columns as declared; a note"
