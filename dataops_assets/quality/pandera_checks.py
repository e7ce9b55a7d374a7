"""Compiles single pandera checks to SQL conditions on rows or tables.

Two checks are the project's own, `share_in_range` for columns and `row_count_between` for tables; pandera evaluates
them in pandas like its own.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pandera import dtypes
from pandera.pandas import Check
from sqlglot import exp

from dataops_assets.errors import ConfigError, nearest
from dataops_assets.quality.families import FAMILIES, Family
from dataops_assets.quality.patterns import engine_pattern
from dataops_assets.sql import column, conjunction, literal, query

_NUMBERS = ("integer", "double", "decimal", "boolean")
_TIMES = ("date", "timestamp", "timestamptz")


@dataclass(frozen=True)
class Condition:
    """A check in SQL.

    `failing` is the aggregate that counts failing rows, `holds` the aggregate that is true when the check holds (None:
    no row fails), `fails` the condition of a failing row (None: the check is not about rows), `limit` what is allowed,
    in words.
    """

    failing: exp.Expr
    holds: exp.Expr | None = None
    fails: exp.Expr | None = None
    limit: str = ""


def family_of_dtype(dtype: Any) -> Family | None:
    """Return the type family of a pandera type; None if any type is allowed (no type, object, category).

    Raises ConfigError for a type that no table has.
    """
    if dtype is None or dtypes.is_category(dtype) or str(dtype) == "object":
        return None
    if dtypes.is_datetime(dtype):
        return "timestamptz" if getattr(dtype, "tz", None) is not None else "timestamp"
    tests: tuple[tuple[Callable[[Any], bool], Family], ...] = (
        (dtypes.is_bool, "boolean"),
        (dtypes.is_int, "integer"),
        (dtypes.is_uint, "integer"),
        (dtypes.is_float, "double"),
        (dtypes.is_string, "text"),
        (dtypes.is_binary, "binary"),
    )
    for is_of, family in tests:
        if is_of(dtype):
            return family
    if dtypes.is_subdtype(dtype, dtypes.Decimal):
        return "decimal"
    if dtypes.is_subdtype(dtype, dtypes.Date):
        return "date"
    raise ConfigError(
        "compiling a contract", received=f"type {dtype}", known=[*dict.fromkeys(FAMILIES.values()), "decimal"]
    )


def count_where(condition: exp.Expr) -> exp.Expr:
    """Count the rows for which `condition` is true."""
    return query("count(*) FILTER (WHERE $condition)", condition=condition)


# --- checks of rows --------------------------------------------------------------------------------------------------

_Literal = Callable[[Any], exp.Expr]
_Statistics = Mapping[str, Any]


def _compared(template: str, name: str) -> Callable[[exp.Expr, _Statistics, _Literal], exp.Expr]:
    def passes(value: exp.Expr, given: _Statistics, as_literal: _Literal) -> exp.Expr:
        return query(template, value=value, bound=as_literal(given[name]))

    return passes


def _in_range(value: exp.Expr, given: _Statistics, as_literal: _Literal) -> exp.Expr:
    lower = "$value >= $bound" if given.get("include_min", True) else "$value > $bound"
    upper = "$value <= $bound" if given.get("include_max", True) else "$value < $bound"
    return conjunction(
        [
            query(lower, value=value, bound=as_literal(given["min_value"])),
            query(upper, value=value, bound=as_literal(given["max_value"])),
        ]
    )


def _is_in(value: exp.Expr, members: Iterable[Any], as_literal: _Literal) -> exp.Expr:
    literals = [as_literal(member) for member in members if not _is_missing(member)]
    return exp.In(this=value.copy(), expressions=literals) if literals else exp.false()


def _isin(value: exp.Expr, given: _Statistics, as_literal: _Literal) -> exp.Expr:
    return _is_in(value, given["allowed_values"], as_literal)


def _notin(value: exp.Expr, given: _Statistics, as_literal: _Literal) -> exp.Expr:
    return query("NOT ($inside)", inside=_is_in(value, given["forbidden_values"], as_literal))


def _matches(value: exp.Expr, given: _Statistics, _: _Literal) -> exp.Expr:
    pattern = engine_pattern(given["pattern"])
    return query("regexp_matches($value, $pattern)", value=value, pattern=rf"\A(?:{pattern})")


def _contains(value: exp.Expr, given: _Statistics, _: _Literal) -> exp.Expr:
    pattern = engine_pattern(given["pattern"])
    return query("regexp_matches($value, $pattern)", value=value, pattern=pattern)


def _length(value: exp.Expr, given: _Statistics, _: _Literal) -> exp.Expr:
    exact = given.get("exact_value")
    bounds = {">=": exact if exact is not None else given.get("min_value")}
    bounds["<="] = exact if exact is not None else given.get("max_value")
    templates = {">=": "length($value) >= $bound", "<=": "length($value) <= $bound"}
    return conjunction(
        query(templates[sign], value=value, bound=int(bound)) for sign, bound in bounds.items() if bound is not None
    )


_ROW_CHECKS: dict[str, Callable[[exp.Expr, _Statistics, _Literal], exp.Expr]] = {
    "equal_to": _compared("$value = $bound", "value"),
    "not_equal_to": _compared("$value <> $bound", "value"),
    "greater_than": _compared("$value > $bound", "min_value"),
    "greater_than_or_equal_to": _compared("$value >= $bound", "min_value"),
    "less_than": _compared("$value < $bound", "max_value"),
    "less_than_or_equal_to": _compared("$value <= $bound", "max_value"),
    "in_range": _in_range,
    "isin": _isin,
    "notin": _notin,
    "str_matches": _matches,
    "str_contains": _contains,
    "str_startswith": _compared("starts_with($value, $bound)", "string"),
    "str_endswith": _compared("suffix($value, $bound)", "string"),
    "str_length": _length,
}
# in pandas a missing value differs from every value
_TRUE_OF_NULL = ("not_equal_to", "notin")


# --- checks of a column or table as a whole --------------------------------------------------------------------------


def share_in_range(min_value: float, max_value: float, share: float) -> Check:
    """Check of a column: at least `share` (0 to 1) of its values that are not null lie in [min_value, max_value]."""

    def passes(values: Any) -> bool:
        inside = int(values.between(min_value, max_value).sum())
        there = int(values.notna().sum())
        return there == 0 or inside / there >= share

    return Check(
        passes,
        name="share_in_range",
        error=f"share_in_range({min_value}, {max_value}, {share})",
        statistics={"min_value": min_value, "max_value": max_value, "share": share},
    )


def row_count_between(min_value: int, max_value: int, *, extracted_until: dt.date | None = None) -> Check:
    """Check of a table: it has at least `min_value` and at most `max_value` rows.

    With `extracted_until`, only inputs extracted on that day or before are checked: for example the history of a feed,
    which comes before its deliveries. It is a day in the time zone of the source. Rows without `s_input_id` are not
    checked then.
    """
    before = _day_after(extracted_until)

    def passes(rows: Any) -> bool:
        is_asked = not before or ("s_input_id" in rows and len(rows) and _days(rows).min() < before)
        return not is_asked or min_value <= len(rows) <= max_value

    scope = f" where extracted until {extracted_until}" if extracted_until else ""
    return Check(
        passes,
        name="row_count_between",
        error=f"row_count_between({min_value}, {max_value}){scope}",
        statistics={"min_value": min_value, "max_value": max_value, "extracted_until": extracted_until},
    )


def _days(rows: Any) -> Any:
    """Return the ids of the rows' inputs without dashes. All begin with the day then, also older ones."""
    return rows["s_input_id"].str.replace("-", "")


