"""How Spark's Kafka source opens a cluster: the settings of `client.py` in the names of Kafka's own client.

The secret is in the options of one read. Spark shows options neither in plans nor in its pages or event logs, and Kafka
hides this one where it logs its settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dataops_assets.config.kafka import KafkaCluster, Sasl
from dataops_assets.connections.kafka.client import CLIENT, protocol_of
from dataops_assets.connections.secrets import secret_of
from dataops_assets.errors import ConfigError
from dataops_assets.masking import remember

_PACKAGE = "org.apache.kafka.common.security"


def options_of(cluster: KafkaCluster, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the options to open a cluster with; its secret is read now. Raises ConfigError if a part is not there."""
    milliseconds = str(int(cluster.timeout_seconds * 1000))
    client = {
        "bootstrap.servers": ",".join(cluster.bootstrap_servers),
        "security.protocol": protocol_of(cluster),
        "isolation.level": "read_committed",
        # the right that the client needs: no group is joined, and no offset is committed
        "group.id": CLIENT,
        "check.crcs": "true",
        "request.timeout.ms": milliseconds,
        "default.api.timeout.ms": milliseconds,
    }
    if cluster.ca_file:
        # its text, because executors need not have the file
        client |= {"ssl.truststore.type": "PEM", "ssl.truststore.certificates": _certificates(cluster.ca_file)}
    if cluster.sasl is not None:
        client |= {"sasl.mechanism": cluster.sasl.mechanism, "sasl.jaas.config": _login(cluster.sasl, variables)}
    return {**{f"kafka.{name}": value for name, value in client.items()}, "kafkaConsumer.pollTimeoutMs": milliseconds}


def _certificates(name: str) -> str:
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            "reading the certificates of a Kafka cluster",
            received=f"{name}: {error}",
            next_step="correct ca_file: a file of certificates in PEM form",
        ) from error


def _login(sasl: Sasl, variables: Mapping[str, str]) -> str:
    kind = "plain.PlainLoginModule" if sasl.mechanism == "PLAIN" else "scram.ScramLoginModule"
    password = _quoted(secret_of(sasl.password, variables) or "")
    # in this form the secret has other characters than the one that is masked already
    remember([password])
    return f'{_PACKAGE}.{kind} required username="{_quoted(sasl.user)}" password="{password}";'


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
