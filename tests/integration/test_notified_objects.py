"""Objects that messages name are taken without a listing: none is missed and none is taken twice.

S3 and SQS are an emulator (moto), which sends the messages of S3 itself.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote_plus

import boto3
import dagster as dg
import pytest
from code_location import CodeLocation, loaded, standalone, told_by
from emulated_aws import emulated_aws
from pydantic import ValidationError
from reading_process import Killed, Reader
from s3fs import S3FileSystem

from dataops_assets.config.connection import FileConnection
from dataops_assets.connections import notified_names, queues
from dataops_assets.connections.look import FoundInputs, Look
from dataops_assets.connections.queues import Queue
from dataops_assets.errors import StorageError
from dataops_assets.metadata.position_store import PositionStore
from dataops_assets.operations.file_areas import FilesReport, examine_files
from dataops_assets.operations.views.connections import reports

KEYS = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
LISTS = ("list_objects", "list_objects_v2", "list_object_versions")


class Feed:
    """A bucket that sends its events to a queue, as seen by their sender."""

    def __init__(self, endpoint: str, name: str) -> None:
        self.endpoint, self.bucket, self.number = endpoint, name, 0
        self.s3, self.sqs = (boto3.client(kind, endpoint_url=endpoint, **KEYS) for kind in ("s3", "sqs"))
        self.s3.create_bucket(Bucket=name)
        self.queue = self.sqs.create_queue(QueueName=name)["QueueUrl"]
        self.contents: dict[str, str] = {}
        self.delivered: list[str] = []

    def tells(self, told: bool = True) -> None:
        """From now on the bucket sends messages, or none."""
        arn = f"arn:aws:sqs:us-east-1:123456789012:{self.bucket}"
        events = [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]}] if told else []
        settings = {"QueueConfigurations": events} if told else {}
        self.s3.put_bucket_notification_configuration(Bucket=self.bucket, NotificationConfiguration=settings)

    def put(self, name: str) -> str:
        self.number += 1
        # each content has another size: times are whole seconds
        content = f"id,customer,amount\n{self.number},1,2.5\n" + "7,1,1\n" * self.number
        self.s3.put_object(Bucket=self.bucket, Key=name, Body=content.encode())
        self.contents[name] = content
        self.delivered.append(content)
        return content

    def remove(self, name: str) -> None:
        self.s3.delete_object(Bucket=self.bucket, Key=name)
        self.contents.pop(name, None)

    def send(self, body: object) -> None:
        text = body if isinstance(body, str) else json.dumps(body)
        self.sqs.send_message(QueueUrl=self.queue, MessageBody=text)

    def waiting(self) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        told = self.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=names)["Attributes"]
        return sum(int(told[name]) for name in names)

    def declared(self, **others: Any) -> dict[str, Any]:
        options = {"key": "key", "secret": "secret", "endpoint_url": self.endpoint}
        told = {"queue": self.queue, "full_listing_every": "1 day"}
        settings = {"path": f"s3://{self.bucket}/in/**/*.csv", "notifications": told, "storage_options": options}
        dated = {"extract_time": {"pattern": "orders_%Y-%m-%d*.csv"}, "settle_seconds": 1}
        return standalone() | {"connection": {"type": "files"} | settings | dated | others}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with emulated_aws() as (host, port):
        yield f"http://{host}:{port}"


@pytest.fixture
def feed(endpoint: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Feed:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    # the emulator has one server, so there is no other to wait for
    monkeypatch.setattr(queues, "_WAIT_SECONDS", 0)
    found = Feed(endpoint, request.node.name.replace("_", "-")[:60].strip("-"))
    found.tells()
    return found


@pytest.fixture
def listings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The requests that listed a bucket."""
    seen: list[str] = []
    real = S3FileSystem._call_s3

    async def counted(self: S3FileSystem, method: str, *given: Any, **named: Any) -> Any:
        seen.extend([method] if method in LISTS else [])
        return await real(self, method, *given, **named)

    monkeypatch.setattr(S3FileSystem, "_call_s3", counted)
    return seen


