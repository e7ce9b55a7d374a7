"""A topic of a real Kafka broker, read by one consumer and by Spark: both make the same inputs, byte for byte."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from kafka_broker import PASSWORD, Broker
from kafka_place import Place
from story import begin

from dataops_assets.config.kafka import KafkaCluster
from dataops_assets.connections.kafka.client import client_of
from dataops_assets.connections.kafka.spark_options import options_of
from dataops_assets.connections.kafka.spark_topic import SparkTopic
from dataops_assets.connections.kafka.topic import Most, Topic
from dataops_assets.engines.spark import SparkEngine
from dataops_assets.errors import ConfigError, InputError, StorageError
from dataops_assets.metadata.position_store import PositionStore
from dataops_assets.report import Input

LOGIN = {"mechanism": "PLAIN", "user": "reader", "password": {"env": "KAFKA_PASSWORD"}}
# no message of the past is removed for its age, and each of another minute begins a segment
COMPACTED = {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01", "segment.ms": "60000"}
PAST = 1_700_000_000_123
ALL = Most(100_000, 1 << 30)


def place_of(home: Path, kafka: Broker, topic: str, reader: str, spark: SparkEngine, **connection: Any) -> Place:
    place = Place(home / reader, kafka, topic, reader=reader, **connection)
    place.spark = spark
    return place


def told(items: list[Input]) -> list[tuple[Any, ...]]:
    return [(item.input_id, item.origin, item.digest, item.size, item.extract_time) for item in items]


def cluster_of(kafka: Broker) -> KafkaCluster:
    return KafkaCluster(type="kafka", bootstrap_servers=(kafka.address,), timeout_seconds=60)


def topic_of(kafka: Broker, name: str) -> Topic:
    return Topic(client_of(cluster_of(kafka), {}), name)


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("it did not come true in a minute")


def messages() -> list[dict[str, Any]]:
    """Messages of each kind, in three partitions; only the newest of a key stay when the topic is compacted."""
    headers: list[tuple[str, bytes | None]] = [("trace", b"a"), ("é", None), ("trace", b"\xff")]
    found: list[dict[str, Any]] = [
        {"key": str(n % 5), "value": f'{{"city": "c{n}"}}', "headers": headers[: n % 4]} for n in range(40)
    ]
    found += [{"key": "7", "value": b"\xff\xfe"}, {"key": "", "value": b""}, {"key": "1", "value": None}]
    return [{**some, "partition": n % 3, "timestamp": PAST + n * 60_000} for n, some in enumerate(found)]


def test_both_readers_make_the_same_inputs_and_the_same_hub(
    tmp_path: Path, kafka: Broker, spark: SparkEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_PASSWORD", PASSWORD)
    name = kafka.topic(3, **COMPACTED)
    sent = messages()
    kafka.send(name, sent)
    kafka.send(name, [{"key": "2", "value": '{"city": "never"}', "partition": 0}], transaction="abort")
    kafka.send(name, [{"key": "3", "value": '{"city": "new"}', "partition": 1}], transaction="commit")
    topic = topic_of(kafka, name)
    state = topic.state()
    wait_for(lambda: len(topic.read(state.begins, state.ends, ALL)[0]) < len(sent) - 10)
    topic.close()
    kafka.send(name, [{"key": "9", "value": '{"city": "last"}', "partition": 2}])

    consumer, by_spark = (place_of(tmp_path, kafka, name, reader, spark) for reader in ("consumer", "spark"))
    by_spark.cluster |= {"bootstrap_servers": [kafka.secured], "sasl": LOGIN}
    items = consumer.look()
    found = by_spark.look()
    assert told(found) == told(items)
    assert len(items) == 1
    for place, some in ((consumer, items), (by_spark, found)):
        place.run(some)
    assert by_spark.stored(found) == consumer.stored(items)
    assert by_spark.hub("id", "city", "s_input_id", "s_row_id") == consumer.hub("id", "city", "s_input_id", "s_row_id")
    assert by_spark.rejected() == consumer.rejected() != []
    assert by_spark.metadata.positions.last_look("orders").position == (
        consumer.metadata.positions.last_look("orders").position
    )
    shown = shown_of(spark)
    assert f"KafkaRelation(strategy=Assign[{name}-0" in shown
    # the end of the password, which no quotation changes
    assert PASSWORD[-5:] not in shown


def shown_of(spark: SparkEngine) -> str:
    """All that Spark's pages and event logs show of the last query: its plan and settings."""
    with spark.session() as session:
        # the listeners of the pages are a little later than the query
        session.spark.sparkContext._jsc.sc().listenerBus().waitUntilEmpty()
        store = session.spark._jsparkSession.sharedState().statusStore().executionsList()
        last = [store.apply(place) for place in range(store.size())]
        settings = session.spark.sparkContext.getConf().getAll()
    return "\n".join([*(f"{item.details()} {item.physicalPlanDescription()}" for item in last), str(settings)])


