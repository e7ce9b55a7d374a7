"""Rows a second from PostgreSQL's log and from a Kafka topic, beside the plain ways. By hand: `make benchmark-logs`.

Grain of the output: one line a way, with elapsed and CPU seconds of this process (not of the servers), and rows a
second of each. ROWS (200,000) rows are inserted in transactions of 1,000; as many messages of 100 bytes are in one
partition, and in four for the readers of a topic, of which Spark has its CPU time in another process.

* *a look*: what the sensor does: reads all, writes the raw files, records inputs and position.
* *plain COPY*: the same rows of the table, by `COPY ... TO STDOUT`, thrown away.
* *plain log*: a replication connection that reads the same changes and decodes none of them.
* *plain consumer*: confluent-kafka's loop that reads the same messages and keeps none.
* *consumer*, *spark*: a look by each reader at the same topic, and again in a place of its own. Before, Spark *begins*.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg2
import pytest
from confluent_kafka import Consumer
from psycopg2.extras import LogicalReplicationConnection

_INTEGRATION = Path(__file__).parents[1] / "integration"
sys.path += [str(_INTEGRATION / "databases"), str(_INTEGRATION / "kafka")]

from database_place import Server, place_of  # noqa: E402
from kafka_place import Place  # noqa: E402

from dataops_assets.components.platform import spark_session  # noqa: E402
from dataops_assets.config.environment import environment_from  # noqa: E402
from dataops_assets.engines.spark import SparkEngine  # noqa: E402
from dataops_assets.report import Input  # noqa: E402

SPARK_VARIABLES = {name: value for name, value in os.environ.items() if name.startswith("DATAOPS_SPARK_")}
ROWS = int(os.environ.get("ROWS", "200000"))
_BATCH = 1_000


def _measured(way: str, work: Callable[[], int]) -> None:
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    rows = work()
    elapsed, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    spent = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    assert rows >= ROWS, (way, rows)
    rates = f"{rows / elapsed:10,.0f} rows a second, {rows / spent:10,.0f} a CPU second"
    print(f"{way:16} {elapsed:6.2f} s, {spent:6.2f} CPU s, {rates}")


class _Nowhere:
    def __init__(self) -> None:
        self.lines = 0

    def write(self, text: str | bytes) -> int:
        self.lines += text.count("\n" if isinstance(text, str) else b"\n")
        return len(text)


def test_the_log_of_postgres(postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = urlsplit(postgres_url)
    password = unquote(url.password or "")
    monkeypatch.setenv("SHOP_DB_PASSWORD", password)
    known = {"type": "postgres", "host": "127.0.0.1", "port": url.port, "user": url.username}
    declared = {**known, "database": "postgres", "password": {"env": "SHOP_DB_PASSWORD"}}
    server = Server(declared, password)
    server.run("CREATE TABLE t (id integer PRIMARY KEY, note text, serial integer)")
    place = place_of(tmp_path, declared, type="replication", table="public.t", slot="ours", every="PT0S")
    place.look()
    login = {"host": "127.0.0.1", "port": url.port, "user": url.username, "password": password, "dbname": "postgres"}
    plain = psycopg2.connect(**login, connection_factory=LogicalReplicationConnection)
    (publication,) = server.run("SELECT pubname FROM pg_publication")[0]
    plain.cursor().create_replication_slot("plain", output_plugin="pgoutput")
    insert = "INSERT INTO t SELECT n, repeat('x', 80) || n, n FROM generate_series(%s, %s) AS n"
    with server.connect() as connection, connection.cursor() as cursor:
        for first in range(0, ROWS, _BATCH):
            cursor.execute(insert, (first, first + _BATCH - 1))

    def copied() -> int:
        target = _Nowhere()
        with server.connect() as connection, connection.cursor() as cursor:
            cursor.copy_expert("COPY t TO STDOUT", target)
        return target.lines

    def read() -> int:
        cursor = plain.cursor()
        options = {"proto_version": "1", "publication_names": publication}
        cursor.start_replication(slot_name="plain", options=options, decode=False)
        found = 0
        while found < ROWS:
            message = cursor.read_message()
            if message is not None:
                found += message.payload[:1] == b"I"
        return found

    def looked() -> int:
        while place.look():
            pass
        return ROWS

    print(f"\nPostgreSQL, {ROWS:,} rows")
    _measured("plain COPY", copied)
    _measured("plain log", read)
    _measured("a look", looked)
    plain.close()
    assert sum(place.path(item).read_text().count("\n") for item in place.inputs) >= ROWS


def test_a_topic_of_kafka(kafka: object, tmp_path: Path) -> None:
    from kafka_broker import Broker

    assert isinstance(kafka, Broker)
    topic = kafka.topic()
    messages = [{"key": str(n), "value": json.dumps({"city": "x" * 80, "n": n})} for n in range(ROWS)]
    for first in range(0, ROWS, 50_000):
        kafka.send(topic, messages[first : first + 50_000])

    def read() -> int:
        settings = {"bootstrap.servers": kafka.address, "group.id": "plain", "auto.offset.reset": "earliest"}
        consumer = Consumer(settings)
        consumer.subscribe([topic])
        found = 0
        while found < ROWS:
            found += len(consumer.consume(10_000, 1.0))
        consumer.close()
        return found

    place = Place(tmp_path, kafka, topic)

    items: list[Input] = []

    def looked() -> int:
        while found := place.look():
            items.extend(found)
        return ROWS

    print(f"\nKafka, {ROWS:,} messages")
    _measured("plain consumer", read)
    _measured("a look", looked)
    assert len(place.stored(items)) == ROWS


def test_the_readers_of_a_topic(kafka: object, tmp_path: Path) -> None:
    from kafka_broker import Broker

    assert isinstance(kafka, Broker)
    variables = {"DATAOPS_ENV": "test", "DATAOPS_HOME": str(tmp_path), **SPARK_VARIABLES}
    spark = SparkEngine(environment_from(variables, tmp_path), spark_session)
    topics = [kafka.topic(4), kafka.topic(4)]
    kafka.send(topics[0], [{"key": str(n), "value": "{}", "partition": n % 4} for n in range(100)])
    for first in range(0, ROWS, 50_000):
        some = range(first, first + 50_000)
        values = [{"key": str(n), "value": json.dumps({"city": "x" * 80, "n": n}), "partition": n % 4} for n in some]
        kafka.send(topics[1], values)

    def measured(way: str, reader: str) -> None:
        place, items = Place(tmp_path / way, kafka, topics[1], reader=reader), list[Input]()
        place.spark = spark

        def looked() -> int:
            while found := place.look():
                items.extend(found)
            return ROWS

        _measured(way, looked)
        assert len(place.stored(items)) == ROWS

    small, began = Place(tmp_path / "small", kafka, topics[0], reader="spark"), time.perf_counter()
    small.spark = spark
    assert len(small.stored(small.look())) == 100
    print(f"\nKafka: Spark begins, and reads 100 messages: {time.perf_counter() - began:.2f} s")
    print(f"Kafka, {ROWS:,} messages in 4 partitions")
    for again in ("", " again"):
        for reader in ("consumer", "spark"):
            measured(f"{reader}{again}", reader)
    spark.stop()
