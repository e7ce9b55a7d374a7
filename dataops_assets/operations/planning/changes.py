"""Compares two sets of declarations: what was added, changed or removed, and the weight of each change.

The weight is about readers of the tables. What a change does to the rows is computed from the tables, see `work`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlglot
from sqlglot.errors import SqlglotError

from dataops_assets.components.declared_state import PARSED_AS
from dataops_assets.sql import DIALECT

Action = Literal["added", "changed", "removed"]
Weight = Literal["breaking", "additive", "operational", "words"]
WEIGHTS: Sequence[Weight] = ("breaking", "additive", "operational", "words")
"""From the heaviest: values, types or names that readers use change or go; something is new, and what was there stays;
other inputs, checks or times from now on, with the same rows; nothing is computed from it."""

Content = Mapping[str, Any]


@dataclass(frozen=True)
class FieldChange:
    """One field of a declaration before and after; None where it is not there."""

    name: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Change:
    """One declared thing that differs. `subject` is the source or model that it is part of, or its own name."""

    kind: str
    name: str
    action: Action
    weight: Weight
    subject: str
    fields: Sequence[FieldChange] = ()


def changes(before: Mapping[tuple[str, str], Any], after: Mapping[tuple[str, str], Any]) -> list[Change]:
    """Return all differences between declarations, given by kind and name; the heaviest first."""
    found: list[Change] = []
    for kind, name in sorted({*before, *after}):
        old, new = before.get((kind, name)), after.get((kind, name))
        if old == new:
            continue
        if old is None or new is None:
            found.append(_whole(kind, name, old))
        elif kind == "source":
            found += _of_source(name, old, new)
        elif kind == "model":
            found += _of_model(name, old, new)
        elif kind == "output":
            found += _of_output(name, old, new)
        else:
            found.append(Change(kind, name, "changed", "operational", name, list(_fields(old, new))))
    return sorted(found, key=lambda item: (WEIGHTS.index(item.weight), item.kind, item.name))


def _whole(kind: str, name: str, old: Any) -> Change:
    tables = kind in ("source", "model", "output")
    if old is None:
        return Change(kind, name, "added", "additive" if tables else "operational", name)
    return Change(kind, name, "removed", "breaking" if tables else "operational", name)


# --- sources ---------------------------------------------------------------------------------------------------------

_PARTS = {"columns": "column", "rules": "rule", "validations": "validation"}
_SETTINGS = {
    "area": "area",
    "checks": "check",
    "compatible": "compatible",
    "connection": "connection",
    "description": "description",
    "discovery": "automation",
    "drift": "drift",
    "engine": "engine",
    "gates": "gate",
    "keep_when": "filter",
    "owners": "owners",
    "refresh": "refresh",
    "retention": "retention",
    "waits_for": "automation",
}
_WORDS = ("area", "compatible", "description", "owners")
_ROWS = ("filter", "format", "refresh")


def _of_source(name: str, old: Content, new: Content) -> Iterator[Change]:
    for key, kind in _PARTS.items():
        yield from _parts(name, kind, _by_name(old.get(key, ())), _by_name(new.get(key, ())))
    yield from _parts(name, "relation", old.get("relations", {}), new.get("relations", {}))
    yield from _order(name, old, new)
    for key in sorted({*old, *new} - {*_PARTS, "relations", "name", PARSED_AS}):
        yield from _setting(name, key, old.get(key), new.get(key), shifts=old.get(PARSED_AS) != new.get(PARSED_AS))


def _order(name: str, old: Content, new: Content) -> Iterator[Change]:
    before, after = ([item["name"] for item in content["columns"]] for content in (old, new))
    if [one for one in before if one in after] != [one for one in after if one in before]:
        moved = FieldChange("order", before, after)
        yield Change("columns", f"{name}.columns", "changed", "breaking", name, [moved])


def _setting(name: str, key: str, old: Any, new: Any, *, shifts: bool) -> Iterator[Change]:
    """Return the differences of a setting. `shifts`: whether the same bytes are parsed to other rows now."""
    if old == new:
        return
    kind = _SETTINGS.get(key, key)
    if key == "connection" and (old or {}).get("format") != (new or {}).get("format"):
        fields = list(_fields(old.get("format") or {}, new.get("format") or {}))
        yield Change("format", f"{name}.connection.format", "changed", "breaking", name, fields)
        old, new = {**old, "format": None}, {**new, "format": None}
        if old == new:
            return
    nested = isinstance(old, Mapping) or isinstance(new, Mapping)
    fields = list(_fields(old or {}, new or {})) if nested else [FieldChange(key, old, new)]
    weight = _weight_of_setting(kind, old, new)
    if shifts and key == "discovery" and any(field.name == "timezone" for field in fields):
        # it decides s_extract_time and periods
        weight = "breaking"
    yield Change(kind, f"{name}.{key}", "changed", weight, name, fields)


def _weight_of_setting(kind: str, old: Any, new: Any) -> Weight:
    if kind in _WORDS:
        return "words"
    if kind in _ROWS:
        return "breaking"
    if kind == "drift":
        was, now = old or {}, new or {}
        evolves = now.get("new_column") == "evolve" and {**was, "new_column": "evolve"} == now
        return "additive" if evolves else "breaking"
    return "operational"


def _by_name(items: Sequence[Content]) -> Mapping[str, Content]:
    return {item["name"]: item for item in items}


def _parts(subject: str, kind: str, old: Mapping[str, Content], new: Mapping[str, Content]) -> Iterator[Change]:
    weigh = _WEIGHED[kind]
    for part in sorted({*old, *new}):
        before, after = old.get(part), new.get(part)
        if before == after:
            continue
        action: Action = "added" if before is None else "removed" if after is None else "changed"
        fields = list(_fields(before, after)) if before is not None and after is not None else []
        weight = weigh(before, after, {item.name for item in fields})
        yield Change(kind, f"{subject}.{part}", action, weight, subject, fields)


_Weigh = Callable[[Content | None, Content | None, set[str]], Weight]


def _weight_of_column(before: Content | None, after: Content | None, fields: set[str]) -> Weight:
    if before is None:
        return "additive"
    if after is None:
        return "breaking"
    if fields <= {"description"} or all(item.startswith("tags") or item == "description" for item in fields):
        # what is personal is hidden
        hides = ("pii" in before.get("tags", {})) != ("pii" in after.get("tags", {}))
        return "operational" if hides else "words"
    widens = fields <= {"nullable", "renamed_from", "description"}
    widens = widens and after.get("nullable", True) >= before.get("nullable", True)
    keeps = set(before.get("renamed_from", ())) <= set(after.get("renamed_from", ()))
    return "additive" if widens and keeps else "breaking"


def _weight_of_rule(before: Content | None, after: Content | None, fields: set[str]) -> Weight:
    if before is None or after is None:
        return "additive" if before is None else "breaking"
    if fields <= {"description", "compatible"}:
        return "words"
    is_reworded = fields <= {"description", "compatible", "expression"}
    return "words" if is_reworded and _same_sql(before["expression"], after["expression"]) else "breaking"


def _weight_of_validation(before: Content | None, after: Content | None, fields: set[str]) -> Weight:
    if before is None:
        return "additive" if after is not None and after.get("severity", "warn") == "warn" else "breaking"
    return "words" if after is not None and fields <= {"description"} else "breaking"


def _weight_of_relation(before: Content | None, after: Content | None, fields: set[str]) -> Weight:
    if before is None:
        return "additive"
    return "words" if after is not None and fields <= {"description"} else "breaking"


_WEIGHED: Mapping[str, _Weigh] = {
    "column": _weight_of_column,
    "rule": _weight_of_rule,
    "validation": _weight_of_validation,
    "relation": _weight_of_relation,
}


def _same_sql(before: str, after: str) -> bool:
    try:
        texts = [sqlglot.parse_one(text, dialect=DIALECT).sql(DIALECT, comments=False) for text in (before, after)]
    except SqlglotError:
        return False
    return texts[0] == texts[1]


def _of_output(name: str, old: Content, new: Content) -> Iterator[Change]:
    for key in sorted({*old, *new}):
        if fields := list(_fields({key: old.get(key)}, {key: new.get(key)})):
            weight: Weight = (
                "words" if key in _WORDS else "operational" if key in ("checks", "when_held") else "breaking"
            )
            yield Change("output", f"{name}.{key}", "changed", weight, name, fields)


# --- models ----------------------------------------------------------------------------------------------------------

_MODEL_WORDS = ("description", "group", "owners", "tags")


def _of_model(name: str, old: Content, new: Content) -> Iterator[Change]:
    rows = ("code", "macros", "reads", "settings")
    fields = [item for key in rows for item in _fields({key: old[key]}, {key: new[key]})]
    if fields:
        yield Change("model", name, "changed", "breaking", name, fields)
    before, after = _by_name(old["columns"]), _by_name(new["columns"])
    for column in sorted({*before, *after}):
        was, now = before.get(column), after.get(column)
        if was == now:
            continue
        action: Action = "added" if was is None else "removed" if now is None else "changed"
        differing = list(_fields(was, now)) if was is not None and now is not None else []
        only_words = bool(differing) and {item.name for item in differing} <= {"description"}
        weight: Weight = "additive" if was is None else "words" if only_words else "breaking"
        yield Change("model column", f"{name}.{column}", action, weight, name, differing)
    if tests := list(_fields(old["tests"], new["tests"])):
        yield Change("test", name, "changed", "operational", name, tests)
    if words := [item for key in _MODEL_WORDS for item in _fields({key: old[key]}, {key: new[key]})]:
        yield Change("model", f"{name} (words)", "changed", "words", name, words)


def _fields(before: Any, after: Any, path: str = "") -> Iterator[FieldChange]:
    """Return the fields that differ, with dotted names."""
    if before == after:
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted({*before, *after}):
            yield from _fields(before.get(key), after.get(key), f"{path}.{key}" if path else str(key))
        return
    yield FieldChange(path, before, after)
