"""`dataops status`, `approve` and `run` on a small code location: files are landed, and what is printed is read."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from code_location import CUSTOMERS, CodeLocation, loaded, orders, standalone
from command_line import Ended, dataops

from dataops_assets.components.local import LocalRunner
from dataops_assets.components.status import SourceStatus, source_status
from dataops_assets.config.source import Source
from dataops_assets.connections.discovery import discover
from dataops_assets.errors import InputError, StorageError
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.operations import project
from dataops_assets.operations.commands import daily
from dataops_assets.steps.source_context import SourceContext

HEADER = "id,customer,amount\n"
GUARDED = standalone() | {
    "refresh": {"type": "full", "key": ["id"]},
    "validations": [{"name": "sane", "expression": "amount < 1000", "severity": "quarantine"}],
}


def day(number: int) -> str:
    return f"orders_2024-01-{number:02}.csv"


class Person:
    """Who runs the commands on a code location; what they print stays."""

    def __init__(self, here: CodeLocation, *declared: dict[str, Any]) -> None:
        sources = {source.name: source for source in map(Source.model_validate, declared)}
        self.here = here
        self.contexts: Sequence[SourceContext] = [
            here.platform.source_context(source, sources) for source in sources.values()
        ]
        self.runner = LocalRunner(here.definitions, here.instance, here.landing.parent / "cursor", lambda _: None)
        self.text = ""
        self.data: Any = None

    def runs(self, *sources: str) -> bool:
        """`dataops run <sources>`: whether all is well."""

        @contextmanager
        def opened() -> Iterator[LocalRunner]:
            yield self.runner

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(daily, "open_runner", opened)
            patched.setattr(project, "metadata", lambda: self.here.platform.metadata)
            done = dataops(self.contexts, "run", *sources)
            self.text = done.out
            # nothing is due any more: the same again for a program
            again = dataops(self.contexts, "run", *sources, "--json")
        self.data = again.data
        assert again.code == done.code
        assert self.data["is_well"] == (done.code == 0)
        assert self.data["runs"] == [], "nothing is due any more"
        return done.code == 0

    def asks(self, *words: str) -> int:
        """`dataops status <words>`."""
        ended = dataops(self.contexts, "status", *words)
        self.text = ended.out
        return ended.code

    def approves(self, *inputs: str) -> Ended:
        """`dataops approve orders <inputs> --by ann`."""
        return dataops(self.contexts, "approve", "orders", *inputs, "--by", "ann")

    def status(self, source: str) -> SourceStatus:
        return next(source_status(one) for one in self.contexts if one.source.name == source)


@pytest.fixture(scope="module")
def guarded() -> Iterator[dg.Definitions]:
    with loaded(GUARDED) as definitions:
        yield definitions


def test_what_is_held_failed_rejected_or_kept_out_is_told_with_its_next_step(
    guarded: dg.Definitions, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    person = Person(CodeLocation(guarded, instance, tmp_path), GUARDED)
    land = person.here.land
    assert person.asks() == 0
    assert person.text.splitlines()[1].split()[:8] == ["orders", "0", "0", "0", "0", "0", "0", "never"]
    assert f"deliver orders/* to {person.here.landing}" in person.text

    rows = "".join(f"{number},1,1\n" for number in range(100))
    land("orders", day(1), HEADER + rows + "100,1,9999\nx,1,1\n")
    land("orders", day(2), HEADER + "1,1,1\n")
    land("orders", day(3), b"")
    land("orders", "wrong_name.csv", HEADER)
    assert not person.runs()
    first, second, third = person.here.partitions("orders")
    told = person.text
    table = told[told.index("\nsource ") :].splitlines()
    assert table[2].split()[:7] == ["orders", "1", "1", "1", "0", "1", "1"]
    file = person.here.landing / "orders"
    assert f"rows kept out: {file / day(1)}: 1 rejected, 1 by validations" in told, told
    assert f"held  input {second} of orders, at cdc\n  file: {file / day(2)}" in told, told
    assert f"next: if the rows are really gone, run: dataops approve orders {second}" in told, told
    assert f"failed  input {third} of orders, at" in told, told
    assert f"orders: cannot be taken: {file / 'wrong_name.csv'}" in told, told

    assert person.asks("orders") == 1
    assert "rows that are kept out, by rule:" in person.text
    assert "  1  sane" in person.text
    assert person.asks("orders", "--json") == 1
    (data,) = json.loads(person.text)
    assert (data["taken"], data["rejected"], data["kept_out"], data["needs_attention"]) == (1, 1, 1, True)
    assert {item["input"]: item["state"] for item in data["inputs"]} == {second: "held", third: "failed"}
    assert all(item["message"] and item["next_step"] for item in data["inputs"])
    assert data["by_rule"]["sane"] == 1

    refused = person.approves(second, first)
    assert (refused.code, refused.out) == (2, "")
    assert f"{first}, which are not held; nothing was approved" in refused.err
    assert not person.here.platform.metadata.decisions.approved("orders")
    assert person.approves(second, "--json").data == {"source": "orders", "inputs": [second], "by": "ann"}
    # a corrected file under its own name takes the place of the bad one
    land("orders", day(3), HEADER + "1,1,1\n2,1,1\n")
    (file / "wrong_name.csv").unlink()
    assert person.runs("orders"), person.text
    assert person.here.rows("hub/orders", "id") == [(1,), (2,)]
    assert f"noted: {file / day(3)}: replaces {third}" in person.text
    later = Person(person.here, GUARDED)
    assert later.runs("orders")
    assert "nothing was due" in later.text
    assert "noted" not in later.text, "a note is told once"
    assert person.asks("orders") == 0
    assert person.status("orders").taken == 3
    assert person.status("orders").last_arrival == max(
        item.arrival for item in person.here.platform.metadata.inputs("orders")
    )
    assert person.approves(second).code == 0, "again changes nothing"


def test_an_input_that_waits_for_another_source_says_so(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    declared = orders(rules=[{"name": "customer_name", "expression": "who.name"}])
    with loaded(CUSTOMERS, declared) as definitions:
        person = Person(CodeLocation(definitions, instance, tmp_path), CUSTOMERS, declared)
        person.here.land("orders", day(1), HEADER + "1,1,5\n")
        (person.here.landing / "customers").mkdir()
        assert person.runs(), "to wait is no fault"
        (item,) = person.status("orders").inputs
        assert (item.state, item.message) == ("waiting", "its rules look up customers (no input in its hub)")
        assert "deliver customers/*.csv" in person.status("customers").next_step
        person.here.land("customers", "customers_2024-01-01.csv", "id,name\n1,Ann\n")
        person.runs("customers")
        (item,) = person.status("orders").inputs
        assert (item.state, item.next_step) == ("to do", "dataops run orders")
        person.runs("orders")
        assert not person.status("orders").inputs
        assert person.here.rows("hub/orders", "id", "customer_name") == [(1, "Ann")]


def test_a_table_that_could_not_be_made_is_told_until_it_is_made(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = {"name": "of_customer", "expression": "sum(amount) over (partition by customer)", "mode": "keep_current"}
    declared = standalone() | {"rules": [rule]}

    def fails(_context: SourceContext) -> None:
        raise InputError("recalculating", received="a fault", next_step="mend it")

    with loaded(declared) as definitions:
        person = Person(CodeLocation(definitions, instance, tmp_path), declared)
        person.here.land("orders", day(1), HEADER + "1,1,5\n")
        with monkeypatch.context() as patched:
            patched.setattr("dataops_assets.components.graph.recalculate", fails)
            assert not person.runs()
        assert not person.data["failed_runs"], "the source tells it already"
        assert [run.tables for run in person.runner.failed_runs()] == [("hub/orders_current",)]
        assert "failed  hub/orders_current\n  recalculating; received: a fault\n  next: mend it" in person.text
        assert not person.runs(), "what failed before is told, too"
        person.here.land("orders", day(2), HEADER + "2,1,6\n")
        assert person.runs(), person.text
        assert person.runner.failed_runs() == []


def test_a_scheduled_source_is_looked_at_and_a_failing_look_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduled = standalone() | {"discovery": {"schedule": "0 6 * * *"}}
    # the context of a schedule finds its instance by a reference, which one in memory does not have
    with loaded(CUSTOMERS, scheduled) as definitions, dg.instance_for_test() as instance:
        person = Person(CodeLocation(definitions, instance, tmp_path), CUSTOMERS, scheduled)
        person.here.land("orders", day(1), HEADER + "1,1,5\n")
        person.here.land("customers", "customers_2024-01-01.csv", "id,name\n1,Ann\n")

        def discovers(source: Source, *given: Any, **named: Any) -> Any:
            if source.name == "customers":
                raise StorageError("listing files", received="no answer")
            return discover(source, *given, **named)

        with monkeypatch.context() as patched:
            patched.setattr("dataops_assets.components.source_look.discover", discovers)
            assert not person.runs()
        assert " s  orders: " in person.text
        assert " s  customers: " not in person.text
        assert person.data["refused"] == ["customers: listing files; received: no answer"]
        assert person.text.count("listing files; received: no answer") == 1
        assert "looks for new inputs of customers" in person.text
        assert person.runs(), person.text
        assert " s  customers: " in person.text


def test_a_file_that_is_still_being_written_is_told_and_left_for_the_next_run(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    connection = standalone()["connection"] | {"settle_seconds": 3600}
    declared = standalone() | {"connection": connection}
    with loaded(declared) as definitions:
        person = Person(CodeLocation(definitions, instance, tmp_path), declared)
        person.here.land("orders", day(1), HEADER + "1,1,5\n")
        assert person.runs(), "to wait is no fault"
        told = f"still being written: {person.here.landing / 'orders' / day(1)}"
        assert person.data["not_taken"] == [told]
        assert told in person.text
        assert person.here.rows("hub/orders", "id") == []
        # an hour ago
        os.utime(person.here.landing / "orders" / day(1), (1, 1))
        assert person.runs(), person.text
        assert person.data["not_taken"] == []
        assert person.here.rows("hub/orders", "id") == [(1,)]


def test_the_cost_follows_what_is_unfinished(
    guarded: dg.Definitions, instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = Person(CodeLocation(guarded, instance, tmp_path), GUARDED)
    for number in (1, 2, 3):
        person.here.land("orders", day(number), HEADER + "1,1,1\n")
    person.here.land("orders", day(4), b"")
    person.runs()
    unfinished = person.here.partitions("orders")[-1:]
    asked: list[object] = []
    inputs, processes = MetadataStore.inputs, MetadataStore.processes

    def watched_inputs(self: MetadataStore, source: str, ids: Sequence[str] | None = None) -> Any:
        asked.append(ids)
        return inputs(self, source, ids)

    def watched_processes(
        self: MetadataStore, source: str, step: str | None = None, input_ids: Sequence[str] | None = None
    ) -> Any:
        asked.append(step or input_ids)
        return processes(self, source, step, input_ids)

    monkeypatch.setattr(MetadataStore, "inputs", watched_inputs)
    monkeypatch.setattr(MetadataStore, "processes", watched_processes)
    assert person.asks("orders") == 1
    assert asked == [[], unfinished, "recalculate"], "no input that is done is read"


def test_times_are_told_in_utc(guarded: dg.Definitions, instance: dg.DagsterInstance, tmp_path: Path) -> None:
    person = Person(CodeLocation(guarded, instance, tmp_path), GUARDED)
    person.here.land("orders", day(1), HEADER + "1,1,1\n")
    person.runs()
    arrival = person.status("orders").last_arrival
    assert arrival is not None
    assert arrival.utcoffset() == dt.timedelta(0)
    assert f"{arrival:%Y-%m-%d %H:%M} UTC" in person.text
