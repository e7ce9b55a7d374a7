"""Asks a Kafka cluster whether it works, and how far sources are behind, for `dataops connections test`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dataops_assets.config.kafka import KafkaCluster
from dataops_assets.connections.kafka.client import client_of
from dataops_assets.connections.kafka.extract import KafkaPosition
from dataops_assets.connections.kafka.registry import Registry
from dataops_assets.connections.kafka.topic import Topic, topics


@dataclass(frozen=True)
class KafkaFound:
    """The state of a cluster: its name, the topics that the user may see, and the unread messages of each source."""

    server: str
    topics: Sequence[str]
    behind: Mapping[str, int]


def answered(
    cluster: KafkaCluster, readers: Mapping[str, tuple[str, KafkaPosition]], variables: Mapping[str, str] = os.environ
) -> KafkaFound:
    """Ask a cluster, and its registry. `readers` are the topics and positions of sources.

    A source whose topic is not there is left out. Raises DataOpsError if one of them does not answer.
    """
    client = client_of(cluster, variables)
    names = topics(client)
    behind = {}
    for source, (name, position) in readers.items():
        if name in names:
            state = Topic(client, name).state()
            read = position.offsets if position.topic_id == state.topic_id else {}
            behind[source] = sum(
                max(end - max(read.get(str(number), 0), state.begins[number]), 0) for number, end in state.ends.items()
            )
    server = f"Kafka, {len(client.brokers())} brokers"
    if cluster.schema_registry is not None:
        registry = Registry(cluster, variables)
        try:
            registry.require_answer()
        finally:
            registry.close()
        server += ", with a schema registry"
    return KafkaFound(server, names, behind)
