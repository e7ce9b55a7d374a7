"""Sensors, runs and checks of a small code location: real files, steps, tables, metadata and Dagster instance."""

from __future__ import annotations

import datetime as dt
import gzip
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from code_location import CUSTOMERS, CodeLocation, checks, day_of, failures, loaded, orders, standalone

from dataops_assets.components.source_look import Look
from dataops_assets.errors import StorageError
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.storage.raw import RawArea

HEADER = "id,customer,amount\n"
MAIN = ["raw/orders", "lake/orders", "lake/orders_changes", "hub/orders_enriched", "hub/orders"]
ALL = [*MAIN, "lake/orders_quarantine"]
START, END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


@pytest.fixture(scope="module")
def shop() -> Iterator[dg.Definitions]:
    with loaded(CUSTOMERS, orders()) as definitions:
        yield definitions


@pytest.fixture(scope="module")
def single() -> Iterator[dg.Definitions]:
    with loaded(standalone()) as definitions:
        yield definitions


def day(number: int) -> str:
    return f"orders_2024-01-{number:02}.csv"


def test_a_snapshot_look_up_waits_for_what_it_looks_up(
    shop: dg.Definitions, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    here = CodeLocation(shop, instance, tmp_path)
    here.land("orders", day(1), HEADER + "1,1,5\n2,2,7.5\n")
    answer = here.tick("orders")
    assert not answer.run_requests
    assert "1 inputs wait for customers (no input in its hub)" in str(answer.skip_message)
    here.land("customers", "customers_2024-01-01.csv", "id,name\n1,Ann\n2,Bo\n")
    assert [result.success for result in here.settle("orders", "customers")] == [True, True]
    assert here.rows("hub/orders", "id", "customer_name") == [(1, "Ann"), (2, "Bo")]


def test_a_run_tells_rows_columns_lineage_counts_and_checks(
    shop: dg.Definitions, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    here = CodeLocation(shop, instance, tmp_path)
    here.land("customers", "customers_2024-01-01.csv", "id,name\n1,Ann\n2,Bo\n")
    here.land("orders", day(1), HEADER + "1,1,5\n2,2,-7.5\nx,1,1\n")
    here.land("orders", day(2), HEADER + "2,2,8\n3,1,1\n")
    here.settle("customers")
    (request,) = here.tick("orders").run_requests or ()
    first, second = here.partitions("orders")
    assert (request.tags[START], request.tags[END]) == (first, second)
    result = here.run(request)
    assert result.success

    for asset in MAIN:
        assert set(here.materialized(asset)) == {first, second}
    # told for the input that has such rows
    (rejected,) = here.materialized("lake/orders_quarantine").items()
    assert (rejected[0], rejected[1].metadata["rejected rows"].value) == (first, 1)

    hub = here.materialized("hub/orders")[second].metadata
    assert hub["dagster/row_count"].value == 3
    assert (hub["new"].value, hub["changed"].value) == (1, 1)
    assert hub["table_version"].value == 0
    assert float(str(hub["run: seconds"].value)) > 0
    schema = here.declared("hub/orders")["dagster/column_schema"]
    assert isinstance(schema, dg.TableSchema)
    columns = {column.name: column for column in schema.columns}
    assert columns["id"].type == "BIGINT"
    assert columns["id"].description == "Number of the order."
    assert columns["customer"].tags == {"pii": "id"}
    assert {"customer_name", "s_key", "s_input_id", "s_status"} <= set(columns)

    enriched = here.declared("hub/orders_enriched")["dagster/column_lineage"]
    assert isinstance(enriched, dg.TableColumnLineage)
    origins = {
        name: {("/".join(dep.asset_key.path), dep.column_name) for dep in deps}
        for name, deps in enriched.deps_by_column.items()
    }
    assert ("hub/customers", "name") in origins["customer_name"]
    assert origins["amount"] == {("lake/orders_changes", "amount")}

    found = checks(result)
    for asset in MAIN:
        for kind in ("volume", "schema", "distribution"):
            assert found[f"{asset}:{kind}"].passed, (asset, kind, found[f"{asset}:{kind}"].description)
    validation = found["hub/orders_enriched:validation"]
    assert not validation.passed
    assert validation.severity == dg.AssetCheckSeverity.WARN
    assert "1 of 2 inputs fail" in str(validation.description)
    assert "positive" in str(validation.description)


def test_a_failing_gate_never_lets_the_hub_change(
    shop: dg.Definitions, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    here = CodeLocation(shop, instance, tmp_path)
    here.land("customers", "customers_2024-01-01.csv", "id,name\n1,Ann\n")
    here.land("orders", day(1), HEADER + "1,1,5\n")
    here.settle("customers", "orders")
    before = here.rows("hub/orders", "id", "amount")
    here.land("orders", day(2), HEADER + "1,1,9999999\n")
    (failed,) = here.settle("orders")
    assert not failed.success
    assert "sane" in failures(failed)[0]
    assert "orders_2024-01-02.csv" in failures(failed)[0]
    check = checks(failed)["hub/orders_enriched:validation"]
    assert not check.passed
    assert check.blocking
    assert here.rows("hub/orders", "id", "amount") == before
    assert here.status("orders", "enrich") == {"20240101": "done", "20240102": "failed"}
    # whoever starts it, and from which step on: nothing of it is there to be published
    again = here.materialize(["hub/orders"], {"dagster/partition": here.partitions("orders")[1]})
    assert here.rows("hub/orders", "id", "amount") == before, failures(again)


def test_bad_inputs_of_a_history_fail_alone_and_are_not_asked_for_again(
    single: dg.Definitions, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    here = CodeLocation(single, instance, tmp_path)
    for number in range(1, 8):
        here.land("orders", day(number), HEADER + f"{number},1,{number}\n")
    here.land("orders", day(3), "id,customer\n3,1\n")
    here.land("orders", f"{day(5)}.gz", gzip.compress((HEADER + "5,1,5\n" * 500).encode())[:-20])
    (request,) = here.tick("orders").run_requests or ()
    failed = here.run(request)
    assert not failed.success
    (told,) = failures(failed)
    assert told.startswith("parse of orders: 2 of 8 inputs failed")
    assert day(3) in told
    assert f"{day(5)}.gz" in told
    # what was parsed is told, what was not is not
    lake = {day_of(key) for key in here.materialized("lake/orders")}
    assert lake == {"20240101", "20240102", "20240104", "20240105", "20240106", "20240107"}

    requests = here.tick("orders").run_requests or ()
    assert {"/".join(key.path) for key in requests[0].asset_selection or ()} == {
        "lake/orders_changes",
        "hub/orders_enriched",
        "hub/orders",
    }
    assert all(here.run(item).success for item in requests)
    assert [row[0] for row in here.rows("hub/orders", "id")] == [1, 2, 4, 5, 6, 7]
    for _ in range(2):
        here.restart()
        answer = here.tick("orders")
        assert not answer.run_requests
        # the look after the first run told them
        assert answer.skip_message == "no new input; 2 messages told before, shown by 'dataops status orders'"


def test_a_duplicate_is_told_once_and_takes_no_run(
    single: dg.Definitions, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    here = CodeLocation(single, instance, tmp_path)
    here.land("orders", day(1), HEADER + "1,1,5\n")
    here.settle("orders")
    (known,) = here.partitions("orders")
    here.land("orders", "orders_2024-01-01.csv.copy", HEADER + "1,1,5\n")
    answer = here.tick("orders")
    assert not answer.run_requests
    assert f"already known as {known}" in str(answer.skip_message)
    (observation,) = answer.asset_events
    assert isinstance(observation, dg.AssetObservation)
    assert observation.asset_key == dg.AssetKey(["raw", "orders"])
    assert observation.partition == known
    again = here.tick("orders")
    assert not again.run_requests
    assert not again.asset_events
    # a look whose answer was lost is told again
    here.forget_told("orders")
    assert len(here.tick("orders").asset_events) == 1


def test_a_file_whose_name_does_not_match_is_told(
    single: dg.Definitions, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    here = CodeLocation(single, instance, tmp_path)
    here.land("orders", "notes.txt", "hello")
    answer = here.tick("orders")
    assert not answer.run_requests
    assert "cannot be taken" in str(answer.skip_message)
    assert "notes.txt" in str(answer.skip_message)


def test_what_is_held_failed_or_not_taken_is_told_once(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[str] = []
    # what a tick logs; a tick with requests has no other text
    monkeypatch.setattr(Look, "log", lambda seen, *_: logged.append(seen.summary))
    with loaded(standalone() | {"refresh": {"type": "full", "key": ["id"]}}) as definitions:
        here = CodeLocation(definitions, instance, tmp_path)
        here.land("orders", day(1), HEADER + "".join(f"{number},1,1\n" for number in range(100)))
        here.settle("orders")
        here.land("orders", day(2), HEADER + "1,1,1\n")
        here.land("orders", day(3), b"")
        here.land("orders", "notes.txt", "hello")
        before = "told before, shown by 'dataops status orders'"

        def ticks() -> list[str]:
            """What the sensor says until it says the same twice."""
            logged.clear()
            while len(logged) < 2 or logged[-1] != logged[-2]:
                here.restart()
                answer = here.tick("orders")
                assert answer.run_requests or answer.skip_message == logged[-1]
                for request in answer.run_requests or ():
                    here.run(request)
            return list(logged)

        said = ticks()
        for fact in (f"{day(2)}: taking input", f"{day(3)}: ", "cannot be taken: "):
            assert [fact in text for text in said].count(True) == 1, (fact, said)
        assert said[-1] == f"no new input; 3 messages {before}"

        # what changes is told once more, and nothing else
        here.land("orders", day(4), "wrong\n")
        (tmp_path / "landing" / "orders" / "notes.txt").unlink()
        changed = ticks()
        assert [f"{day(4)}: " in text for text in changed].count(True) == 1, changed
        assert not [text for text in changed if f"{day(2)}: taking" in text or f"{day(3)}: " in text]
        assert changed[-1] == f"no new input; 3 messages {before}"

        here.platform.metadata.decisions.approve("orders", here.partitions("orders")[1:2], "ann")
        approved = ticks()
        assert "judged again: " in approved[0]
        assert approved[-1] == f"no new input; 2 messages {before}"
        # what comes back is told again
        here.land("orders", "notes.txt", "hello")
        assert "cannot be taken: " in ticks()[0]


def test_any_subset_and_any_input_can_be_made_again(
    single: dg.Definitions, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    here = CodeLocation(single, instance, tmp_path)
    here.land("orders", day(1), HEADER + "1,1,5\nx,1,1\n")
    here.land("orders", day(2), HEADER + "1,1,6\n2,1,1\n")
    here.settle("orders")
    rows = here.rows("hub/orders", "id", "amount", "s_input_id", "s_updated_at")
    first, last = here.partitions("orders")
    whole = {START: first, END: last}
    for assets, tags in (
        (["lake/orders"], {"dagster/partition": first}),
        (["lake/orders_quarantine"], whole),
        (["hub/orders"], {"dagster/partition": first}),
        (["raw/orders", "hub/orders"], {"dagster/partition": last}),
        (ALL, whole),
    ):
        result = here.materialize(assets, tags)
        assert result.success, failures(result)
        events = result.get_asset_materialization_events()
        made = {"/".join(event.asset_key.path) for event in events if event.asset_key}
        assert made == set(assets)
        assert here.rows("hub/orders", "id", "amount", "s_input_id", "s_updated_at") == rows


def test_an_input_that_nobody_registered_says_so(
    single: dg.Definitions, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    here = CodeLocation(single, instance, tmp_path)
    instance.add_dynamic_partitions("orders_inputs", ["2024-01-01_000000"])
    result = here.materialize(["raw/orders"], {"dagster/partition": "2024-01-01_000000"})
    assert not result.success
    assert "not registered" in failures(result)[0]


def test_a_fault_that_may_pass_is_tried_again_but_not_for_ever(
    single: dg.Definitions, instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dataops_assets.components.assets._RETRY_SECONDS", 0.0)
    # no machine is so slow that the next try comes within the test
    monkeypatch.setattr("dataops_assets.components.run_attempts.pause", lambda runs: dt.timedelta(days=runs // 3))
    here = CodeLocation(single, instance, tmp_path)
    here.land("orders", day(1), HEADER + "1,1,5\n")
    (partition,) = [request.partition_key for request in here.tick("orders").run_requests or ()]
    assert here.materialize(["raw/orders"], {"dagster/partition": str(partition)}).success

    def unreachable(*_: object) -> Path:
        raise StorageError("reading raw bytes", received="no answer of the store", next_step="look at the store")

    with monkeypatch.context() as store_away:
        store_away.setattr(RawArea, "sound_path", unreachable)
        store_away.setattr(RawArea, "local_path", unreachable)
        results = here.settle("orders")
    assert [result.success for result in results] == [False] * 3
    assert all(len([event for event in result.all_events if event.is_step_restarted]) == 2 for result in results)
    # a look whose answer was lost is told again
    here.forget_told("orders")
    answer = here.tick("orders")
    told = str(answer.skip_message)
    assert f"{partition} is given up for now: 3 runs for it alone ended without parse; tried again at" in told
    assert "no answer of the store" in told
    # the UI shows it at the input's own partition, once; the metadata says the same
    (shown,) = answer.asset_events
    assert isinstance(shown, dg.AssetObservation)
    assert (shown.asset_key, shown.partition) == (dg.AssetKey(["lake", "orders"]), partition)
    assert shown.description == told
    assert not here.tick("orders").asset_events
    (process,) = here.platform.metadata.processes("orders", "parse")
    assert (process.status, process.error_type, process.error) == ("failed", "GivenUp", told)
    assert here.materialize(ALL, {"dagster/partition": str(partition)}).success
    assert here.tick("orders").skip_message == "no new input"


def test_a_large_history_is_runs_of_ranges(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    with loaded(standalone() | {"discovery": {"inputs_per_run": 4}}) as definitions:
        here = CodeLocation(definitions, instance, tmp_path)
        for number in range(1, 11):
            here.land("orders", day(number), HEADER + f"{number},1,{number}\n")
        requests = here.tick("orders").run_requests or ()
        order = here.partitions("orders")
        assert order == sorted(order)
        ranges = [(request.tags[START], request.tags[END]) for request in requests]
        assert ranges == [(order[0], order[3]), (order[4], order[7]), (order[8], order[9])]
        # asked again before they ran: the same keys, so the daemon makes no second run
        assert [item.run_key for item in here.tick("orders").run_requests or ()] == [item.run_key for item in requests]
        assert all(here.run(request).success for request in requests)
        assert not here.tick("orders").run_requests
        assert len(here.rows("hub/orders", "id")) == 10


def test_each_input_of_a_large_run_tells_its_own_counts(
    single: dg.Definitions, instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = CodeLocation(single, instance, tmp_path)
    for number in range(1, 26):
        here.land("orders", day(number), HEADER + "".join(f"{100 * number + row},1,1\n" for row in range(number)))
    asked: list[str] = []
    read = instance.get_dynamic_partitions

    def counted(partitions_def_name: str) -> Sequence[str]:
        asked.append(partitions_def_name)
        return read(partitions_def_name)

    monkeypatch.setattr(instance, "get_dynamic_partitions", counted)
    (result,) = here.settle("orders")
    assert result.success, failures(result)
    # not once an input and asset
    assert len(asked) < 4 * 25
    for asset in ("raw/orders", "lake/orders_changes", "hub/orders"):
        records = instance.fetch_materializations(dg.AssetKey(asset.split("/")), limit=100).records
        # one event an input; the newest input is told again as the last one, with the numbers of the run
        assert [str(records[0].partition_key), len(records)] == [here.partitions("orders")[-1], 26]
        assert {str(record.partition_key) for record in records} == set(here.partitions("orders"))
    for asset in ("lake/orders_changes", "hub/orders"):
        told = here.materialized(asset)
        assert len(told) == 25
        for partition, event in told.items():
            assert event.metadata["new"].value == int(day_of(partition)[6:])
            # the asset's spec declares them
            assert "dagster/column_schema" not in event.metadata
            assert "dagster/column_lineage" not in event.metadata
            assert "table_version" in event.metadata
    # all events of a run name one version of the data, the id of the commit
    hub = [
        event
        for event in result.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey(["hub", "orders"])
    ]
    versions = {(event.step_materialization_data.materialization.tags or {})["dagster/data_version"] for event in hub}
    assert len(versions) == 1
    assert not [entry.user_message for entry in instance.all_logs(result.run_id) if entry.level >= logging.WARNING]
    # Dagster keeps its log for good: what all inputs have in common is not repeated
    log_bytes = sum(len(entry.to_json()) for entry in instance.all_logs(result.run_id))
    assert log_bytes / 25 < 30_000


def test_a_look_with_nothing_new_reads_no_input_that_is_done(
    single: dg.Definitions, instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = CodeLocation(single, instance, tmp_path)
    for number in range(1, 4):
        here.land("orders", day(number), HEADER + f"{number},1,{number}\n")
    here.settle("orders")
    here.tick("orders")
    asked: list[tuple[str, object]] = []

    def watched(name: str) -> Callable[..., Any]:
        original = getattr(MetadataStore, name)

        def call(self: MetadataStore, source: str, *given: Any, **named: Any) -> Any:
            asked.append((name, [*given, *named.values()]))
            return original(self, source, *given, **named)

        return call

    for name in ("inputs", "processes"):
        monkeypatch.setattr(MetadataStore, name, watched(name))
    assert not here.tick("orders").run_requests
    assert asked
    assert all(given == [[]] for _, given in asked), asked
    here.land("orders", day(4), HEADER + "4,1,4\n")
    (request,) = here.tick("orders").run_requests or ()
    assert request.partition_key == here.partitions("orders")[-1]
    assert [given for name, given in asked if name == "processes"][-1] == [[request.partition_key]]


def test_a_late_file_is_a_partition_of_its_own_and_lands_where_it_belongs(
    single: dg.Definitions, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    here = CodeLocation(single, instance, tmp_path)
    here.land("orders", day(2), HEADER + "1,1,2\n")
    here.settle("orders")
    here.land("orders", day(1), HEADER + "1,1,1\n2,1,1\n")
    here.settle("orders")
    assert here.rows("hub/orders", "id", "amount") == [(1, 2.0), (2, 1.0)]


def test_a_strict_check_keeps_an_input_from_the_hub(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    strict = standalone() | {"checks": {"volume": {"severity": "fail", "max_rows": 2}}}
    with loaded(strict) as definitions:
        here = CodeLocation(definitions, instance, tmp_path)
        here.land("orders", day(1), HEADER + "1,1,1\n")
        here.land("orders", day(2), HEADER + "1,1,1\n2,1,1\n3,1,1\n")
        results = here.settle("orders")
        assert "volume" in failures(results[0])[0]
        assert here.rows("hub/orders", "id") == [(1,)]
        assert here.status("orders", "parse") == {"20240101": "done", "20240102": "failed"}


def test_a_truncated_extract_waits_until_a_person_approves_it(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    full = standalone() | {"refresh": {"type": "full", "key": ["id"]}}
    with loaded(full) as definitions:
        here = CodeLocation(definitions, instance, tmp_path)
        here.land("orders", day(1), HEADER + "".join(f"{number},1,1\n" for number in range(100)))
        here.settle("orders")
        here.land("orders", day(2), HEADER + "1,1,1\n")
        (result,) = here.settle("orders")
        (told,) = failures(result)
        assert "99 of 100 rows (99.0%) go because they are missing, e.g. s_key '0', '10', '11'" in told
        assert "launch the job approve_inputs" in told
        assert checks(result)["lake/orders_changes:deletes"].passed is False
        assert len(here.rows("hub/orders", "id")) == 100
        assert here.settle("orders") == [], "it is not asked for again"
        rest = ["lake/orders_changes", "hub/orders_enriched", "hub/orders"]
        held = {"dagster/partition": here.partitions("orders")[-1]}
        assert not here.materialize(rest, held).success
        here.platform.metadata.decisions.approve("orders", here.partitions("orders")[-1:], "ann")
        (approved,) = here.settle("orders")
        assert approved.success, failures(approved)
        assert here.rows("hub/orders", "id") == [(1,)]
        assert here.materialize(rest, held).success, "it stays approved"


def test_a_schedule_looks_when_it_is_time(tmp_path: Path) -> None:
    scheduled = standalone() | {"discovery": {"schedule": "0 6 * * *", "timezone": "Europe/Berlin"}}
    # the context of a schedule finds its instance by a reference, which one in memory does not have
    with loaded(scheduled) as definitions, dg.instance_for_test() as instance:
        here = CodeLocation(definitions, instance, tmp_path)
        assert not list(here.definitions.sensors or ())
        schedule = here.repository.get_schedule_def("orders_inputs")
        assert schedule.cron_schedule == "0 6 * * *"
        assert schedule.execution_timezone == "Europe/Berlin"
        assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
        here.land("orders", day(1), HEADER + "1,1,5\n")
        platform = {"platform": here.platform}
        with dg.build_schedule_context(instance, resources=platform, repository_def=here.repository) as context:
            requests = schedule.evaluate_tick(context).run_requests
        assert requests
        assert all(here.run(request).success for request in requests)
        assert here.rows("hub/orders", "id") == [(1,)]
        with dg.build_schedule_context(instance, resources=platform, repository_def=here.repository) as context:
            answer = schedule.evaluate_tick(context)
        assert not answer.run_requests
        assert answer.skip_message == "no new input"
        # a note is told once, although a schedule has no cursor
        here.land("orders", "orders_2024-01-01.csv.copy", HEADER + "1,1,5\n")
        for _ in range(2):
            with dg.build_schedule_context(instance, resources=platform, repository_def=here.repository) as context:
                assert not schedule.evaluate_tick(context).run_requests
        assert len(instance.fetch_observations(dg.AssetKey(["raw", "orders"]), limit=10).records) == 1
