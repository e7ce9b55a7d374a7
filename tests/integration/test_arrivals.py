"""Versions of files, copies and packings: which arrivals are one input, and which of them decide the hub.

Files are dropped in a landing folder; discovery, the sensor and the Dagster run are the real ones.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from code_location import CodeLocation, loaded, standalone

from dataops_assets.config.source import Source
from dataops_assets.steps.refresh import remove

# Dagster itself uses them wherever a component is loaded
pytestmark = pytest.mark.filterwarnings(
    "ignore:Class `(LocalFile|)CodeReference(sMetadataValue|)` is currently in beta",
    "ignore:Parameter `owners` of initializer `SensorDefinition.__init__` is currently in beta",
    "ignore:Class `SparkDeclarativePipelineScaffolder` is currently in preview",
)

HEADER = "id,customer,amount\n"
A, B = HEADER + "1,1,5\n2,1,5\n", HEADER + "1,1,6\n3,1,6\n"
NAME = "orders_2024-01-05.csv"
NOON = 1_700_000_000


KEYED = {"type": "key", "key": ["id"]}
FULL = {"type": "full", "key": ["id"]}
APPEND = {"type": "append"}
SEQUENCE = {"type": "sequence", "range_by": "id"}
CUSTOM = {"type": "custom", "delete_where": "id = input.id"}


@pytest.fixture(scope="module")
def declared() -> Iterator[Callable[..., dg.Definitions]]:
    """The definitions of a source with this refresh, and perhaps other attributes; loaded once."""
    made: dict[str, dg.Definitions] = {}
    with ExitStack() as stack:

        def definitions(refresh: dict[str, Any], **attributes: Any) -> dg.Definitions:
            source = standalone() | {"refresh": refresh, "gates": {"deletes": {"max_share": 1}}, **attributes}
            if str(source) not in made:
                made[str(source)] = stack.enter_context(loaded(source))
            return made[str(source)]

        yield definitions


def send(here: CodeLocation, name: str, content: str | bytes, minute: int) -> None:
    """A version of a file, made at that minute."""
    here.land("orders", name, content)
    os.utime(here.landing / "orders" / name, (NOON + 60 * minute, NOON + 60 * minute))


def hub(here: CodeLocation) -> list[tuple[Any, ...]]:
    return here.rows("hub/orders", "id", "amount")


@pytest.mark.parametrize(
    ("refresh", "looks"),
    [(KEYED, (1, 2, 3)), (FULL, (1, 2, 3)), (SEQUENCE, (1, 2, 3)), (CUSTOM, (1, 2, 3)), (KEYED, (2, 3))],
    ids=["key", "full", "sequence", "custom", "key, the first unseen"],
)
def test_the_version_that_arrived_last_wins(
    declared: Any, instance: dg.DagsterInstance, tmp_path: Path, refresh: dict[str, Any], looks: Sequence[int]
) -> None:
    """A, then B, then the bytes of A again, under one name."""
    here = CodeLocation(declared(refresh), instance, tmp_path)
    events: list[str] = []
    for version, content in enumerate((A, B, A), start=1):
        send(here, NAME, content, version)
        if version in looks:
            answer = here.tick("orders")
            events += [str(event.description) for event in answer.asset_events]
            assert all(here.run(request).success for request in answer.run_requests or ())
            # found and merged in one look, or found again and merged at its new place
            here.settle("orders")
            kept = {1: 5.0, 2: 5.0} if content == A else {1: 6.0, 3: 6.0}
            if refresh != FULL:
                kept = dict(hub(here)) | kept
            assert dict(hub(here)) == kept
    if refresh != FULL:
        # of B, what A says nothing of
        assert hub(here) == [(1, 5.0), (2, 5.0), (3, 6.0)]
    first, second = sorted(here.platform.metadata.inputs("orders"), key=lambda item: item.arrival)
    assert any(f"replaces {first.input_id}" in event for event in events)
    if looks == (1, 2, 3):
        assert any(f"replaces {second.input_id}" in event for event in events)


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1)])
def test_what_a_tie_of_orders_gives_does_not_depend_on_who_came_first(
    declared: Any, instance: dg.DagsterInstance, tmp_path: Path, order: Sequence[int]
) -> None:
    """Days 1 and 3 have the same bytes and day 2 others, all at one value of `order_by`: day 3 wins."""
    columns = [{"name": "id", "type": "integer"}, {"name": "amount"}, {"name": "day", "type": "date"}]
    refresh = {"type": "key", "key": ["id"], "order_by": "day"}
    here = CodeLocation(declared(refresh, columns=columns), instance, tmp_path)
    for day in order:
        send(here, f"orders_2024-01-{day:02}.csv", f"id,amount,day\n1,{'b' if day == 2 else 'a'},2024-01-01\n", day)
        here.settle("orders")
    assert hub(here) == [(1, "a")]
    assert len(here.partitions("orders")) == 3


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1)])
def test_of_inputs_with_one_content_append_keeps_the_rows_of_the_first(
    declared: Any, instance: dg.DagsterInstance, tmp_path: Path, order: Sequence[int]
) -> None:
    here = CodeLocation(declared(APPEND), instance, tmp_path)
    for day in order:
        send(here, f"orders_2024-01-{day:02}.csv", A if day != 2 else B, day)
        if day != 2:
            # the other one comes in the same look
            here.settle("orders")
    here.settle("orders")
    rows = here.rows("hub/orders", "id", "amount", "s_created_at")
    assert [(row[0], row[1], row[2].day) for row in rows] == [(1, 5.0, 1), (1, 6.0, 2), (2, 5.0, 1), (3, 6.0, 2)]
    by_day = {item.extract_time.day: item.input_id for item in here.platform.metadata.inputs("orders")}
    source = Source.model_validate(standalone() | {"refresh": APPEND, "gates": {"deletes": {"max_share": 1}}})
    remove(here.platform.source_context(source, {"orders": source}), [by_day[1]])
    assert {row[2].day for row in here.rows("hub/orders", "id", "amount", "s_created_at")} == {2, 3}
