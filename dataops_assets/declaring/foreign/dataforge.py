"""Reads a DataForge project: its sources with relations, rules and validations become declared sources.

Outputs become no declaration: each is told as the query of a dbt model.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlglot import exp

from dataops_assets.config.source import Source
from dataops_assets.config.types import sql_type
from dataops_assets.declaring.foreign.dataforge_expressions import RELATED, THIS, sources_in, translated
from dataops_assets.declaring.foreign.dataforge_files import Project, Side, read_project
from dataops_assets.declaring.foreign.dataforge_outputs import model_of
from dataops_assets.declaring.foreign.translated import Translated, Translation, column, source_name
from dataops_assets.errors import ConfigError, InputError
from dataops_assets.rules.compiler import compile_rules
from dataops_assets.sql import DIALECT

_TYPES = {
    "long": "integer",
    "int": "integer",
    "decimal": "decimal(38,12)",
    "string": "text",
    "timestamp": "timestamptz",
}
_KEYS = {"full": "full", "key": "key", "none": "append"}
_SPLIT = re.compile(r"\s+(?:as\s+)?", re.IGNORECASE)
_MOST_HOPS, _MOST_WAYS = 8, 1000
_PLAIN = ("text", "integer", "double", "boolean", "date", "timestamp", "timestamptz")


@dataclass
class _Rule:
    """A rule or validation that is to be declared; `sql` is its expression."""

    name: str
    sql: str
    is_validation: bool
    attributes: dict[str, Any]


@dataclass
class _Table:
    """One source while it is made.

    * `columns`: the names of its columns here, by those in DataForge. A rule has the same name in both.
    * `relations`: the names of its relations, by their whole name in DataForge and their side.
    """

    translated: Translated
    columns: Mapping[str, str]
    content: Mapping[str, Any]
    relations: dict[tuple[str, bool], str] = field(default_factory=dict)
    rules: list[_Rule] = field(default_factory=list)

    def named(self, column_name: str) -> str:
        return self.columns.get(column_name.lower(), column_name.lower())


def read_dataforge(folder: Path, area: str, database: str) -> Translation:
    """Return the sources of a DataForge project; each is read from the declared database `database`.

    Raises InputError if the folder is no project of the format core 1.0.
    """
    project = read_project(folder)
    if not project.sources:
        raise InputError(f"reading the DataForge project {folder}", received="no source")
    made = _Made(project, {name: _table(name, item, area, database) for name, item in project.sources.items()})
    made.compute_join_columns()
    for name in made.tables:
        made.relate(name)
    for name, table in made.tables.items():
        for rule in table.content.get("rules") or ():
            made.add_rule(name, rule)
    _declare_rules(list(made.tables.values()))
    left_out = list(project.left_out)
    for name, content in project.outputs.items():
        told = model_of(content, made.hub_of, lambda source: lambda of, column: made.place(source, of, column, {}))
        left_out.append(f"output {name}: {told}")
    return Translation([table.translated for table in made.tables.values()], left_out)


# --- sources ---------------------------------------------------------------------------------------------------------


def _table(name: str, content: Mapping[str, Any], area: str, database: str) -> _Table:
    notes: list[str] = []
    columns = [_column(item, notes) for item in content.get("raw_attributes") or ()]
    described = content.get("source_description") or content.get("description")
    origin = (
        {"query": content["source_query"]} if content.get("source_query") else {"table": content.get("source_table")}
    )
    attributes: dict[str, Any] = {
        "name": source_name(name),
        "area": area,
        **({"description": described} if described else {}),
        "connection": {"type": "database", "database": database, **origin},
        "columns": columns,
        "refresh": _refresh(content, notes),
    }
    if content.get("active_flag") is False:
        notes.append("active_flag false: it is declared all the same")
    names = {item.get("source_name", item["name"]): item["name"] for item in columns}
    return _Table(Translated(attributes["name"], attributes, notes), names, content)


def _column(item: Any, notes: list[str]) -> dict[str, Any]:
    if isinstance(item, Mapping):
        name, kind = str(item.get("name", "")), "struct"
    else:
        parts = _SPLIT.split(str(item).strip(), maxsplit=1)
        name, kind = parts[0], parts[1].lower() if len(parts) > 1 else ""
    return column(name.lower(), _TYPES.get(kind, kind), notes)


def _refresh(content: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    kind = str(content.get("refresh_type") or "full").lower()
    keys = (content.get("cdc_refresh_parameters") or {}).get("key_columns") or []
    key = [keys] if isinstance(keys, str) else [str(one).lower() for one in keys]
    if kind not in _KEYS or (kind == "key" and not key):
        notes.append(f"refresh_type {kind}: not translated, whole rows are compared")
        return {"type": "full"}
    if kind == "full" and not key:
        notes.append("refresh: whole rows are compared; with a key, changes and deletes of rows are known")
    return {"type": _KEYS[kind], **({"key": key} if key and kind != "none" else {})}


# --- relations -------------------------------------------------------------------------------------------------------


def _joined(side: Side, own: _Table, related: _Table) -> dict[str, Any] | str:
    """Return the declared comparison of a relation, or the reason why there is none."""
    try:
        tree = translated(side.expression, _as_read)
    except InputError as error:
        return str(error)
    on: dict[str, str] = {}
    where: list[dict[str, str]] = []
    for part in tree.flatten() if isinstance(tree, exp.And) else [tree]:
        compared = _compared(part.unnest(), RELATED if side.reversed_ else THIS)
        if compared is None:
            return f"it compares more than columns: {side.expression}"
        sign, mine, theirs = compared[0], own.named(compared[1]), related.named(compared[2])
        for table, name in ((own, mine), (related, theirs)):
            if name not in {item["name"] for item in table.translated.attributes["columns"]}:
                return f"it compares {name}, which is no column of {table.translated.name}"
        if sign == "=":
            on[mine] = theirs
        else:
            where.append({"column": mine, "is": sign, "related": theirs})
    return {**({"on": on} if on else {}), **({"where": where} if where else {})}


_SIGNS: Mapping[type[exp.Expr], str] = {
    exp.EQ: "=",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
    exp.NEQ: "<>",
}
_TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def _as_read(source: str, column_name: str) -> Sequence[str]:
    """Return the name of a column as in DataForge; columns of the own source have no source name."""
    return [source, column_name] if source else [column_name]


def _compared(part: exp.Expr, own: str) -> tuple[str, str, str] | None:
    """Return the sign, the column of the side `own` (This or Related) and the other one."""
    sign = _SIGNS.get(type(part))
    left, right = part.args.get("this"), part.args.get("expression")
    if sign is None or not isinstance(left, exp.Column) or not isinstance(right, exp.Column):
        return None
    # [This] is left out where it was read
    columns = {(side.table or THIS): side.name for side in (left, right)}
    if columns.keys() != {THIS, RELATED}:
        return None
    if (left.table or THIS) != own:
        sign = _TURNED.get(sign, sign)
    return sign, columns[own], columns[THIS if own == RELATED else RELATED]


# --- rules -----------------------------------------------------------------------------------------------------------


class _Made:
    """All sources of a project while they are made."""

    def __init__(self, project: Project, tables: Mapping[str, _Table]) -> None:
        self._project = project
        self.tables = tables

    def hub_of(self, source: str) -> str:
        """Return the table with all rules of a source."""
        if source not in self.tables:
            raise InputError(f"finding the source [{source}]", received="no such source", known=sorted(self.tables))
        table = self.tables[source].translated
        has_current = any(rule.get("mode") == "keep_current" for rule in table.attributes.get("rules", ()))
        return f"{table.name}_current" if has_current else table.name

    def compute_join_columns(self) -> None:
        """Declare the rules that relations compare as computed columns, where that is possible."""
        for side in self._project.sides:
            table = self.tables[side.source]
            own = RELATED if side.reversed_ else THIS
            with contextlib.suppress(InputError):
                tree = translated(side.expression, _as_read)
                compared = {item.name for item in tree.find_all(exp.Column) if (item.table or THIS) == own}
                for rule in table.content.get("rules") or ():
                    if _name(rule) in compared - table.columns.keys():
                        _compute(table, rule)

    def relate(self, name: str) -> None:
        """Declare the relations of a source."""
        table, sides = self.tables[name], self._project.sides_of(name)
        made: dict[str, Any] = {}
        for side in sides:
            related = self.tables[side.related]
            joined = _joined(side, table, related)
            target = related.translated.name
            several = sum(other.related == side.related for other in sides) > 1
            called = source_name(f"{target}_{side.name}" if several else target)
            if called in made:
                joined = f"{called} is declared already"
            if isinstance(joined, str):
                table.translated.notes.append(f"relation {side.uid}: left out, {joined}")
                continue
            made[called] = {"source": target, **joined, **({} if side.to_one else {"cardinality": "to_many"})}
            table.relations[side.uid, side.reversed_] = called
        if made:
            table.translated.attributes["relations"] = made

    def add_rule(self, name: str, rule: Mapping[str, Any]) -> None:
        """Translate a rule or validation; what cannot be translated is noted."""
        table, called, text = self.tables[name], _name(rule), str(rule.get("expression", ""))
        if rule.get("active_flag") is False:
            table.translated.notes.append(f"rule {called}: left out, it is not active")
            return
        if called in {item["name"] for item in table.translated.attributes["columns"]}:
            return
        given = {item.get("source_name"): item.get("relations") or () for item in rule.get("parameters") or ()}
        try:
            others = sorted(sources_in(text) - {THIS})
            if len(others) == 1 and None in given:
                # a rule with one other source need not name it
                given = {others[0]: given[None]}
            tree = translated(text, lambda source, column: self.place(name, source, column, given))
        except InputError as error:
            table.translated.notes.append(f"rule {called}: not translated: {error}")
            return
        described = {"description": rule["description"]} if rule.get("description") else {}
        if str(rule.get("rule_type_code") or "E") == "V":
            severity = "warn" if rule.get("validation_action_code") == "W" else "quarantine"
            attributes: dict[str, Any] = {"severity": severity, **described}
        else:
            current = rule.get("keep_current_flag") or tree.find(exp.Window) is not None
            kind = str(rule.get("cast_datatype") or "")
            attributes = {
                **({"mode": "keep_current"} if current else {}),
                **({"type": _TYPES.get(kind, kind)} if kind else {}),
                **described,
            }
        table.rules.append(_Rule(called, tree.sql(dialect=DIALECT), "severity" in attributes, attributes))

    def place(self, source: str, related: str, column_name: str, given: Mapping[str, Sequence[str]]) -> Sequence[str]:
        """Return the relations from a source to a column, and its name here. Raises InputError for an unknown way."""
        if not related:
            return [self.tables[source].named(column_name)]
        if related not in self.tables:
            raise InputError(f"finding the source [{related}]", received="no such source", known=sorted(self.tables))
        return [*self._path(source, related, given.get(related, ())), self.tables[related].named(column_name)]

    def _path(self, source: str, related: str, given: Sequence[str]) -> Sequence[str]:
        """Return the relations from a source to another: those that are given, or the only shortest way."""
        ways: list[tuple[str, list[str]]] = [(source, [])]
        found: list[list[str]] = []
        hops = len(given) or _MOST_HOPS
        for hop in range(hops):
            ways = [
                (side.related, [*names, self.tables[at].relations[side.uid, side.reversed_]])
                for at, names in ways
                for side in self._project.sides_of(at)
                if (side.uid, side.reversed_) in self.tables[at].relations and (not given or side.uid == given[hop])
            ][:_MOST_WAYS]
            found = [names for at, names in ways if at == related]
            if found and (not given or hop == hops - 1):
                break
        if len(found) != 1:
            raise InputError(
                f"finding the way from {source} to {related}",
                received=f"{len(found)} ways of relations",
                next_step="name the relations in the rule",
            )
        return found[0]


def _name(rule: Mapping[str, Any]) -> str:
    return str(rule.get("attribute_name") or rule.get("name"))


def _compute(table: _Table, rule: Mapping[str, Any]) -> None:
    """Declare a rule as a computed column, if it reads columns of its own row alone."""
    columns = table.translated.attributes["columns"]
    known = {item["name"] for item in columns}
    try:
        tree = translated(str(rule.get("expression", "")), lambda of, column: _as_read(of, table.named(column)))
        read = list(tree.find_all(exp.Column))
        if _name(rule) in known or any(item.table or item.name not in known for item in read):
            return
        expression = {"name": _name(rule), "expression": tree.sql(dialect=DIALECT)}
        alone = {**table.translated.attributes, "rules": [expression]}
        compiled = compile_rules(Source.model_validate(alone), {})
    except (ConfigError, InputError, ValidationError) as error:
        table.translated.notes.append(f"rule {_name(rule)}: no computed column: {error}")
        return
    kind = compiled.snapshot.rules[_name(rule)].type
    plain = next((name for name in _PLAIN if sql_type(name) == kind), kind.lower())
    columns.append({"name": _name(rule), "type": plain, "expression": expression["expression"]})
    table.translated.notes.append(
        f"rule {_name(rule)}: a column that is computed while parsing, because a relation reads it"
    )


def _declare_rules(tables: Sequence[_Table]) -> None:
    """Declare the rules that compile, in the order of their dependencies; write a note for each other rule."""
    by_name = {table.translated.name: table for table in tables}
    waiting = [(table, rule) for table in tables for rule in table.rules]
    errors: dict[tuple[str, str], str] = {}
    progress = True
    while waiting and progress:
        progress = False
        for table, rule in list(waiting):
            error = _declared(table, rule, by_name)
            errors[table.translated.name, rule.name] = error
            if not error:
                waiting.remove((table, rule))
                progress = True
    for table, rule in waiting:
        reason = errors[table.translated.name, rule.name]
        table.translated.notes.append(f"rule {rule.name}: {rule.sql}; not declared: {reason}")


def _declared(table: _Table, rule: _Rule, tables: Mapping[str, _Table]) -> str:
    """Declare a rule if it compiles, as frozen or else as kept current; return why not."""
    attributes = table.translated.attributes
    key = "validations" if rule.is_validation else "rules"
    before = attributes.get(key, [])
    reason = ""
    for more in _modes(rule):
        attributes[key] = [*before, {"name": rule.name, "expression": rule.sql, **rule.attributes, **more}]
        try:
            sources = {name: Source.model_validate(item.translated.attributes) for name, item in tables.items()}
            compile_rules(sources[table.translated.name], sources)
        except (ConfigError, ValidationError) as error:
            reason = reason or " ".join(str(error).split())
            continue
        return ""
    attributes[key] = before
    if not before:
        del attributes[key]
    return reason


def _modes(rule: _Rule) -> Iterator[dict[str, Any]]:
    yield {}
    if not rule.is_validation and "mode" not in rule.attributes:
        # what depends on a rule that is kept current is kept current itself
        yield {"mode": "keep_current"}
