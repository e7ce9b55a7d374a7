"""Converts raw values to the types of the contract: one SQL expression for each column, null if a value does not fit.

Nothing is guessed and nothing is lost: `1.5` is no integer, `2013-01-01 12:00` no date, `1.239` no
decimal(10,2), 2 no boolean, and 9007199254740993 (2^53 + 1) no double. A fraction such as `0.1` written as text is the
double nearest to it, as everywhere; a double is the shortest number that is read as this double again. A number may be
written with a fraction of zeros (`517.0`, as some tools write integers). Text without an offset is UTC for a
timestamptz; for a timestamp an offset is applied, the result is UTC. Times are whole microseconds of the years 1 to
9999.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from dataops_assets.config.connection import CsvFormat, ExcelFormat, FixedWidthFormat, RawFormat, TextFormat
from dataops_assets.config.contract import Column
from dataops_assets.config.number_format import Minus
from dataops_assets.config.types import sql_type
from dataops_assets.errors import ConfigError
from dataops_assets.quality.families import family_of
from dataops_assets.rules.types import Types, UntypedError
from dataops_assets.sql import DIALECT, computed_once, literal, query
from dataops_assets.steps.parsing import binary_texts, epoch_times
from dataops_assets.steps.parsing.time_formats import parsed, time_format

_DATE = r"([1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])[-/][0-9]{1,2}[-/][0-9]{1,2}"
_MIDNIGHT = r"([T ]00:00(:00(\.0+)?)?Z?)?"
_MINUTES = r"[T ][0-9]{1,2}:[0-9]{2}"
# more digits than a time has can only be zeros
_SECONDS = r":[0-9]{2}(\.[0-9]{1,6}0*)?"
# both engines know no more than 18 hours
_OFFSET = r"(Z|[+-]((0[0-9]|1[0-7])(:?[0-5][0-9])?|18(:?00)?))"
# only on these days an offset leads to a year that is none
_FIRST_AND_LAST_DAY = r"\s*(0001[-/]0?1[-/]0?1|9999[-/]12[-/]31)[T ].*"
_YEARS = {
    "DATE": ("0001-01-01", "9999-12-31"),
    "TIMESTAMP": ("0001-01-01 00:00:00", "9999-12-31 23:59:59.999999"),
    "TIMESTAMPTZ": ("0001-01-01 00:00:00+00:00", "9999-12-31 23:59:59.999999+00:00"),
}
_SCIENTIFIC = r"\A\s*([+-]?)([0-9]*)\.?([0-9]*)[eE]([+-]?[0-9]+)\s*\z"
_LITERALS = (exp.Literal, exp.Boolean, exp.Null, exp.Neg, exp.Paren, exp.Cast, exp.DataType, exp.DataTypeParam)


@dataclass(frozen=True)
class TextMarks:
    """The notation of values as text. `has_iso_times`: ISO 8601 is accepted beside the declared date formats.

    `minus`: where the sign of a negative number can be. `units`: texts of which one may be beside a number.
    """

    decimal_mark: str = "."
    thousands_mark: str = ""
    has_iso_times: bool = False
    minus: tuple[Minus, ...] = ("before",)
    units: tuple[str, ...] = ()


def marks_for(column: Column, marks: TextMarks) -> TextMarks:
    """Return the notation of a column's values where `marks` is that of its format."""
    declared = column.number_format
    if declared is None:
        return marks
    thousands = marks.thousands_mark if declared.thousands_mark is None else declared.thousands_mark
    decimal = declared.decimal_mark or marks.decimal_mark
    _require_distinct(decimal, thousands)
    return TextMarks(decimal, thousands, marks.has_iso_times, declared.minus, declared.units)


def _require_distinct(decimal: str, thousands: str) -> None:
    """Raise ConfigError if two marks cannot be told apart."""
    if len(decimal) != 1 or len(thousands) > 1 or decimal == thousands or (decimal + thousands).isalnum():
        raise ConfigError(
            "reading decimal_mark and thousands_mark",
            received=f"{decimal!r} and {thousands!r}",
            next_step="give two different single characters, no letters or digits",
        )


