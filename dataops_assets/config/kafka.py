"""Declared Kafka clusters: how to reach one, which of its topics is a source, and how its messages are read.

A cluster is declared once, in a `ConnectionsComponent`, beside the databases. Secrets are only referred to.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from dataops_assets.config.declared import Declared, Duration
from dataops_assets.config.limits import Limits
from dataops_assets.config.rest import Auth, require_url
from dataops_assets.config.secrets import Secret

MESSAGE_FIELDS = ("partition", "offset", "timestamp", "key", "headers", "tombstone")
"""What Kafka tells of a message, in the field `fields_in`."""


class Sasl(Declared):
    """A user and a password for the brokers."""

    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="Mechanism of SASL by which the user logs in."
    )
    user: str = Field(description="Name of the user. The right to read the topics is enough.")
    password: Secret = Field(description="Reference to the password.")


class SchemaRegistry(Declared):
    """A registry with the schemas of messages, with the addresses of Confluent's (Apicurio, Karapace have them too)."""

    url: str = Field(description="Address of the registry.")
    auth: Auth | None = Field(None, description="How requests are signed in; none if the registry is open.")

    @field_validator("url")
    @classmethod
    def _absolute(cls, value: str) -> str:
        return require_url(value, "url")


class KafkaCluster(Declared):
    """A Kafka cluster."""

    type: Literal["kafka"]
    bootstrap_servers: tuple[str, ...] = Field(min_length=1, description="Addresses of brokers, as 'host:port'.")
    tls: Literal["disable", "verify-full"] = Field("disable", description="Encryption of the connection.")
    ca_file: str = Field("", description="Path of the certificates to trust; empty: those of the system.")
    sasl: Sasl | None = Field(None, description="User and password; none if the brokers ask for none.")
    schema_registry: SchemaRegistry | None = Field(None, description="The registry of schemas, if messages need one.")
    timeout_seconds: float = Field(10.0, ge=1, description="Longest time without an answer.")

    @field_validator("bootstrap_servers")
    @classmethod
    def _with_ports(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for server in value:
            host, colon, port = server.rpartition(":")
            if not (host and colon and port.isdecimal()) or "," in server:
                raise ValueError(f"{server!r} is no address of a broker; write each as 'host:port'")
        return value


class TextMessage(Declared):
    """The bytes are text in UTF-8."""

    type: Literal["text"]


class JsonMessage(Declared):
    """The bytes are a JSON object, and its members are the fields; of a key they may be any JSON."""

    type: Literal["json"]
    at: str = Field("", description="Dotted path to the object in the message, such as payload; empty: the message.")
    has_schema_id: bool = Field(
        False, description="Whether a zero byte and the four bytes of a schema id stand before the JSON."
    )


class AvroMessage(Declared):
    """The bytes are an Avro record."""

    type: Literal["avro"]
    schema_text: str = Field(
        "",
        description="The Avro schema of the bytes, as JSON. Empty: a zero byte and the four bytes of a schema id stand "
        "before them, and the schema is in the cluster's schema_registry.",
    )

    @field_validator("schema_text")
    @classmethod
    def _is_json(cls, value: str) -> str:
        try:
            json.loads(value or "{}")
        except ValueError as error:
            raise ValueError(f"schema_text is no JSON: {error}") from error
        return value


MessagePart = Annotated[JsonMessage | AvroMessage | TextMessage, Field(discriminator="type")]


class MessagesFormat(Declared):
    """How the messages of a raw file are read; made of a `KafkaConnection`."""

    type: Literal["messages"] = "messages"
    key: MessagePart = Field(TextMessage(type="text"), description="What the keys are.")
    value: MessagePart = Field(JsonMessage(type="json"), description="What the values are.")
    fields_in: str = Field("kafka", min_length=1, description="Name of the field with what Kafka tells of a message.")


class KafkaConnection(Declared):
    """A topic of a declared Kafka cluster. An input is a range of offsets of each partition."""

    type: Literal["kafka"]
    cluster: str = Field(description="Name of the cluster in a ConnectionsComponent.")
    topic: str = Field(pattern=r"^[A-Za-z0-9._-]{1,249}$", description="Name of the topic.")
    start: str = Field(
        "earliest",
        description="Where the first look begins: earliest, latest, or an ISO 8601 time, for the first messages with "
        "this time or a later one. Partitions that appear later are read from their beginning.",
    )
    every: Duration | None = Field(
        None, description="Time between two looks at the topic; default: 1 minute, or each tick of discovery.schedule."
    )
    most_messages: int = Field(
        200_000, ge=1, description="Maximum number of messages of an input; more messages make several inputs."
    )
    most_bytes: int = Field(
        128 << 20,
        ge=1,
        description="Maximum size of the messages of an input in bytes; an input has at least one message.",
    )
    reader: Literal["consumer", "spark"] = Field(
        "consumer",
        description="What reads the messages. `consumer`: one process. `spark`: the tasks of Spark, in parallel, for a "
        "topic that one process cannot follow. The inputs are the same; `engine` says where their steps run.",
    )
    value: MessagePart = Field(JsonMessage(type="json"), description="Format of the values: json, avro or text.")
    key: MessagePart = Field(TextMessage(type="text"), description="Format of the keys: text, json or avro.")
    fields_in: str = Field(
        "kafka",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Name of the field with Kafka's metadata of a message: partition, offset, timestamp, key, headers "
        "and tombstone. Columns use it as source_name: kafka.offset. Choose another name if values have this field.",
    )
    lost: Literal["stop", "skip"] = Field(
        "stop",
        description="What to do if the topic no longer has messages that were not read. `stop`: fail and say what is "
        "gone. `skip`: go on with the messages that are there, and note what is gone at the input.",
    )
    limits: Limits = Field(Limits(), description="Limits for reading one input.")

    @field_validator("start")
    @classmethod
    def _known_start(cls, value: str) -> str:
        if value not in ("earliest", "latest"):
            try:
                datetime.fromisoformat(value)
            except ValueError as error:
                raise ValueError(f"start is {value!r}; known: earliest, latest, or an ISO 8601 time") from error
        return value

    @model_validator(mode="after")
    def _positive(self) -> KafkaConnection:
        if self.every is not None and self.every < timedelta(0):
            raise ValueError("every is the time between two looks, so it is not negative")
        return self

    @property
    def start_time(self) -> datetime | None:
        """Return `start` as an aware time (UTC if it has no offset); None for earliest and latest."""
        if self.start in ("earliest", "latest"):
            return None
        found = datetime.fromisoformat(self.start)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found

    @property
    def format(self) -> MessagesFormat:
        """Return how the messages are read."""
        return MessagesFormat(key=self.key, value=self.value, fields_in=self.fields_in)

    @property
    def needs_registry(self) -> bool:
        """Return whether a schema of the messages is in a registry."""
        return any(isinstance(part, AvroMessage) and not part.schema_text for part in (self.key, self.value))
