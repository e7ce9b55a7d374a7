"""Delivers to a topic: messages and position in one transaction, which readers of committed messages see at once.

A key that left the table becomes a tombstone. A delivery that is killed or fails leaves nothing that such readers see.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import Any

import fastavro
from sqlglot import exp

from dataops_assets.config.kafka import KafkaCluster
from dataops_assets.config.outputs import TopicTarget
from dataops_assets.connections.databases.opening import require_cluster
from dataops_assets.connections.kafka.registry import Registry
from dataops_assets.connections.kafka.writing import Outgoing, TopicWriter, digest_of, require_topics, topic_writer
from dataops_assets.engines.duckdb import DuckDBSession
from dataops_assets.errors import ConfigError
from dataops_assets.outputs.avro_file import avro_values, schema_of
from dataops_assets.outputs.context import OutputContext
from dataops_assets.outputs.delivery import Delivered, Target, outcome, told_outcome
from dataops_assets.outputs.json_rows import json_row, refuse_not_finite
from dataops_assets.outputs.mapping import Compiled
from dataops_assets.outputs.position import Position
from dataops_assets.outputs.wanted_rows import Wanted, batches, wanted
from dataops_assets.sql import Relation, alias, column, query

Encode = Callable[[Mapping[str, Any]], bytes]
"""Makes the value of a message of a row."""


def deliver_to_topic(context: OutputContext, target: TopicTarget, opened: Target) -> Delivered:
    """Bring a topic up to date, and return what was done. Raises ConfigError, InputError and StorageError."""
    cluster = require_cluster(target.cluster, context.databases)
    if target.key_format == "text" and len(opened.compiled.key) != 1:
        raise ConfigError(
            f"key_format of output {context.output.name!r}",
            received=f"text, and the key has {len(opened.compiled.key)} columns: {', '.join(opened.compiled.key)}",
            known=["json"],
            next_step="declare key_format: json",
        )
    encode = _encoder(cluster, target, opened.compiled.columns)
    made = {target.topic: target.partitions if target.structure == "create" else 0, target.positions: 1}
    require_topics(cluster, made, os.environ)
    with topic_writer(cluster, target.topic, target.positions, context.output.name, os.environ) as writer:
        return _Delivery(context, target, writer, opened, encode).run()


@dataclass
class _Sent:
    """How many rows were sent, tombstones were written, and rows were there already."""

    rows: int = 0
    tombstones: int = 0
    unchanged: int = 0


@dataclass
class _Delivery:
    """One delivery: the position after the takeover, the messages, the commit."""

    context: OutputContext
    target: TopicTarget
    writer: TopicWriter
    opened: Target
    encode: Encode | None
    sent: _Sent = field(default_factory=_Sent)

    def run(self) -> Delivered:
        """Deliver. The version of the table is chosen after the takeover, so that no older one follows."""
        stored = self.writer.note()
        before = Position.from_json(stored) if stored is not None else None
        with self.opened.rows() as (session, table):
            now, read = self.opened.position(table, before), self.opened.read(table)
            if before is not None and before.is_at(now):
                return Delivered(before, 0, {"rows": before.rows}, (outcome(self.context, ""),), False, read)
            is_known = before is not None and (before.source, before.mapping) == (now.source, now.mapping)
            incremental = is_known and self.context.output.mode == "incremental"
            found = wanted(session, self.item, table, before if incremental else None)
            now = replace(now, rows=found.total)
            if self.encode is None:
                refuse_not_finite(session, query("SELECT * FROM $rows AS t", rows=found.rows), self.item.columns)
            written = self.writer.write(self._messages(session, found), now.to_json)
        sent = self.sent
        counts = {
            "rows": found.total,
            "messages": written,
            "tombstones": sent.tombstones,
            "unchanged": sent.unchanged,
        }
        told = (
            f"the brokers committed {written:,} messages: {sent.rows:,} rows and {sent.tombstones:,} tombstones; "
            f"{sent.unchanged:,} rows were in the topic already"
        )
        checked = (told_outcome(self.context, told, rows=found.total, compared=written),)
        return Delivered(now, written, counts, checked, True, read)

    @property
    def item(self) -> Compiled:
        """Return the output over the columns of its table."""
        return self.opened.compiled

    def _messages(self, session: DuckDBSession, found: Wanted) -> Iterator[Outgoing]:
        """Yield what the topic lacks. If changes are not known, all rows are compared with the topic."""
        deletes = self.context.output.deletes == "hard"
        if found.gone is not None:
            for key, value in self._pairs(session, found.rows, self.item.columns):
                self.sent.rows += 1
                yield key, value
            for key, _ in self._pairs(session, found.gone, {}) if deletes else ():
                self.sent.tombstones += 1
                yield key, None
            return
        live = self.writer.live()
        for key, value in self._pairs(session, found.rows, self.item.columns):
            if live.pop(key, b"") == digest_of(value):
                self.sent.unchanged += 1
                continue
            self.sent.rows += 1
            yield key, value
        for key in live if deletes else ():
            self.sent.tombstones += 1
            yield key, None

    def _pairs(self, session: DuckDBSession, rows: Relation, types: Mapping[str, str]) -> Iterator[tuple[bytes, bytes]]:
        """Yield keys and values of rows, by the key."""
        kinds = {name: self.item.columns[name] for name in self.item.key}
        key: exp.Expr = json_row(kinds, "t")
        if self.target.key_format == "text":
            key = exp.cast(column(self.item.key[0], "t"), "VARCHAR")
        values: list[exp.Expr] = [alias(json_row(types, "t"), "s_sent")] if types else []
        if types and self.encode is not None:
            values = avro_values(types)
        found: exp.Select = query(
            "SELECT $key, $values FROM $rows AS t",
            key=alias(exp.cast(key, "VARCHAR"), "s_sent_key"),
            values=values or [alias(exp.null(), "s_sent")],
            rows=rows,
        )
        for batch in batches(session, found.order_by(column("s_sent_key"))):
            keys = map(str.encode, batch.column(0).to_pylist())
            if not types:
                yield from zip(keys, repeat(b""))
            elif self.encode is None:
                yield from zip(keys, (str(text).encode() for text in batch.column(1).to_pylist()), strict=True)
            else:
                rest = batch.select(list(types)).to_pylist()
                yield from zip(keys, map(self.encode, rest), strict=True)


def _encoder(cluster: KafkaCluster, target: TopicTarget, types: Mapping[str, str]) -> Encode | None:
    """Return what makes Avro of a row, with the id of its registered schema; None for JSON."""
    if target.format == "json":
        return None
    schema = schema_of(types)
    registry = Registry(cluster, os.environ)
    try:
        number = registry.registered(f"{target.topic}-value", json.dumps(schema))
    finally:
        registry.close()
    parsed = fastavro.parse_schema(schema)
    start = b"\0" + number.to_bytes(4, "big")

    def encode(row: Mapping[str, Any]) -> bytes:
        stream = io.BytesIO(start)
        stream.seek(len(start))
        fastavro.schemaless_writer(stream, parsed, row)
        return stream.getvalue()

    return encode
