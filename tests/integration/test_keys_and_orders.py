"""What docs/refresh.md says of unusual keys and orders, value by value."""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from refresh_scenarios import Scenario

Make = Callable[..., Scenario]


@pytest.fixture
def keyed(tmp_path: Path) -> Make:
    """A hub keyed by `k` of some type, whose second arrival tells whether two keys are one."""
    return lambda kind: Scenario(tmp_path, {"type": "key", "key": ["k"]}, {"k": kind, "v": "integer"})


@pytest.fixture
def ordered(tmp_path: Path) -> Make:
    """A hub keyed by `k` in which the highest `o` wins."""
    return lambda kind: Scenario(tmp_path, {"type": "key", "key": ["k"], "order_by": "o"}, {"k": "text", "o": kind})


@pytest.mark.parametrize(
    ("kind", "first", "second"),
    [
        ("text", "a", "A"),
        ("text", "a", "a "),
        ("text", "a", " a"),
        ("text", "", " "),
        ("text", "\u00e9", "e\u0301"),
        ("text", "stra\u00dfe", "strasse"),
        ("text", "a", "a\x00"),
        ("text", "x" * 1_000_000, "x" * 999_999 + "y"),
        ("text", "'; DROP TABLE things; --", '"'),
        ("text", "\U0001f600", "\U0001f601"),
        ("integer", 2**63 - 1, -(2**63)),
        ("decimal(38,0)", decimal.Decimal(2**63), decimal.Decimal(2**63 + 1)),
        ("double", float("inf"), float("-inf")),
        ("double", 0.1 + 0.2, 0.3),
        ("date", dt.date(1, 1, 1), dt.date(9999, 12, 31)),
        ("date", dt.date(2024, 2, 29), dt.date(2024, 3, 1)),
        # the hour that comes twice where daylight saving time ends
        (
            "timestamptz",
            dt.datetime(2024, 10, 27, 0, 30, tzinfo=dt.UTC),
            dt.datetime(2024, 10, 27, 1, 30, tzinfo=dt.UTC),
        ),
    ],
)
def test_keys_that_are_two(keyed: Make, kind: str, first: Any, second: Any) -> None:
    hub = keyed(kind)
    assert hub.arrives(1, [(first, 1), (second, 2)]) == []
    assert hub.arrives(2, [(second, 3)]) == []
    assert sorted(hub.rows("v")) == [(1,), (3,)]


def test_zero_and_minus_zero_are_one_key(keyed: Make) -> None:
    hub = keyed("double")
    hub.arrives(1, [(0.0, 1)])
    hub.arrives(2, [(-0.0, 2)])
    assert hub.rows("v") == [(2,)]


@pytest.mark.parametrize(("kind", "value"), [("text", None), ("double", float("nan")), ("timestamptz", None)])
def test_a_key_without_a_comparable_value_stops_its_input_alone(keyed: Make, kind: str, value: Any) -> None:
    hub = keyed(kind)
    good = {"text": "a", "double": 1.0, "timestamptz": dt.datetime(2024, 1, 1, tzinfo=dt.UTC)}[kind]
    hub.parsed(1, [(good, 1)])
    hub.parsed(2, [(good, 2), (value, 3), (value, 4)])
    (error,) = hub.runs(1, 2)
    assert "null or NaN (rows) in k: 2; e.g. in rows 1, 2" in error
    assert hub.rows("v") == [(1,)]


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [
        ("integer", 2**53, 2**53 + 1),
        ("decimal(38,0)", decimal.Decimal(10**37), decimal.Decimal(10**37 + 1)),
        ("double", -0.5, float("inf")),
        ("double", float("-inf"), -1e308),
        ("text", "Z", "a"),
        ("text", "a", "a "),
        ("text", "9", "\u00e9"),
        ("text", "a\x00", "a\x00b"),
        ("text", "'", "\\'"),
        ("timestamptz", dt.datetime(1, 1, 1, tzinfo=dt.UTC), dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC)),
        ("date", dt.date(2024, 2, 29), dt.date(2024, 3, 1)),
    ],
)
def test_the_higher_order_wins_whichever_comes_first(ordered: Make, kind: str, low: Any, high: Any) -> None:
    hub = ordered(kind)
    hub.arrives(1, [("late", high), ("punctual", low)])
    hub.arrives(2, [("late", low), ("punctual", high)])
    assert [value for _, value in hub.rows("k", "o")] == [high, high]


@pytest.mark.parametrize(("kind", "value"), [("integer", None), ("double", float("nan"))])
def test_an_order_without_a_comparable_value_stops_its_input(ordered: Make, kind: str, value: Any) -> None:
    hub = ordered(kind)
    hub.arrives(1, [("a", 1)])
    (error,) = hub.arrives(2, [("a", value)])
    assert "null or NaN (rows) in o: 1; e.g. in rows 0" in error
    assert hub.rows("o") == [(1,)]