def _day_after(day: dt.date | None) -> str:
    """Return the lower bound of the ids without dashes of inputs extracted after a day; '' without a day."""
    return f"{day + dt.timedelta(days=1):%Y%m%d}" if day else ""


def _share_in_range(value: exp.Expr, check: Check, as_literal: _Literal) -> Condition:
    given = check.statistics or {}
    inside = _in_range(value, given, as_literal)
    outside = query("NOT ($inside)", inside=inside)
    holds = query(
        "count($value) = 0 OR CAST($inside AS DOUBLE) / count($value) >= CAST($share AS DOUBLE)",
        value=value,
        inside=count_where(inside),
        share=repr(float(given["share"])),
    )
    return Condition(count_where(outside), exp.paren(holds), outside, f"at most {1 - given['share']:.4g} of them may")


def _row_count_between(given: _Statistics) -> Condition:
    least, most = int(given["min_value"]), int(given["max_value"])
    holds = query("count(*) BETWEEN $least AND $most", least=least, most=most)
    limit = f"expected between {least:,} and {most:,}"
    until = given.get("extracted_until")
    if until:
        other = query("coalesce(min(replace(s_input_id, '-', '')) >= $day, TRUE)", day=literal(_day_after(until)))
        holds = exp.paren(exp.or_(other, holds))
        limit += f" where extracted until {until}"
    return Condition(literal(0), holds, limit=limit)


def _unique_values_eq(value: exp.Expr, check: Check, as_literal: _Literal) -> Condition:
    members = (check.statistics or {})["values"]
    wanted = {member for member in members if not _is_missing(member)}
    wants_null = any(map(_is_missing, members))
    inside = _is_in(value, sorted(wanted, key=repr), as_literal)
    allows_null = check.ignore_na or wants_null
    known = query(
        "$value IS NULL OR ($inside)" if allows_null else "$value IS NOT NULL AND ($inside)", value=value, inside=inside
    )
    strange = query("NOT ($known)", known=known)
    holds = query(
        "$strange = 0 AND count(DISTINCT $value) = $many", strange=count_where(strange), value=value, many=len(wanted)
    )
    if wants_null:
        # nulls that are ignored do not occur
        there = query("$nulls > 0", nulls=count_where(query("$value IS NULL", value=value)))
        holds = exp.and_(holds, exp.false() if check.ignore_na else there)
    return Condition(count_where(strange), exp.paren(holds), strange, "every one of the values must occur and no other")


