"""Reads a schema of dlt: each table becomes a source of the files that dlt's filesystem destination writes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from dataops_assets.declaring.foreign.translated import Translated, Translation, column, source_name
from dataops_assets.errors import InputError

_TYPES = {
    "text": "text",
    "double": "double",
    "bool": "boolean",
    "bigint": "integer",
    "binary": "binary",
    "date": "date",
    "timestamp": "timestamptz",
    "json": "json",
    "complex": "json",
    "time": "text",
    "wei": "decimal(38,0)",
}
_CONTRACT = {"evolve": "evolve", "freeze": "fail", "discard_value": "ignore"}


def read_dlt(path: Path, area: str) -> Translation:
    """Return the sources of a dlt schema, a YAML or JSON file. Raises InputError if it is none."""
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"reading {path}", received=f"{type(error).__name__}: {error}") from error
    tables = content.get("tables") if isinstance(content, Mapping) else None
    if not isinstance(tables, Mapping):
        raise InputError(
            f"reading the dlt schema {path}",
            received="no `tables`",
            next_step="write it with: dlt pipeline NAME schema --format yaml",
        )
    contract = (content.get("settings") or {}).get("schema_contract") or {}
    made: list[Translated] = []
    left_out: list[str] = []
    for name, table in tables.items():
        if name.startswith("_dlt_"):
            continue
        if table.get("parent"):
            left_out.append(f"{name}: it has the items of a list in {table['parent']}; declare a source with explode")
        elif not any(not item.startswith("_dlt_") for item in table.get("columns") or {}):
            left_out.append(f"{name}: no column of its own")
        else:
            made.append(_translated(str(content.get("name", "")), name, table, contract, area))
    if not made:
        raise InputError(f"reading the dlt schema {path}", received="no table that can be a source")
    return Translation(made, left_out)


def _translated(schema: str, name: str, table: Mapping[str, Any], contract: Any, area: str) -> Translated:
    notes: list[str] = []
    hints: dict[str, list[str]] = {}
    columns = []
    for key, item in table["columns"].items():
        if key.startswith("_dlt_"):
            continue
        kind = item.get("data_type") or ""
        if kind == "decimal":
            kind = f"decimal({item.get('precision') or 38},{item.get('scale') or 9})"
        made = column(
            key,
            _TYPES.get(kind, kind),
            notes,
            nullable=False if item.get("nullable") is False else None,
            description=item.get("description") or "",
        )
        columns.append(made)
        for hint in ("primary_key", "merge_key", "hard_delete", "dedup_sort"):
            if item.get(hint):
                hints.setdefault(hint, []).append(made["name"])
        if item.get("hard_delete"):
            hints["marker"] = [f'"{made["name"]}"' if kind == "bool" else f'"{made["name"]}" is not null']
        if item.get("dedup_sort") == "asc":
            notes.append(f"dedup_sort asc of {key}: here the highest value wins, and dlt took the lowest")
    attributes: dict[str, Any] = {
        "name": source_name(name),
        "area": area,
        **({"description": table["description"]} if table.get("description") else {}),
        "connection": {"type": "files", "path": f"{schema or area}/{name}/*.parquet", "format": {"type": "parquet"}},
        "columns": columns,
        "refresh": _refresh(table, hints, notes),
    }
    notes.append(
        "connection: the path of dlt's filesystem destination below the landing folder, with loader_file_format parquet"
    )
    if drift := _drift(table.get("schema_contract") or contract, notes):
        attributes["drift"] = drift
    return Translated(attributes["name"], attributes, notes)


def _refresh(table: Mapping[str, Any], hints: Mapping[str, list[str]], notes: list[str]) -> dict[str, Any]:
    key, merged = hints.get("primary_key", []), hints.get("merge_key", [])
    disposition = table.get("write_disposition") or "append"
    strategy = table.get("x-merge-strategy") or "delete-insert"
    if disposition == "replace":
        return {"type": "full", **({"key": key} if key else {})}
    if disposition == "skip":
        notes.append("write_disposition skip: declared as append")
    if disposition != "merge":
        return {"type": "append"}
    if strategy == "scd2":
        if not key:
            notes.append("scd2 without a primary_key: whole rows are compared; give the key for history of each")
            return {"type": "full"}
        return {"type": "full", "key": key, "history": True}
    if not key and not merged:
        notes.append("merge without a primary_key or merge_key: dlt appends, too")
        return {"type": "append"}
    if not key:
        same = " and ".join(f'"{name}" = input."{name}"' for name in merged)
        return {"type": "custom", "delete_where": same}
    if merged:
        notes.append(f"merge_key {', '.join(merged)}: not translated, the primary key alone says what is replaced")
    order = hints.get("dedup_sort", [])
    return {
        "type": "key",
        "key": key,
        **({"order_by": order[0]} if order else {}),
        **({"delete_when": hints["marker"][0]} if "marker" in hints else {}),
    }


def _drift(contract: Any, notes: list[str]) -> dict[str, Any]:
    modes = dict.fromkeys(("columns", "data_type"), contract) if isinstance(contract, str) else dict(contract)
    found = {}
    for key, ours in (("columns", "new_column"), ("data_type", "changed_type")):
        mode = modes.get(key)
        if mode in _CONTRACT:
            found[ours] = _CONTRACT[mode]
        elif mode:
            notes.append(f"schema_contract {key}: {mode} is the default here: the row is rejected, with its reason")
    return found