def never(_settings: Mapping[str, str]) -> Any:
    raise AssertionError("Spark was started")


def test_inputs_are_closed_alike_and_nothing_new_starts_no_spark(
    tmp_path: Path, kafka: Broker, spark: SparkEngine
) -> None:
    name = kafka.topic(**{"message.timestamp.after.max.ms": "9223372036854775807"})
    kafka.send(name, [{"key": None if n else "0", "value": "x" * n} for n in range(5)], transaction="commit")
    consumer, by_spark = (
        place_of(tmp_path, kafka, name, reader, spark, most_messages=4) for reader in ("consumer", "spark")
    )
    items = consumer.look()
    assert told(by_spark.look()) == told(items)
    assert [len(consumer.stored([item])) for item in items] == [4, 1]
    by_spark.spark = SparkEngine(by_spark.environment, never)
    assert by_spark.look() == []
    # what is gone is told alike, and asked of the cluster alone
    kafka.send(name, [{"key": "1", "value": "{}"} for _ in range(4)])
    gone = TopicPartition(name, 0, 8)
    kafka.admin.delete_records([gone])[gone].result()
    errors = []
    for place in (consumer, by_spark):
        with pytest.raises(InputError, match="offsets 6 to 7 of partition 0") as caught:
            place.look()
        errors.append(str(caught.value))
    assert errors[0] == errors[1]
    # while Spark reads
    reading = SparkTopic(topic_of(kafka, name), options_of(cluster_of(kafka), {}), spark)
    with pytest.raises(StorageError, match="offset 6 of partition 0 was removed, which begins at 8 now"):
        reading.rows({0: 6}, {0: 10}, ALL)
    # a time in nanoseconds, which Spark cannot hold
    kafka.send(name, [{"key": "1", "value": "{}", "timestamp": PAST * 1_000_000}])
    with pytest.raises(ConfigError, match="reader to consumer"):
        reading.rows({0: 10}, {0: 11}, ALL)
    reading.close()


def test_a_look_that_is_killed_before_it_records_is_made_again(
    tmp_path: Path, kafka: Broker, spark: SparkEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = kafka.topic(2)
    kafka.send(name, [{"key": str(n), "value": f'{{"city": "c{n}"}}', "partition": n % 2} for n in range(10)])
    with spark.session() as session:
        gateway = session.spark.sparkContext._gateway.gateway_parameters
    monkeypatch.setenv("PYSPARK_GATEWAY_PORT", str(gateway.port))
    monkeypatch.setenv("PYSPARK_GATEWAY_SECRET", gateway.auth_token)
    child = begin(look_and_die, tmp_path, kafka.address, name)
    child.join()
    assert child.exitcode == -signal.SIGKILL
    place = place_of(tmp_path, kafka, name, "spark", spark)
    # it was written, and is in no input
    assert len(list((tmp_path / "spark" / "storage" / "raw" / "orders").rglob("*.messages.parquet"))) == 1
    assert place.metadata.inputs("orders") == []
    place.look()
    assert place.stored(place.metadata.inputs("orders")) == [(part, offset) for part in (0, 1) for offset in range(5)]
    assert place.look() == []


def look_and_die(home: Path, address: str, topic: str) -> None:
    """Look by the Spark that is running already, and die when the raw file is there."""

    def die(_self: PositionStore, _done: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    PositionStore.record = die  # type: ignore[method-assign]
    place = Place(home / "spark", SimpleNamespace(address=address), topic, reader="spark")  # type: ignore[arg-type]
    # the jars are those of the Spark that is running
    settings = place.environment.spark.model_copy(update={"jars": None})
    place.spark = SparkEngine(place.environment.model_copy(update={"spark": settings}), attached)
    place.look()


def attached(_settings: Mapping[str, str]) -> Any:
    """Return a session of the Spark whose gateway the environment names."""
    from pyspark import SparkConf, SparkContext
    from pyspark.java_gateway import launch_gateway
    from pyspark.sql import SparkSession

    gateway = launch_gateway()
    java = gateway.jvm.org.apache.spark.api.java.JavaSparkContext(
        gateway.jvm.org.apache.spark.SparkContext.getOrCreate()
    )
    return SparkSession(SparkContext(gateway=gateway, jsc=java, conf=SparkConf(_jconf=java.getConf())))
