"""The hub is a function of its set of inputs: any order of arrival, any grouping, repeats and removals."""

from __future__ import annotations

import datetime as dt
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

KEYS = st.sampled_from(["a", "b", "a|b", "é", ""])
PARTS = st.sampled_from(["", "b|c", "c", "\\"])
VALUES = st.sampled_from([None, "", "x", "X", "0:", "|", "x ", "\U0001f600"])
NUMBERS = st.sampled_from([None, 0.0, -0.0, 1.5, float("inf")])
ROWS = st.fixed_dictionaries(
    {
        "k": KEYS,
        "part": PARTS,
        "at": st.integers(0, 5),
        "v": VALUES,
        "n": NUMBERS,
        "ignored": VALUES,
        "op": st.sampled_from("IUD"),
    }
)


@dataclass(frozen=True)
class Kind:
    """A refresh type under test and its meaning in the reference."""

    refresh: dict[str, Any]
    meaning: Callable[[list[GivenInput]], list[Version]]


KEY = ("k", "part")
TRACKED = ("at", "v", "n", "op")


def _keyed(**options: Any) -> Callable[[list[GivenInput]], list[Version]]:
    return lambda inputs: reference.keyed(inputs, key=KEY, **{"tracked": (*TRACKED, "ignored"), **options})


KINDS = {
    "key": Kind({"type": "key", "key": KEY}, _keyed()),
    "key_ordered": Kind({"type": "key", "key": KEY, "order_by": "at"}, _keyed(order_by="at")),
    "key_deletes": Kind(
        {"type": "key", "key": KEY, "order_by": "at", "delete_when": "op = 'D'", "ignore_changes_in": ["ignored"]},
        _keyed(order_by="at", tracked=TRACKED, is_delete=lambda row: row["op"] == "D"),
    ),
    "full": Kind({"type": "full", "key": KEY}, _keyed(absence_deletes=True)),
}


def source_for(refresh: dict[str, Any]) -> Source:
    kinds = {"k": "text", "part": "text", "at": "integer", "v": "text", "n": "double", "ignored": "text", "op": "text"}
    return Source.model_validate(
        {
            "name": "things",
            "area": "tests",
            "connection": {"type": "files", "path": "things_*.csv"},
            "columns": [{"name": name, "type": kind} for name, kind in kinds.items()],
            "refresh": refresh,
            "checks": {kind: {"enabled": False} for kind in ("volume", "schema", "distribution")},
            # checks ask the metadata for earlier inputs; the law is about rows
        }
    )


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[GivenInput], list[list[int]], list[int]]:
    """Inputs, the groups in which they arrive (repeats included), and those removed at the end."""
    count = draw(st.integers(1, 4))
    days = draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    inputs = [
        GivenInput(at(day), f"{day}-{index}", tuple(draw(st.lists(ROWS, max_size=5)))) for index, day in enumerate(days)
    ]
    order = draw(st.permutations(range(count)))
    repeats = draw(st.lists(st.integers(0, count - 1), max_size=2))
    groups: list[list[int]] = []
    for index in order:
        if groups and draw(st.booleans()):
            groups[-1].append(index)
        else:
            groups.append([index])
    groups.extend([index] for index in repeats)
    removed = draw(st.lists(st.integers(0, count - 1), max_size=2, unique=True))
    return inputs, groups, removed


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> DuckDBEngine:
    home = tmp_path_factory.mktemp("engine")
    return DuckDBEngine(environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home))


def content(row: Any) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("k", "part", "at", "v", "n", "ignored", "op"))


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
    kind: Kind, history: bool, delivery: tuple[list[GivenInput], list[list[int]], list[int]], engine: DuckDBEngine
) -> None:
    inputs, groups, removed = delivery
    source = source_for({**kind.refresh, "history": history})
    order_by = kind.refresh.get("order_by")
    with tempfile.TemporaryDirectory() as home:
        workspace = workspace_for(source, Path(home), engine)
        applied: set[int] = set()
        for group in groups:
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
def test_append_keeps_every_row_of_every_input_once(
    delivery: tuple[list[GivenInput], list[list[int]], list[int]], engine: DuckDBEngine
) -> None:
    inputs, groups, removed = delivery
    with tempfile.TemporaryDirectory() as home:
        workspace = workspace_for(source_for({"type": "append"}), Path(home), engine)
        for group in groups:
            arrive(workspace, [inputs[index] for index in group])
        left = inputs
        if removed:
            leave(workspace, [inputs[index].input_id for index in removed])
            left = [item for index, item in enumerate(inputs) if index not in removed]
        found = [(row["s_input_id"], row["s_row_id"]) for row in hub_rows(workspace)]
        assert sorted(found) == sorted(reference.append(left))
