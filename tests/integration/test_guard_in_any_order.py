"""Files dropped in a landing folder, in any order: what is held, and the hub, depend on the set of files alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from code_location import CodeLocation, day_of, failures, loaded, orders

from dataops_assets.components.by_hand import remove
from dataops_assets.config.source import Source

HEADER = "id,customer,amount\n"


def extract(*numbers: int) -> str:
    return HEADER + "".join(f"{number},7,1\n" for number in numbers)


FILES = {1: extract(*range(100)), 2: extract(*range(10)), 3: extract(*range(100))}


def source(*, history: bool) -> dict[str, Any]:
    return orders(refresh={"type": "full", "key": ["id"], "history": history}, relations={}, rules=[], validations=[])


def lands(here: CodeLocation, *days: int) -> None:
    for day in days:
        here.land("orders", f"orders_2024-01-{day:02}.csv", FILES[day])
    here.settle("orders")


def held(here: CodeLocation) -> list[str]:
    return sorted(day_of(input_id) for input_id in here.platform.metadata.decisions.held("orders"))


def newest_event(here: CodeLocation, partition: str) -> Mapping[str, Any]:
    """What the page of the partition shows."""
    wanted = dg.AssetRecordsFilter(dg.AssetKey(["hub", "orders"]), asset_partitions=[partition])
    (record,) = here.instance.fetch_materializations(wanted, limit=1).records
    assert record.asset_materialization is not None
    return record.asset_materialization.metadata


def by_day(here: CodeLocation, day: int) -> str:
    (found,) = (one for one in here.partitions("orders") if day_of(one) == f"202401{day:02}")
    return found


def removes(here: CodeLocation, input_id: str) -> None:
    declared = Source.model_validate(source(history=False))
    remove(here.platform.source_context(declared, {"orders": declared}), [input_id])


@pytest.mark.parametrize(
    ("order", "history"),
    [([[1], [3], [2]], False), ([[3], [2], [1]], False), ([[1], [3], [2]], True), ([[1, 2, 3]], True)],
    ids=str,
)
def test_a_truncated_extract_is_held_whoever_came_first(
    instance: dg.DagsterInstance, tmp_path: Path, order: list[list[int]], history: bool
) -> None:
    with loaded(source(history=history)) as definitions:
        here = CodeLocation(definitions, instance, tmp_path)
        for days in order:
            lands(here, *days)
        assert held(here) == ["20240102"]
        assert len(here.rows("hub/orders", "id")) == 100
        if history:
            versions = here.rows("hub/orders", "id", "s_is_deleted", "s_is_current")
            assert versions == [(number, False, True) for number in range(100)]
        assert not here.tick("orders").run_requests, "it rests"


def test_what_is_in_the_hub_is_taken_out_when_what_came_before_it_comes_late(
    instance_of_commands: dg.DagsterInstance, tmp_path: Path
) -> None:
    with loaded(source(history=False)) as definitions:
        here = CodeLocation(definitions, instance_of_commands, tmp_path)
        lands(here, 2)
        assert len(here.rows("hub/orders", "id")) == 10
        here.land("orders", "orders_2024-01-01.csv", FILES[1])
        (result,) = here.settle("orders")
        assert "90 of 100 rows (90.0%) go because they are missing" in failures(result)[0]
        assert len(here.rows("hub/orders", "id")) == 100
        newest = newest_event(here, by_day(here, 2))
        assert newest["removed"].value == 1
        assert "waits for a person's approval" in str(newest["held"].value)
        # removed, the first day says nothing more of the second: nobody has to ask for it
        removes(here, by_day(here, 1))
        here.settle("orders")
        assert held(here) == []
        assert len(here.rows("hub/orders", "id")) == 10
        assert "held" not in newest_event(here, by_day(here, 2))


def test_an_approval_belongs_to_the_input(instance_of_commands: dg.DagsterInstance, tmp_path: Path) -> None:
    with loaded(source(history=False)) as definitions:
        here = CodeLocation(definitions, instance_of_commands, tmp_path)
        lands(here, 1, 2)
        here.platform.metadata.decisions.approve("orders", [by_day(here, 2)], "a run that died")
        here.settle("orders")
        assert (held(here), len(here.rows("hub/orders", "id"))) == ([], 10)
        removes(here, by_day(here, 1))
        here.land("orders", "orders_2023-12-31.csv", extract(*range(200)))
        here.settle("orders")
        assert (held(here), len(here.rows("hub/orders", "id"))) == ([], 10), "whatever comes before it"


def test_a_header_alone_is_held_however_small_the_table(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    with loaded(source(history=False)) as definitions:
        here = CodeLocation(definitions, instance, tmp_path)
        here.land("orders", "orders_2024-01-01.csv", extract(*range(40)))
        here.land("orders", "orders_2024-01-02.csv", HEADER)
        here.settle("orders")
        assert held(here) == ["20240102"]
        assert len(here.rows("hub/orders", "id")) == 40


def test_what_is_removed_is_not_judged_any_more(instance_of_commands: dg.DagsterInstance, tmp_path: Path) -> None:
    with loaded(source(history=False)) as definitions:
        here = CodeLocation(definitions, instance_of_commands, tmp_path)
        lands(here, 1, 2)
        removes(here, by_day(here, 2))
        removes(here, by_day(here, 1))
        here.settle("orders")
        assert here.rows("hub/orders", "id") == []