# --- compiling -------------------------------------------------------------------------------------------------------

_COLUMN_CHECKS = {"share_in_range": _share_in_range, "unique_values_eq": _unique_values_eq}
_TABLE_CHECKS = {"row_count_between": _row_count_between}


def check_name(check: Check) -> str:
    """Return the name of a check that can be compiled. Raises ConfigError for any other."""
    # pandera's own checks may have another name here; other checks have only their name
    name = check.registry_name or check.name or ""
    known = [*_ROW_CHECKS, *_COLUMN_CHECKS, *_TABLE_CHECKS]
    if name not in known or check.groupby is not None:
        raise ConfigError(
            "compiling a pandera check",
            received=f"{check.name!r}, which the engine cannot evaluate",
            known=known,
            next_step=nearest(name, known) or "use one of these checks",
        )
    return name


def require_compilable(check: Check) -> None:
    """Raise ConfigError if no column could have this check."""
    if check_name(check) in ("str_matches", "str_contains"):
        engine_pattern((check.statistics or {})["pattern"])


def compile_table_check(check: Check) -> Condition:
    """Compile a check of a DataFrameSchema. Raises ConfigError if it is not a check of a whole table."""
    name = check_name(check)
    if name not in _TABLE_CHECKS:
        raise ConfigError(
            "compiling a pandera check of the whole table",
            received=name,
            known=list(_TABLE_CHECKS),
            next_step="put checks of values at their columns",
        )
    return _TABLE_CHECKS[name](check.statistics or {})


def compile_column_check(check: Check, name: str, family: Family) -> Condition:
    """Compile a check of the column `name`. Raises ConfigError if it does not fit the column's type."""
    kind = check_name(check)
    attempted = f"compiling check {kind} of column {name!r}"
    if kind in _TABLE_CHECKS:
        raise ConfigError(attempted, received="a check of a whole table", next_step="put it at the schema")
    if kind.startswith("str_") and family != "text":
        raise ConfigError(attempted, received=f"a column of type {family}", known=["text"])
    value: exp.Expr = column(name)
    if family == "boolean":
        # pandas takes true for 1
        value = query("CAST($value AS TINYINT)", value=value)

    def as_literal(given: Any) -> exp.Expr:
        found = _literal(given, family)
        if found is None:
            raise ConfigError(
                attempted, received=f"{given!r} for a column of type {family}", next_step="give a value of that type"
            )
        return found

    if kind in _COLUMN_CHECKS:
        return _COLUMN_CHECKS[kind](value, check, as_literal)
    given = check.statistics or {}
    passes = _ROW_CHECKS[kind](value, given, as_literal)
    fails_null = not check.ignore_na and not _passes_null(kind, given)
    broken = query(
        "$value IS NULL OR NOT ($passes)" if fails_null else "$value IS NOT NULL AND NOT ($passes)",
        value=value,
        passes=passes,
    )
    return Condition(count_where(broken), fails=broken)


def _passes_null(kind: str, given: _Statistics) -> bool:
    if kind == "isin":
        return any(_is_missing(member) for member in given["allowed_values"])
    if kind == "notin":
        return not any(_is_missing(member) for member in given["forbidden_values"])
    return kind in _TRUE_OF_NULL


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def _literal(value: Any, family: Family) -> exp.Expr | None:
    """Return a literal to compare with a column of this family; None if they cannot be compared."""
    if isinstance(value, np.generic):
        value = value.item()
    if family in _NUMBERS:
        return _number(value)
    if family == "text" and isinstance(value, str):
        return literal(value)
    if family in _TIMES and isinstance(value, (str, dt.date, np.datetime64)):
        return _time(value, family)
    return None


def _number(value: Any) -> exp.Expr | None:
    if isinstance(value, (bool, int)):
        return literal(int(value))
    if isinstance(value, float):
        # the engine reads a literal with a decimal point as a decimal, which compares differently
        return exp.cast(literal(repr(value)), "DOUBLE")
    return literal(value) if isinstance(value, decimal.Decimal) else None


def _time(value: Any, family: Family) -> exp.Expr | None:
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return None if family == "timestamptz" else literal(value)
    try:
        moment = pd.Timestamp(value).to_pydatetime(warn=False)
    except ValueError:
        return None
    return literal(moment) if (moment.tzinfo is not None) == (family == "timestamptz") else None
