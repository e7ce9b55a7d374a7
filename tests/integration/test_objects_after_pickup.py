"""Objects of S3 are moved or deleted at their sender after they were stored, and no other version, on a real store."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import dagster as dg
import pytest
from code_location import CodeLocation, loaded, standalone
from object_store import client_of, object_store
from reading_process import Killed, Reader
from s3fs import S3FileSystem

from dataops_assets.connections import taking_objects_away
from dataops_assets.errors import ConfigError

LATER = 60
CONTENT = "id,customer,amount\n{},1,2.5\n"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with object_store() as url:
        yield url


class Sender:
    """Delivers objects to a bucket of its own; each content has another size, since S3 tells times in whole seconds."""

    def __init__(self, endpoint: str, name: str, versions: bool = False) -> None:
        self.client, self.bucket, self.endpoint = client_of(endpoint), name, endpoint
        self.delivered: list[str] = []
        self.client.create_bucket(Bucket=name)
        if versions:
            self.client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})

    def put(self, name: str) -> str:
        number = len(self.delivered) + 1
        content = CONTENT.format(number) + f"{number},1,1\n" * number
        self.delivered.append(content)
        self.client.put_object(Bucket=self.bucket, Key=f"in/{name}", Body=content.encode())
        return content

    def there(self, folder: str) -> dict[str, str]:
        found = self.client.list_objects_v2(Bucket=self.bucket, Prefix=f"{folder}/").get("Contents", [])
        read = {
            item["Key"]: self.client.get_object(Bucket=self.bucket, Key=item["Key"])["Body"].read() for item in found
        }
        return {name.partition("/")[2]: content.decode() for name, content in read.items()}

    def feed(self, after: dict[str, Any], **others: Any) -> dict[str, Any]:
        options = {"key": "key", "secret": "secret", "endpoint_url": self.endpoint}
        settings = {"path": f"s3://{self.bucket}/in/**/*.csv", "settle_seconds": 1, "after_pickup": after}
        named = {"extract_time": {"pattern": "orders_%Y-%m-%d.csv"}, "storage_options": options}
        return standalone() | {"connection": {"type": "files"} | settings | named | others}


class Requests:
    """Something happens to the object of one of the next requests that look at, copy or delete one, before or after."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.number, self.happens = 0, dict[tuple[int, str], Callable[[str], None]]()
        real = S3FileSystem.call_s3

        def called(store: S3FileSystem, method: str, *given: Any, **named: Any) -> Any:
            if method not in ("head_object", "copy_object", "delete_object"):
                return real(store, method, *given, **named)
            self.number += 1
            number, about = self.number, named.get("CopySource", named)["Key"]
            self.happens.pop((number, "before"), lambda _: None)(about)
            try:
                return real(store, method, *given, **named)
            finally:
                self.happens.pop((number, "after"), lambda _: None)(about)

        monkeypatch.setattr(S3FileSystem, "call_s3", called)

    def at(self, number: int, when: str, action: Callable[[str], None]) -> None:
        self.number, self.happens = 0, {(number, when): action}


@pytest.mark.parametrize("after", [{"move_to": "../done"}, {"delete": True}], ids=["move", "delete"])
def test_no_version_is_lost_or_taken_twice_whatever_happens_between_two_requests(
    after: dict[str, Any], endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = Sender(endpoint, f"law-{'move' if 'move_to' in after else 'delete'}")
    reader = Reader(tmp_path, sender.feed(after))
    requests, random, replaced = Requests(monkeypatch), Random(53), set[str]()
    happened = Counter[str]()
    names = [f"{folder}orders_2024-01-0{day}.csv" for folder in ("", "a b+c/") for day in (1, 2)]

    def replace(about: str) -> None:
        name = about.removeprefix("in/")
        name = name if name in names else random.choice(names)
        # what its sender replaces may never have been seen
        replaced.update(content for there, content in sender.there("in").items() if there == name)
        sender.put(name)
        happened["replaced"] += 1

    def kill(_: str) -> None:
        happened["killed"] += 1
        raise Killed

    for _ in range(12):
        for _ in range(random.randrange(1, 3)):
            replace("")
        reader.look(LATER)
        if random.random() < 0.85:
            reader.ingest()
        requests.at(random.randrange(1, 6), random.choice(["before", "after"]), random.choice([kill, replace]))
        try:
            happened["taken away"] += len(reader.look(LATER).taken_away)
        except Killed:
            reader = Reader(tmp_path, sender.feed(after))
        requests.happens.clear()
        left = set(sender.there("in").values())
        assert set(sender.delivered) - left - replaced <= set(reader.orders()), "what is gone is stored"
    for _ in range(2):
        reader.look(LATER)
        reader.ingest()
    assert reader.look(LATER).problems == []
    assert sender.there("in") == {}
    stored = reader.orders()
    assert len(set(stored)) == len(stored), "nothing is an input twice"
    assert set(sender.delivered) - replaced <= set(stored) <= set(sender.delivered)
    archived = [*sender.there("done").values()]
    assert (len(set(archived)), set(archived) <= set(stored)) == (len(archived), True)
    if "move_to" in after:
        assert set(sender.delivered) - replaced <= set(archived)
    assert min(happened.values()) > 2, happened


def test_a_store_that_compares_nothing_deletes_versions_by_their_id_or_nothing(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, versions = Sender(endpoint, "plain"), Sender(endpoint, "versions", versions=True)
    assert taking_objects_away.deletes_on_condition(
        S3FileSystem(key="key", secret="secret", endpoint_url=endpoint), "plain/in"
    )
    real = S3FileSystem.call_s3

    def ignoring(store: S3FileSystem, method: str, *given: Any, **named: Any) -> Any:
        named.pop("IfMatch", None)
        return real(store, method, *given, **named)

    monkeypatch.setattr(S3FileSystem, "call_s3", ignoring)
    for sender in (plain, versions):
        reader = Reader(tmp_path / sender.bucket, sender.feed({"move_to": "/done"}))
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
    markers = sender.client.list_object_versions(Bucket="versions").get("DeleteMarkers", [])
    assert markers == [], "asking leaves nothing"
    # where the store compares, the older version stays hidden
    monkeypatch.undo()
    assert reader.look(LATER).problems == []
    assert (sender.there("in"), len(sender.there("done"))) == ({}, 2)
    assert reader.look(LATER).new == []


def test_a_run_is_followed_by_the_removal_of_its_objects(
    endpoint: str, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    sender = Sender(endpoint, "run")
    sender.put("orders_2024-01-01.csv")
    sender.put("orders_x.csv")
    time.sleep(2)
    with loaded(sender.feed({"move_to": "../done/of the day"})) as definitions:
        here = CodeLocation(definitions, instance, tmp_path)
        here.settle("orders")
        assert {row[0] for row in here.rows("hub/orders", "id")} == {1}
    assert list(sender.there("in")) == ["orders_x.csv"], "what is refused stays"
    assert list(sender.there("done")) == ["of the day/orders_2024-01-01.csv"]


def test_versions_that_cannot_be_told_apart_are_refused(endpoint: str, tmp_path: Path) -> None:
    sender = Sender(endpoint, "refused")
    with pytest.raises(ConfigError, match="whole seconds"):
        Reader(tmp_path, sender.feed({"delete": True}, settle_seconds=0)).look()
