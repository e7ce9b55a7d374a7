"""Makes typed rows of raw rows: all columns of the contract, and the first fault of each row."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from sqlglot import exp

from dataops_assets.config.contract import Column, EvolvedColumn
from dataops_assets.config.source import Source
from dataops_assets.config.types import sql_type
from dataops_assets.connections.formats.isolated_input import attempt
from dataops_assets.connections.formats.null_words import present
from dataops_assets.connections.formats.staging import RawField, RawRows
from dataops_assets.engines.base import Session
from dataops_assets.errors import DataOpsError, StorageError
from dataops_assets.rules.types import types
from dataops_assets.sql import DIALECT, Relation, alias, all_rows, column, columns, literal, query, values
from dataops_assets.steps.merging.row_identity import delete_marker, has_markers
from dataops_assets.steps.parsing.computed_columns import Computed, computed_columns, extract_times, with_computed
from dataops_assets.steps.parsing.corrections import Corrected
from dataops_assets.steps.parsing.filtered_rows import unreadable_condition, with_filtered
from dataops_assets.steps.parsing.raw_inputs import RawInputs
from dataops_assets.steps.parsing.rejected_rows import MALFORMED, faults_of_types, with_markers
from dataops_assets.steps.parsing.rows_outside_period import input_periods, with_outside
from dataops_assets.steps.parsing.typed_values import TextMarks, converted, default_of, is_type, marks_for

_SYSTEM = {"s_fault": "INTEGER", "s_left_out": "VARCHAR"}


@dataclass(frozen=True)
class TypedRows:
    """The typed rows of inputs, as a table of the session, and what they were made of.

    * `table` has the contract's columns, `s_input_id`, `s_row_id`, `s_fault` and `s_left_out`.
    * `s_fault` is null for a row that parsed. It is FILTERED for a row that is not kept, MALFORMED for a record without
      fields, else twice the number of the first wrong column, plus one for a null that is not allowed; or
      `fault_outside`.
    * `s_left_out` are the numbers of the columns whose value was left out because of its type, as `1,3`.
    * `errors`: the inputs whose rows the engine cannot compute.
    """

    source: Source
    raw: RawInputs
    corrected: Corrected
    table: Relation
    errors: Mapping[str, DataOpsError] = field(default_factory=dict)

    def parsed(self, input_ids: Sequence[str]) -> exp.Query:
        """Return the parsed rows of these inputs, as the lake stores them."""
        rows: exp.Query = query(
            "SELECT $names, s_input_id, s_row_id FROM $typed AS t WHERE s_fault IS NULL",
            names=columns(self.source.column_names),
            typed=self.table,
        )
        return rows.where(is_one_of(input_ids))

    def without_markers(self, input_ids: Sequence[str]) -> exp.Query:
        """Return the parsed rows but delete markers, because contracts and distributions do not apply to them."""
        rows = self.parsed(input_ids)
        return rows.where(exp.not_(delete_marker(self.source, "t"))) if has_markers(self.source) else rows


def type_rows(session: Session, source: Source, raw: RawInputs, corrected: Corrected) -> TypedRows:
    """Compute the typed rows of all inputs that were read.

    An input whose rows the engine cannot compute gets an error, and the others are computed. Raises ConfigError for a
    wrong default, StorageError where the engine has no room.
    """
    computed = computed_columns(source)
    times = {input_id: told.extract_time for input_id, told in raw.told.items()}
    extracted = extract_times(session, source, times) if computed else None
    # an input whose name does not tell its period was refused
    periods = input_periods(session, source, {key: told for key, told in raw.told.items() if key not in raw.errors})
    typing = _Typing(source, raw, corrected, _defaults(source), computed, extracted, periods)
    wanted, errors = raw.input_ids, dict[str, DataOpsError]()
    while True:
        made = attempt("several inputs", session.create, typing.rows_of(wanted))
        if isinstance(made, Relation):
            return TypedRows(source, raw, corrected, made, errors)
        # a store that is full or away is no input's fault
        found = {} if isinstance(made, StorageError) else _not_computable(session, typing, wanted)
        if not found:
            raise made
        errors |= found
        wanted = [input_id for input_id in wanted if input_id not in errors]


def is_one_of(input_ids: Sequence[str], name: str = "") -> exp.Expr:
    """Return the condition that a row of the table `name` is of one of these inputs."""
    if not input_ids:
        return exp.false()
    return exp.In(this=column("s_input_id", name), expressions=[literal(input_id) for input_id in input_ids])


def fields_of(item: Column, rows: RawRows) -> list[RawField]:
    """Return the fields with the values of the column; its present name comes first."""
    return [rows.by_name[name] for name in item.raw_names if name in rows.by_name]


def _defaults(source: Source) -> dict[str, exp.Expr]:
    """Return the declared defaults by column, in the column's type. Raises ConfigError for a wrong default."""
    with types() as asked:
        found = {item.name: default_of(item, asked) for item in source.columns}
    return {name: default for name, default in found.items() if default is not None}


