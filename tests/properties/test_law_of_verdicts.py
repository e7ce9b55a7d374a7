"""The hub is a function of the rows that pass their validations, whatever was compared with what, and when.

What a validation reads may be left out when rows are compared: a row that changes nothing may be one that is kept out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import reference
from hypothesis import Phase, given, settings
from law import at
from law_cases import COLUMNS, HUGE, KEY, TRACKED, Delivery, Kind, assert_law, deliveries
from reference import GivenInput, Row, Version

from dataops_assets.config.environment import environment_from
from dataops_assets.engines.duckdb import DuckDBEngine

# of up to 100 families each; a failing example says which rows differ
EXAMPLES = 2
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
SANE = {"name": "sane", "expression": "ignored not in ('x', 'X', '|')", "severity": "quarantine"}
WHOLE = tuple(name for name in COLUMNS if name != "ignored")


def fails(row: Row) -> bool:
    """What the validation says."""
    return row["ignored"] in ("x", "X", "|")


def alike(delivery: Delivery) -> Delivery:
    """The same arrivals of rows that have few values, so that many say what others say."""

    def row_of(row: Row) -> Row:
        few = {"at": row["at"] % 2, "v": row["v"] and "x", "n": None, "number": HUGE, "seen": at(row["seen"].day % 3)}
        return {**row, **few, "op": "D" if row["op"] == "D" else "U", "k": row["k"][:1]}

    groups = [[replace(item, rows=tuple(map(row_of, item.rows))) for item in group] for group in delivery.groups]
    return replace(delivery, groups=groups)


def keyed(**options: Any) -> Callable[[list[GivenInput]], list[Version]]:
    """What a keyed type means, of whose rows some fail."""
    return lambda inputs: reference.keyed(inputs, key=KEY, tracked=TRACKED, fails=fails, **options)


IGNORED = {"ignore_changes_in": ["ignored"]}
KINDS = {
    "key": Kind({"type": "key", "key": KEY, **IGNORED}, keyed()),
    "key_deletes": Kind(
        {"type": "key", "key": KEY, "order_by": "at", "delete_when": "op = 'D'", **IGNORED},
        keyed(order_by="at", is_delete=lambda row: row["op"] == "D"),
    ),
    "full": Kind({"type": "full", "key": KEY, **IGNORED}, keyed(covers=lambda _item, _row: True)),
    "full_keyless": Kind(
        {"type": "full", **IGNORED},
        lambda inputs: reference.whole_rows(inputs, WHOLE, lambda _item, _row: True, fails),
    ),
    "timestamp": Kind(
        {"type": "timestamp", "range_by": "seen"},
        lambda inputs: reference.whole_rows(inputs, COLUMNS, reference.covers_range("seen"), fails),
    ),
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> DuckDBEngine:
    home = tmp_path_factory.mktemp("engine")
    return DuckDBEngine(environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home))


@pytest.mark.parametrize("history", [False, True], ids=["latest", "history"])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
@settings(max_examples=EXAMPLES, deadline=None, phases=PHASES)
@given(delivery=deliveries(families=100))
def test_the_hub_is_a_function_of_the_rows_that_pass(
    kind: Kind, history: bool, delivery: Delivery, engine: DuckDBEngine
) -> None:
    assert_law(kind, history, alike(delivery), engine, [SANE])
