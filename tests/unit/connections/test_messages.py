"""Messages as rows: every kind of key and value, and what each poisoned one is rejected for."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pytest
from parsed_files import typed
from rest_server import Reply, rest_server

from dataops_assets.config.environment import environment_from
from dataops_assets.config.kafka import KafkaCluster
from dataops_assets.config.source import Source
from dataops_assets.connections.kafka.extract import KafkaPosition, SliceRequest, read_slice
from dataops_assets.connections.kafka.registry import Registry
from dataops_assets.connections.kafka.topic import Most, StoredMessage, TopicState, table_of
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.errors import ConfigError

Part = bytes | str | None
AVRO = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 4}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "blob", "type": ["null", "bytes"], "default": None},
        {"name": "to", "type": {"type": "record", "name": "To", "fields": [{"name": "city", "type": "string"}]}},
    ],
}
ORDER = {
    "id": 7,
    "amount": Decimal("1234567890123456.7800"),
    "at": 1_700_000_000_123_456,
    "blob": b"\x00\xff",
    "to": {"city": "Ö"},
}
OF_AVRO = [
    {"name": "id", "type": "integer"},
    {"name": "amount", "type": "decimal(20,4)"},
    {"name": "at", "type": "timestamptz"},
    {"name": "blob"},
    {"name": "city", "source_name": "to.city"},
]


def engine_at(home: Path) -> DuckDBEngine:
    return DuckDBEngine(environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home))


class Given:
    """A topic of one partition with these keys and values."""

    def __init__(self, messages: Sequence[tuple[Part, Part]]) -> None:
        self.messages = [
            StoredMessage(0, number, None, 0, _bytes(key), _bytes(value), [("h", b"1"), ("h", b"\xff"), ("n", None)])
            for number, (key, value) in enumerate(messages)
        ]
        self.state = TopicState("id", {0: 0}, {0: len(messages)})

    def at(self, milliseconds: int, state: TopicState) -> Mapping[int, int]:
        raise NotImplementedError

    def rows(
        self, starts: Mapping[int, int], ends: Mapping[int, int], most: Most
    ) -> tuple[pa.Table, Mapping[int, int]]:
        assert starts == {0: 0}
        assert most.messages > len(self.messages)
        return table_of(self.messages), ends


def _bytes(part: Part) -> bytes | None:
    return part.encode() if isinstance(part, str) else part


def rows(
    folder: Path,
    columns: Sequence[Mapping[str, Any]],
    messages: Sequence[tuple[Part, Part]],
    registry: Registry | None = None,
    **declared: Any,
) -> list[dict[str, Any]]:
    """The rows of messages, with what is wrong with each."""
    source = Source.model_validate(
        {
            "name": "orders",
            "area": "shop",
            "connection": {"type": "kafka", "cluster": "main", "topic": "t", **declared},
            "columns": columns,
            "refresh": {"type": "append"},
        }
    )
    topic = Given(messages)
    found = read_slice(SliceRequest(source.connection, KafkaPosition(), topic.state, registry), topic, folder)
    assert found.path is not None
    return typed(engine_at(folder), found.path, source)


def avro(value: Any, schema: Any = AVRO) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), value)
    return stream.getvalue()


def test_what_kafka_tells_of_a_message_can_be_columns(tmp_path: Path) -> None:
    columns = [
        {"name": "id", "type": "integer", "source_name": "kafka.key.id"},
        {"name": "offset_", "type": "integer", "source_name": "kafka.offset"},
        {"name": "h", "source_name": "kafka.headers.h"},
        {"name": "n", "source_name": "kafka.headers.n"},
        {"name": "at", "type": "timestamptz", "source_name": "kafka.timestamp"},
        {"name": "gone", "type": "boolean", "source_name": "kafka.tombstone"},
        {"name": "a"},
    ]
    found = rows(tmp_path, columns, [('{"id":\n1}', "{}"), ('{"id": 2}', None), ("{", "{}")], key={"type": "json"})
    names = ("id", "offset_", "h", "n", "at", "gone", "a")
    assert [tuple(row[name] for name in names) for row in found[:2]] == [
        (1, 0, "base64:/w==", None, None, False, None),
        (2, 1, "base64:/w==", None, None, True, None),
    ]
    assert found[2]["s_fault"] is not None


def test_avro_values_keep_their_digits_and_bytes(tmp_path: Path) -> None:
    good = avro(ORDER)
    messages = [("k", good), ("k", good[:-1]), ("k", good + b"x"), ("k", b""), ("k", None)]
    value = {"type": "avro", "schema_text": json.dumps(AVRO)}
    found = rows(tmp_path, OF_AVRO, messages, value=value)
    assert {name: str(found[0][name]) for name in ("id", "amount", "blob", "city")} == {
        "id": "7",
        "amount": "1234567890123456.7800",
        "blob": "AP8=",
        "city": "Ö",
    }
    assert found[0]["at"].isoformat() == "2023-11-14T22:13:20.123456+00:00"
    assert [row["s_fault"] is None for row in found] == [True, False, False, False, True]


def test_schemas_of_a_registry_are_stored_with_the_messages(tmp_path: Path) -> None:
    wider = {**AVRO, "fields": [*AVRO["fields"], {"name": "note", "type": "string"}]}
    with rest_server() as server:
        known = {"/v1/schemas/ids/3": AVRO, "/v1/schemas/ids/4": wider}

        def answer(request: Any) -> Reply:
            found = known.get(request.path)
            return Reply({"schema": json.dumps(found)}) if found else Reply({"error_code": 40403}, status=404)

        server.answer = answer
        registry = {"url": server.url}
        declared = {"type": "kafka", "bootstrap_servers": ["x:1"], "schema_registry": registry}
        messages = [
            ("k", b"\x00\x00\x00\x00\x03" + avro(ORDER)),
            ("k", b"\x00\x00\x00\x00\x04" + avro({**ORDER, "note": "x"}, wider)),
            ("k", b"\x00\x00\x00\x00\x05" + avro(ORDER)),
            ("k", avro(ORDER)),
        ]
        reading = Registry(KafkaCluster.model_validate(declared), {})
        found = rows(tmp_path, [*OF_AVRO, {"name": "note"}], messages, reading, value={"type": "avro"})
        asked = len(server.asked)
        # they are not asked for again
        assert [row["note"] for row in found if row["s_fault"] is None] == [None, "x"]
        assert asked == 3
        reading.close()
        server.answer = lambda _: Reply({"schema": "{}", "references": [{"name": "x"}]})
        with pytest.raises(ConfigError, match="a schema that refers to others"):
            rows(
                tmp_path, OF_AVRO, messages, Registry(KafkaCluster.model_validate(declared), {}), value={"type": "avro"}
            )


def test_an_envelope_in_a_payload_is_read_by_its_preset(tmp_path: Path) -> None:
    def change(op: str, before: Any, after: Any) -> str:
        payload = {"op": op, "before": before, "after": after, "source": {"ts_ms": 5}}
        return "\x00\x00\x00\x00\x01" + json.dumps({"schema": {}, "payload": payload})

    source = Source.model_validate(
        {
            "name": "orders",
            "area": "shop",
            "connection": {
                "type": "kafka",
                "cluster": "main",
                "topic": "t",
                "value": {"type": "json", "at": "payload", "has_schema_id": True},
            },
            "envelope": "debezium",
            "columns": [{"name": "id", "type": "integer"}, {"name": "city"}],
            "refresh": {"type": "key", "key": ["id"]},
        }
    )
    messages = [
        ("k", change("c", None, {"id": 1, "city": "a"})),
        ("k", change("d", {"id": 1, "city": "a"}, None)),
        ("k", None),
        ("k", '{"payload": {}}'),
        ("k", "\x00\x00\x00\x00\x01{}"),
    ]
    topic = Given(messages)
    found = read_slice(SliceRequest(source.connection, KafkaPosition(), topic.state, None), topic, tmp_path)
    assert found.path is not None
    made = typed(engine_at(tmp_path), found.path, source)
    # a tombstone after a deletion says nothing more: keep_when filters it
    kept = [(row["id"], row["city"], row["cdc_op"]) for row in made if row["s_fault"] is None and row["cdc_op"]]
    assert kept == [(1, "a", "c"), (1, None, "d")]
    assert sum(row["s_fault"] is not None and row["cdc_op"] is None for row in made) >= 2
