"""Opens a Kafka cluster: the settings of its client, and what goes wrong there as typed errors.

The client is confluent-kafka. It is imported here and only when a cluster is opened, because few deployments need it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dataops_assets.config.kafka import KafkaCluster
from dataops_assets.connections.secrets import secret_of
from dataops_assets.errors import ConfigError, DataOpsError, StorageError

if TYPE_CHECKING:
    from confluent_kafka import KafkaError
    from confluent_kafka.admin import AdminClient

_LOG = logging.getLogger(__name__)
# nothing of a client's own state is in the cluster: the name only shows in its logs
CLIENT = "dataops-assets"
"""The name of the client; also of its group, which the library wants."""


@dataclass
class Faults:
    """The errors that the threads of a client report; the client itself only says that time ran out."""

    last: KafkaError | None = None
    refused: KafkaError | None = None

    def take(self, error: KafkaError) -> None:
        """Remember a fault of a connection. A refused password is remembered before all others."""
        self.last = error
        if error.name() in ("_AUTHENTICATION", "SASL_AUTHENTICATION_FAILED", "_SSL"):
            self.refused = error


@dataclass
class KafkaClient:
    """The settings to open a cluster with, the client for its metadata, and the faults of all its connections."""

    cluster: KafkaCluster
    settings: Mapping[str, Any]
    faults: Faults = field(default_factory=Faults)
    _admin: AdminClient | None = None

    @property
    def place(self) -> str:
        """Return the addresses of the brokers."""
        return ",".join(self.cluster.bootstrap_servers)

    @property
    def admin(self) -> AdminClient:
        """Return the client for metadata; it is opened once."""
        if self._admin is None:
            from confluent_kafka.admin import AdminClient

            self._admin = AdminClient(dict(self.settings))
        return self._admin

    def brokers(self) -> list[int]:
        """Return the ids of the brokers. Raises StorageError or ConfigError if none answers."""
        from confluent_kafka import KafkaException

        try:
            return sorted(self.admin.list_topics(timeout=self.cluster.timeout_seconds).brokers)
        except KafkaException as failed:
            raise self.failed(f"asking {self.place} for its brokers", failed.args[0]) from failed

    def failed(self, attempted: str, error: KafkaError) -> DataOpsError:
        """Return the typed error for an error of the client."""
        if self._admin is not None:
            # it tells of its connections only when it is asked
            self._admin.poll(0)
        found = self.faults.refused or (self.faults.last if error.name() == "_TIMED_OUT" else None) or error
        step = _REFUSED.get(found.name())
        if step is not None:
            return ConfigError(attempted, received=f"{found.name()}: {found.str()}", next_step=step)
        return StorageError(
            attempted,
            received=f"{found.name()}: {found.str()}",
            next_step=f"check that the brokers {self.place} can be reached; the next look tries again",
        )


def client_of(cluster: KafkaCluster, variables: Mapping[str, str]) -> KafkaClient:
    """Return a client for a cluster; its secret is read now. Raises ConfigError if it or the library is not there."""
    try:
        import confluent_kafka  # noqa: F401
    except ModuleNotFoundError as error:
        raise ConfigError(
            "opening a Kafka cluster",
            received="no package confluent-kafka",
            next_step="install the extra 'kafka' of this project",
        ) from error
    faults = Faults()
    milliseconds = int(cluster.timeout_seconds * 1000)
    settings: dict[str, Any] = {
        "bootstrap.servers": ",".join(cluster.bootstrap_servers),
        "client.id": CLIENT,
        "socket.timeout.ms": milliseconds,
        "security.protocol": protocol_of(cluster),
        "error_cb": faults.take,
        "logger": _LOG,
    }
    if cluster.ca_file:
        settings["ssl.ca.location"] = cluster.ca_file
    if cluster.sasl is not None:
        settings |= {
            "sasl.mechanism": cluster.sasl.mechanism,
            "sasl.username": cluster.sasl.user,
            "sasl.password": secret_of(cluster.sasl.password, variables),
        }
    return KafkaClient(cluster, settings, faults)


def protocol_of(cluster: KafkaCluster) -> str:
    """Return the security protocol of a cluster, as Kafka names it."""
    tls = cluster.tls != "disable"
    if cluster.sasl is not None:
        return "SASL_SSL" if tls else "SASL_PLAINTEXT"
    return "SSL" if tls else "PLAINTEXT"


_REFUSED = {
    "_AUTHENTICATION": "check sasl: mechanism, user, and the secret that it refers to",
    "SASL_AUTHENTICATION_FAILED": "check sasl: mechanism, user, and the secret that it refers to",
    "_SSL": "check tls and ca_file",
    "TOPIC_AUTHORIZATION_FAILED": "let the owner of the cluster give this user the rights DESCRIBE and READ",
    "GROUP_AUTHORIZATION_FAILED": f"let the owner of the cluster give this user READ on the group {CLIENT}",
    "CLUSTER_AUTHORIZATION_FAILED": "let the owner of the cluster give this user the right DESCRIBE",
}