def event(bucket: str, name: str) -> dict[str, Any]:
    """What S3 sends of a new object."""
    about = {"bucket": {"name": bucket}, "object": {"key": quote_plus(name)}}
    return {"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": about}]}


def test_messages_late_twice_or_of_nothing_and_kills_change_no_input(
    feed: Feed, tmp_path: Path, listings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever happens, all objects are inputs that a message named, and after a full listing all others, too."""
    monkeypatch.setattr(queues, "_HIDDEN_SECONDS", 1)
    reader, random, kills, now = Reader(tmp_path, feed.declared()), Random(7), 0, 60.0
    folders = ("", "a b/")
    names = [
        f"in/{folder}orders_2024-01-0{day} ü+%41{part}.csv" for folder in folders for day in (1, 2) for part in "ab"
    ]
    late: list[dict[str, Any]] = []

    def dies(owner: type[Any], method: str, *, after: bool) -> Callable[[], None]:
        real = getattr(owner, method)

        def killed(*given: Any) -> None:
            if after:
                real(*given)
            raise Killed

        monkeypatch.setattr(owner, method, killed)
        return lambda: monkeypatch.setattr(owner, method, real)

    reader.look(now)
    del listings[:]
    for number in range(10):
        for _ in range(random.randrange(3)):
            name, comes_late = random.choice(names), random.random() < 0.4
            feed.tells(not comes_late)
            feed.remove(name) if random.random() < 0.2 else feed.put(name)
            late += [event(feed.bucket, name)] * comes_late
        random.shuffle(late)
        for message in [late.pop() for _ in range(min(len(late), random.randrange(3)))]:
            for _ in range(random.choice([1, 1, 2])):
                feed.send(message)
        restore: Callable[[], None] | None = None
        if number % 3 == 2:
            owner, method = random.choice([(PositionStore, "record"), (Queue, "delete"), (Look, "record")])
            restore = dies(owner, method, after=random.random() < 0.5)
        now += 60
        try:
            assert reader.look(now).problems == []
        except Killed:
            kills += 1
            reader = Reader(tmp_path, feed.declared())
            time.sleep(1.1)
        if restore is not None:
            restore()
    for message in late:
        feed.send(message)
    found = reader.look(now + 60)
    assert (found.problems, found.left, listings, feed.waiting()) == ([], [], [], 0), "and no look has listed"
    reader.ingest()
    stored = reader.orders()
    assert len(set(stored)) == len(stored), "nothing is an input twice"
    assert set(feed.contents.values()) <= set(stored) <= set(feed.delivered)
    assert kills > 1

    # what no message told is found by the next full listing
    feed.tells(False)
    lost = feed.put(names[0])
    assert reader.look(now + 120).new == []
    assert [item.size for item in reader.look(now + 86_400).new] == [len(lost)]
    assert listings


def test_what_is_not_finished_is_looked_at_again_without_its_message(
    feed: Feed, tmp_path: Path, listings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Reader(tmp_path, feed.declared(settle_seconds=30))
    reader.look()
    del listings[:]
    feed.put("in/orders_2024-01-01.csv")
    feed.put("in/orders_x.csv")
    feed.put("in/_hidden.csv")
    feed.put("elsewhere/orders_2024-01-01.csv")
    found = reader.look()
    assert [origin.rpartition("/")[2] for origin in found.settling] == ["orders_2024-01-01.csv"]
    assert feed.waiting() == 0
    assert [item.note.partition(":")[0] for item in found.noted if "_hidden" in item.origin] == ["left out"]
    found = reader.look(60)
    assert (len(found.new), len(found.problems), found.noted) == (1, 1, [])
    assert len(reader.look(60).problems) == 1, "told until it is gone"
    feed.remove("in/orders_x.csv")
    assert reader.look(60) == FoundInputs()
    assert listings == []
    # too many to remember
    monkeypatch.setattr(notified_names, "MOST_PENDING", 0)
    feed.put("in/orders_2024-01-02.csv")
    assert len(reader.look().settling) == 1
    assert listings == []
    assert (len(reader.look(60).new), listings) == (1, ["list_objects_v2"])


def test_messages_that_name_nothing_are_told_once_and_stop_nothing(feed: Feed, tmp_path: Path) -> None:
    reader = Reader(tmp_path, feed.declared())
    feed.sqs.purge_queue(QueueUrl=feed.queue)
    reader.look()
    bad: list[object] = [
        "no JSON",
        "[" * 100_000,
        [],
        {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": feed.bucket},
        event("another", "in/orders_2024-01-01.csv"),
        {"Records": [{"s3": {"bucket": {"name": feed.bucket}, "object": {}}}]},
    ]
    for body in bad:
        feed.send(body)
    feed.put("in/orders_2024-01-01.csv")
    found = reader.look(60)
    assert (len(found.new), found.problems, feed.waiting()) == (1, [], 0)
    notes = sorted(item.note.removeprefix("left out: a message of the queue: it ") for item in found.noted)
    assert notes == [
        "is no JSON",
        "is no JSON",
        "is no JSON object",
        "is no event of S3 with bucket and key",
        "is s3:TestEvent, with which S3 tests the queue",
        f"names objects of 'another', not of '{feed.bucket}'",
    ]
    assert reader.look(60) == FoundInputs()
    # a queue that is not there stops the look, because nobody else would say so
    feed.sqs.delete_queue(QueueUrl=feed.queue)
    with pytest.raises(StorageError, match=r"receiving messages of .*create the queue"):
        reader.look(60)


def test_a_run_takes_away_what_messages_named(
    feed: Feed, instance: dg.DagsterInstance, tmp_path: Path, listings: list[str]
) -> None:
    with loaded(feed.declared(after_pickup={"move_to": "../done"})) as definitions:
        here = CodeLocation(definitions, instance, tmp_path)
        here.settle("orders")
        del listings[:]
        feed.put("in/orders_2024-01-01.csv")
        time.sleep(1.5)
        here.settle("orders")
        assert {row[0] for row in here.rows("hub/orders", "id")} == {1, 7}
    there = feed.s3.list_objects_v2(Bucket=feed.bucket)["Contents"]
    assert [item["Key"] for item in there] == ["done/orders_2024-01-01.csv"]
    assert listings == []


def test_the_queue_is_examined_with_the_files(feed: Feed, tmp_path: Path) -> None:
    reader = Reader(tmp_path, feed.declared())
    feed.sqs.purge_queue(QueueUrl=feed.queue)
    feed.put("in/orders_2024-01-01.csv")

    def told() -> FilesReport:
        context = reader.context
        (report,) = examine_files({"orders": context.source}, context.environment, context.metadata)
        return report

    report = told()
    assert (report.files, report.messages, report.is_well, feed.waiting()) == (1, 1, True, 1)
    (table,) = reports([report])
    assert "1 message waits in the queue" in str(table)
    feed.sqs.delete_queue(QueueUrl=feed.queue)
    report = told()
    assert (report.is_well, report.messages) == (False, None)
    assert "create the queue" in report.next_step


def test_two_sources_of_one_queue_are_refused(feed: Feed) -> None:
    with (
        pytest.raises(Exception, match="orders") as failed,
        loaded(feed.declared(), feed.declared() | {"name": "others"}),
    ):
        pass
    assert "a queue of its own" in told_by(failed.value)


@pytest.mark.parametrize(
    ("others", "reason"),
    [
        ({"path": "gs://bucket/in"}, "listed as a whole"),
        ({"path": "s3://bucket-*/in"}, "name of the bucket"),
        ({"members": "*.csv"}, "members"),
        ({"manifest": {"name": "{name}.json"}}, "manifest"),
        ({"sorted_names": {}}, "two ways"),
        ({"notifications": {"queue": "orders"}}, "queue"),
        ({"notifications": {"queue": "https://a/1/b", "full_listing_every": "0 days"}}, "full_listing_every"),
    ],
)
def test_what_has_no_notifications_is_refused_at_load(others: dict[str, Any], reason: str) -> None:
    declared = {"type": "files", "path": "in/*.csv", "notifications": {"queue": "https://sqs.example.com/1/b"}}
    with pytest.raises(ValidationError, match=reason):
        FileConnection.model_validate(declared | others)