def marks_of(layout: RawFormat) -> TextMarks:
    """Return the notation of a format's values. Raises ConfigError for marks that cannot be distinguished."""
    if isinstance(layout, CsvFormat | FixedWidthFormat | TextFormat):
        _require_distinct(layout.decimal_mark, layout.thousands_mark)
        return TextMarks(layout.decimal_mark, layout.thousands_mark)
    if isinstance(layout, ExcelFormat):
        # a cell that holds a time comes as ISO 8601, whatever the texts beside it look like
        return TextMarks(has_iso_times=True)
    return TextMarks()


def converted(value: exp.Expression, raw_type: str, column: Column, marks: TextMarks) -> exp.Expression:
    """Convert `value`, of the SQL type `raw_type`, to the column's type; null if it is null or cannot be converted."""
    target = sql_type(column.type)
    if raw_type == "VARCHAR":
        return _from_text(value, column, target, marks)
    if _counts_since_1970(raw_type, column):
        return _time_of_number(value, raw_type, column, target)
    if raw_type == target or (raw_type == "TIMESTAMP WITH TIME ZONE" and target == "TIMESTAMPTZ"):
        typed = value
    else:
        typed = _from_typed(value, raw_type, target)
    return _in_years(typed, target) if target in _YEARS else typed


def is_type(raw_type: str, column: Column) -> bool:
    """Whether a field of a typed format has the column's type; a narrower one of its kind is the same type."""
    target = sql_type(column.type)
    family = family_of(target)
    if _counts_since_1970(raw_type, column):
        return True
    if family != family_of(raw_type):
        return False
    if family != "decimal":
        return True
    (precision, scale), (most, places) = (_digits(kind) for kind in (raw_type, target))
    return scale <= places and precision - scale <= most - places


def _counts_since_1970(raw_type: str, column: Column) -> bool:
    """Whether numbers of a typed format are times of the column."""
    return bool(_epochs(column)) and family_of(raw_type) in ("integer", "double", "decimal")


def _epochs(column: Column) -> list[str]:
    return [form for form in column.date_formats if form in epoch_times.MICROSECONDS]


def _digits(decimal: str) -> tuple[int, int]:
    """Return precision and scale of a decimal type."""
    precision, scale = decimal.strip("DECIMAL() ").split(",")
    return int(precision), int(scale)


def require_date_format(column: Column) -> None:
    """Raise ConfigError for a date format that cannot be read exactly; an empty one is ISO 8601."""
    epochs = _epochs(column)
    if len(epochs) > 1:
        raise ConfigError(
            f"reading the date_format of column {column.name!r}",
            received=" and ".join(epochs),
            next_step="declare one unit: no number tells which of two it is in",
        )
    for form in filter(None, column.date_formats):
        if form in epochs:
            continue
        try:
            time_format(form)
        except ConfigError as error:
            raise ConfigError(
                f"reading the date_format of column {column.name!r}",
                received=error.received,
                known=error.known,
                next_step=error.next_step,
            ) from error


def default_of(column: Column, types: Types) -> exp.Expr | None:
    """Return the declared default as a value of the column's type; None if there is none.

    Raises ConfigError if the default is no literal, or no literal of that type.
    """
    if column.default is None:
        return None
    attempted = f"reading the default of column {column.name!r}"
    try:
        given = sqlglot.parse_one(column.default, dialect=DIALECT)
    except SqlglotError as error:
        raise ConfigError(attempted, received=repr(column.default), next_step="give a SQL literal") from error
    if not all(isinstance(node, _LITERALS) for node in given.walk()):
        raise ConfigError(
            attempted, received=repr(column.default), next_step="give a SQL literal, a text as \"'text'\""
        )
    value = _try_cast(given, sql_type(column.type))
    no_value = ConfigError(attempted, received=f"{column.default!r}, which is no {column.type}")
    try:
        fits = not types.is_null(value)
    except UntypedError as error:
        raise no_value from error
    if not fits:
        raise no_value
    return value


# --- from text -------------------------------------------------------------------------------------------------------


def _from_text(value: exp.Expression, column: Column, target: str, marks: TextMarks) -> exp.Expression:
    family = family_of(target)
    if family == "text":
        return value
    if family in ("date", "timestamp", "timestamptz"):
        return _time(value, column, target, marks)
    if family in ("integer", "double", "decimal"):
        if not marks.units and marks.minus == ("before",):
            return _number(value, target, marks)
        return computed_once("s_number", _plain_number(value, marks), _number(exp.column("s_number"), target, marks))
    if family == "boolean":
        return query(
            "CASE WHEN trim($value) IN ('1.0', '0.0') THEN trim($value) = '1.0' "
            "WHEN NOT contains($value, '_') THEN TRY_CAST($value AS BOOLEAN) END",
            value=value,
        )
    return binary_texts.bytes_of_text(value, column.binary_format)


