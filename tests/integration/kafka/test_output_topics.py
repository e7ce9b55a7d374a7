"""Outputs to topics of a real broker: exactly once, with deletions, whatever dies in between."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from delivered_outputs import OutputPlace
from kafka_broker import Broker
from rest_server import Reply, Request, rest_server

from dataops_assets.connections.kafka.writing import TopicWriter
from dataops_assets.errors import ConfigError, InputError, StorageError


def things(**rows: Any) -> pa.Table:
    """Rows of the hub: name by id."""
    return pa.table(
        {
            "id": pa.array([int(key[1:]) for key in rows], pa.int64()),
            "name": pa.array(list(rows.values()), pa.string()),
            "price": pa.array(["1.10"] * len(rows)).cast(pa.decimal128(20, 2)),
        }
    )


def name_of(value: bytes) -> Any:
    return json.loads(value)["name"]


def messages(
    kafka: Broker, topic: str, isolation: str = "read_committed", decode: Callable[[bytes], Any] = name_of
) -> list[tuple[Any, Any]]:
    """Keys and values that a reader sees, in order."""
    partitions = kafka.admin.list_topics(topic).topics[topic].partitions
    settings = {"bootstrap.servers": kafka.address, "group.id": "test", "log_level": 0, "isolation.level": isolation}
    reader = Consumer({**settings, "enable.partition.eof": True, "auto.offset.reset": "earliest"})
    reader.assign([TopicPartition(topic, number, 0) for number in partitions])
    found, ended = [], 0
    while ended < len(partitions):
        message = reader.poll(60)
        assert message is not None
        if message.error():
            ended += 1
            continue
        key, value = message.key(), message.value()
        assert key is not None
        found.append((json.loads(key), decode(value) if value is not None else None))
    reader.close()
    return found


@pytest.fixture
def place(tmp_path: Path, kafka: Broker) -> OutputPlace:
    return OutputPlace(
        tmp_path, {"main": {"type": "kafka", "bootstrap_servers": [kafka.address], "timeout_seconds": 60}}
    )


@pytest.fixture
def to(kafka: Broker) -> dict[str, Any]:
    topic = f"out_{kafka.topic()}"
    # positions of their own: other tests leave transactions open
    return {"type": "topic", "cluster": "main", "topic": topic, "positions": f"{topic}_positions", "key_format": "text"}


def test_changes_and_deletions_are_messages_once(place: OutputPlace, kafka: Broker, to: dict[str, Any]) -> None:
    place.publish(things(i1="a", i2="b", i3="c"))
    report = place.deliver(to, mode="incremental")
    assert report.inputs[0].counts == {"rows": 3, "messages": 3, "tombstones": 0, "unchanged": 0}
    assert messages(kafka, to["topic"]) == [(1, "a"), (2, "b"), (3, "c")]
    # the same again is nothing
    assert place.deliver(to, mode="incremental").notes["skipped"]
    place.publish(things(i1="a", i2="B", i4="d"))
    place.deliver(to, mode="incremental")
    assert sorted(messages(kafka, to["topic"])[3:], key=str) == [(2, "B"), (3, None), (4, "d")]
    # another declaration: the topic is compared, and only what differs is written
    changed = {"columns": [{"name": "id"}, {"name": "name", "expression": "lower(name)"}, {"name": "price"}]}
    report = place.deliver(to, mode="incremental", **changed)
    assert report.inputs[0].counts == {"rows": 3, "messages": 1, "tombstones": 0, "unchanged": 2}
    assert messages(kafka, to["topic"])[6:] == [(2, "b")]
    # in full, keys that are gone are found in the topic
    place.publish(things(i1="a"))
    place.deliver(to, mode="full", **changed)
    assert sorted(messages(kafka, to["topic"])[7:]) == [(2, None), (4, None)]


def test_a_delivery_that_dies_or_is_taken_over_leaves_nothing(
    place: OutputPlace, kafka: Broker, to: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    place.publish(things(i1="a", i2="b"))

    def dies(self: TopicWriter) -> None:
        # the rows and the position are at the broker, and the process is gone before the commit
        self._producer.flush(10)
        raise MemoryError

    commit = TopicWriter._commit
    with monkeypatch.context() as during:
        during.setattr(TopicWriter, "_commit", dies)
        with pytest.raises(MemoryError):
            place.deliver(to)
    assert place.deliver(to).inputs[0].counts["messages"] == 2
    assert messages(kafka, to["topic"]) == [(1, "a"), (2, "b")]
    assert len(messages(kafka, to["topic"], "read_uncommitted")) >= 2

    # an older process wakes up after another one has delivered
    place.publish(things(i1="A", i2="b"))
    taken_over = []

    def late(self: TopicWriter) -> None:
        if not taken_over:
            taken_over.append(True)
            assert place.deliver(to, mode="incremental").inputs[0].counts["messages"] == 1
        commit(self)

    monkeypatch.setattr(TopicWriter, "_commit", late)
    with pytest.raises(StorageError, match="another delivery of this output began meanwhile"):
        place.deliver(to, mode="incremental")
    assert messages(kafka, to["topic"])[2:] == [(1, "A")]


def test_faults_are_told_and_nothing_is_delivered(place: OutputPlace, kafka: Broker, to: dict[str, Any]) -> None:
    place.publish(things(i1="a", i2="x" * 2_000_000))
    with pytest.raises(InputError, match="a message of 2,000,"):
        place.deliver(to)
    assert messages(kafka, to["topic"]) == []
    place.publish(things(i1="a"))
    with pytest.raises(ConfigError, match="no such topic"):
        place.deliver({**to, "topic": "nowhere", "structure": "check"})
    with pytest.raises(ConfigError, match="text, and the key has 2 columns"):
        place.deliver({**to, "topic": "other"}, key=["id", "name"])
    # the topic was made again: the position speaks of another one
    place.deliver(to)
    kafka.delete(to["topic"])
    while to["topic"] in kafka.admin.list_topics().topics:
        pass
    assert place.deliver(to).inputs[0].counts["messages"] == 1


def test_transactions_of_others_do_not_hide_the_position(place: OutputPlace, kafka: Broker, to: dict[str, Any]) -> None:
    place.publish(things(i1="a"))
    place.deliver(to)
    other = Producer({"bootstrap.servers": kafka.address, "transactional.id": to["topic"], "log_level": 0})
    other.init_transactions()
    other.begin_transaction()
    other.produce(to["positions"], key="other/x", value="{}")
    other.flush()
    place.databases["main"]["timeout_seconds"] = 4
    with pytest.raises(StorageError, match="an open transaction"):
        place.deliver(to)
    other.abort_transaction()
    place.databases["main"]["timeout_seconds"] = 60
    assert place.deliver(to).notes["skipped"]


def test_avro_has_the_id_of_its_registered_schema(place: OutputPlace, kafka: Broker, to: dict[str, Any]) -> None:
    registered: list[Any] = []

    def answer(request: Request) -> Reply:
        if len(registered) == 2:
            return Reply({"error_code": 409, "message": "incompatible"}, status=409)
        registered.append((request.method, request.path, json.loads(json.loads(request.body)["schema"])))
        return Reply({"id": 258})

    with rest_server() as server:
        server.answer = answer
        place.databases["main"]["schema_registry"] = {"url": server.url}
        place.publish(things(i1="a", i2="b"))
        place.deliver({**to, "format": "avro"}, mode="incremental")
        method, path, schema = registered[0]
        assert (method, path) == ("POST", f"/v1/subjects/{to['topic']}-value/versions")
        found = messages(kafka, to["topic"], decode=lambda value: avro(value, schema))
        assert found == [(1, {"id": 1, "name": "a", "price": "1.10"}), (2, {"id": 2, "name": "b", "price": "1.10"})]
        # the same row gives the same bytes
        assert place.deliver({**to, "format": "avro"}, keep_when="id > 0").inputs[0].counts["messages"] == 0
        with pytest.raises(ConfigError, match="incompatible"):
            place.deliver({**to, "format": "avro"}, columns=[{"name": "id"}])


def avro(value: bytes, schema: Any) -> dict[str, Any]:
    assert value[:5] == b"\0\0\0\x01\x02"
    found = fastavro.schemaless_reader(io.BytesIO(value[5:]), schema, None)
    assert isinstance(found, dict)
    return {**found, "price": str(found["price"])}
