"""The law under drift: columns that only some inputs have are as if all inputs had them, null where they do not."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import law_cases
import pytest
import reference
from hypothesis import given, settings
from law import arrive, at, hub_rows, leave, workspace_for
from law_cases import COLUMNS, KEY, Delivery, deliveries, source_for
from reference import GivenInput, Version

from dataops_assets.config.environment import environment_from
from dataops_assets.engines.duckdb import DuckDBEngine

START = at(0)
EVOLVED = ("added", "more")
ALL = (*COLUMNS, *EVOLVED)
TRACKED = tuple(name for name in ALL if name not in KEY)


@dataclass(frozen=True)
class Drifting:
    """A refresh type, what it means, and the columns that it reads; all others are mostly alike."""

    refresh: dict[str, Any]
    meaning: Callable[[list[GivenInput]], list[Version]]
    reads: tuple[str, ...] = ()


def whole(covers: Callable[[GivenInput, reference.Row], bool]) -> Callable[[list[GivenInput]], list[Version]]:
    return lambda inputs: reference.whole_rows(inputs, ALL, covers)


KINDS = {
    "key": Drifting({"type": "key", "key": KEY}, lambda inputs: reference.keyed(inputs, key=KEY, tracked=TRACKED)),
    "key_deletes": Drifting(
        {"type": "key", "key": KEY, "order_by": "at", "delete_when": "op = 'D'"},
        lambda inputs: reference.keyed(
            inputs, key=KEY, tracked=TRACKED, order_by="at", is_delete=lambda row: row["op"] == "D"
        ),
        ("at", "op"),
    ),
    "full": Drifting(
        {"type": "full", "key": KEY},
        lambda inputs: reference.keyed(inputs, key=KEY, tracked=TRACKED, covers=lambda _item, _row: True),
    ),
    "full_keyless": Drifting({"type": "full"}, whole(lambda _item, _row: True)),
    "timestamp": Drifting({"type": "timestamp", "range_by": "seen"}, whole(reference.covers_range("seen")), ("seen",)),
    "sequence": Drifting(
        {"type": "sequence", "range_by": "number"}, whole(reference.covers_range("number")), ("number",)
    ),
    "custom": Drifting(
        law_cases.KINDS["custom"].refresh, lambda inputs: reference.own_rows(inputs, law_cases.replaces), ("at",)
    ),
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> DuckDBEngine:
    home = tmp_path_factory.mktemp("engine")
    return DuckDBEngine(environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home))


def drifted(item: GivenInput, reads: Sequence[str]) -> GivenInput:
    """The input with more columns: which follows from its id, their values from its rows, which are mostly alike."""
    has = [name for name in EVOLVED if zlib.crc32((item.input_id + name).encode()) % 2]
    alike = {"at": 0, "n": None, "ignored": None, "op": "I", "v": None, "seen": START, "number": 0}
    rows = []
    for row in item.rows:
        chosen = zlib.crc32(repr(sorted(row.items(), key=str)).encode())
        values = {name: (None, "", "x", "5:x")[(chosen >> 2 * place) % 4] for place, name in enumerate(has)}
        rows.append({**row, **alike, **{name: row[name] for name in reads}, **values})
    return replace(item, rows=tuple(rows))


def filled(item: GivenInput) -> GivenInput:
    """The input as if it had every column."""
    return replace(item, rows=tuple({**dict.fromkeys(EVOLVED), **row} for row in item.rows))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=3, deadline=None)
@given(delivery=deliveries(families=20))
def test_undeclared_columns_of_some_inputs_keep_the_law(kind: str, delivery: Delivery, engine: DuckDBEngine) -> None:
    meaning, reads = KINDS[kind].meaning, KINDS[kind].reads
    source = source_for({**KINDS[kind].refresh, "history": True}, drift={"new_column": "evolve"})
    applied: dict[str, GivenInput] = {}
    with tempfile.TemporaryDirectory() as home:
        context = workspace_for(source, Path(home), engine)

        def check() -> None:
            expected = {
                (
                    *(version.row[name] for name in ALL),
                    version.input_id,
                    version.row_id,
                    version.order,
                    version.valid_to,
                )
                for version in meaning([filled(item) for item in applied.values()])
            }
            # a column that came with no input so far is not there yet
            found = [
                (
                    *(row.get(name) for name in ALL),
                    *(row[name] for name in ("s_input_id", "s_row_id", "s_order", "s_valid_to")),
                )
                for row in hub_rows(context)
            ]
            assert set(found) == expected
            assert len(found) == len(expected)

        for group in delivery.groups:
            arrive(context, [drifted(item, reads) for item in group])
            applied |= {item.input_id: drifted(item, reads) for item in group}
            check()
        if delivery.removed:
            leave(context, delivery.removed)
            applied = {name: item for name, item in applied.items() if name not in delivery.removed}
            check()
