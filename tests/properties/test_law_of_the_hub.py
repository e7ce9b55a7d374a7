"""The hub is a function of its set of inputs: any order of arrival, any grouping, repeats and removals."""

from __future__ import annotations

import datetime as dt
import decimal
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import reference
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from law import arrive, at, hub_rows, leave, workspace_for
from reference import GivenInput, Version

from dataops_assets.config.environment import environment_from
from dataops_assets.config.source import Source
from dataops_assets.engines.duckdb import DuckDBEngine

KEYS = ("a", "b", "a|b", "é", "")
PARTS = ("", "b|c", "c", "\\")
VALUES = (None, "", "x", "X", "0:", "|", "x ", "\U0001f600")
NUMBERS = (None, 0.0, -0.0, 1.5, float("inf"))
# neighbours beyond 64 bits, where a double would take them for one
HUGE = decimal.Decimal(10) ** 30
STEPS = 12
FAMILIES = 25
COLUMNS = ("k", "part", "at", "v", "n", "ignored", "op", "seen", "number")


@dataclass(frozen=True)
class Kind:
    """A refresh type under test and its meaning in the reference."""

    refresh: dict[str, Any]
    meaning: Callable[[list[GivenInput]], list[Version]]


KEY = ("k", "part")
TRACKED = ("at", "v", "n", "op", "seen", "number")


def _keyed(**options: Any) -> Callable[[list[GivenInput]], list[Version]]:
    return lambda inputs: reference.keyed(inputs, key=KEY, **{"tracked": (*TRACKED, "ignored"), **options})


KINDS = {
    "key": Kind({"type": "key", "key": KEY}, _keyed()),
    "key_ordered": Kind({"type": "key", "key": KEY, "order_by": "at"}, _keyed(order_by="at")),
    "key_deletes": Kind(
        {"type": "key", "key": KEY, "order_by": "at", "delete_when": "op = 'D'", "ignore_changes_in": ["ignored"]},
        _keyed(order_by="at", tracked=TRACKED, is_delete=lambda row: row["op"] == "D"),
    ),
    "full": Kind({"type": "full", "key": KEY}, _keyed(covers=lambda _item, _row: True)),
    "full_keyless": Kind(
        {"type": "full"}, lambda inputs: reference.whole_rows(inputs, COLUMNS, lambda _item, _row: True)
    ),
    "timestamp": Kind(
        {"type": "timestamp", "range_by": "seen"},
        lambda inputs: reference.whole_rows(inputs, COLUMNS, reference.covers_range("seen")),
    ),
    "sequence": Kind(
        {"type": "sequence", "range_by": "number"},
        lambda inputs: reference.whole_rows(inputs, COLUMNS, reference.covers_range("number")),
    ),
    "custom": Kind(
        {"type": "custom", "delete_where": "part = input.part and at >= INPUT.at"},
        lambda inputs: reference.own_rows(inputs, _replaces),
    ),
}


def _replaces(item: GivenInput, row: reference.Row) -> bool:
    return any(row["part"] == other["part"] and row["at"] >= other["at"] for other in item.rows)


def source_for(refresh: dict[str, Any]) -> Source:
    kinds = {"k": "text", "part": "text", "at": "integer", "v": "text", "n": "double", "ignored": "text", "op": "text"}
    kinds |= {"seen": "timestamptz", "number": "decimal(38,0)"}
    return Source.model_validate(
        {
            "name": "things",
            "area": "tests",
            "connection": {"type": "files", "path": "things_*.csv"},
            "columns": [{"name": name, "type": kind} for name, kind in kinds.items()],
            "refresh": refresh,
            "gates": {"deletes": {"max_share": 1}},
            "checks": {kind: {"enabled": False} for kind in ("volume", "schema", "distribution")},
            # checks ask the metadata for earlier inputs; the law is about rows
        }
    )


@dataclass(frozen=True)
class Delivery:
    """Inputs, the groups in which they arrive (repeats included), and those removed at the end."""

    inputs: list[GivenInput]
    groups: list[list[int]]
    removed: list[int]


