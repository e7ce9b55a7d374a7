"""Reads the sources and snapshots of a dbt project, from its manifest or from its YAML files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dataops_assets.declaring.foreign.translated import Translated, Translation, column, source_name
from dataops_assets.errors import InputError

_MANIFEST = ("target/manifest.json", "manifest.json")
_MOMENT = "timestamptz"
_HOURS = {"minute": 1 / 60, "hour": 1.0, "day": 24.0}


@dataclass
class _Table:
    """One table of a dbt source, as manifest and YAML say it alike."""

    source: str
    name: str
    relation: str
    description: str = ""
    columns: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    tests: list[tuple[str, str, Mapping[str, Any]]] = field(default_factory=list)
    freshness: Mapping[str, Any] = field(default_factory=dict)
    loaded_at: str = ""


@dataclass
class _Snapshot:
    name: str
    of: tuple[str, str]
    config: Mapping[str, Any]


@dataclass
class _Found:
    tables: dict[tuple[str, str], _Table] = field(default_factory=dict)
    snapshots: list[_Snapshot] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def read_dbt(path: Path, area: str, database: str) -> Translation:
    """Return the sources of a dbt project: a manifest.json, a YAML file, or the project's folder.

    Each table is read from the declared database `database`. Raises InputError if there is nothing to read.
    """
    found = _read(path)
    if not found.tables:
        raise InputError(
            f"reading the sources of {path}",
            received="no source with a table",
            next_step="give the folder of a dbt project, its target/manifest.json, or a YAML file with `sources:`",
        )
    left_out, made = list(found.left_out), []
    names = [name for _, name in found.tables]
    for (group, name), table in found.tables.items():
        called = source_name(f"{group}_{name}" if names.count(name) > 1 else name)
        snapshots = [item for item in found.snapshots if item.of == (group, name)]
        translated = _translated(table, called, snapshots, left_out)
        if translated is None:
            left_out.append(f"{group}.{name}: no column is declared; dataops init {called} --table {table.relation}")
            continue
        connection = {"type": "database", "database": database, "table": table.relation}
        translated.attributes = {
            "name": called,
            "area": area,
            **({"description": table.description} if table.description else {}),
            "connection": connection,
            **translated.attributes,
        }
        made.append(translated)
    _relate(made, found)
    return Translation(made, left_out)


# --- read ------------------------------------------------------------------------------------------------------------


def _read(path: Path) -> _Found:
    if path.is_dir():
        manifest = next((path / name for name in _MANIFEST if (path / name).is_file()), None)
        files = [manifest] if manifest else sorted({*path.rglob("*.yml"), *path.rglob("*.yaml")})
    else:
        files = [path]
    found = _Found()
    for file in files:
        try:
            text = file.read_text(encoding="utf-8")
            content = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise InputError(f"reading {file}", received=f"{type(error).__name__}: {error}") from error
        if isinstance(content, Mapping):
            _of_manifest(content, found) if "nodes" in content else _of_yaml(content, found)
    return found


def _of_manifest(content: Mapping[str, Any], found: _Found) -> None:
    by_id = {}
    for unique_id, item in content.get("sources", {}).items():
        key = (item["source_name"], item["name"])
        by_id[unique_id] = found.tables[key] = _Table(
            *key,
            ".".join(part for part in (item.get("schema"), item.get("identifier")) if part),
            item.get("description") or "",
            dict(item.get("columns") or {}),
            freshness=item.get("freshness") or {},
            loaded_at=item.get("loaded_at_field") or "",
        )
    for node in content["nodes"].values():
        parents = [name for name in node.get("depends_on", {}).get("nodes", []) if name in by_id]
        meta = node.get("test_metadata")
        if node["resource_type"] == "test" and meta and parents:
            own = node.get("attached_node") or next((name for name in parents if len(parents) == 1), parents[-1])
            if own in by_id:
                by_id[own].tests.append((meta["name"], node.get("column_name") or "", meta.get("kwargs") or {}))
        elif node["resource_type"] == "snapshot":
            if not parents:
                found.left_out.append(f"snapshot {node['name']}: it reads no source")
            for parent in parents:
                table = by_id[parent]
                found.snapshots.append(_Snapshot(node["name"], (table.source, table.name), node.get("config") or {}))


def _of_yaml(content: Mapping[str, Any], found: _Found) -> None:
    for source in content.get("sources") or ():
        for item in source.get("tables") or ():
            own = {**(source.get("config") or {}), **(item.get("config") or {})}
            schema = source.get("schema") or source["name"]
            table = _Table(
                source["name"],
                item["name"],
                f"{schema}.{item.get('identifier') or item['name']}",
                item.get("description") or "",
                {one["name"]: one for one in item.get("columns") or ()},
                freshness=item.get("freshness") or source.get("freshness") or own.get("freshness") or {},
                loaded_at=item.get("loaded_at_field") or source.get("loaded_at_field") or "",
            )
            for name, one in [("", item), *table.columns.items()]:
                table.tests += [(test, name, kwargs) for test, kwargs in _tests(one)]
            found.tables[source["name"], item["name"]] = table
    for item in content.get("snapshots") or ():
        parts = str(item.get("relation", "")).replace('"', "'").split("'")
        # source('shop', 'orders')
        if len(parts) == 5 and parts[0].strip() == "source(":
            found.snapshots.append(_Snapshot(item["name"], (parts[1], parts[3]), item.get("config") or {}))
        else:
            found.left_out.append(f"snapshot {item.get('name')}: it reads no source")


def _tests(item: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for test in [*(item.get("tests") or ()), *(item.get("data_tests") or ())]:
        if isinstance(test, str):
            yield test, {}
        else:
            for name, given in test.items():
                settings = given if isinstance(given, Mapping) else {}
                yield name, {**settings, **(settings.get("arguments") or {})}


# --- translate -------------------------------------------------------------------------------------------------------


def _translated(table: _Table, name: str, snapshots: Sequence[_Snapshot], left_out: list[str]) -> Translated | None:
    notes: list[str] = []
    required = {column_name for test, column_name, _ in table.tests if test == "not_null"}
    # DuckDB and Snowflake write names without quotes in other cases; dbt has them as declared
    columns = [
        column(
            item["name"],
            item.get("data_type") or "",
            notes,
            nullable=False if item["name"] in required else None,
            description=item.get("description") or "",
        )
        for item in table.columns.values()
    ]
    known = {item["name"] for item in columns}
    refresh = _refresh(table, snapshots, notes, left_out)
    needed = [*refresh.get("key", ()), *(refresh[key] for key in ("order_by", "valid_from") if key in refresh)]
    for missing in [one for one in dict.fromkeys(needed) if one not in known]:
        is_time = missing in (refresh.get("order_by"), refresh.get("valid_from"))
        columns.append(column(missing, _MOMENT if is_time else "", notes))
        if is_time:
            notes.append(f"column {missing}: {_MOMENT}, because a snapshot orders by it; dbt does not declare it")
    if not columns:
        return None
    attributes: dict[str, Any] = {"columns": columns, "refresh": refresh}
    validations = list(_validations(table, notes))
    if validations:
        attributes["validations"] = validations
    if checks := _checks(table.freshness):
        attributes["checks"] = checks
    if table.loaded_at:
        notes.append(
            f"loaded_at_field {table.loaded_at}: to take new rows alone, add to connection: "
            f"incremental: {{cursor: {table.loaded_at}}}"
        )
    return Translated(name, attributes, notes)


def _refresh(table: _Table, snapshots: Sequence[_Snapshot], notes: list[str], left_out: list[str]) -> dict[str, Any]:
    if not snapshots:
        unique = [name for test, name, _ in table.tests if test == "unique" and name]
        if not unique:
            notes.append("refresh: whole rows are compared; with a key, changes and deletes of rows are known")
        return {"type": "full", **({"key": unique[:1]} if unique else {})}
    chosen, *others = snapshots
    left_out += [f"snapshot {item.name}: {table.name} is declared with the snapshot {chosen.name}" for item in others]
    config = chosen.config
    given = config.get("unique_key") or []
    key = [given] if isinstance(given, str) else list(given)
    if any(not part.isidentifier() for part in key):
        notes.append(f"snapshot {chosen.name}: its unique_key {given!r} is an expression; declare the key's columns")
        return {"type": "full"}
    time = config.get("updated_at") if config.get("strategy") == "timestamp" else None
    hard = config.get("hard_deletes") or ("invalidate" if config.get("invalidate_hard_deletes") else "ignore")
    notes.append(f"from the snapshot {chosen.name}, strategy {config.get('strategy')}, hard_deletes {hard}")
    if hard == "ignore":
        refresh: dict[str, Any] = {"type": "key", "key": key, **({"order_by": time} if time else {}), "history": True}
    else:
        begins = {"valid_from": time} if time and _is_moment(table, time, notes) else {}
        refresh = {"type": "full", "key": key, **begins, "history": True}
    checked = config.get("check_cols")
    if config.get("strategy") == "check" and isinstance(checked, list):
        ignored = [name for name in table.columns if name not in {*checked, *key}]
        if ignored:
            refresh["ignore_changes_in"] = ignored
    return refresh


def _is_moment(table: _Table, name: str, notes: list[str]) -> bool:
    """Return whether versions can begin at the time of a column: a moment, or a column that is declared as one here."""
    kind = table.columns[name].get("data_type") if name in table.columns else _MOMENT
    if column(name, kind or "", []).get("type") == _MOMENT:
        return True
    notes.append(
        f"updated_at {name}: versions begin at the extract time; for its own times declare {name} as timestamptz, and "
        f"valid_from: {name}"
    )
    return False


def _validations(table: _Table, notes: list[str]) -> Iterator[dict[str, Any]]:
    for test, name, kwargs in table.tests:
        if test == "accepted_values" and name:
            values = ", ".join("'" + str(one).replace("'", "''") + "'" for one in kwargs.get("values") or ())
            text = f'"{name}" is null or cast("{name}" as varchar) in ({values})'
            severity = (
                "warn"
                if str(kwargs.get("severity", kwargs.get("config", {}).get("severity"))) == "warn"
                else "quarantine"
            )
            yield {"name": source_name(f"{name}_accepted"), "expression": text, "severity": severity}
        elif test not in ("not_null", "unique", "relationships"):
            of = f" of {name}" if name else ""
            notes.append(
                f"the test {test}{of} is not translated: write it as a validation, a check or a dbt test of a model"
            )


def _checks(freshness: Mapping[str, Any]) -> dict[str, Any]:
    hours = {}
    for key, ours in (("warn_after", "warn_after_hours"), ("error_after", "fail_after_hours")):
        limit = freshness.get(key) or {}
        if limit.get("count") and limit.get("period") in _HOURS:
            hours[ours] = round(limit["count"] * _HOURS[limit["period"]], 3)
    if "fail_after_hours" not in hours and "warn_after_hours" in hours:
        hours["fail_after_hours"] = hours["warn_after_hours"] * 2
    if "warn_after_hours" not in hours and "fail_after_hours" in hours:
        hours["warn_after_hours"] = hours["fail_after_hours"] / 2
    return {"freshness": hours} if hours else {}


def _relate(made: Sequence[Translated], found: _Found) -> None:
    """Declare a relation for each test `relationships` between two sources."""
    by_key = {(item.attributes["connection"]["table"]): item for item in made}
    for table in found.tables.values():
        own = by_key.get(table.relation)
        for test, name, kwargs in table.tests:
            if own is None or test != "relationships" or not name:
                continue
            parts = str(kwargs.get("to", "")).replace('"', "'").split("'")
            other = found.tables.get((parts[1], parts[3])) if len(parts) == 5 else None
            related = by_key.get(other.relation) if other else None
            if related is None or related is own or "field" not in kwargs:
                own.notes.append(f"the test relationships of {name} is not translated: it names no other source here")
                continue
            relations = own.attributes.setdefault("relations", {})
            relations[related.name] = {"source": related.name, "on": {name: kwargs["field"]}}
