"""Contracts: pandera schemas that the engine evaluates as SQL.

A schema is compiled into one aggregate query, so a check of millions of rows returns one row of numbers. The result is
the same as pandera's for these rows in pandas (tests compare them). Types are compared by family (any integer type is
an integer), and NaN counts as null, as in pandas. A missing member of a set (None, NaN, NaT) is always null; in pandas
that depends on the type.

A schema that changes data (coerce, default, parsers, ...) or holds a check that cannot be compiled is refused.
"""

from __future__ import annotations

import importlib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pandera.pandas import Check, Column, DataFrameModel, DataFrameSchema
from sqlglot import exp

from dataops_assets.config.contract import SYSTEM_PREFIX
from dataops_assets.engines.base import Session
from dataops_assets.errors import ConfigError, nearest
from dataops_assets.quality.families import family_of
from dataops_assets.quality.pandera_checks import (
    Condition,
    compile_column_check,
    compile_table_check,
    count_where,
    family_of_dtype,
    require_compilable,
)
from dataops_assets.sql import alias, all_rows, column, columns, literal, query

_EXAMPLES = 3
_LONGEST_EXAMPLE = 60
# the columns that identify the row of an example, best first, and their names in messages
_ROW_NAMES = {"s_key": "key", "s_row_id": "row"}

Severity = Literal["warn", "fail"]


@dataclass(frozen=True)
class ContractFailure:
    """A failed check of one input, or of all rows if `input_id` is None.

    `column` is '' for a check of the whole table; `failing_rows` is 0 where a check is not about rows. `examples` are
    up to three failing values, each with its row; `message` is a sentence with the numbers and the examples.
    """

    column: str
    check: str
    input_id: str | None
    failing_rows: int
    examples: tuple[str, ...]
    severity: Severity
    message: str


@dataclass(frozen=True)
class _Test:
    """One check over rows. `repeats` names columns whose values together must not repeat."""

    column: str
    check: str
    severity: Severity
    condition: Condition
    repeats: tuple[str, ...] = ()


# --- loading ---------------------------------------------------------------------------------------------------------


