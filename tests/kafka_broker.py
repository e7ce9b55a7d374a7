"""A real Kafka broker for tests: one process in KRaft mode, on free ports of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic
from free_ports import free_ports

PROJECT = Path(__file__).resolve().parents[1]
JARS = Path(os.environ.get("KAFKA_JARS_FOLDER", PROJECT / ".jars-kafka"))
# only the quick compiler, and one collector: the broker is small and lives for a minute
_JAVA = ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto", "-Xmx256m"]
_START_SECONDS = 180
PASSWORD = 'pass "word\\/@:%'

Message = Mapping[str, Any]


@dataclass(frozen=True)
class Broker:
    """A broker that takes everything at `address`, and users with a password at `secured`."""

    address: str
    secured: str
    admin: AdminClient

    def topic(self, partitions: int = 1, **settings: str) -> str:
        """Make a topic with a name of its own, or the name that `name` gives."""
        name = settings.pop("name", "") or f"t_{uuid.uuid4().hex[:8]}"
        made = self.admin.create_topics([NewTopic(name, partitions, 1, config=settings)])
        made[name].result()
        return name

    def more_partitions(self, topic: str, partitions: int) -> None:
        self.admin.create_partitions([NewPartitions(topic, partitions)])[topic].result()

    def delete(self, topic: str) -> None:
        self.admin.delete_topics([topic])[topic].result()

    def send(self, topic: str, messages: Sequence[Message], *, transaction: str = "") -> None:
        """Send messages, each with the arguments of `Producer.produce`. `transaction`: commit or abort."""
        settings: dict[str, Any] = {"bootstrap.servers": self.address, "linger.ms": 5, "log_level": 0}
        if transaction:
            settings["transactional.id"] = uuid.uuid4().hex
        producer = Producer(settings)
        if transaction:
            producer.init_transactions()
            producer.begin_transaction()
        for message in messages:
            producer.produce(topic, **message)
        assert producer.flush(30) == 0
        if transaction == "commit":
            producer.commit_transaction()
        elif transaction == "abort":
            producer.abort_transaction()


@contextmanager
def broker() -> Iterator[Broker]:
    """Start a broker, and end it. Skips where Java or its jars are missing."""
    if shutil.which("java") is None or not any(JARS.glob("kafka_*.jar")):
        pytest.skip(f"no Java, or no jars of Kafka in {JARS} (make jars)")
    folder = Path(tempfile.mkdtemp(prefix="dataops-kafka-"))
    try:
        ports = free_ports(3)
        settings = folder / "server.properties"
        settings.write_text(_settings(folder, ports))
        programs = [*_JAVA, "-cp", f"{JARS}/*"]
        with (folder / "log").open("w") as log:
            format_it = [*programs, "kafka.tools.StorageTool", "format", "--cluster-id", _cluster_id()]
            subprocess.run([*format_it, "--config", str(settings)], stdout=log, stderr=log, check=True, timeout=300)
            process = subprocess.Popen([*programs, "kafka.Kafka", str(settings)], stdout=log, stderr=log)
        try:
            address = f"127.0.0.1:{ports[0]}"
            yield Broker(address, f"127.0.0.1:{ports[1]}", _answering(address, process, folder / "log"))
        finally:
            # nobody needs its data any more
            process.kill()
            process.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _answering(address: str, process: subprocess.Popen[bytes], log: Path) -> AdminClient:
    admin = AdminClient({"bootstrap.servers": address, "log_level": 0})
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            if admin.list_topics(timeout=1).brokers:
                return admin
        except KafkaException:
            time.sleep(0.1)
    raise AssertionError(f"Kafka did not start: {log.read_text()[-2000:]}")


def _cluster_id() -> str:
    return "MkU3OEVBNTcwNTJENDM2Qg"


def _settings(folder: Path, ports: Sequence[int]) -> str:
    plain, secured, controller = (f"127.0.0.1:{port}" for port in ports)
    # quoted for the login, and then for the file of properties
    quoted = PASSWORD.replace("\\", "\\\\").replace('"', '\\"').replace("\\", "\\\\")
    login = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_reader="{quoted}";'
    found = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "listeners": f"PLAINTEXT://{plain},SECURED://{secured},CONTROLLER://{controller}",
        "advertised.listeners": f"PLAINTEXT://{plain},SECURED://{secured}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SECURED:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
        "listener.name.secured.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.secured.plain.sasl.jaas.config": login,
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.voters": f"1@{controller}",
        "log.dirs": str(folder / "data"),
        "auto.create.topics.enable": "false",
        "offsets.topic.num.partitions": "1",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.num.partitions": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "log.cleaner.dedupe.buffer.size": "2097152",
        "log.cleaner.backoff.ms": "100",
        "num.io.threads": "2",
        "num.network.threads": "1",
        "group.coordinator.threads": "1",
    }
    return "".join(f"{name}={value}\n" for name, value in found.items())