@st.composite
def deliveries(draw: st.DrawFn) -> Delivery:
    """Families of keys that know nothing of each other, each a scenario of its own over the same arrivals.

    A family's rows come from a seed, so a failing example shrinks to the families that fail.
    """
    count = draw(st.integers(1, 4))
    days = draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    # the part of the range types' axis that an input has rows of
    windows = [sorted(draw(st.tuples(st.integers(0, STEPS), st.integers(0, STEPS)))) for _ in days]
    seeds = draw(st.lists(st.integers(0, 2**32), min_size=1, max_size=FAMILIES))
    if draw(st.booleans()):
        seeds += range(FAMILIES - len(seeds))
    rows: list[list[reference.Row]] = [[] for _ in days]
    for family, seed in enumerate(seeds):
        chosen = random.Random(seed)
        for index, (low, high) in enumerate(windows):
            rows[index].extend(_row(chosen, family, low, high) for _ in range(chosen.choice((0, 0, 1, 1, 2, 3))))
    inputs = [GivenInput(at(day), f"{day}-{index}", tuple(rows[index])) for index, day in enumerate(days)]
    order = draw(st.permutations(range(count)))
    repeats = draw(st.lists(st.integers(0, count - 1), max_size=1))
    groups: list[list[int]] = []
    for index in order:
        if groups and draw(st.booleans()):
            groups[-1].append(index)
        else:
            groups.append([index])
    groups.extend([index] for index in repeats)
    removed = draw(st.lists(st.integers(0, count - 1), max_size=2, unique=True))
    return Delivery(inputs, groups, removed)


def _row(chosen: random.Random, family: int, low: int, high: int) -> reference.Row:
    step = chosen.randint(low, high)
    return {
        "k": chosen.choice(KEYS[:2] if chosen.random() < 0.7 else KEYS),
        "part": f"{family}{chosen.choice(PARTS[:1] if chosen.random() < 0.7 else PARTS)}",
        "at": chosen.randint(0, 5),
        "v": chosen.choice(VALUES[:3] if chosen.random() < 0.7 else VALUES),
        "n": chosen.choice(NUMBERS[:3]) if chosen.random() < 0.8 else chosen.choice(NUMBERS),
        "ignored": chosen.choice(VALUES),
        "op": chosen.choice("IUD"),
        "seen": at(step),
        "number": HUGE + step,
    }


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> DuckDBEngine:
    home = tmp_path_factory.mktemp("engine")
    return DuckDBEngine(environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home))


def content(row: Any) -> tuple[Any, ...]:
    return tuple(_utc(row[name]) for name in COLUMNS)


def expected_rows(versions: list[Version], order_by: str | None, history: bool) -> set[tuple[Any, ...]]:
    kept = versions if history else [version for version in versions if version.is_current]
    rows = set()
    for version in kept:
        row = (*content(version.row), version.input_id, version.row_id, version.order, version.created, version.updated)
        rows.add((*row, version.order, version.valid_to, version.is_current) if history else row)
    return rows


def actual_rows(workspace: Any, history: bool) -> set[tuple[Any, ...]]:
    found = hub_rows(workspace)
    names = ["s_input_id", "s_row_id", "s_order", "s_created_at", "s_updated_at"]
    names += ["s_valid_from", "s_valid_to", "s_is_current"] if history else []
    result = {(*content(row), *(_utc(row[name]) for name in names)) for row in found}
    assert len(result) == len(found), "a hub row stands twice"
    return result


def _utc(value: Any) -> Any:
    return value.astimezone(dt.UTC) if isinstance(value, dt.datetime) else value


@pytest.mark.parametrize("history", [False, True], ids=["latest", "history"])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(delivery=deliveries())
def test_hub_is_a_function_of_its_set_of_inputs(
    kind: Kind, history: bool, delivery: Delivery, engine: DuckDBEngine
) -> None:
    inputs, removed = delivery.inputs, delivery.removed
    source = source_for({**kind.refresh, "history": history})
    order_by = kind.refresh.get("order_by")
    with tempfile.TemporaryDirectory() as home:
        workspace = workspace_for(source, Path(home), engine)
        applied: set[int] = set()
        for group in delivery.groups:
            arrive(workspace, [inputs[index] for index in group])
            applied |= set(group)
            expected = kind.meaning([inputs[index] for index in sorted(applied)])
            assert actual_rows(workspace, history) == expected_rows(expected, order_by, history)
        if removed:
            leave(workspace, [inputs[index].input_id for index in removed])
            expected = kind.meaning([item for index, item in enumerate(inputs) if index not in removed])
            assert actual_rows(workspace, history) == expected_rows(expected, order_by, history)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(delivery=deliveries())
def test_append_keeps_every_row_of_every_input_once(delivery: Delivery, engine: DuckDBEngine) -> None:
    inputs, removed = delivery.inputs, delivery.removed
    with tempfile.TemporaryDirectory() as home:
        workspace = workspace_for(source_for({"type": "append"}), Path(home), engine)
        for group in delivery.groups:
            arrive(workspace, [inputs[index] for index in group])
        left = inputs
        if removed:
            leave(workspace, [inputs[index].input_id for index in removed])
            left = [item for index, item in enumerate(inputs) if index not in removed]
        found = [(row["s_input_id"], row["s_row_id"]) for row in hub_rows(workspace)]
        assert sorted(found) == sorted(reference.append(left))
