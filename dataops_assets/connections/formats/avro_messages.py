"""Decodes Avro messages to JSON text, with the schema that is declared or that the message names."""

from __future__ import annotations

import base64
import io
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import fastavro
from fastavro.schema import SchemaParseException, UnknownType

from dataops_assets.config.kafka import AvroMessage
from dataops_assets.connections.formats.json_text import json_text
from dataops_assets.connections.formats.message_parts import SCHEMA_ID_BYTES, Decode, Undecodable, schema_id
from dataops_assets.errors import ConfigError

# what the reader raises for bytes that do not follow their schema
_DAMAGED = (ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, TypeError, ValueError, RecursionError)


def avro_decoder(part: AvroMessage, name: str, schemas: Mapping[str, str]) -> Decode:
    """Return what decodes keys or values; `schemas` are the texts of schemas by id.

    Raises ConfigError if the declared schema is none.
    """
    if part.schema_text:
        return _Avro(name, declared=_parsed(part.schema_text))
    return _Avro(name, schemas)


@dataclass
class _Avro:
    name: str
    schemas: Mapping[str, str] = field(default_factory=dict)
    declared: Any = None
    _known: dict[str, Any] = field(default_factory=dict)

    def __call__(self, given: bytes) -> str:
        schema, body = (self.declared, given) if self.declared is not None else self._named(given)
        stream = io.BytesIO(body)
        try:
            found = fastavro.schemaless_reader(stream, schema, None)
            if stream.tell() != len(body):
                raise Undecodable(f"{self.name}: {len(body) - stream.tell()} bytes after the Avro value")
            return json_text(_plain(found))
        except _DAMAGED as error:
            raise Undecodable(f"{self.name}: damaged Avro ({type(error).__name__})") from error

    def _named(self, given: bytes) -> tuple[Any, bytes]:
        number = schema_id(given)
        if not number:
            raise Undecodable(f"{self.name}: no schema id before the Avro")
        if number not in self.schemas:
            raise Undecodable(f"{self.name}: the registry knows no schema {number}")
        if number not in self._known:
            self._known[number] = _parsed(self.schemas[number])
        return self._known[number], given[SCHEMA_ID_BYTES:]


def _parsed(text: str) -> Any:
    try:
        return fastavro.parse_schema(json.loads(text))
    except (SchemaParseException, UnknownType, ValueError, KeyError) as error:
        raise ConfigError(
            "reading an Avro schema", received=f"{type(error).__name__}: {error}", next_step="correct schema_text"
        ) from error


def _plain(value: Any) -> Any:
    """Return a value without types that JSON does not have: bytes become base64."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value) if isinstance(value, uuid.UUID) else value
