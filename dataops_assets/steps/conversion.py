"""From what an input says to a typed value: one SQL expression a column, null where the value cannot be one.

Nothing is guessed and nothing is lost on the way: `1.5` is no integer, `2013-01-01 12:00` no date, `1.239` no
decimal(10,2), 2 no boolean, and 9007199254740993 (2^53 + 1) no double. A fraction such as `0.1` written as text is the
double nearest to it, as everywhere. A number may be written with a fraction of zeros (`517.0`, as some tools write
integers). Text without an offset is UTC for a timestamptz; for a timestamp an offset is applied, the result is UTC.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from dataops_assets.config.connection import CsvFormat, ExcelFormat, FileFormat
from dataops_assets.config.contract import Column
from dataops_assets.config.types import sql_type
from dataops_assets.errors import ConfigError
from dataops_assets.quality.families import family_of
from dataops_assets.rules.types import Types, UntypedError
from dataops_assets.sql import DIALECT, literal, query

_DATE = r"[0-9]{4}[-/][0-9]{1,2}[-/][0-9]{1,2}"
_MIDNIGHT = r"([T ]00:00(:00(\.0+)?)?Z?)?"
_CLOCK = r"[T ][0-9]{1,2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?"
_OFFSET = r"(Z|[+-][0-9]{2}(:?[0-9]{2})?)"
_LITERALS = (exp.Literal, exp.Boolean, exp.Null, exp.Neg, exp.Paren, exp.Cast, exp.DataType, exp.DataTypeParam)
# the directives of the engine's strptime
_DIRECTIVES = re.compile(r"%-?[aAwdbBmyYHIpMSfgnzZjUWcxXGuV%]")


@dataclass(frozen=True)
class TextMarks:
    """How values are written as text. `has_iso_times`: times may stand in ISO 8601 beside the declared date format."""

    null_words: tuple[str, ...] = ()
    decimal_mark: str = "."
    thousands_mark: str = ""
    has_iso_times: bool = False


def marks_of(layout: FileFormat) -> TextMarks:
    """How a format's values are written. Raises ConfigError for marks that cannot be told apart."""
    if isinstance(layout, CsvFormat):
        decimal, thousands = layout.decimal_mark, layout.thousands_mark
        if len(decimal) != 1 or len(thousands) > 1 or decimal == thousands or (decimal + thousands).isalnum():
            raise ConfigError(
                "reading the format's decimal_mark and thousands_mark",
                received=f"{decimal!r} and {thousands!r}",
                next_step="give two different single characters, no letters or digits",
            )
        return TextMarks(layout.null_words, decimal, thousands)
    if isinstance(layout, ExcelFormat):
        # a cell that holds a time comes as ISO 8601, whatever the texts beside it look like
        return TextMarks(layout.null_words, has_iso_times=True)
    return TextMarks()


def present(value: exp.Expression, raw_type: str, marks: TextMarks) -> exp.Expression:
    """The raw value, or null where it is one of the words for null."""
    if raw_type != "VARCHAR" or not marks.null_words:
        return value
    if len(marks.null_words) == 1:
        return query("nullif($value, $word)", value=value, word=marks.null_words[0])
    words = [literal(word) for word in marks.null_words]
    return query("CASE WHEN $value IN ($words) THEN NULL ELSE $value END", value=value, words=words)


def converted(value: exp.Expression, raw_type: str, column: Column, marks: TextMarks) -> exp.Expression:
    """`value`, of the SQL type `raw_type`, as the column's type; null where it is null or cannot be converted."""
    target = sql_type(column.type)
    if raw_type == "VARCHAR":
        return _from_text(value, column, target, marks)
    if raw_type == target or (raw_type == "TIMESTAMP WITH TIME ZONE" and target == "TIMESTAMPTZ"):
        return value
    return _from_typed(value, raw_type, target)


def is_type(raw_type: str, column: Column) -> bool:
    """Whether a field of a typed format has the column's type; a narrower one of its kind is the same type."""
    target = sql_type(column.type)
    family = family_of(target)
    if family != family_of(raw_type):
        return False
    if family != "decimal":
        return True
    (precision, scale), (most, places) = (_digits(kind) for kind in (raw_type, target))
    return scale <= places and precision - scale <= most - places


def _digits(decimal: str) -> tuple[int, int]:
    """Precision and scale of a decimal type."""
    precision, scale = decimal.strip("DECIMAL() ").split(",")
    return int(precision), int(scale)


def require_date_format(column: Column) -> None:
    """Raise ConfigError for a date format that the engine has no use for; an empty one is ISO 8601."""
    form = column.date_format
    if form and ("%" not in form or "%" in _DIRECTIVES.sub("", form)):
        raise ConfigError(
            f"reading the date_format of column {column.name!r}",
            received=repr(form),
            next_step="use strptime directives such as %d.%m.%Y %H:%M:%S",
        )


