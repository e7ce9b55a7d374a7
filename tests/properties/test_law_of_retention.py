"""Retention and the law: a hub whose old inputs are settled is the hub of all inputs, now and whatever follows."""

from __future__ import annotations

import datetime as dt
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from law import arrive, as_input, hub_rows, leave, workspace_for
from law_cases import (
    KEY,
    KINDS,
    TRACKED,
    Delivery,
    Kind,
    actual_rows,
    deliveries,
    expected_rows,
    keyed,
    one_after_another,
    source_for,
)
from reference import GivenInput

from dataops_assets.config.environment import environment_from
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.errors import InputError
from dataops_assets.steps.cdc import cdc
from dataops_assets.steps.refresh import rebuild, remove
from dataops_assets.steps.upkeep.retention import settle_inputs

# those whose inputs can be superseded
SETTLED = {name: kind for name, kind in KINDS.items() if "order_by" not in kind.refresh}
SETTLED["key_deletes"] = Kind(
    {"type": "key", "key": KEY, "delete_when": "op = 'D'", "ignore_changes_in": ["ignored"]},
    keyed(tracked=TRACKED, is_delete=lambda row: row["op"] == "D"),
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> DuckDBEngine:
    home = tmp_path_factory.mktemp("engine")
    return DuckDBEngine(environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home))


@pytest.mark.parametrize("kind", SETTLED.values(), ids=SETTLED.keys())
@settings(max_examples=3, deadline=None)
@given(delivery=deliveries(families=30), days=st.integers(0, 2))
# drawn deliveries seldom settle, in order, an input whose rows delete one another
@example(delivery=one_after_another(20, 2), days=0)
def test_settled_inputs_mean_to_the_hub_what_they_meant(
    kind: Kind, days: int, delivery: Delivery, engine: DuckDBEngine
) -> None:
    source = source_for(kind.refresh, retention={"superseded_inputs": f"{days} days"})
    with tempfile.TemporaryDirectory() as home:
        context = workspace_for(source, Path(home), engine)
        applied: dict[str, GivenInput] = {}
        horizon: dt.datetime | None = None

        def check() -> None:
            expected = expected_rows(kind.meaning(list(applied.values())), None, history=False)
            assert actual_rows(hub_rows(context), history=False) == expected

        for group in delivery.groups:
            old = [item for item in group if horizon is not None and item.time < horizon]
            if old:
                report = cdc(context, [as_input(item) for item in old])
                assert all(isinstance(item.error, InputError) for item in report.inputs)
            taken = [item for item in group if item not in old]
            if taken:
                arrive(context, taken)
                applied |= {item.input_id: item for item in taken}
                check()
            before = sorted(map(str, hub_rows(context)))
            retained = settle_inputs(context)
            assert sorted(map(str, hub_rows(context))) == before
            times = [item.time for item in applied.values()]
            due = max(times) - dt.timedelta(days=days)
            # it moves on where it has an input to settle_inputs
            if any(time < due and (horizon is None or time >= horizon) for time in times):
                horizon = due
            assert (retained.before if retained else None) == horizon
            if retained is not None:
                assert retained.settled == sum(time < retained.before for time in times)
        rebuild(context)
        check()
        for input_id in delivery.removed:
            if input_id not in applied:
                continue
            if horizon is not None and applied[input_id].time < horizon:
                with pytest.raises(InputError, match="is settled"):
                    remove(context, [input_id])
                continue
            leave(context, [input_id])
            del applied[input_id]
            check()


@settings(max_examples=3, deadline=None)
@given(delivery=deliveries(families=30), days=st.integers(0, 2))
def test_what_validations_keep_out_stays_out(days: int, delivery: Delivery, engine: DuckDBEngine) -> None:
    """A row that is kept out of the hub is in its extract all the same; a hub that kept everything tells."""
    refresh = {"type": "full", "key": KEY}
    rules: dict[str, Any] = {
        "validations": [{"name": "known", "expression": "v = '' or n > 0", "severity": "quarantine"}],
        "rules": [{"name": "twice", "expression": "2 * n"}],
    }
    with tempfile.TemporaryDirectory() as home:
        kept = workspace_for(source_for(refresh, **rules), Path(home) / "kept", engine)
        settling = source_for(refresh, **rules, retention={"superseded_inputs": f"{days} days"})
        context = workspace_for(settling, Path(home) / "settled", engine)
        horizon: dt.datetime | None = None
        for group in delivery.groups:
            taken = [item for item in group if horizon is None or item.time >= horizon]
            for place in (context, kept) if taken else ():
                arrive(place, taken)
            assert sorted(map(str, hub_rows(context))) == sorted(map(str, hub_rows(kept)))
            retained = settle_inputs(context)
            horizon = retained.before if retained else horizon
        for input_id in delivery.removed:
            item = next(item for group in delivery.groups for item in group if item.input_id == input_id)
            if horizon is None or item.time >= horizon:
                for place in (context, kept):
                    leave(place, [input_id])
                assert sorted(map(str, hub_rows(context))) == sorted(map(str, hub_rows(kept)))
