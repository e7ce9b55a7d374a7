"""Objects of S3 (a real store), GCS and Azure (emulators) are moved or deleted after they were stored.

No other version than the one that was stored is taken away.
"""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import dagster as dg
import pytest
from bucket_senders import AzureKeys, GcsKeys, Keys, S3Keys, Sender
from code_location import CodeLocation, loaded
from object_store import object_store
from reading_process import Killed, Reader
from s3fs import S3FileSystem

from dataops_assets.config.connection import FileConnection
from dataops_assets.connections.buckets import s3
from dataops_assets.connections.buckets.bucket import ObjectState
from dataops_assets.connections.files import Files
from dataops_assets.errors import ConfigError

LATER = 60
SMALLEST_PART = 5 << 20


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with object_store() as url:
        yield url


def keys_of(store: str, bucket: str, request: pytest.FixtureRequest) -> Keys:
    """A new bucket in a store."""
    if store == "gcs":
        return GcsKeys(request.getfixturevalue("gcs_endpoint"), bucket)
    if store == "azure":
        return AzureKeys(request.getfixturevalue("azure_endpoint"), bucket)
    return S3Keys(request.getfixturevalue("endpoint"), bucket)


class Requests:
    """Something happens to the object of one of the next requests that look at, copy or delete one, before or after."""

    def __init__(self, patched: pytest.MonkeyPatch, keys: Keys) -> None:
        self.number, self.happens = 0, dict[tuple[int, str], Callable[[str], None]]()
        keys.observed(patched, self._sent)

    def _sent(self, about: str, send: Callable[[], Any]) -> Any:
        self.number += 1
        number = self.number
        self.happens.pop((number, "before"), lambda _: None)(about)
        try:
            return send()
        finally:
            self.happens.pop((number, "after"), lambda _: None)(about)

    def at(self, number: int, when: str, action: Callable[[str], None]) -> None:
        self.number, self.happens = 0, {(number, when): action}


MOVE, DELETE = {"move_to": "../done"}, {"delete": True}


class Law:
    """What was delivered is there, or it was stored; and nothing is stored or archived twice."""

    def __init__(self, sender: Sender, after: dict[str, Any], home: Path, patched: pytest.MonkeyPatch) -> None:
        self.sender, self._after, self._home = sender, after, home
        self._requests = Requests(patched, sender.keys)
        self._replaced, self.happened = set[str](), Counter[str]()
        self._begin()

    def _begin(self) -> None:
        self.reader = Reader(self._home, self.sender.feed(after_pickup=self._after))

    def deliver(self, name: str) -> None:
        # what its sender replaces may never have been seen
        self._replaced.update(text for there, text in self.sender.there("in").items() if there == name)
        self.sender.put(name)

    def look(self, number: int, when: str, what: str, name_of: Callable[[str], str]) -> None:
        """Look, and kill the reader or replace an object before or after its request of this number."""

        def happen(about: str) -> None:
            self.happened[what] += 1
            if what == "killed":
                raise Killed
            self.deliver(name_of(about.removeprefix("in/")))

        self._requests.at(number, when, happen)
        try:
            self.happened["taken away"] += len(self.reader.look(LATER).taken_away)
        except Killed:
            self._begin()
        self._requests.happens.clear()
        gone = set(self.sender.delivered) - set(self.sender.there("in").values()) - self._replaced
        assert gone <= set(self.reader.orders()), "what is gone is stored"

    def is_kept_at_the_end(self) -> None:
        for _ in range(2):
            self.reader.look(LATER)
            self.reader.ingest()
        assert self.reader.look(LATER).problems == []
        assert self.sender.there("in") == {}
        stored, delivered = self.reader.orders(), set(self.sender.delivered)
        assert len(set(stored)) == len(stored), "nothing is an input twice"
        assert delivered - self._replaced <= set(stored) <= delivered
        archived = [*self.sender.there("done").values()]
        assert (len(set(archived)), set(archived) <= set(stored)) == (len(archived), True)
        if self._after is MOVE:
            assert delivered - self._replaced <= set(archived)

    def try_each(self, numbers: tuple[int, ...]) -> None:
        """Kill and replace before each of these requests, which are those of an object that nobody has moved before."""
        for number in numbers:
            for what in ("killed", "replaced"):
                name, before = f"{number} {what}+/orders_2024-01-01.csv", self.happened[what]
                self.deliver(name)
                self.reader.look(LATER)
                self.reader.ingest()
                self.look(number, "before", what, lambda _, name=name: name)
                assert self.happened[what] == before + 1
                if what == "replaced":
                    # so the version that came meanwhile is never stored
                    self.deliver(name)
        self.is_kept_at_the_end()

    def try_a_name_that_is_taken(self, number: int) -> None:
        """Have somebody else write an object to the new name before this request."""
        name, other = "taken/orders_2024-01-01.csv", b"of somebody else"
        self.deliver(name)
        self.reader.look(LATER)
        self.reader.ingest()
        self._requests.at(number, "before", lambda _: self.sender.keys.put(f"done/{name}", other))
        assert len(self.reader.look(LATER).taken_away) == 1
        found = self.sender.there("done")
        assert found[name] == other.decode()
        assert self.sender.delivered[-1] in found.values()


