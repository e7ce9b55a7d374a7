"""The actions of a Delta log, in the same form from a commit and from a checkpoint.

A commit is JSON, a checkpoint is Parquet. An action that is read from either may be written again with a later commit
(the metadata, a file with its deletion vector), and other readers refuse JSON that does not follow the protocol. So an
action of a checkpoint is returned in the form of a commit's JSON.

Source of the format: PROTOCOL.md of Delta Lake, "Action Reconciliation", "Checkpoints" and "Protocol Evolution".
"""

from __future__ import annotations

import decimal
import io
import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dataops_assets.errors import StorageError

Action = Mapping[str, Any]
"""One action: its kind and its content."""

_FEATURES = ["deletionVectors", "timestampNtz"]
PROTOCOL: Mapping[str, Any] = {
    "minReaderVersion": 3,
    "minWriterVersion": 7,
    "readerFeatures": _FEATURES,
    "writerFeatures": [*_FEATURES, "appendOnly", "invariants"],
}
"""The protocol versions and features of our tables, which are all that this module supports."""

# a checkpoint also has removed files and transactions, which the state of a table does not need
_STATE = ["protocol", "metaData", "add"]


def of_commit(content: bytes) -> list[Action]:
    """Return the actions of a commit, in its order. Raises ValueError for a text without any, or that is no JSON."""
    actions = [json.loads(line) for line in content.decode("utf-8").split("\n") if line]
    if not actions:
        # after a power failure a file can be empty; taken for a commit, its rows would be missing without a word
        raise ValueError("it is empty")
    return actions


def of_checkpoint(content: bytes) -> Iterator[Action]:
    """Return the protocol, the metadata and the files of a checkpoint."""
    # `read_table` imports pyarrow.dataset and with it pandas, which takes longer than reading the checkpoint
    with pq.ParquetFile(io.BytesIO(content)) as file:
        found = file.read(columns=_STATE)
    for kind in _STATE:
        # null in the rows of other kinds
        told = found.column(kind).drop_null()
        for value in told.to_pylist():
            yield {kind: _as_json(value, told.type)}


def _as_json(value: Any, kind: pa.DataType) -> Any:
    """Return a value in the form of JSON: a map becomes an object, a null field is left out."""
    if value is None:
        return None
    if pa.types.is_map(kind):
        return {key: _as_json(item, kind.item_type) for key, item in value}
    if pa.types.is_list(kind):
        return [_as_json(item, kind.value_type) for item in value]
    if pa.types.is_struct(kind):
        return {part.name: _as_json(value[part.name], part.type) for part in kind if value[part.name] is not None}
    return value


def number(value: decimal.Decimal) -> int | float | None:
    """Return a decimal as a JSON number; None if the number would differ from it.

    The log is written and read with doubles. A bound that is rounded hides rows from every reader that prunes by it.
    """
    if value == value.to_integral_value():
        return int(value)
    shown = repr(float(value))
    return float(value) if "e" not in shown and decimal.Decimal(shown) == value else None


def require_readable(protocol: Action, uri: str) -> None:
    """Refuse a table whose protocol this reader does not support. Raises StorageError."""
    _require(protocol, "Reader", f"reading {uri}")


def require_writable(protocol: Action, uri: str) -> None:
    """Refuse a table whose protocol this writer does not support. Raises StorageError."""
    _require(protocol, "Writer", f"changing {uri}")


def _require(protocol: Action, who: str, attempted: str) -> None:
    version, known = f"min{who}Version", PROTOCOL[f"{who.lower()}Features"]
    asked: Collection[str] = protocol.get(f"{who.lower()}Features") or ()
    unknown = [name for name in asked if name not in known]
    if unknown or protocol.get(version, 0) > PROTOCOL[version]:
        raise StorageError(
            attempted,
            received=f"{version} {protocol.get(version)}, with {', '.join(unknown) or 'no further features'}",
            known=[f"{version} {PROTOCOL[version]}", *known],
            next_step="another tool changed the table: restore a version before that, or rebuild the table from raw",
        )
