"""Outputs to an API that misbehaves: every batch is taken once by whoever knows its key, and nothing is missed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from delivered_outputs import OutputPlace
from rest_server import Reply, Request, RestServer, rest_server

from dataops_assets.connections.rest import client as rest_client
from dataops_assets.errors import CommitConflict, InputError, StorageError
from dataops_assets.metadata.output_position_store import OutputPositionStore

TO = {"type": "http", "api": "shop", "path": "things", "batch_rows": 2}


class Receiver:
    """An API that takes each idempotency key once, and keeps rows by id."""

    def __init__(self) -> None:
        self.rows: dict[int, str] = {}
        self.keys: list[str] = []
        self.seen: list[dict[str, Any]] = []

    def __call__(self, request: Request) -> Reply:
        key, body = request.headers["Idempotency-Key"], json.loads(request.body)
        if key not in self.keys:
            self.keys.append(key)
            self.seen.append(body)
            if body["mode"] == "full" and body["batch"] == 1:
                self.rows.clear()
            self.rows.update({row["id"]: row["name"] for row in body["rows"]})
            for gone in body["deleted"]:
                del self.rows[gone["id"]]
        return Reply(b"thanks, and no JSON", status=202)


@pytest.fixture
def server() -> Iterator[RestServer]:
    with rest_server() as found:
        yield found


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []
    monkeypatch.setattr("time.sleep", found.append)
    monkeypatch.setenv("SHOP_SECRET", "s3cr&t/value")
    rest_client.forget_waits()
    return found


@pytest.fixture
def place(tmp_path: Path, server: RestServer, waits: list[float]) -> OutputPlace:
    auth = {"type": "bearer", "token": {"env": "SHOP_SECRET"}}
    return OutputPlace(tmp_path, {"shop": {"type": "rest", "url": server.url, "auth": auth, "tries": 3}})


def things(**rows: str) -> pa.Table:
    ids = pa.array([int(key[1:]) for key in rows], pa.int64())
    return pa.table({"id": ids, "name": pa.array(list(rows.values()), pa.string())})


def test_changes_and_deletions_come_in_batches(place: OutputPlace, server: RestServer) -> None:
    server.answer = taken = Receiver()
    place.publish(things(i1="a", i2="b", i3="c"))
    report = place.deliver(TO, mode="incremental")
    assert report.inputs[0].counts == {"rows": 3, "rows sent": 3, "deleted": 0, "batches": 2}
    assert taken.rows == {1: "a", 2: "b", 3: "c"}
    assert {(request.method, request.path) for request in server.asked} == {("POST", "/v1/things")}
    assert server.asked[0].headers["Authorization"] == "Bearer s3cr&t/value"
    assert place.deliver(TO, mode="incremental").notes["skipped"]
    place.publish(things(i1="a", i2="B", i4="d"))
    place.deliver({**TO, "method": "PUT"}, mode="incremental")
    # another declaration is delivered in full, and replaces
    assert (taken.rows, taken.seen[-1]["mode"]) == ({1: "a", 2: "B", 4: "d"}, "full")
    place.publish(things(i1="A", i4="d"))
    place.deliver({**TO, "method": "PUT"}, mode="incremental")
    assert taken.rows == {1: "A", 4: "d"}
    told = {name: taken.seen[-1][name] for name in ("output", "delivery", "mode", "batch", "batches", "deleted")}
    assert told == {
        "output": "things",
        "delivery": 3,
        "mode": "incremental",
        "batch": 1,
        "batches": 1,
        "deleted": [{"id": 2}],
    }
    # a table without rows replaces, too
    place.publish(things(i1="A")[:0])
    place.deliver(TO | {"path": "others"}, mode="full")
    assert (taken.seen[-1]["mode"], taken.seen[-1]["rows"], taken.rows) == ("full", [], {})


def test_what_failed_is_sent_again_with_its_keys(
    place: OutputPlace, server: RestServer, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answer = taken = Receiver()
    place.publish(things(i1="a", i2="b", i3="c"))
    server.faults = [Reply(b"", status=429, headers={"Retry-After": "7"}), Reply(b"busy", status=503)]
    place.deliver(TO)
    assert waits[0] == 7.0
    assert len(taken.seen) == 2
    place.publish(things(i1="x", i2="y", i3="z"))

    record = OutputPositionStore.record

    def dies(self: OutputPositionStore, *given: Any) -> None:
        if given[2]["begun"] is None:
            raise MemoryError
        record(self, *given)

    with monkeypatch.context() as during:
        during.setattr(OutputPositionStore, "record", dies)
        with pytest.raises(MemoryError):
            place.deliver(TO)
    place.deliver(TO)
    # all batches came twice, and were taken once
    assert (len(server.asked), len(taken.seen)) == (8, 4)
    # two at once: the receiver took the batches once, and one position counts
    place.publish(things(i1="p"))

    def late(self: OutputPositionStore, *given: Any) -> None:
        if given[2]["begun"] is not None:
            record(self, *given)
            return
        monkeypatch.setattr(OutputPositionStore, "record", record)
        place.deliver(TO)
        record(self, *given)

    monkeypatch.setattr(OutputPositionStore, "record", late)
    with pytest.raises(CommitConflict):
        place.deliver(TO)
    assert (taken.rows, len(taken.seen)) == ({1: "p"}, 5)


def test_a_refusal_is_told_and_nothing_is_recorded(place: OutputPlace, server: RestServer) -> None:
    place.publish(things(i1="a", i2="b", i3="c"))
    server.answer = lambda request: Reply({"error": "name too short"}, status=422 if b'"c"' in request.body else 200)
    with pytest.raises(InputError, match="batch 2 of 2") as caught:
        place.deliver(TO)
    assert 'status 422: {"error": "name too short"}' in caught.value.received
    assert "s3cr" not in str(caught.value)
    server.answer = lambda _: Reply(b"", status=307, headers={"Location": "http://elsewhere/x"})
    with pytest.raises(InputError, match="status 307"):
        place.deliver(TO)
    server.answer = lambda _: Reply(b"", status=500)
    with pytest.raises(StorageError):
        place.deliver(TO)
    rest_client.forget_waits()
    server.answer = taken = Receiver()
    assert place.deliver(TO).inputs[0].counts["batches"] == 2
    assert len(taken.seen) == 2


def test_a_part_of_a_version_that_failed_does_not_stay(place: OutputPlace, server: RestServer) -> None:
    server.answer = taken = Receiver()
    place.publish(things(i1="a", i2="b", i3="c"))
    place.deliver(TO, mode="incremental")
    # the first batch is taken, the second one is not; then the table is as before
    place.publish(things(i1="x", i2="y", i3="z"))
    server.answer = lambda request: Reply(status=400) if b'"z"' in request.body else taken(request)
    with pytest.raises(InputError):
        place.deliver(TO, mode="incremental")
    assert taken.rows == {1: "x", 2: "y", 3: "c"}
    place.publish(things(i1="a", i2="b", i3="c"))
    server.answer = taken
    place.deliver(TO, mode="incremental")
    assert taken.rows == {1: "a", 2: "b", 3: "c"}
    assert place.deliver(TO, mode="incremental").notes["skipped"]
