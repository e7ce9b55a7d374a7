"""An input waits until another source is recent enough: whoever starts it, visibly, and releases by itself."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from code_location import CUSTOMERS, Answer, CodeLocation, checks, failures, loaded, orders, standalone
from pydantic import ValidationError

from dataops_assets.config.rules import Wait
from dataops_assets.config.source import Source
from dataops_assets.errors import ConfigError
from dataops_assets.steps.refresh import remove

HEADER = "id,customer,amount\n"
WITHIN_A_DAY = [{"source": "customers", "within": "1 day"}]
ENRICH = ["hub/orders_enriched", "hub/orders"]
CHECK = "hub/orders_enriched:waits_for"


@pytest.fixture(scope="module")
def shop() -> Iterator[dg.Definitions]:
    with loaded(CUSTOMERS, standalone() | {"waits_for": WITHIN_A_DAY}) as definitions:
        yield definitions


@pytest.fixture
def here(shop: dg.Definitions, instance: dg.DagsterInstance, tmp_path: Path) -> CodeLocation:
    return CodeLocation(shop, instance, tmp_path)


def orders_of(here: CodeLocation, *days: int) -> None:
    for day in days:
        here.land("orders", f"orders_2024-01-{day:02}.csv", HEADER + f"{day},1,{day}\n")


def customers_of(here: CodeLocation, day: int) -> None:
    here.land("customers", f"customers_2024-01-{day:02}.csv", f"id,name\n1,Ann of {day}\n")


def told(answer: Answer) -> list[dg.AssetCheckEvaluation]:
    return [event for event in answer.asset_events if isinstance(event, dg.AssetCheckEvaluation)]


def test_an_input_goes_up_to_enrich_waits_there_and_is_released(here: CodeLocation) -> None:
    orders_of(here, 1, 2, 3)
    answer = here.tick("orders")
    (request,) = answer.run_requests or ()
    assert not any(key.path[0] == "hub" for key in request.asset_selection or ())
    (shown,) = told(answer)
    assert (shown.check_name, shown.passed, shown.severity) == ("waits_for", False, dg.AssetCheckSeverity.WARN)
    assert "hub/customers has no input, needed is 2023-12-31 00:00:00 UTC or newer" in str(shown.description)
    assert here.run(request).success
    answer = here.tick("orders")
    assert not answer.run_requests
    assert "3 messages told before" in str(answer.skip_message)
    assert told(answer) == [], "told once"

    customers_of(here, 1)
    here.settle("customers")
    answer = here.tick("orders")
    (request,) = answer.run_requests or ()
    result = here.run(request)
    assert result.success, failures(result)
    assert here.rows("hub/orders", "id") == [(1,), (2,)], "the third is two days newer than what is known of customers"
    assert checks(result)[CHECK].passed
    (shown,) = told(answer)
    assert "hub/customers is of 2024-01-01 00:00:00 UTC, needed is 2024-01-02 00:00:00 UTC or newer" in str(
        shown.description
    )
    # a newer extract lets the last one go, too
    customers_of(here, 5)
    here.settle("customers", "orders")
    assert here.rows("hub/orders", "id") == [(1,), (2,), (3,)]
    assert here.tick("orders").skip_message == "no new input"


def test_whoever_starts_it_waits_and_other_inputs_go_on(here: CodeLocation) -> None:
    customers_of(here, 1)
    here.settle("customers")
    orders_of(here, 1, 4)
    here.settle("orders")
    early, late = here.partitions("orders")
    result = here.materialize(ENRICH, {"dagster/partition": late})
    assert not result.success
    assert len([event for event in result.all_events if event.is_step_restarted]) == 0, (
        "waiting is no fault that passes"
    )
    (message,) = failures(result)[:1]
    assert "hub/customers is of 2024-01-01 00:00:00 UTC, needed is 2024-01-03 00:00:00 UTC or newer" in message
    assert "it goes on once 'customers' is recent enough" in message
    assert not checks(result)[CHECK].passed
    span = {"dagster/asset_partition_range_start": early, "dagster/asset_partition_range_end": late}
    here.materialize(ENRICH, span)
    assert here.rows("hub/orders", "id") == [(1,)]
    # tried by hand a dozen times, it is still no failure that is given up
    for _ in range(12):
        here.platform.metadata.start("orders", "enrich", [late], "run")
        here.materialize(ENRICH[:1], {"dagster/partition": late})
    customers_of(here, 3)
    here.settle("customers", "orders")
    assert here.rows("hub/orders", "id") == [(1,), (4,)]


def test_arrivals_out_of_order_release_what_they_can(here: CodeLocation) -> None:
    orders_of(here, 3)
    customers_of(here, 9)
    here.settle("orders", "customers")
    assert here.rows("hub/orders", "id") == [(3,)]
    # late on both sides: what counts is the newest extract of the other source
    customers_of(here, 1)
    orders_of(here, 1, 10, 11)
    here.settle("orders", "customers")
    assert here.rows("hub/orders", "id") == [(1,), (3,), (10,)]


def test_a_source_that_never_comes_is_told_once_and_costs_no_runs(here: CodeLocation) -> None:
    orders_of(here, 1)
    here.settle("orders")
    for _ in range(5):
        here.restart()
        answer = here.tick("orders")
        assert not answer.run_requests
        assert not told(answer)
        assert answer.skip_message == "no new input; 1 message told before, shown by 'dataops status orders'"
    assert here.status("orders", "cdc") == {"20240101": "done"}
    assert here.status("orders", "enrich") == {}


def test_a_killed_run_is_asked_for_again(here: CodeLocation) -> None:
    customers_of(here, 1)
    here.settle("customers")
    orders_of(here, 1, 5)
    first = here.tick("orders").run_requests or ()
    ids = here.partitions("orders")
    # one was killed in enrich, the other before it
    for step in ("ingest", "parse", "cdc"):
        here.platform.metadata.start("orders", step, ids, "killed")
    here.restart()
    again = here.tick("orders").run_requests or ()
    assert [item.run_key for item in again] == [item.run_key for item in first]
    assert [here.run(item).success for item in again] == [True, True]
    here.platform.metadata.start("orders", "enrich", ids[1:], "killed")
    assert not here.tick("orders").run_requests
    customers_of(here, 5)
    here.settle("customers", "orders")
    assert here.rows("hub/orders", "id") == [(1,), (5,)]


def test_what_is_removed_counts_no_more(here: CodeLocation) -> None:
    customers_of(here, 1)
    customers_of(here, 5)
    here.settle("customers")
    source = Source.model_validate(CUSTOMERS)
    remove(here.platform.source_context(source, {source.name: source}), here.partitions("customers")[1:])
    orders_of(here, 5)
    here.settle("orders")
    assert here.rows("hub/orders", "id") == []


def test_the_lineage_shows_what_is_waited_for(here: CodeLocation) -> None:
    graph = here.definitions.resolve_asset_graph()
    parents = graph.get(dg.AssetKey(["hub", "orders_enriched"])).parent_keys
    assert dg.AssetKey(["hub", "customers"]) in parents


@pytest.mark.parametrize(
    ("within", "days", "goes"),
    [
        ("P1D", (2, 1), True),
        ("1 day", (3, 1), False),
        ("0 days", (2, 2), True),
        ("PT0S", (2, 1), False),
        ("-1 day", (2, 2), False),
        ("-P1D", (2, 3), True),
        ("12 hours", (2, 1), False),
        ("36 hours", (2, 1), True),
        ("2 weeks", (15, 1), True),
        (None, (2, 2), True),
    ],
)
def test_an_interval_is_read_as_it_is_written(within: str | None, days: tuple[int, int], goes: bool) -> None:
    wait = Wait.model_validate({"source": "b", **({} if within is None else {"within": within})})
    own, other = (dt.datetime(2024, 1, day, tzinfo=dt.UTC) for day in days)
    assert (other >= own - wait.within) is goes


@pytest.mark.parametrize("within", ["1 month", "soon", 5, "", "day", "PX"])
def test_an_interval_that_is_none_is_refused(within: object) -> None:
    with pytest.raises(ValidationError, match=r"known: '1 day'|valid timedelta"):
        Wait.model_validate({"source": "b", "within": within})


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ([standalone() | {"waits_for": [{"source": "custmers"}]}, CUSTOMERS], "did you mean 'customers'"),
        ([standalone() | {"waits_for": [{"source": "orders"}]}], "wait for each other: orders → orders"),
        (
            [standalone() | {"waits_for": WITHIN_A_DAY}, CUSTOMERS | {"waits_for": [{"source": "orders"}]}],
            "→ orders → customers|→ customers → orders",
        ),
        # the orders' rules look up customers, and so wait for them already
        ([orders(), CUSTOMERS | {"waits_for": [{"source": "orders"}]}], "customers → orders → customers"),
    ],
)
def test_waits_without_an_end_are_refused_at_load(sources: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(Exception, match="Error while building definitions") as caught, loaded(*sources):
        pass
    error: BaseException | None = caught.value
    while error is not None and not isinstance(error, ConfigError):
        error = error.__cause__
    assert re.search(message, str(error))
    assert re.search(r"defs.yaml:\d+ attributes.waits_for.0.source", str(error))
