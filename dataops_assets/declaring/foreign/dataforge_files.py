"""Reads the files of a DataForge project of format core 1.0: `meta.yaml`, `relations.yaml`, `sources/`, `outputs/`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dataops_assets.errors import InputError

_FORMAT = "core1.0"
_RELATION = re.compile(r"^\[([^]]+)]-(.+)-\[([^]]+)]$")
_CARDINALITY = re.compile(r"^(M|1)-(M|1)$")


@dataclass(frozen=True)
class Side:
    """One direction of a relation. `uid` is the name of the relation; `to_one`: at most one row matches.

    `reversed_`: whether this is the second source, for which `[Related]` are its own columns.
    """

    uid: str
    name: str
    source: str
    related: str
    expression: str
    to_one: bool
    reversed_: bool


@dataclass
class Project:
    """The content of a project: sources and outputs by name, relations, and notes on parts that were not read."""

    sources: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    outputs: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    sides: list[Side] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def sides_of(self, source: str) -> Sequence[Side]:
        """Return the relations of a source, those first that were declared from it."""
        return sorted((side for side in self.sides if side.source == source), key=lambda side: side.reversed_)


def read_project(folder: Path) -> Project:
    """Read the folder of a project. Raises InputError if it is none, or of another format."""
    attempted = f"reading the DataForge project {folder}"
    if not (folder / "meta.yaml").is_file() or not (folder / "sources").is_dir():
        raise InputError(
            attempted, received="no meta.yaml or no folder sources", next_step="give the folder that has both"
        )
    meta = _yaml(folder / "meta.yaml")
    given = meta.get("format") if isinstance(meta, Mapping) else None
    if given != _FORMAT:
        raise InputError(attempted, received=f"format {given!r}", known=[_FORMAT])
    found = Project()
    for kind, known in (("source", found.sources), ("output", found.outputs)):
        for file in sorted((folder / f"{kind}s").glob("*.yaml")):
            content = _yaml(file)
            if not isinstance(content, Mapping) or not content.get(f"{kind}_name"):
                raise InputError(f"reading {file}", received=f"no {kind}_name")
            known[str(content[f"{kind}_name"]).strip()] = content
    relations = _yaml(folder / "relations.yaml") if (folder / "relations.yaml").is_file() else None
    for item in relations or ():
        found.sides += _sides(item, found)
    return found


def _yaml(file: Path) -> Any:
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"reading {file}", received=f"{type(error).__name__}: {error}") from error


def _sides(item: Mapping[str, Any], found: Project) -> Iterator[Side]:
    """Return both sides of a relation."""
    uid = str(item.get("name", ""))
    parts, cardinality = _RELATION.match(uid), _CARDINALITY.match(str(item.get("cardinality", "")))
    if parts is None or cardinality is None or not {parts[1], parts[3]} <= found.sources.keys():
        found.left_out.append(f"relation {uid}: not of the form [source]-name-[source] with M-1, 1-M, 1-1 or M-M")
        return
    if item.get("active_flag") is False:
        found.left_out.append(f"relation {uid}: it is not active")
        return
    one, name, other = parts[1], parts[2].strip(), parts[3]
    expression = str(item.get("expression", ""))
    yield Side(uid, name, one, other, expression, cardinality[2] == "1", reversed_=False)
    yield Side(uid, name, other, one, expression, cardinality[1] == "1", reversed_=True)
