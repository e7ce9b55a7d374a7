"""Finds the names of the members of JSON objects, within nested objects where the contract names values there."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlglot import exp

from dataops_assets.connections.formats.nested_names import joined, parents_of, parts_of
from dataops_assets.connections.formats.staging import RawRows, Staging, Wanted
from dataops_assets.sql import column, literal, query


def pointer(path: Sequence[str], mark: str = "") -> str:
    """Return the JSON pointer of a path, which may have any names; `mark` is added to each name."""
    return "".join("/" + name.replace("~", "~0").replace("/", "~1") + mark for name in path)


def member_names(staging: Staging, lines: RawRows, wanted: Wanted) -> Mapping[str, tuple[str, ...]]:
    """Return the names of members by input, in order of appearance; an input without members is not in it.

    An object that contains values of the contract is replaced by the names of its members, such as `after.id`. If it is
    null in all records of an input, these values are taken as present, because nothing is known of its members.
    """
    declared = [*wanted.names, *wanted.earlier]
    nested = _Nested(
        declared,
        {path: _names_at(staging, lines, path) for path in parents_of(declared)},
        {path: _with_other_values(staging, lines, path) for path in parents_of(declared)},
    )
    return {
        input_id: tuple(dict.fromkeys(leaf for name in names for leaf in nested.leaves(input_id, (name,))))
        for input_id, names in _names_at(staging, lines, ()).items()
    }


@dataclass(frozen=True)
class _Nested:
    """The objects that contain values of the contract.

    * `declared`: the names of all values of the contract.
    * `names`: the members of each object, by path and input.
    * `other`: the inputs in which a record has another value there: no object and not null.
    """

    declared: Sequence[str]
    names: Mapping[tuple[str, ...], Mapping[str, Sequence[str]]]
    other: Mapping[tuple[str, ...], Collection[str]]

    def leaves(self, input_id: str, path: tuple[str, ...]) -> list[str]:
        """Return the name of a member, or of the members in it."""
        if path not in self.names:
            return [joined(path)]
        inner = self.names[path].get(input_id, ())
        found = [leaf for name in inner for leaf in self.leaves(input_id, (*path, name))]
        name = joined(path)
        own = [name] if name in self.declared or input_id in self.other[path] else []
        return [*own, *(found or [item for item in self.declared if parts_of(item)[: len(path)] == path])]


def _names_at(staging: Staging, lines: RawRows, path: tuple[str, ...]) -> dict[str, list[str]]:
    """Return the names of the members of the objects at `path` by input, in order of appearance."""
    text = column(lines.fields[0].column)
    keys = [text, literal(pointer(path))] if path else [text]
    found = query(
        "SELECT s_input_id, s_name FROM (SELECT s_input_id, unnest(s_names) AS s_name, "
        "generate_subscripts(s_names, 1) AS s_place, s_first FROM ("
        "SELECT s_input_id, $keys AS s_names, min(s_row_id) AS s_first FROM $lines AS l "
        "WHERE s_problem IS NULL AND json_valid($text) GROUP BY s_input_id, s_names) AS k) AS n "
        "GROUP BY s_input_id, s_name ORDER BY s_input_id, min(s_first), min(s_place)",
        text=text,
        keys=exp.Anonymous(this="json_keys", expressions=keys),
        lines=lines.query,
    )
    names: dict[str, list[str]] = {}
    for row in staging.session.fetch(found).to_pylist():
        names.setdefault(row["s_input_id"], []).append(row["s_name"])
    return names


def _with_other_values(staging: Staging, lines: RawRows, path: tuple[str, ...]) -> frozenset[str]:
    found = query(
        "SELECT DISTINCT s_input_id FROM $lines AS l WHERE s_problem IS NULL AND json_valid($text) "
        "AND json_type($text, $path) NOT IN ('OBJECT', 'NULL')",
        text=column(lines.fields[0].column),
        path=pointer(path),
        lines=lines.query,
    )
    return frozenset(staging.session.fetch(found).column("s_input_id").to_pylist())
