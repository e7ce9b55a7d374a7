"""Computes the columns of the contract that have an expression, from the typed columns of the same row.

The expression is a rule on one row: it reads no other row and no other table, so it gives the same value in every run.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import pyarrow as pa
from sqlglot import exp

from dataops_assets.config.refresh import KeyRefresh
from dataops_assets.config.rules import Rule
from dataops_assets.config.source import Source
from dataops_assets.config.types import sql_type
from dataops_assets.engines.base import Session
from dataops_assets.errors import ConfigError
from dataops_assets.rules.compiler import compile_rules
from dataops_assets.rules.semantics import of_type
from dataops_assets.rules.stage import Stage
from dataops_assets.sql import DIALECT, Relation, alias, column, columns, literal, query
from dataops_assets.steps.merging.row_identity import filtering_columns, made_of
from dataops_assets.steps.parsing.filtered_rows import UNREADABLE
from dataops_assets.steps.parsing.rejected_rows import UNDECIDED, deciding_columns
from dataops_assets.steps.parsing.typed_values import TextMarks, converted

EXTRACT_TIME = "s_extract_time"
"""Name in an expression of the input's extract time: a timestamp in the time zone of the source's discovery."""

_MARKS = TextMarks(has_iso_times=True)
_UNKNOWN = "s_unknown_"
_VALUE = "s_value_"
_READABLE = (EXTRACT_TIME, "s_input_id", "s_row_id")


@dataclass(frozen=True)
class Computed:
    """The computed columns of a source, compiled.

    * `places`: the positions of the computed columns in the contract, each after those that it reads.
    * `stage`: their expressions.
    """

    source: Source
    places: tuple[int, ...]
    stage: Stage

    def unknown(self, wrong: Mapping[int, exp.Expr]) -> list[exp.Expr]:
        """Return a column for each computed column: whether a value that it reads has a wrong type.

        `wrong` are the conditions of wrong types by the position of the column.
        """
        found: list[exp.Expr] = []
        for index in self.places:
            read = made_of(self.source, [self.source.columns[index].name])
            hits = [hit.copy() for place, hit in wrong.items() if self.source.columns[place].name in read]
            known = query("coalesce($any, FALSE)", any=exp.or_(*hits)) if hits else exp.false()
            found.append(alias(known, f"{_UNKNOWN}{index}"))
        return found


def computed_columns(source: Source) -> Computed | None:
    """Compile the computed columns of a source; None if it has none.

    Raises ConfigError (RuleError) with the place in the expression for an unknown name or function, a window, a circle,
    or a value of a type that no column can have.
    """
    places = {item.name: index for index, item in enumerate(source.columns) if item.expression}
    if not places:
        return None
    given = [item for item in source.columns if not item.expression]
    if not given:
        raise ConfigError(
            f"reading the columns of source {source.name!r}",
            received="computed columns only",
            next_step="declare the columns of the raw data from which they are computed",
        )
    extracted = given[0].model_copy(update={"name": EXTRACT_TIME, "type": "timestamp", "tags": {}})
    alone = source.model_copy(
        update={
            "columns": (*given, extracted),
            "rules": tuple(Rule(name=name, expression=source.columns[i].expression) for name, i in places.items()),
            "relations": {},
            "validations": (),
            "refresh": KeyRefresh(type="key", key=(given[0].name,)),
        }
    )
    stage = compile_rules(alone, {}).snapshot
    tagged = {item.name for item in source.columns if "pii" in item.tags}
    readable = {*(item.name for item in source.columns), *_READABLE}
    for name, rule in stage.rules.items():
        if rule.personal and name not in tagged:
            raise ConfigError(
                f"reading the expression of column {name!r}",
                received="a value computed from a column tagged pii",
                next_step="tag this column, too, so that its values are masked: tags: {pii: ...}",
            )
        if absent := sorted(rule.uses - readable):
            raise ConfigError(
                f"reading the expression of column {name!r}",
                received=", ".join(absent),
                known=sorted(readable - {name}),
                next_step="name other columns: this one is known only when the row is in the hub",
            )
    return Computed(source, tuple(places[name] for name in stage.rules), stage)


def extract_times(session: Session, source: Source, times: Mapping[str, dt.datetime]) -> Relation:
    """Make a small table of the extract times of inputs, in the time zone of the source: s_input_id, EXTRACT_TIME."""
    zone = ZoneInfo(source.discovery.timezone)
    local = [time.astimezone(zone).replace(tzinfo=None) for time in times.values()]
    return session.register(
        pa.table(
            {"s_input_id": pa.array(times, pa.string()), EXTRACT_TIME: pa.array(local, pa.timestamp("us"))},
        )
    )


def with_computed(computed: Computed, rows: exp.Query, extracted: Relation, others: Sequence[str]) -> exp.Query:
    """Return typed `rows` with the values and faults of the computed columns, whose values are null before.

    A value is null if a value that it is made of has a wrong type. A value that does not fit the declared type, or a
    null that is not allowed, is the fault of a row without another fault. `extracted`: see `extract_times`. `others`
    are further columns of `rows`; a computed value of a wrong type makes UNDECIDED and UNREADABLE among them true.
    """
    source = computed.source
    own = ["s_input_id", "s_row_id", "s_fault", "s_left_out", *others]
    given = [item.name for item in source.columns if not item.expression]
    found: exp.Query = query(
        "SELECT $given, $unknown, $extract_time FROM $rows AS r JOIN $extracted AS x ON x.s_input_id = r.s_input_id",
        given=columns([*given, *own], "r"),
        unknown=columns([f"{_UNKNOWN}{index}" for index in computed.places], "r"),
        extract_time=column(EXTRACT_TIME, "x"),
        rows=rows,
        extracted=extracted,
    )
    for level in computed.stage.levels:
        found = _with_level(computed, [rule.name for rule in level.rules], found)
    return query(
        "SELECT c.s_input_id, c.s_row_id, $names, $fault AS s_fault, c.s_left_out, $others FROM $rows AS c",
        names=columns(source.column_names, "c"),
        fault=_first_fault(computed),
        others=[_with_wrong(computed, name) for name in others],
        rows=found,
    )


def _with_level(computed: Computed, names: Sequence[str], rows: exp.Query) -> exp.Query:
    """Add the columns `names`, which read only columns of `rows`: each value, and the value in the declared type."""
    valued, made = [], []
    for index in computed.places:
        item = computed.source.columns[index]
        if item.name not in names:
            continue
        rule = computed.stage.rules[item.name]
        value, target = f"{_VALUE}{index}", exp.DataType.build(sql_type(item.type), dialect=DIALECT)
        valued.append(
            alias(
                query(
                    "CASE WHEN NOT $unknown THEN $value END",
                    unknown=column(f"{_UNKNOWN}{index}", "r"),
                    value=of_type(rule.expression, rule.type),
                ),
                value,
            )
        )
        made.append(alias(exp.cast(converted(column(value, "v"), rule.type, item, _MARKS), target), item.name))
    found = query("SELECT r.*, $valued FROM $rows AS r", valued=valued, rows=rows)
    return query("SELECT v.*, $made FROM $rows AS v", made=made, rows=found)


def _is_wrong(computed: Computed, index: int) -> exp.Expr:
    """Return the condition that the computed value does not fit the declared type."""
    made = column(computed.source.columns[index].name, "c")
    return query("NOT $value IS NULL AND $made IS NULL", value=column(f"{_VALUE}{index}", "c"), made=made)


def _first_fault(computed: Computed) -> exp.Expr:
    fault = query("CASE WHEN NOT c.s_fault IS NULL THEN c.s_fault END")
    for index in sorted(computed.places, key=lambda place: computed.source.columns[place].name):
        item = computed.source.columns[index]
        fault.append("ifs", exp.If(this=_is_wrong(computed, index), true=literal(2 * index)))
        if not item.nullable:
            is_null = query("$made IS NULL", made=column(item.name, "c"))
            fault.append("ifs", exp.If(this=is_null, true=literal(2 * index + 1)))
    return exp.cast(fault, "INTEGER")


def _with_wrong(computed: Computed, name: str) -> exp.Expr:
    """Return a further column; one that says whether a decision can be made counts the computed values, too."""
    source = computed.source
    if name not in (UNDECIDED, UNREADABLE):
        return column(name, "c")
    read = deciding_columns(source) if name == UNDECIDED else filtering_columns(source)
    wrong = [_is_wrong(computed, i) for i in computed.places if computed.source.columns[i].name in read]
    return alias(exp.or_(column(name, "c"), *wrong), name)
