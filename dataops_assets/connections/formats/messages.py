"""Reads raw files of messages: each message is decoded to a JSON object, and the objects are read as JSON lines.

Beside the fields of its value, an object has what Kafka tells of the message, with names such as kafka.offset: the
partition, offset, timestamp, key, headers, and whether it is a tombstone (a message without a value). A message that
cannot be decoded becomes a rejected row with the reason; it stops neither its input nor the messages after it.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dataops_assets.config.kafka import AvroMessage, JsonMessage, MessagePart, MessagesFormat
from dataops_assets.config.limits import Limits
from dataops_assets.connections.formats.documents import read_documents
from dataops_assets.connections.formats.exact_json import Repeated, members_of, read_exactly, written_exactly
from dataops_assets.connections.formats.message_parts import SCHEMA_ID_BYTES, Decode, Undecodable, schema_id
from dataops_assets.connections.formats.rewritten_files import require_kind
from dataops_assets.connections.formats.staging import DELIVER_AGAIN, RawFile, Reading, Staging, Wanted
from dataops_assets.connections.formats.told_problems import ToldProblem, tell_problems

SCHEMA = pa.schema(
    [
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("timestamp", pa.int64()),
        pa.field("timestamp_kind", pa.int8(), nullable=False),
        pa.field("key", pa.binary()),
        pa.field("value", pa.binary()),
        pa.field("headers", pa.list_(pa.struct([("name", pa.string()), ("value", pa.binary())]))),
    ]
)
"""The columns of a raw file of messages, bytes as they came; timestamps in milliseconds since 1970."""
MESSAGE_ROWS = 50_000
"""Rows of a group of a raw file."""
FACTS = "dataops.kafka"
"""Name in the file's metadata of what is known of the slice: topic, ranges of offsets, lag."""
SCHEMAS = "dataops.schemas"
"""Name in the file's metadata of the schemas that messages name, by id."""

_ROWS = 10_000
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_BLANK = " \t\r\n"


def read_messages(
    staging: Staging, files: Sequence[RawFile], layout: MessagesFormat, wanted: Wanted, limits: Limits
) -> Reading:
    """Return the wanted fields of the messages of `files`; a file that is damaged gets an InputError.

    The number of records of a file is that of its own index.
    """
    poison: list[ToldProblem] = []
    prefix = f"{layout.fields_in}."
    own = [name for name in (*wanted.names, *wanted.earlier) if name.startswith(prefix)]
    told = _Told(layout, own)
    reading = read_documents(
        staging, files, lambda file: _as_lines(staging, file, told, limits, poison), (), wanted, limits
    )
    tell_problems(staging, reading, poison)
    # what Kafka tells of a message is no column that a producer added, and is there in each message
    for input_id, names in reading.headers.items():
        kept = [name for name in names if not name.startswith(prefix)]
        reading.headers[input_id] = tuple(dict.fromkeys([*kept, *own]))
    for undeclared in reading.undeclared.values():
        for name in [name for name in undeclared if name.startswith(prefix)]:
            del undeclared[name]
    return reading


def messages_and_lag(path: Path) -> tuple[int, int]:
    """Return the messages of a raw file, and how many offsets its topic had after them when it was read."""
    with pq.ParquetFile(path) as opened:
        stored = (opened.schema_arrow.metadata or {}).get(FACTS.encode(), b"{}")
        return opened.metadata.num_rows, int(json.loads(stored).get("lag", 0))


def _as_lines(
    staging: Staging, file: RawFile, told: _Told, limits: Limits, poison: list[ToldProblem]
) -> tuple[Path, int]:
    require_kind(file, "parquet", "a raw file of messages")
    path = staging.path()
    try:
        with pq.ParquetFile(file.path) as opened:
            stored = opened.schema_arrow.metadata or {}
            if FACTS.encode() not in stored or opened.schema_arrow.names != SCHEMA.names:
                raise file.refused("a Parquet file that was not written from a topic", DELIVER_AGAIN)
            lines = _Lines(told, json.loads(stored[SCHEMAS.encode()]), limits)
            with path.open("w", encoding="utf-8", newline="\n") as out:
                row = 0
                for batch in opened.iter_batches(batch_size=_ROWS, columns=told.columns):
                    made = list(map(lines.of, *(column.to_pylist() for column in batch.columns)))
                    out.writelines(line for line, _ in made)
                    for place, (_, problem) in enumerate(made):
                        if problem:
                            record = lines.raw(batch.slice(place, 1).to_pylist()[0])
                            poison.append(ToldProblem(file.input_id, row + place, problem, record))
                    row += len(made)
            return path, opened.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        raise file.refused(f"damaged Parquet: {error}", DELIVER_AGAIN) from error


