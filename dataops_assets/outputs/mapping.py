"""Compiles the columns and the filter of an output to SQL over the rows of the table that it delivers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlglot import exp

from dataops_assets.config.outputs import Output, OutputColumn, TableTarget, TopicTarget
from dataops_assets.errors import ConfigError, nearest
from dataops_assets.rules.parse import parse
from dataops_assets.rules.row_condition import row_condition
from dataops_assets.rules.semantics import attempt, total
from dataops_assets.rules.source_text import Place
from dataops_assets.rules.types import Types, UntypedError, described, stored
from dataops_assets.rules.types import types as opened_types
from dataops_assets.sql import DIALECT, alias, column, query

ROW = "r"
"""The name of the table's rows in the compiled expressions."""
# settings of targets that change no row
_NO_ROWS = {"keep", "archive", "structure", "partitions", "positions", "batch_rows", "storage_options"}
_OF_PLATFORM = "s_"
_VALID_FROM = "s_valid_from"
_OF_VERSIONS = (_VALID_FROM, "s_valid_to", "s_is_current", "s_is_deleted")


@dataclass(frozen=True)
class Compiled:
    """An output over the columns of its table.

    * `columns`: SQL types by output column, in order. `key`: those that identify a row; empty if none do.
    * `values`: the expressions by output column, over the rows `r`. `casts`: those that a cast can fail for.
    * `keeps`: whether a row is delivered; None if all rows are.
    * `origins`: by output column the columns of the table that it is made of.
    * `digest`: changes with all of that, and with what becomes of deleted rows.
    """

    columns: Mapping[str, str]
    key: tuple[str, ...]
    values: Mapping[str, exp.Expr]
    casts: Mapping[str, exp.Expr]
    keeps: exp.Expr | None
    origins: Mapping[str, frozenset[str]]
    digest: str

    def selected(self, names: Sequence[str] | None = None) -> list[exp.Expr]:
        """Return the expressions of these columns (default: all), under their names."""
        return [alias(self.values[name].copy(), name) for name in names or self.columns]


def compiled(output: Output, table: Mapping[str, str], key: Sequence[str] = ()) -> Compiled:
    """Compile an output over a table with these columns and SQL types; `key` is the key of the table's source.

    Raises ConfigError that names the part of the declaration.
    """
    declared = output.columns or _all_columns(output, table)
    with opened_types() as asked:
        parts = [_Part.of(output, item, table, asked) for item in declared]
    columns = {item.name: part.type for item, part in zip(declared, parts, strict=True)}
    if output.deletes == "soft" and output.deleted_column in columns:
        raise ConfigError(
            f"deleted_column of output {output.name!r}",
            received=f"{output.deleted_column!r}, which is a column of the output, too",
            next_step="choose another name",
        )
    values = {item.name: part.value for item, part in zip(declared, parts, strict=True)}
    keeps = _condition(output, table)
    found_key = _key(output, declared, columns, key)
    told = [
        *(output.source, output.versions, list(found_key), output.keep_when, output.deletes, output.deleted_column),
        *[[name, columns[name], value.sql(DIALECT)] for name, value in values.items()],
        output.to.model_dump(mode="json", exclude=_NO_ROWS),
    ]
    return Compiled(
        columns,
        found_key,
        values,
        {item.name: part.uncast for item, part in zip(declared, parts, strict=True) if part.uncast is not None},
        keeps,
        {item.name: part.origins for item, part in zip(declared, parts, strict=True)},
        hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16],
    )


def rows_kept(item: Compiled, rows: exp.Expr, names: Sequence[str] | None = None) -> exp.Query:
    """Return the mapped rows of a table that are delivered, with these columns of the output (default: all)."""
    found: exp.Select = query("SELECT $selected FROM $rows AS r", selected=item.selected(names), rows=rows)
    return found if item.keeps is None else found.where(item.keeps.copy())