def _plain_number(value: exp.Expression, marks: TextMarks) -> exp.Expression:
    """Return the number in a text with its sign before it, and without its unit; null for another text.

    Several signs stay beside each other, so that the text is no number.
    """
    unit = "(" + "|".join(re.escape(item) for item in sorted(marks.units, key=len, reverse=True)) + ")?"
    if not marks.units:
        unit = "()"
    opened, closed = (r"(\(?)", r"(\)?)") if "parentheses" in marks.minus else ("()", "()")
    before = "([+-]?)" if "before" in marks.minus else r"(\+?)"
    after = "([+-]?)" if "after" in marks.minus else "()"
    parts = query(
        "regexp_extract($value, $pattern, ['u1', 'opened', 'sign', 'u2', 'digits', 'u3', 'after', 'closed', 'u4'])",
        value=value,
        pattern=rf"\A\s*{unit}\s*{opened}\s*{before}\s*{unit}\s*((?:[^+-].*?)?)\s*{unit}\s*{after}\s*{closed}\s*{unit}\s*\z",
    )
    known = [exp.Literal.string(item) for item in ("", *marks.units)]
    number = query(
        "CASE WHEN s_parts.opened || s_parts.closed IN ('', '()') "
        "AND s_parts.u1 || s_parts.u2 || s_parts.u3 || s_parts.u4 IN ($known) "
        "THEN s_parts.sign || s_parts.after || replace(s_parts.opened, '(', '-') || s_parts.digits END",
        known=known,
    )
    return computed_once("s_parts", parts, number)


def _number(value: exp.Expression, target: str, marks: TextMarks) -> exp.Expression:
    mark = re.escape(marks.decimal_mark)
    digits = "[0-9]+"
    plain = value
    if marks.thousands_mark:
        # groups of three only: 1.5 is not 15
        digits = f"([0-9]+|[0-9]{{1,3}}({re.escape(marks.thousands_mark)}[0-9]{{3}})+)"
        plain = query("replace($value, $mark, '')", value=plain, mark=marks.thousands_mark)
    if marks.decimal_mark != ".":
        plain = query("replace($value, $mark, '.')", value=plain, mark=marks.decimal_mark)
    sign, exponent = r"\s*[+-]?", r"([eE][+-]?[0-9]+)?\s*"
    any_number = rf"{sign}({digits}({mark}[0-9]*)?|{mark}[0-9]+){exponent}"
    family = family_of(target)
    if family == "integer":
        return query(
            "CASE WHEN regexp_full_match($value, $pattern) THEN TRY_CAST($plain AS BIGINT) END",
            value=value,
            pattern=rf"{sign}{digits}({mark}0*)?\s*",
            plain=plain,
        )
    if family == "double":
        # A number too large for a double would become infinite, and a whole one beyond 2^53 another. Whether one of
        # more than 38 digits is exact, no engine can tell.
        return query(
            "CASE WHEN regexp_full_match($value, $whole) AND coalesce("
            "TRY_CAST(TRY_CAST($plain AS DOUBLE) AS DECIMAL(38, 0)) <> TRY_CAST($plain AS DECIMAL(38, 0)), TRUE) "
            "THEN NULL "
            "WHEN regexp_full_match($value, $pattern) THEN "
            "CASE WHEN isfinite(TRY_CAST($plain AS DOUBLE)) THEN TRY_CAST($plain AS DOUBLE) END "
            "WHEN regexp_full_match($value, $words) THEN TRY_CAST($value AS DOUBLE) END",
            value=value,
            whole=rf"{sign}{digits}({mark}0*)?\s*",
            pattern=any_number,
            words=r"(?i)\s*([+-]?inf(inity)?|nan)\s*",
            plain=plain,
        )
    scale = int(target.rpartition(",")[2].strip(" )"))
    # without digits before the mark there must be one after it
    fraction = f"[0-9]{{1,{scale}}}" if scale else "0"
    exact = rf"{sign}({digits}({mark}[0-9]{{0,{scale}}}0*)?|{mark}{fraction}0*)\s*"
    shifted = query(
        "CASE WHEN regexp_full_match(s_shifted, $exact) THEN $cast END",
        exact=rf"[+-]?[0-9]*(\.[0-9]{{0,{scale}}}0*)?",
        cast=_try_cast(exp.column("s_shifted"), target),
    )
    return query(
        "CASE WHEN regexp_full_match($value, $exact) THEN $cast "
        "WHEN regexp_full_match($value, $pattern) THEN $shifted END",
        value=value,
        exact=exact,
        cast=_try_cast(plain, target),
        # an exponent of more digits belongs to no number that a decimal holds
        pattern=rf"{sign}({digits}({mark}[0-9]*)?|{mark}[0-9]+)[eE][+-]?0*[0-9]{{1,3}}\s*",
        shifted=computed_once("s_shifted", _without_exponent(plain), shifted),
    )