@dataclass(frozen=True)
class _Told:
    """The fields that Kafka adds to a message and the contract wants: their names begin with `fields_in`.

    They are members of the line with whole names, such as "kafka.offset": objects within the line would cost the reader
    of the lines ten times as much.
    """

    layout: MessagesFormat
    names: Sequence[str]

    @property
    def prefix(self) -> str:
        """Return what the names begin with."""
        return f"{self.layout.fields_in}."

    @property
    def columns(self) -> list[str]:
        """Return the columns of the raw file that are needed, in the order of `_Lines.of`."""
        headers = ["headers"] if any(self.wants(part) for part in ("headers", "headers.")) else []
        return ["partition", "offset", "timestamp", "key", "value", *headers]

    def wants(self, part: str) -> bool:
        """Return whether a name is wanted; with a dot at its end, whether one of its parts is."""
        name = self.prefix + part
        return any(item.startswith(name) if part.endswith(".") else item == name for item in self.names)


class _Lines:
    """Makes the line of each message."""

    def __init__(self, told: _Told, schemas: Mapping[str, str], limits: Limits) -> None:
        layout, self._limits, prefix = told.layout, limits, told.prefix
        self._key = _decoder(layout.key, "key", schemas)
        self._value = _decoder(layout.value, "value", schemas)
        self._value_is_text = layout.value.type == "text"
        self._fields_in = layout.fields_in
        self._own_name = json.dumps(layout.fields_in)
        self._start = f'{{"{prefix}partition":%d,"{prefix}offset":%d'
        self._time = f',"{prefix}timestamp":' if told.wants("timestamp") else ""
        self._tombstone = f',"{prefix}tombstone":' if told.wants("tombstone") else ""
        self._whole_key = f',"{prefix}key":' if told.wants("key") else ""
        self._parts_of_key = f"{prefix}key" if told.wants("key.") else ""
        self._whole_headers = f',"{prefix}headers":' if told.wants("headers") else ""
        self._header = f"{prefix}headers." if told.wants("headers.") else ""

    def of(
        self,
        partition: int,
        offset: int,
        timestamp: int | None,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[Mapping[str, Any]] | None = None,
    ) -> tuple[str, str]:
        """Return the line of a message, and why it cannot be decoded (empty if it can)."""
        line = self._start % (partition, offset)
        if self._time:
            line += self._time + _time(timestamp)
        if self._tombstone:
            line += self._tombstone + ("true" if value is None else "false")
        if self._whole_headers:
            line += self._whole_headers + json.dumps(_named(headers), ensure_ascii=False)
        if self._header:
            line += _members((self._header + name, value) for name, value in _named(headers).items())
        try:
            if key is not None:
                line += self._of_key(_decoded(self._key, key, "key", self._limits))
            if value is not None:
                line += self._of_value(_decoded(self._value, value, "value", self._limits))
        except Undecodable as found:
            return self._start % (partition, offset) + "}\n", str(found)
        return line + "}\n", ""

    def _of_key(self, text: str) -> str:
        line = self._whole_key + text if self._whole_key else ""
        if self._parts_of_key and text.startswith("{"):
            found, mark = read_exactly(text)
            for name, inner in _leaves(found, self._parts_of_key):
                line += f",{json.dumps(name)}:{written_exactly(inner, mark)}"
        return line

    def _of_value(self, text: str) -> str:
        """Return the members of a value, each after a comma."""
        if self._value_is_text:
            return f',"value":{text}'
        found = _require_object(text)
        if self._own_name in found:
            self._require_own_name_free(found)
        members = found[1:-1].strip(_BLANK)
        return f",{members}" if members else ""

    def _require_own_name_free(self, text: str) -> None:
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            # the reader of the lines says so
            return
        if self._fields_in in found:
            raise Undecodable(f"value: a member {self._own_name}, which is connection.fields_in: declare another")

    def raw(self, message: Mapping[str, Any]) -> str:
        """Return a message as JSON text, with bytes that are no text in base64."""
        return json.dumps(
            {
                "partition": message["partition"],
                "offset": message["offset"],
                "key": _shown(message["key"]),
                "value": _shown(message["value"]),
            },
            ensure_ascii=False,
        )