def _not_computable(session: Session, typing: _Typing, input_ids: Sequence[str]) -> dict[str, DataOpsError]:
    """Return the inputs whose rows alone cannot be computed, with their errors. Halves the inputs until it has them."""
    made = attempt(typing.raw.names[input_ids[0]], session.create, typing.rows_of(input_ids))
    if isinstance(made, Relation):
        return {}
    if len(input_ids) == 1:
        return {input_ids[0]: made}
    middle = len(input_ids) // 2
    return {
        **_not_computable(session, typing, input_ids[:middle]),
        **_not_computable(session, typing, input_ids[middle:]),
    }


@dataclass(frozen=True)
class _TypedColumn:
    """The expressions of one column, each computed from the one before.

    * `given`: its raw value. `made`: the value in the column's type. `result`: with the default.
    * `is_wrong`: the row has a value of another type, and is rejected. None if that cannot be.
    * `left_out`: the number of the column, where such a value is left out. None if it is rejected instead.
    * `is_null`: the row has a null that is not allowed. None if nulls are allowed.
    """

    given: exp.Expr
    made: exp.Expr
    result: exp.Expr
    is_wrong: exp.Expr | None
    left_out: exp.Expr | None
    is_null: exp.Expr | None


@dataclass(frozen=True)
class _Typing:
    """How raw rows become typed rows: the contract, the corrections, the defaults by column, and what is computed.

    * `extracted`, `periods`: the extract times and the declared periods of the inputs; None if they are not needed.
    """

    source: Source
    raw: RawInputs
    corrected: Corrected
    defaults: Mapping[str, exp.Expr]
    computed: Computed | None
    extracted: Relation | None
    periods: Relation | None

    def rows_of(self, input_ids: Collection[str]) -> exp.Query:
        """Return the typed rows of these inputs, see `TypedRows`."""
        wanted = set(input_ids)
        selects = [self._typed(rows, marks, wanted) for rows, marks in self.raw.rows if wanted & set(rows.input_ids)]
        if not selects:
            kinds = {item.name: sql_type(item.type) for item in self.source.columns}
            return values([], {"s_input_id": "VARCHAR", "s_row_id": "BIGINT", **kinds, **_SYSTEM})
        return all_rows(selects)

    def _typed(self, rows: RawRows, marks: TextMarks, wanted: Collection[str]) -> exp.Query:
        corrected = self.corrected if self.corrected.concerns(rows) else Corrected()
        typed = [self._column(index, rows, marks, corrected) for index in range(len(self.source.columns))]
        raw_rows = corrected.joined(rows) if corrected.columns else query("SELECT * FROM $rows AS r", rows=rows.query)
        others = [key for key in rows.input_ids if key not in wanted]
        if others:
            raw_rows = raw_rows.where(exp.not_(is_one_of(others, "r")))
        given = [*(item.given for item in typed), *columns(corrected.names)]
        left_out = [item.left_out for item in typed if item.left_out is not None]
        wrong = {index: item.is_wrong.copy() for index, item in enumerate(typed) if item.is_wrong is not None}
        further = [*faults_of_types(self.source, wrong), *unreadable_condition(self.source, wrong)]
        found = query(
            "SELECT s_input_id, s_row_id, $results, CAST($fault AS INTEGER) AS s_fault, $left_out AS s_left_out, "
            "$wrong FROM (SELECT s_input_id, s_row_id, s_problem, $kept, $made FROM ("
            "SELECT s_input_id, s_row_id, s_problem, $given FROM $rows AS r) AS g) AS m",
            results=[item.result for item in typed],
            fault=_first_fault(self.source, typed),
            left_out=exp.Anonymous(this="concat_ws", expressions=[literal(","), *left_out])
            if left_out
            else exp.cast(exp.null(), "VARCHAR"),
            wrong=[*further, *(self.computed.unknown(wrong) if self.computed else ())],
            kept=columns(item.alias_or_name for item in given),
            made=[item.made for item in typed],
            given=given,
            rows=raw_rows,
        )
        if self.computed is not None and self.extracted is not None:
            found = with_computed(self.computed, found, self.extracted, [item.alias for item in further])
        if self.periods is not None:
            found = with_outside(self.source, found, self.periods, [item.alias for item in further])
        return with_markers(self.source, with_filtered(self.source, found))

    def _column(self, index: int, rows: RawRows, marks: TextMarks, corrected: Corrected) -> _TypedColumn:
        item = self.source.columns[index]
        target = exp.DataType.build(sql_type(item.type), dialect=DIALECT)
        value, made = column(f"v{index}"), column(f"t{index}")
        fields = fields_of(item, rows)
        conversion = self._conversion(value, item, rows, marks) if fields else value
        is_given = query("$value IS NOT NULL", value=value)
        # a value that is taken as it is cannot have another type
        is_kept = conversion == value
        if index in corrected.columns:
            is_kept = is_kept and item.type == "text"
            is_given = corrected.is_given(index, is_given)
            conversion = corrected.value(index, item, conversion)
        has_other_type = None
        if not is_kept:
            has_other_type = query("$is_given AND $made IS NULL", is_given=is_given, made=made)
        is_left_out = self.source.drift.changed_type == "ignore" and (item.nullable or item.name in self.defaults)
        left_out = None
        if has_other_type is not None and is_left_out:
            left_out = query("CASE WHEN $changed THEN $number END", changed=has_other_type, number=str(index))
        result: exp.Expr = made
        if item.name in self.defaults:
            result = query("coalesce($made, $default)", made=made, default=self.defaults[item.name])
        return _TypedColumn(
            given=alias(_raw_value(fields) if fields else exp.cast(exp.null(), target), value.name),
            made=alias(conversion, made.name),
            result=alias(exp.cast(result, target), item.name),
            is_wrong=None if is_left_out else has_other_type,
            left_out=left_out,
            is_null=self._is_null(item, made, rows),
        )

    def _conversion(self, value: exp.Column, item: Column, rows: RawRows, marks: TextMarks) -> exp.Expr:
        """Convert the value of a column to its type; null if it cannot be converted."""
        raw_type = fields_of(item, rows)[0].type
        if isinstance(item, EvolvedColumn):
            # nobody said that these bytes are text
            is_binary = raw_type == "BLOB"
            return query("hex($value)", value=value) if is_binary else converted(value, raw_type, item, marks)
        if self.source.drift.changed_type == "fail" and rows.is_typed and not is_type(raw_type, item):
            return exp.cast(exp.null(), exp.DataType.build(sql_type(item.type), dialect=DIALECT))
        return converted(value, raw_type, item, marks_for(item, marks))

    def _is_null(self, item: Column, made: exp.Column, rows: RawRows) -> exp.Expr | None:
        if item.nullable or item.name in self.defaults or item.expression:
            return None
        is_null: exp.Expr = query("$made IS NULL", made=made)
        if self.source.drift.missing_column == "evolve" and (lacking := self.raw.lacking(rows, item)):
            is_null = exp.and_(is_null, exp.not_(is_one_of(lacking)))
        return is_null


def _raw_value(fields: Sequence[RawField]) -> exp.Expr:
    # of a column's names an input has one, but inputs of one query may have different ones
    texts = [present(column(raw.column), raw) for raw in fields]
    return texts[0] if len(texts) == 1 else exp.func("coalesce", *texts)


def _first_fault(source: Source, typed: Sequence[_TypedColumn]) -> exp.Expr:
    """Return the `s_fault` of a row. A value of another type comes before a null, then the name of the column decides.

    The order of the contract decides nothing: columns in another order give the same quarantine.
    """
    fault: exp.Expr = query("CASE WHEN s_problem IS NOT NULL THEN $malformed END", malformed=MALFORMED)
    places = sorted(range(len(typed)), key=lambda index: source.columns[index].name)
    wrong = [(typed[index].is_wrong, 2 * index) for index in places]
    nulls = [(typed[index].is_null, 2 * index + 1) for index in places]
    for condition, number in (*wrong, *nulls):
        if condition is not None:
            fault.append("ifs", exp.If(this=condition, true=literal(number)))
    return fault