@dataclass(frozen=True)
class _Part:
    """A compiled column: its value and type, the value before a cast that can fail, and the columns that it reads."""

    value: exp.Expr
    type: str
    uncast: exp.Expr | None
    origins: frozenset[str]

    @classmethod
    def of(cls, output: Output, item: OutputColumn, table: Mapping[str, str], asked: Types) -> _Part:
        spelled = {name.lower(): name for name in table}
        place = Place(f"output/{output.name}", "column", item.name, item.expression or "computed")
        if item.expression:
            tree = parse(place)
            if tree.find(exp.Window):
                raise place.error("an output computes each row alone", next_step="make it a rule of the source")
            named = list(tree.find_all(exp.Column))
            for node in named:
                if node.table:
                    raise place.error(f"{node.sql(DIALECT)!r} is a path", next_step="make it a rule of the source")
                _require(output, item, node.name, spelled, table)
            names = {spelled[node.name.lower()] for node in named}
            plain = total(tree.transform(lambda node: _spelled(node, spelled, "")))
            value = attempt(total(tree.transform(lambda node: _spelled(node, spelled, ROW))))
        else:
            name = _require(output, item, item.of or item.name, spelled, table)
            names, plain, value = {name}, column(name), column(name, ROW)
        try:
            kind = asked.of(plain, table)
        except UntypedError as error:
            raise place.error("it has no type", received=str(error)) from error
        if not item.type:
            kept = stored(kind)
            if kept is None:
                raise ConfigError(
                    f"column {item.name!r} of output {output.name!r}",
                    received=f"a value of type {kind}",
                    next_step="give the column a type, such as text",
                )
            return cls(value if kind == kept else _cast(value, kept), kept, None, frozenset(names))
        wanted = described(item.type)
        return cls(_cast(value, wanted), wanted, None if kind == wanted else value, frozenset(names))


def _cast(value: exp.Expr, kind: str) -> exp.Expr:
    return exp.TryCast(this=value.copy(), to=exp.DataType.build(kind, dialect=DIALECT))


def _spelled(node: exp.Expr, spelled: Mapping[str, str], table: str) -> exp.Expr:
    return column(spelled[node.name.lower()], table) if isinstance(node, exp.Column) else node


def _require(
    output: Output, item: OutputColumn, name: str, spelled: Mapping[str, str], table: Mapping[str, str]
) -> str:
    if name.lower() not in spelled:
        raise ConfigError(
            f"column {item.name!r} of output {output.name!r}",
            received=f"{name!r}, which is no column of {output.source}",
            known=list(table),
            next_step=nearest(name, list(table)),
        )
    return spelled[name.lower()]


def _all_columns(output: Output, table: Mapping[str, str]) -> tuple[OutputColumn, ...]:
    names = [name for name in table if not name.startswith(_OF_PLATFORM)]
    if output.versions == "all":
        names += [name for name in _OF_VERSIONS if name in table]
    return tuple(OutputColumn(name=name) for name in names)


def _condition(output: Output, table: Mapping[str, str]) -> exp.Expr | None:
    if not output.keep_when:
        return None
    tree = parse(Place(f"output/{output.name}", "condition", "keep_when", output.keep_when))
    known = {name.lower() for name in table}
    for node in tree.find_all(exp.Column):
        if node.name.lower() not in known or node.table:
            raise ConfigError(
                f"keep_when of output {output.name!r}",
                received=f"{node.sql(DIALECT)!r}, which is no column of {output.source}",
                known=list(table),
                next_step=nearest(node.name, list(table)),
            )
    return row_condition(output.keep_when, table, ROW)


def _key(
    output: Output, declared: Sequence[OutputColumn], columns: Mapping[str, str], of_source: Sequence[str]
) -> tuple[str, ...]:
    """Return the key of the output: the declared one, or the columns that are the key of the source."""
    wanted = tuple(of_source) + ((_VALID_FROM,) if output.versions == "all" and of_source else ())
    found = output.key
    if not found:
        names = {item.of or item.name: item.name for item in declared if not item.expression and not item.type}
        found = tuple(names[name] for name in wanted if name in names)
        found = found if len(found) == len(wanted) else ()
    unknown = [name for name in found if name not in columns]
    if unknown:
        raise ConfigError(
            f"key of output {output.name!r}",
            received=repr(unknown[0]),
            known=list(columns),
            next_step=nearest(unknown[0], list(columns)),
        )
    needs = (
        output.mode == "incremental"
        or (isinstance(output.to, TableTarget) and output.deletes != "hard")
        or isinstance(output.to, TopicTarget)
    )
    if needs and not found:
        raise ConfigError(
            f"key of output {output.name!r}",
            received="no key; an output to a topic, mode: incremental, and deletes: soft or ignore need one",
            known=list(columns),
            next_step="declare key: the columns of the output that identify a row",
        )
    return found