@pytest.mark.parametrize("after", [MOVE, DELETE], ids=["move", "delete"])
def test_no_version_is_lost_or_taken_twice_whatever_happens_between_two_requests(
    after: dict[str, Any], endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = S3Keys(endpoint, f"law-{'move' if after is MOVE else 'delete'}")
    law, random = Law(Sender(keys), after, tmp_path, monkeypatch), Random(53)
    names = [f"{folder}orders_2024-01-0{day}.csv" for folder in ("", "a b+c/") for day in (1, 2)]
    for _ in range(12):
        for _ in range(random.randrange(1, 3)):
            law.deliver(random.choice(names))
        law.reader.look(LATER)
        if random.random() < 0.85:
            law.reader.ingest()
        when, what = random.choice(["before", "after"]), random.choice(["killed", "replaced"])
        law.look(random.randrange(1, 6), when, what, lambda name: name if name in names else random.choice(names))
    law.is_kept_at_the_end()
    assert min(law.happened.values()) > 2, law.happened


@pytest.mark.parametrize("store", ["gcs", "azure"])
def test_other_stores_keep_the_same_law(
    store: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # source and target are looked at; the source is copied, by two requests, and deleted
    law = Law(Sender(keys_of(store, "law", request)), MOVE, tmp_path, monkeypatch)
    law.try_each((2, 3, 5))
    law.try_a_name_that_is_taken(3)


def test_large_objects_of_s3_are_copied_in_parts_and_leave_none_behind(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = S3Keys(endpoint, "law-parts")
    sender = Sender(keys)
    # the smallest part that the store takes; one after the other, so that each run of the test is the same
    sender.padding = "1,1,1\n" * (SMALLEST_PART // len("1,1,1\n") + 1)
    for name, value in {"MOST_AT_ONCE": 1000, "PART": SMALLEST_PART, "THREADS": 1}.items():
        monkeypatch.setattr(s3, name, value)
    # the second part, the end of the copy, and the deletion
    law = Law(sender, MOVE, tmp_path, monkeypatch)
    law.try_each((6, 9))
    law.try_a_name_that_is_taken(7)
    assert "Uploads" not in keys.client.list_multipart_uploads(Bucket=keys.bucket)


def test_a_store_that_compares_nothing_deletes_versions_by_their_id_or_nothing(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, versions = Sender(S3Keys(endpoint, "plain")), Sender(kept := S3Keys(endpoint, "versions"))
    kept.client.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
    bucket = s3.S3Bucket(S3FileSystem(key="key", secret="secret", endpoint_url=endpoint))
    bucket.require_can_delete(ObjectState("plain/in/x", 0, dt.datetime.now(dt.UTC), '"0"'), "plain/in")
    real = S3FileSystem.call_s3

    def ignoring(store: S3FileSystem, method: str, *given: Any, **named: Any) -> Any:
        named.pop("IfMatch", None)
        return real(store, method, *given, **named)

    monkeypatch.setattr(S3FileSystem, "call_s3", ignoring)
    for sender in (plain, versions):
        reader = Reader(tmp_path / sender.keys.bucket, sender.feed(after_pickup={"move_to": "/done"}))
        for day in (1, 2):
            sender.put(f"orders_2024-01-0{day}.csv")
        reader.look(LATER)
        reader.ingest()
        if sender is plain:
            (problem,) = reader.look(LATER).problems
            assert isinstance(problem.error, ConfigError)
            assert "versioning" in problem.error.next_step
            assert (len(sender.there("in")), sender.there("done")) == (2, {})
    # an older version would be there again, and be taken for a new one
    sender.put("orders_2024-01-02.csv")
    reader.look(LATER)
    reader.ingest()
    found = reader.look(LATER)
    assert list(sender.there("in")) == ["orders_2024-01-02.csv"]
    assert list(sender.there("done")) == ["orders_2024-01-01.csv"]
    assert ["older version" in str(item.error) for item in found.problems] == [True]
    markers = kept.client.list_object_versions(Bucket="versions").get("DeleteMarkers", [])
    assert markers == [], "asking leaves nothing"
    # where the store compares, the older version stays hidden
    monkeypatch.undo()
    assert reader.look(LATER).problems == []
    assert (sender.there("in"), len(sender.there("done"))) == ({}, 2)
    assert reader.look(LATER).new == []


@pytest.mark.parametrize("store", ["s3", "azure"])
def test_a_run_is_followed_by_the_removal_of_its_objects(
    store: str, request: pytest.FixtureRequest, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    sender = Sender(keys_of(store, "run", request))
    sender.put("orders_2024-01-01.csv")
    sender.put("orders_x.csv")
    time.sleep(2)
    with loaded(sender.feed(after_pickup={"move_to": "../done/of the day"})) as definitions:
        here = CodeLocation(definitions, instance, tmp_path)
        here.settle("orders")
        assert {row[0] for row in here.rows("hub/orders", "id")} == {1}
    assert list(sender.there("in")) == ["orders_x.csv"], "what is refused stays"
    assert list(sender.there("done")) == ["of the day/orders_2024-01-01.csv"]


@pytest.mark.parametrize("store", ["s3", "gcs", "azure"])
def test_what_another_look_has_listed_is_not_taken_for_the_state_of_an_object(
    store: str, request: pytest.FixtureRequest
) -> None:
    keys = keys_of(store, "listed", request)
    keys.put("in/a.csv", b"id\n1\n")
    place = {"type": "files", "path": f"{keys.scheme}://listed/in/*.csv", "storage_options": keys.options}
    here, other = [Files(FileConnection.model_validate(place), "", {}) for _ in range(2)]
    (found,) = here.list().versions
    other.nearby()
    keys.put("in/a.csv", b"id\n1\n2\n")
    assert here.version(found.origin).size == found.size + 2


@pytest.mark.parametrize(("store", "step"), [("s3", "1"), ("gcs", "0.001"), ("azure", "1")])
def test_versions_that_cannot_be_told_apart_are_refused(
    store: str, step: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    sender = Sender(keys_of(store, "refused", request))
    with pytest.raises(ConfigError, match=f"steps of {step} seconds"):
        Reader(tmp_path, sender.feed(after_pickup=DELETE, settle_seconds=0)).look()