def _without_exponent(number: exp.Expression) -> exp.Expression:
    """Return the same number without exponent: `-1.25e1` becomes `-12.5`."""
    # zeros on both sides, so that there are digits wherever the point goes to
    digits = query("repeat('0', s_zeros) || s_parts.whole || s_parts.fraction || repeat('0', s_zeros)")
    moved = query("s_parts.sign || substr(s_digits, 1, s_point) || '.' || substr(s_digits, s_point + 1)")
    place = query("CAST(s_zeros + length(s_parts.whole) + s_exponent AS INTEGER)")
    moved = computed_once("s_point", place, computed_once("s_digits", digits, moved))
    moved = computed_once("s_zeros", query("CAST(abs(s_exponent) AS INTEGER)"), moved)
    moved = computed_once("s_exponent", query("TRY_CAST(s_parts.exponent AS INTEGER)"), moved)
    parts = query(
        "regexp_extract($number, $pattern, ['sign', 'whole', 'fraction', 'exponent'])",
        number=number,
        pattern=_SCIENTIFIC,
    )
    return computed_once("s_parts", parts, moved)


def _time(value: exp.Expression, column: Column, target: str, marks: TextMarks) -> exp.Expression:
    require_date_format(column)
    forms = [*column.date_formats, ""] if marks.has_iso_times else column.date_formats
    found = [
        _formatted_time(value, form, target) if form else _iso_time(value, target) for form in dict.fromkeys(forms)
    ]
    return found[0] if len(found) == 1 else exp.Coalesce(this=found[0], expressions=found[1:])


def _formatted_time(value: exp.Expression, text: str, target: str) -> exp.Expression:
    if text in epoch_times.MICROSECONDS:
        return epoch_times.time_of_number(_number(value, epoch_times.NUMBER, TextMarks()), text, target)
    form = time_format(text)
    if target != "TIMESTAMPTZ":
        return parsed(value, form, target)
    return query("$time AT TIME ZONE 'UTC'", time=parsed(value, form, "TIMESTAMP"))


def _iso_time(value: exp.Expression, target: str) -> exp.Expression:
    if target == "DATE":
        return query(
            "CASE WHEN regexp_full_match($value, $pattern) THEN TRY_CAST($value AS DATE) END",
            value=value,
            pattern=rf"\s*{_DATE}{_MIDNIGHT}\s*",
        )
    naive: exp.Expression = query("TRY_CAST($value AS TIMESTAMP)", value=value)
    # the embedded engine wants seconds before an offset
    timed = query("regexp_replace($value, '(:[0-9]{2})([Z+-])', '\\1:00\\2')", value=value)
    aware, of_minutes = _instant(value), computed_once("s_timed", timed, _instant(exp.column("s_timed")))
    if target == "TIMESTAMP":
        aware, of_minutes = (query("$time AT TIME ZONE 'UTC'", time=time) for time in (aware, of_minutes))
    else:
        naive = query("$time AT TIME ZONE 'UTC'", time=naive)
    found = [
        (rf"\s*{_DATE}({_MINUTES}({_SECONDS})?)?\s*", naive),
        (rf"\s*{_DATE}{_MINUTES}{_SECONDS}{_OFFSET}\s*", aware),
        (rf"\s*{_DATE}{_MINUTES}{_OFFSET}\s*", of_minutes),
    ]
    if target == "TIMESTAMPTZ":
        found = [*found[1:], found[0]]
    chosen = exp.Case()
    for pattern, time in found:
        matches = query("regexp_full_match($value, $pattern)", value=value, pattern=pattern)
        chosen.append("ifs", exp.If(this=matches, true=time))
    return chosen


