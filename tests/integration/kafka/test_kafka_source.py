"""A topic of a real Kafka broker as a source: what is taken, in which inputs, and what becomes of it."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest
from kafka_broker import PASSWORD, Broker
from kafka_place import Place

from dataops_assets.connections.discovery import discover
from dataops_assets.connections.look import ReadingTime
from dataops_assets.errors import CommitConflict, ConfigError, DataOpsError, InputError, StorageError
from dataops_assets.metadata.position_store import PositionStore
from dataops_assets.operations.connections import examine
from dataops_assets.operations.views import connections as view


def message(number: int, city: str, **more: Any) -> dict[str, Any]:
    return {"key": str(number), "value": f'{{"city": "{city}"}}', **more}


def test_a_topic_becomes_inputs_and_a_hub(tmp_path: Path, kafka: Broker) -> None:
    topic = kafka.topic(2)
    place = Place(tmp_path, kafka, topic, most_messages=3)
    place.declared["columns"] = [
        *place.declared["columns"],
        {"name": "trace", "source_name": "kafka.headers.trace"},
        {"name": "part", "type": "integer", "source_name": "kafka.partition"},
        {"name": "at", "type": "timestamptz", "source_name": "kafka.timestamp"},
        {"name": "amount", "type": "decimal(20,4)"},
    ]
    exact = {"key": "2", "value": b'{\n "city": "Ulm", "amount": 1234567890123456.7800}', "partition": 1}
    kafka.send(topic, [message(1, "Köln", partition=0, headers={"trace": b"a1"}, timestamp=1700000000123), exact])
    kafka.send(topic, [message(1, "never", partition=0)], transaction="abort")
    deep = b"[" * 200 + b"]" * 200
    poison = [b"\xff\xfe", b"[1]", b'{"city": "x"} {"a": 1}', b'{"city": "x", "kafka": 1}', b"{", deep]
    kafka.send(topic, [{"key": "9", "value": value, "partition": 1} for value in poison], transaction="commit")
    kafka.send(topic, [{"key": "2", "value": None, "partition": 1}, message(3, "Bonn", partition=1)])
    items = place.look()
    # three messages in each, and the marks of transactions are no messages
    assert [len(place.stored([item])) for item in items] == [3, 3, 3, 1]
    assert len(set(place.stored(items))) == 10
    assert items[0].origin.startswith(f"kafka:main/{topic}/")
    assert place.look() == []

    reports = place.run(items)
    assert sum(item.counts["messages"] for item in reports["ingest"].inputs) == 10
    assert [item.counts["lag"] for item in reports["ingest"].inputs][-1] == 0
    assert place.hub("id", "city", "trace", "part") == [
        {"id": 1, "city": "Köln", "trace": "a1", "part": 0},
        {"id": 3, "city": "Bonn", "trace": None, "part": 1},
    ]
    assert place.hub("at")[0]["at"].isoformat() == "2023-11-14T22:13:20.123000+00:00"
    reasons = sorted(reason for reason, _ in place.rejected())
    assert reasons == [
        "not JSON",
        "value: a JSON list, not an object",
        'value: a member "kafka", which is connection.fields_in: declare another',
        "value: more than 100 levels (limits.nesting)",
        "value: not JSON",
        "value: not UTF-8 text",
    ]
    assert any("base64://4=" in raw for _, raw in place.rejected())


def test_new_partitions_are_read_from_their_beginning(tmp_path: Path, kafka: Broker) -> None:
    topic = kafka.topic()
    kafka.send(topic, [message(1, "before")])
    place = Place(tmp_path, kafka, topic, start="latest")
    assert place.look() == []
    kafka.more_partitions(topic, 2)
    kafka.send(topic, [message(2, "a", partition=0), message(3, "b", partition=1)])
    assert place.stored(place.look()) == [(0, 1), (1, 0)]
    # from a time on
    kafka.send(topic, [message(4, "old", partition=0, timestamp=1000), message(5, "new", partition=0, timestamp=9000)])
    other = Place(tmp_path / "other", kafka, topic, start="1970-01-01T00:00:05")
    assert (0, 3) in other.stored(other.look())


def test_a_look_that_dies_is_made_again_and_of_two_one_counts(
    tmp_path: Path, kafka: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = kafka.topic()
    kafka.send(topic, [message(number, "x") for number in range(5)])
    place = Place(tmp_path, kafka, topic, most_messages=2)
    record = PositionStore.record
    told = []

    def dies(self: PositionStore, done: Any) -> None:
        told.append(done)
        if len(told) == 2:
            raise MemoryError
        record(self, done)

    with monkeypatch.context() as during:
        during.setattr(PositionStore, "record", dies)
        with pytest.raises(MemoryError):
            place.look()
    # the first slice is recorded, the second one is read again
    assert place.stored(place.metadata.inputs("orders")) == [(0, 0), (0, 1)]

    def late(self: PositionStore, done: Any) -> None:
        monkeypatch.undo()
        # another daemon looks at the same time, and is done first
        assert place.stored(place.look()) == [(0, 2), (0, 3), (0, 4)]
        record(self, done)

    monkeypatch.setattr(PositionStore, "record", late)
    with pytest.raises(CommitConflict):
        place.look()
    assert place.stored(place.metadata.inputs("orders")) == [(0, number) for number in range(5)]
    assert place.look() == []


def test_messages_that_are_gone_stop_the_source_until_it_is_told_to_go_on(tmp_path: Path, kafka: Broker) -> None:
    from confluent_kafka import TopicPartition

    topic = kafka.topic()
    kafka.send(topic, [message(number, "x") for number in range(4)])
    place = Place(tmp_path, kafka, topic)
    assert len(place.stored(place.look())) == 4
    kafka.send(topic, [message(number, "y") for number in range(6)])
    gone = TopicPartition(topic, 0, 7)
    kafka.admin.delete_records([gone])[gone].result()
    with pytest.raises(InputError) as caught:
        place.look()
    assert "offsets 4 to 6 of partition 0" in caught.value.received
    assert "connection.lost to skip" in caught.value.next_step
    place.connection["lost"] = "skip"
    (item,) = place.look()
    assert place.stored([item]) == [(0, 7), (0, 8), (0, 9)]
    notes = [arrival.note for arrival in place.metadata.arrivals("orders") if arrival.input_id == item.input_id]
    assert notes == ["not in any input: offsets 4 to 6 of partition 0"]
    # made again under its name, with more messages than were read before
    place.connection["lost"] = "stop"
    kafka.delete(topic)
    _eventually(lambda: kafka.topic(name=topic))
    kafka.send(topic, [message(number, "z") for number in range(20)])
    with pytest.raises(InputError, match="the topic was deleted and made again after offset 10 of partition 0"):
        place.look()
    place.connection["lost"] = "skip"
    assert len(place.stored(place.look())) == 20


def _eventually(act: Any) -> None:
    from confluent_kafka import KafkaException

    for _ in range(100):
        try:
            act()
        except KafkaException:
            time.sleep(0.1)
        else:
            return
    act()


def test_what_cannot_be_reached_or_read_is_told(tmp_path: Path, kafka: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = kafka.topic(name="orders_of_shop")
    place = Place(tmp_path, kafka, "orders_of_shopp", every="10 minutes")
    with pytest.raises(ConfigError, match="no such topic, or no right to see it") as caught:
        place.look()
    assert "orders_of_shop" in caught.value.next_step
    place.connection["topic"] = topic
    kafka.send(topic, [message(1, "x"), message(2, "y")])
    (report,) = examine(place.connections, {"orders": place.source}, place.metadata.positions, {})
    assert (report.is_well, report.server, report.sources[0].behind) == (True, "Kafka, 1 brokers", 2)
    assert "source orders (orders_of_shop): no look yet, 2 offsets behind" in str(list(view.reports([report])))
    # with a user
    monkeypatch.setenv("KAFKA_PASSWORD", PASSWORD)
    login = {"mechanism": "PLAIN", "user": "reader", "password": {"env": "KAFKA_PASSWORD"}}
    place.cluster |= {"bootstrap_servers": [kafka.secured], "sasl": login}
    assert len(place.stored(place.look())) == 2
    monkeypatch.setenv("KAFKA_PASSWORD", "wr0ng secret")
    place.cluster["timeout_seconds"] = 5
    failed = _failed(place)
    assert isinstance(failed, ConfigError)
    assert failed.next_step.startswith("check sasl")
    assert "wr0ng" not in f"{failed!r} {failed.received}"
    place.cluster = {"type": "kafka", "bootstrap_servers": ["127.0.0.1:9"], "timeout_seconds": 1}
    assert isinstance(_failed(place), StorageError)
    (report,) = examine(place.connections, {"orders": place.source}, place.metadata.positions, {})
    assert not report.is_well
    assert "127.0.0.1:9" in report.next_step
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    assert _failed(place).next_step == "install the extra 'kafka' of this project"


def _failed(place: Place) -> DataOpsError:
    before = place.metadata.positions.last_look("orders")
    place.now = place.now.replace(hour=place.now.hour + 1)
    with pytest.raises(DataOpsError) as caught:
        place.look()
    assert place.metadata.positions.last_look("orders") == before
    return caught.value


def test_a_look_ends_with_its_time_and_the_next_goes_on_at_once(tmp_path: Path, kafka: Broker) -> None:
    topic = kafka.topic()
    kafka.send(topic, [message(number, "x" * 100) for number in range(5)])
    # closed by bytes, but never without a message
    place = Place(tmp_path, kafka, topic, most_bytes=1, every="1 day")
    short = ReadingTime(budget_seconds=0)
    taken = []
    while True:
        found = discover(
            place.source, place.environment, place.metadata, now=place.now, databases=place.connections, limit=short
        )
        if not found.new:
            break
        taken += found.new
        assert len(found.new) == 1
    assert place.stored(taken) == [(0, number) for number in range(5)]
    # all was taken: the next look is due after a day
    kafka.send(topic, [message(9, "y")])
    assert place.look() == []