def _decoded(decode: Decode, given: bytes, part: str, limits: Limits) -> str:
    """Return the JSON text of a key or value, within the limits. Raises Undecodable."""
    if len(given) > limits.record_bytes // 2:
        raise Undecodable(f"{part}: {len(given):,} bytes, more than half of limits.record_bytes")
    text = decode(given)
    brackets = text.count("{") + text.count("[")
    # one level is left for the message itself
    if brackets >= limits.nesting and _levels(text) >= limits.nesting:
        raise Undecodable(f"{part}: more than {limits.nesting:,} levels (limits.nesting)")
    return text


def _require_object(text: str) -> str:
    stripped = text.strip(_BLANK)
    if stripped.startswith("{"):
        if not stripped.endswith("}"):
            raise Undecodable("value: not JSON")
        return stripped
    try:
        found = json.loads(stripped)
    except (ValueError, RecursionError):
        raise Undecodable("value: not JSON") from None
    raise Undecodable(f"value: a JSON {type(found).__name__}, not an object")


def _levels(text: str) -> int:
    """Return how many objects and arrays are in one another, at most."""
    depth = most = 0
    in_text = escaped = False
    for sign in text:
        if in_text:
            escaped = sign == "\\" and not escaped
            in_text = escaped or sign != '"' or (sign == '"' and escaped)
        elif sign == '"':
            in_text = True
        elif sign in "{[":
            depth += 1
            most = max(most, depth)
        elif sign in "}]":
            depth -= 1
    return most


def _decoder(part: MessagePart, name: str, schemas: Mapping[str, str]) -> Decode:
    if isinstance(part, AvroMessage):
        # few topics have it, and the library takes time to import
        from dataops_assets.connections.formats.avro_messages import avro_decoder

        return avro_decoder(part, name, schemas)
    if isinstance(part, JsonMessage):
        return _JsonDecoder(part, name, is_key=name == "key")
    return lambda given: json.dumps(_text(given, name), ensure_ascii=False)


@dataclass(frozen=True)
class _JsonDecoder:
    """Decodes JSON, digit for digit."""

    part: JsonMessage
    name: str
    is_key: bool

    def __call__(self, given: bytes) -> str:
        """See `Decode`. A value that is one line already stays as it is: the reader of the lines looks into it."""
        if self.part.has_schema_id:
            if not schema_id(given):
                raise Undecodable(f"{self.name}: no schema id before the JSON")
            given = given[SCHEMA_ID_BYTES:]
        text = _text(given, self.name)
        if not self.part.at and not self.is_key and "\n" not in text and "\r" not in text:
            return text
        try:
            found, mark = read_exactly(text)
        except (ValueError, RecursionError):
            raise Undecodable(f"{self.name}: not JSON") from None
        walked = found
        for step in self.part.at.split(".") if self.part.at else ():
            if not isinstance(walked, dict) or isinstance(walked, Repeated) or step not in walked:
                raise Undecodable(f"{self.name}: no {self.part.at!r}")
            walked = walked[step]
        return written_exactly(walked, mark)


def _text(given: bytes, name: str) -> str:
    try:
        return given.decode("utf-8")
    except UnicodeDecodeError:
        raise Undecodable(f"{name}: not UTF-8 text") from None


def _time(milliseconds: int | None) -> str:
    if milliseconds is None:
        return "null"
    try:
        found = _EPOCH + dt.timedelta(milliseconds=milliseconds)
    except OverflowError:
        return "null"
    return f'"{found.isoformat(timespec="milliseconds")}"'


def _named(headers: Sequence[Mapping[str, Any]] | None) -> dict[str, str | None]:
    """Return the headers by name; of several with one name the last counts."""
    return {item["name"]: _shown(item["value"]) for item in headers or ()}


def _members(pairs: Iterable[tuple[str, str | None]]) -> str:
    return "".join(f",{json.dumps(name)}:{json.dumps(value, ensure_ascii=False)}" for name, value in pairs)


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield the values within objects by their dotted names."""
    if not isinstance(value, dict):
        yield name, value
        return
    for inner, found in members_of(value):
        yield from _leaves(found, f"{name}.{inner}")


def _shown(given: bytes | None) -> str | None:
    """Return bytes as text, or in base64 if they are none."""
    if given is None:
        return None
    try:
        return given.decode("utf-8")
    except UnicodeDecodeError:
        return f"base64:{base64.b64encode(given).decode()}"