def _instant(text: exp.Expression) -> exp.Expression:
    """Convert a text with an offset to a TIMESTAMPTZ; null if the instant is outside the years 1 to 9999."""
    time = query("TRY_CAST($text AS TIMESTAMPTZ)", text=text)
    return query(
        "CASE WHEN NOT regexp_full_match($text, $edge) THEN $time ELSE $checked END",
        text=text,
        edge=_FIRST_AND_LAST_DAY,
        time=time,
        checked=_in_years(time, "TIMESTAMPTZ"),
    )


def _in_years(time: exp.Expression, target: str) -> exp.Expression:
    """Return a time of the years 1 to 9999, which all readers support; null for any other time."""
    first, last = (exp.cast(literal(text), target, dialect=DIALECT) for text in _YEARS[target])
    # a column costs nothing to name again
    value = time if isinstance(time, exp.Column) else exp.column("s_time")
    checked = query("CASE WHEN $time BETWEEN $first AND $last THEN $time END", time=value, first=first, last=last)
    return checked if value is time else computed_once("s_time", time, checked)


# --- from typed values -----------------------------------------------------------------------------------------------


def _from_typed(value: exp.Expression, raw_type: str, target: str) -> exp.Expression:
    """Convert a value of a typed format to the target type; null if the value would change."""
    source, wanted = family_of(raw_type), family_of(target)
    cast = _try_cast(value, target)
    numbers = ("integer", "double", "decimal")
    if wanted == "text":
        if source == "binary":
            return query("TRY(decode($value))", value=value)
        is_nested = raw_type.endswith("]") or raw_type.startswith(("STRUCT", "MAP", "UNION"))
        return query("CAST(to_json($value) AS VARCHAR)", value=value) if is_nested else cast
    if wanted == "boolean" and source in numbers:
        return query("CASE WHEN $value IN (0, 1) THEN $value = 1 END", value=value)
    if source == "double" and wanted == "decimal":
        # by its text: the double itself is 0.1000000000000000055 where 0.1 was meant
        text = query("CAST($value AS VARCHAR)", value=value)
        return computed_once("s_text", text, _number(exp.column("s_text"), target, TextMarks()))
    if wanted in numbers and source in numbers:
        return _if_same(cast, value, raw_type)
    if source == "timestamp" and raw_type != "TIMESTAMP":
        micros = _if_same(_try_cast(value, "TIMESTAMP"), value, raw_type)
        if target == "TIMESTAMP":
            return micros
        return computed_once("s_micros", micros, _from_typed(exp.column("s_micros"), "TIMESTAMP", target))
    if wanted == "date" and source in ("timestamp", "timestamptz"):
        local = value if source == "timestamp" else query("$value AT TIME ZONE 'UTC'", value=value)
        return query("CASE WHEN date_trunc('day', $local) = $local THEN CAST($local AS DATE) END", local=local)
    if {source, wanted} == {"timestamp", "timestamptz"}:
        return query(
            "$value AT TIME ZONE 'UTC'", value=value if source == "timestamptz" else _try_cast(value, "TIMESTAMP")
        )
    if wanted == "timestamptz" and source == "date":
        return query("CAST($value AS TIMESTAMP) AT TIME ZONE 'UTC'", value=value)
    same_kind = source == wanted or (source == "boolean" and wanted in numbers)
    return cast if same_kind or (source, wanted) == ("date", "timestamp") else exp.cast(exp.null(), target)


def _time_of_number(value: exp.Expression, raw_type: str, column: Column, target: str) -> exp.Expression:
    number = epoch_times.NUMBER
    exact = value if raw_type == number else _from_typed(value, raw_type, number)
    return epoch_times.time_of_number(exact, _epochs(column)[0], target)


def _if_same(cast: exp.Expression, value: exp.Expression, raw_type: str) -> exp.Expression:
    """Return `cast` if casting it back gives `value`; null otherwise."""
    return query("CASE WHEN $back = $value THEN $cast END", back=_try_cast(cast, raw_type), value=value, cast=cast)


def _try_cast(value: exp.Expr, target: str) -> exp.Expression:
    return exp.TryCast(this=value.copy(), to=exp.DataType.build(target, dialect=DIALECT))