def load_contract(reference: str) -> DataFrameSchema:
    """Load the schema named by 'module:attribute', a DataFrameSchema or a DataFrameModel.

    Raises ConfigError if there is none, or if a gate cannot evaluate it.
    """
    attempted = f"loading contract {reference!r}"
    module_name, _, attribute = reference.partition(":")
    if not module_name or not attribute:
        raise ConfigError(attempted, received=repr(reference), next_step="write it as 'module:attribute'")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # a missing import inside the contract's module is another mistake; Python's error describes it
        if error.name is None or not (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise
        raise ConfigError(
            attempted, received=f"no module {error.name!r}", next_step="correct the module's name"
        ) from error
    known = sorted(name for name, value in vars(module).items() if _is_contract(value))
    found: Any = getattr(module, attribute, None)
    if not _is_contract(found):
        raise ConfigError(
            attempted, received=f"no contract {attribute!r}", known=known, next_step=nearest(attribute, known)
        )
    schema = _schema_of(found)
    _refuse_changes(schema, attempted)
    for check in schema.checks:
        compile_table_check(check)
    for item in schema.columns.values():
        family_of_dtype(item.dtype)
        for check in item.checks:
            require_compilable(check)
    return schema


def described(schema: DataFrameSchema) -> dict[str, Any]:
    """Return a contract as values of JSON: the types, limits and checks of its columns and of the table."""
    return {
        "columns": {
            str(name): {
                "type": str(item.dtype),
                "nullable": bool(item.nullable),
                "required": bool(item.required),
                "unique": bool(item.unique),
                "checks": sorted(map(_told, item.checks)),
            }
            for name, item in schema.columns.items()
        },
        "checks": sorted(map(_told, schema.checks)),
        "unique": [list(names) for names in _unique_sets(schema)],
        "strict": str(schema.strict),
        "ordered": bool(schema.ordered),
    }


def _told(check: Check) -> str:
    given = ", ".join(f"{name}={value!r}" for name, value in sorted((check.statistics or {}).items()))
    return f"{_label(check)}({given}), {_severity(check)}"


def validate_contract(schema: DataFrameSchema, types: Mapping[str, str]) -> None:
    """Raise ConfigError if a check does not fit its column, given the table's columns and SQL types."""
    _compiled(schema, types)


def _is_contract(value: Any) -> bool:
    is_model = isinstance(value, type) and issubclass(value, DataFrameModel) and value is not DataFrameModel
    return isinstance(value, DataFrameSchema) or is_model


def _schema_of(contract: Any) -> DataFrameSchema:
    return contract if isinstance(contract, DataFrameSchema) else contract.to_schema()


def _refuse_changes(schema: DataFrameSchema, attempted: str) -> None:
    asked = {
        "index": schema.index is not None,
        "coerce": schema.coerce,
        "parsers": bool(schema.parsers),
        "add_missing_columns": schema.add_missing_columns,
        "drop_invalid_rows": schema.drop_invalid_rows,
        "strict='filter'": schema.strict == "filter",
    }
    for name, item in schema.columns.items():
        asked |= {
            f"{name}.coerce": item.coerce,
            f"{name}.parsers": bool(item.parsers),
            f"{name}.default": item.default is not None,
        }
    found = [name for name, is_asked in asked.items() if is_asked]
    if found:
        raise ConfigError(
            attempted,
            received=f"{', '.join(found)}, but a gate changes no values",
            next_step="declare types and defaults in the source's columns",
        )


# --- evaluating ------------------------------------------------------------------------------------------------------


def evaluate(
    session: Session,
    schema: DataFrameSchema,
    rows: exp.Query,
    *,
    per_input: bool,
    input_ids: Sequence[str] = (),
    headers: Mapping[str, Sequence[str]] | None = None,
) -> list[ContractFailure]:
    """Return the failed checks of the schema for `rows`, by input or for all rows at once; empty if all hold.

    `rows` has `s_input_id` where `per_input`; columns whose names start with `s_` are the platform's own and not
    looked at. `input_ids` are the inputs to check, also those without rows. `headers` gives the raw columns by input,
    for checks of their order and of further columns.

    One aggregate query; a second one for examples when something fails. Raises ConfigError for a check that does not
    fit the type of its column.
    """
    types = dict(session.schema(rows))
    tests = _compiled(schema, types)
    groups: list[str | None] = [*input_ids] if per_input else [None]
    failures = [
        failure
        for input_id in groups
        for failure in _misfits(schema, types, input_id, (headers or {}).get(input_id or ""))
    ]
    found = _measured(session, tests, _without_nan(types, rows), per_input, groups) if tests else []
    broken = [(row, index) for row in found for index in range(len(tests)) if not row[f"s_holds_{index}"]]
    indexes = sorted({index for _, index in broken})
    examples = _examples(session, tests, indexes, _without_nan(types, rows), types, per_input) if indexes else {}
    for row, index in broken:
        test, input_id, failing = tests[index], row["s_input_id"], int(row[f"s_failing_{index}"])
        shown = tuple(examples.get((index, input_id), ()))
        message = _message(test, failing, int(row["s_rows"]), shown)
        failures.append(ContractFailure(test.column, test.check, input_id, failing, shown, test.severity, message))
    order = {input_id: position for position, input_id in enumerate(groups)}
    return sorted(failures, key=lambda failure: order.get(failure.input_id, len(order)))


def _compiled(schema: DataFrameSchema, types: Mapping[str, str]) -> list[_Test]:
    """Compile the checks of values, for the columns that exist."""
    tests = []
    for name, item in _columns(schema, types):
        value = column(name)
        if not item.nullable:
            is_null = query("$value IS NULL", value=value)
            tests.append(_Test(name, "not_nullable", "fail", Condition(count_where(is_null), fails=is_null)))
        if item.unique:
            tests.append(_uniqueness(name, "field_uniqueness", (name,)))
        for check in item.checks:
            condition = compile_column_check(check, name, family_of(types[name]))
            tests.append(_Test(name, _label(check), _severity(check), condition))
    for names in _unique_sets(schema):
        if all(name in types for name in names):
            tests.append(_uniqueness("", f"unique({', '.join(names)})", names))
    tests += [_Test("", _label(check), _severity(check), compile_table_check(check)) for check in schema.checks]
    return tests


def _columns(schema: DataFrameSchema, types: Mapping[str, str]) -> Iterator[tuple[str, Column]]:
    """Return the schema's columns that exist; a pattern stands for every column that matches it."""
    for name, item in schema.columns.items():
        if item.regex:
            yield from ((found, item) for found in _own(types) if re.match(name, found))
        elif name in types:
            yield name, item


def _own(names: Iterator[str] | Mapping[str, str] | Sequence[str]) -> list[str]:
    """Return the columns without the platform's own."""
    return [name for name in names if not name.startswith(SYSTEM_PREFIX)]


def _unique_sets(schema: DataFrameSchema) -> list[tuple[str, ...]]:
    unique = schema.unique or []
    if isinstance(unique, str):
        return [(unique,)]
    return (
        [tuple(item) for item in unique]
        if unique and not isinstance(unique[0], str)
        else [tuple(unique)]
        if unique
        else []
    )


def _uniqueness(name: str, check: str, names: tuple[str, ...]) -> _Test:
    # as a row, nulls count as values: two nulls are the same value
    row = exp.Anonymous(this="row", expressions=columns(names))
    repeated = query("count(*) - count(DISTINCT $row)", row=row)
    return _Test(name, check, "fail", Condition(exp.paren(repeated)), names)


def _label(check: Check) -> str:
    return str(check.error or check.name)


def _severity(check: Check) -> Severity:
    return "warn" if check.raise_warning else "fail"


def _misfits(
    schema: DataFrameSchema, types: Mapping[str, str], input_id: str | None, header: Sequence[str] | None
) -> Iterator[ContractFailure]:
    """Check the columns themselves: names, order and types."""
    standing = list(header) if header is not None else _own(types)

    def failure(name: str, check: str, message: str) -> ContractFailure:
        return ContractFailure(name, check, input_id, 0, (), "fail", message)

    for name, item in schema.columns.items():
        if item.required and not item.regex and name not in types:
            message = f"column {name} is missing; known: {', '.join(_own(types))}"
            yield failure(name, "column_in_dataframe", message)
        if item.required and item.regex and not any(re.match(name, found) for found in _own(types)):
            yield failure(name, "column_in_dataframe", f"no column matches {name}; known: {', '.join(_own(types))}")
    expected = [name for name, _ in _columns(schema, types)]
    if schema.strict is True:
        for name in (name for name in standing if name not in expected):
            yield failure(name, "column_in_schema", f"column {name} is not in the contract")
    if schema.ordered:
        found = [name for name in standing if name in expected]
        there = [name for name in expected if name in found]
        for place, (name, wanted) in enumerate(itertools.zip_longest(found, there), start=1):
            if name != wanted:
                message = f"columns are out of order: place {place} has {name}, the contract has {wanted}"
                yield failure(str(name), "column_ordered", message)
                break
    for name, item in _columns(schema, types):
        wanted = family_of_dtype(schema.dtype or item.dtype)
        if wanted is not None and family_of(types[name]) != wanted:
            message = f"column {name} is of type {types[name]}, the contract asks for {schema.dtype or item.dtype}"
            yield failure(name, f"dtype('{schema.dtype or item.dtype}')", message)


def _without_nan(types: Mapping[str, str], rows: exp.Query) -> exp.Query:
    nan = exp.cast(literal("NaN"), "DOUBLE")
    values = [
        alias(query("nullif($value, $nan)", value=column(name), nan=nan), name)
        if family_of(kind) == "double"
        else column(name)
        for name, kind in types.items()
    ]
    return query("SELECT $values FROM $rows AS r", values=values, rows=rows)


def _measured(
    session: Session, tests: Sequence[_Test], rows: exp.Query, per_input: bool, groups: Sequence[str | None]
) -> list[dict[str, Any]]:
    """Count the rows of each input, and for each test the failing rows and whether it holds."""
    aggregates: list[exp.Expression] = [alias(query("count(*)"), "s_rows")]
    for index, test in enumerate(tests):
        failing = test.condition.failing
        holds = query("$failing = 0", failing=failing) if test.condition.holds is None else test.condition.holds
        aggregates += [alias(failing, f"s_failing_{index}"), alias(holds, f"s_holds_{index}")]
    whole = query(
        "SELECT CAST(NULL AS VARCHAR) AS s_input_id, $aggregates FROM $rows AS r", aggregates=aggregates, rows=rows
    )
    if not per_input:
        return session.fetch(whole).to_pylist()
    by_input = query(
        "SELECT s_input_id, $aggregates FROM $rows AS r GROUP BY s_input_id", aggregates=aggregates, rows=rows
    )
    found = session.fetch(by_input).to_pylist()
    with_rows = {row["s_input_id"] for row in found}
    without_rows = [input_id for input_id in groups if input_id not in with_rows]
    if without_rows:
        nothing = session.fetch(whole.where(exp.false())).to_pylist()[0]
        found += [{**nothing, "s_input_id": input_id} for input_id in without_rows]
    return found


def _examples(
    session: Session,
    tests: Sequence[_Test],
    indexes: Sequence[int],
    rows: exp.Query,
    types: Mapping[str, str],
    per_input: bool,
) -> dict[tuple[int, str | None], list[str]]:
    """Return up to three failing values by test and input, with the identity of their rows if known."""
    row_name = next((name for name in _ROW_NAMES if name in types), None)
    group = column("s_input_id") if per_input else exp.cast(exp.null(), "VARCHAR")
    selects: list[exp.Query] = []
    for index in indexes:
        test = tests[index]
        names = test.repeats or (test.column,)
        holes: dict[str, Any] = {
            "index": index,
            "group": group,
            "value": _shown(names),
            "name": column(row_name) if row_name else exp.null(),
            "rows": rows,
        }
        if test.repeats:
            found = query(
                "SELECT $index AS s_test, $group AS s_group, $value AS s_value, min($name) AS s_name FROM $rows AS r "
                "GROUP BY $keys HAVING count(*) > 1",
                keys=[*([group] if per_input else []), *columns(names)],
                **holes,
            )
        elif test.condition.fails is not None:
            found = query(
                "SELECT $index AS s_test, $group AS s_group, $value AS s_value, $name AS s_name FROM $rows AS r "
                "WHERE $fails",
                fails=test.condition.fails,
                **holes,
            )
        else:
            continue
        first = query(
            "SELECT s_test, s_group, s_value, CAST(s_name AS VARCHAR) AS s_name FROM $found AS f "
            "QUALIFY row_number() OVER (PARTITION BY s_group ORDER BY s_name, s_value) <= $many",
            found=found,
            many=_EXAMPLES,
        )
        selects.append(first)
    examples: dict[tuple[int, str | None], list[str]] = {}
    for row in session.fetch(all_rows(selects)).to_pylist() if selects else ():
        where = f" ({_ROW_NAMES[row_name]} {row['s_name']})" if row_name else ""
        examples.setdefault((row["s_test"], row["s_group"]), []).append(f"{row['s_value']}{where}")
    return examples


def _shown(names: Sequence[str]) -> exp.Expression:
    """Join the values of some columns to one short text."""
    texts = [query("coalesce(CAST($value AS VARCHAR), 'null')", value=column(name)) for name in names]
    joined = texts[0]
    for text in texts[1:]:
        joined = query("$joined || ', ' || $text", joined=joined, text=text)
    return query("left($joined, $longest)", joined=joined, longest=_LONGEST_EXAMPLE)


def _message(test: _Test, failing: int, rows: int, examples: Sequence[str]) -> str:
    what = f"{test.column}: {test.check}" if test.column else test.check
    counted = f"{failing:,} of {rows:,} rows" if test.column or test.repeats else f"{rows:,} rows"
    limit = f", {test.condition.limit}" if test.condition.limit else ""
    shown = f"; for example {', '.join(examples)}" if examples else ""
    return f"{what} fails for {counted}{limit}{shown}"