def default_of(column: Column, types: Types) -> exp.Expr | None:
    """The declared default as a value of the column's type; None where there is none.

    Raises ConfigError for what is no literal, or none of that type.
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
        return _number(value, target, marks)
    if family == "boolean":
        return query(
            "CASE WHEN trim($value) IN ('1.0', '0.0') THEN trim($value) = '1.0' "
            "WHEN NOT contains($value, '_') THEN TRY_CAST($value AS BOOLEAN) END",
            value=value,
        )
    return query("encode($value)", value=value)


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
        # a number too large for a double would become infinite, and a whole one beyond 2^53 another
        return query(
            "CASE WHEN regexp_full_match($value, $whole) "
            "AND TRY_CAST(TRY_CAST($plain AS DOUBLE) AS HUGEINT) <> TRY_CAST($plain AS HUGEINT) THEN NULL "
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
    return query(
        "CASE WHEN regexp_full_match($value, $exact) THEN $cast WHEN regexp_full_match($value, $pattern) "
        "AND CAST($cast AS DOUBLE) = TRY_CAST($plain AS DOUBLE) THEN $cast END",
        value=value,
        exact=rf"{sign}({digits}({mark}[0-9]{{0,{scale}}}0*)?|{mark}{fraction}0*)\s*",
        cast=_try_cast(plain, target),
        pattern=rf"{sign}({digits}({mark}[0-9]*)?|{mark}[0-9]+)[eE][+-]?[0-9]+\s*",
        plain=plain,
    )


def _time(value: exp.Expression, column: Column, target: str, marks: TextMarks) -> exp.Expression:
    if not column.date_format:
        return _iso_time(value, target)
    require_date_format(column)
    parsed: exp.Expression = query("try_strptime($value, $format)", value=value, format=column.date_format)
    has_offset = "%z" in column.date_format or "%Z" in column.date_format
    if has_offset != (target == "TIMESTAMPTZ"):
        parsed = query("$value AT TIME ZONE 'UTC'", value=parsed)
    if target == "DATE":
        parsed = query("CAST($value AS DATE)", value=parsed)
    return (
        query("coalesce($parsed, $iso)", parsed=parsed, iso=_iso_time(value, target)) if marks.has_iso_times else parsed
    )


def _iso_time(value: exp.Expression, target: str) -> exp.Expression:
    if target == "DATE":
        return query(
            "CASE WHEN regexp_full_match($value, $pattern) THEN TRY_CAST($value AS DATE) END",
            value=value,
            pattern=rf"\s*{_DATE}{_MIDNIGHT}\s*",
        )
    naive, aware = rf"\s*{_DATE}({_CLOCK})?\s*", rf"\s*{_DATE}{_CLOCK}{_OFFSET}\s*"
    if target == "TIMESTAMP":
        return query(
            "CASE WHEN regexp_full_match($value, $naive) THEN TRY_CAST($value AS TIMESTAMP) "
            "WHEN regexp_full_match($value, $aware) THEN TRY_CAST($value AS TIMESTAMPTZ) AT TIME ZONE 'UTC' END",
            value=value,
            naive=naive,
            aware=aware,
        )
    return query(
        "CASE WHEN regexp_full_match($value, $aware) THEN TRY_CAST($value AS TIMESTAMPTZ) "
        "WHEN regexp_full_match($value, $naive) THEN TRY_CAST($value AS TIMESTAMP) AT TIME ZONE 'UTC' END",
        value=value,
        naive=naive,
        aware=aware,
    )


# --- from typed values -----------------------------------------------------------------------------------------------


def _from_typed(value: exp.Expression, raw_type: str, target: str) -> exp.Expression:
    """A value of a typed format, as the target type and only if it stays the same value."""
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
    if wanted in numbers and source in numbers:
        return _if_same(cast, value, raw_type)
    if source == "timestamp" and raw_type != "TIMESTAMP":
        micros = _if_same(_try_cast(value, "TIMESTAMP"), value, raw_type)
        return micros if target == "TIMESTAMP" else _from_typed(micros, "TIMESTAMP", target)
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


def _if_same(cast: exp.Expression, value: exp.Expression, raw_type: str) -> exp.Expression:
    """`cast` where it is `value` again when it is cast back, else null."""
    return query("CASE WHEN $back = $value THEN $cast END", back=_try_cast(cast, raw_type), value=value, cast=cast)


def _try_cast(value: exp.Expr, target: str) -> exp.Expression:
    return exp.TryCast(this=value.copy(), to=exp.DataType.build(target, dialect=DIALECT))
