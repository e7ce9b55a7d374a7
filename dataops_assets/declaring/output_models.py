"""Writes a dbt model of a hub table: its entry in sources.yml, its SQL, and its YAML with columns and tests."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import yaml

from dataops_assets.config.source import Source
from dataops_assets.declaring.reserved_words import is_reserved
from dataops_assets.declaring.yaml_flow import flow
from dataops_assets.sql import DIALECT, identifier

_IDENTITY = {
    "s_input_id": ("varchar", "Id of the input that the row comes from."),
    "s_row_id": ("bigint", "Position of the row in that input, from 0."),
}
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TIME_ZONE = "TIMESTAMP WITH TIME ZONE"


@dataclass(frozen=True)
class HubTable:
    """A table of a hub as a model reads it.

    `name` is without 'hub/'. `columns` are the declared columns with their SQL types, without those of the platform.
    """

    source: Source
    name: str
    columns: Mapping[str, str]
    descriptions: Mapping[str, str]


@dataclass(frozen=True)
class OutputModel:
    """A model of a hub table: its name, and the texts of its two files."""

    name: str
    sql: str
    properties: str


def model_name(source: Source) -> str:
    """Return the name of a source's model: a full extract describes things, all others tell what happened."""
    return f"{'dim' if source.refresh.type == 'full' else 'fct'}_{source.name}"


def output_model(table: HubTable, name: str) -> OutputModel:
    """Return the model that has each row of the hub, with its columns in small letters."""
    names = _names(table.columns)
    return OutputModel(name, _sql(table, names), _properties(table, name, names))


def with_table(text: str, table: HubTable) -> str:
    """Return the text of sources.yml with the entry of a hub table; unchanged if the table is there already.

    The rest of the text stays as it is, with its comments. If there is no source `hub`, it is added.
    """
    tables = _tables(yaml.compose(text, Loader=yaml.CSafeLoader) if text.strip() else None)
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    if tables is None:
        head = "" if "sources:" in text else "sources:\n"
        return "".join(lines) + head + "  - name: hub\n    schema: hub\n    tables:\n" + _entry(table, 6)
    if table.name in [_name(item) for item in tables.value]:
        return text
    last = tables.value[-1]
    end = _end(last)
    indent = last.start_mark.column - 2
    return "".join([*lines[:end], _entry(table, indent), *lines[end:]])


def _tables(document: yaml.Node | None) -> yaml.SequenceNode | None:
    """Return the list of tables of the source `hub`; None if there is none, or if it is empty."""
    sources = _child(document, "sources")
    for item in sources.value if isinstance(sources, yaml.SequenceNode) else []:
        tables = _child(item, "tables")
        if _name(item) == "hub" and isinstance(tables, yaml.SequenceNode) and tables.value:
            return tables
    return None


def _end(node: yaml.Node) -> int:
    """Return the number of the line after a node. A block ends, to the parser, where the next one begins."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return node.end_mark.line + (node.end_mark.column > 0)


def _child(node: yaml.Node | None, name: str) -> yaml.Node | None:
    found = node.value if isinstance(node, yaml.MappingNode) else []
    return next((value for key, value in found if key.value == name), None)


def _name(node: yaml.Node) -> str:
    found = _child(node, "name")
    return str(found.value) if found is not None else ""


def _entry(table: HubTable, indent: int) -> str:
    space = " " * indent
    columns = {name: _data_type(kind) for name, kind in _read(table).items()}
    lines = [f"{space}- name: {table.name}\n", f"{space}  columns:\n"]
    lines += [f"{space}    - {flow({'name': _not_jinja(name), 'data_type': kind})}\n" for name, kind in columns.items()]
    return "".join(lines)


def _read(table: HubTable) -> dict[str, str]:
    """Return the columns of the hub that the model reads."""
    current = {"s_is_current": "BOOLEAN"} if table.source.refresh.history else {}
    return {**table.columns, **current, **{name: kind for name, (kind, _) in _IDENTITY.items()}}


def _data_type(kind: str) -> str:
    return "timestamptz" if kind.upper() == _TIME_ZONE else kind.lower().replace(" ", "")


def _names(columns: Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    """Return the name in the model of each column: small letters, digits and _."""
    found: dict[str, str] = {}
    for name in columns:
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
        plain = re.sub(r"\W+", "_", words).strip("_").lower() or "column"
        # readers of the model write its names without quotes
        plain = f"c_{plain}" if plain[0].isdigit() or is_reserved(plain) else plain
        number, free = 2, plain
        while free in found.values() or free in _IDENTITY:
            free, number = f"{plain}_{number}", number + 1
        found[name] = free
    return found


def _sql(table: HubTable, names: Mapping[str, str]) -> str:
    selected = [
        reference if reference == alias else f"{reference} as {alias}"
        for name, alias in names.items()
        for reference in [_reference(name)]
    ]
    lines = ",\n".join(f"    {item}" for item in (*selected, *_IDENTITY))
    # with history, the hub has each version of a row
    condition = "\nwhere s_is_current" if table.source.refresh.history else ""
    return "".join(("select\n", lines, "\nfrom {{ source('hub', '", table.name, "') }}", condition, "\n"))


def _reference(name: str) -> str:
    is_plain = _PLAIN_NAME.fullmatch(name) and not is_reserved(name)
    return name if is_plain else _not_jinja(identifier(name).sql(DIALECT))


def _not_jinja(text: str) -> str:
    """Return a text that dbt renders as `text`: braces of a name or a description begin no expression of Jinja."""
    return re.sub(r"\{(?=[{%#])", "{{ '{' }}", text)


def _properties(table: HubTable, name: str, names: Mapping[str, str]) -> str:
    key = [names[column] for column in table.source.refresh.key] or list(_IDENTITY)
    grain = {"name": f"{name}_grain", "arguments": {"columns": key}}
    description = table.source.description or f"Rows of {table.source.name}."
    lines = [
        "models:",
        f"  - name: {name}",
        f"    description: {flow(_not_jinja(description))}",
        "    data_tests:",
        f"      - grain: {flow(grain)}",
        "    columns:",
    ]
    personal = {item.name for item in table.source.columns if "pii" in item.tags}
    for column, alias in names.items():
        entry: dict[str, object] = {"name": alias, "data_type": _data_type(table.columns[column])}
        if told := table.descriptions.get(column, ""):
            entry["description"] = _not_jinja(told)
        if column in personal:
            # previews and profiles show no value of it
            entry["config"] = {"tags": ["pii"]}
        lines.append(f"      - {flow(entry)}")
    lines += [
        f"      - {flow({'name': column, 'data_type': kind, 'description': told})}"
        for column, (kind, told) in _IDENTITY.items()
    ]
    return "\n".join(lines) + "\n"
