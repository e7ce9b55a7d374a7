"""Translates DuckDB's SQL, in which the steps are written, to Spark's.

A tree of DuckDB's dialect is rewritten, node by node, to one that gives the same values in Spark: the same digits of a
double as text, the same bits of a hash, null where DuckDB's TRY gives null. sqlglot then writes it. Spark must run
in ANSI mode, with UTC as its time zone and case-sensitive names (`engines/spark.py` sees to that).

If the meaning depends on the type of an argument, the new expression calls `typeof`. Spark evaluates it when it
analyses a query, so only one branch is left. tests/differential compares both engines value for value.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.dialects.dialect import Dialect

from dataops_assets.errors import ConfigError
from dataops_assets.sql import column, identifier, literal

DIALECT = Dialect.get_or_raise("spark")

# Java's own text of a double is not always the shortest before Java 19; this is the algorithm that it has since
_SHORTEST = "com.fasterxml.jackson.core.io.schubfach.DoubleToDecimal"
# digits and a point, perhaps a sign; Java's other texts have an E, or are NaN and Infinity
_IS_SHORT = """
    octet_length(:text) < 17 AND (NOT endswith(:text, '0') OR endswith(:text, '.0'))
    AND NOT (contains(:text, 'E') OR endswith(:text, 'N') OR endswith(:text, 'y'))
    """
_TEXTS = (exp.DType.VARCHAR, exp.DType.TEXT, exp.DType.TIMESTAMP_NS)
_TIMES = (exp.DType.DATE, exp.DType.TIMESTAMP, exp.DType.TIMESTAMPNTZ, exp.DType.TIMESTAMPTZ)
_NUMBER = r"(?i)\A[\t\n\f\r ]*[+-]?(([0-9]+([.][0-9]*)?|[.][0-9]+)(e[+-]?[0-9]+)?|inf|infinity|nan)[\t\n\f\r ]*\z"
_QUALIFIED = "s_qualified"
_WHOLE = (exp.DType.TINYINT, exp.DType.SMALLINT, exp.DType.INT, exp.DType.BIGINT)
_TYPES: Mapping[exp.DType, str] = {
    exp.DType.INT128: "DECIMAL(38, 0)",
    exp.DType.UINT128: "DECIMAL(38, 0)",
    exp.DType.UBIGINT: "DECIMAL(20, 0)",
    exp.DType.UINT: "BIGINT",
    exp.DType.USMALLINT: "BIGINT",
    exp.DType.UTINYINT: "BIGINT",
    exp.DType.TIMESTAMP_S: "TIMESTAMP_NTZ",
    exp.DType.TIMESTAMP_MS: "TIMESTAMP_NTZ",
    # as text, because Spark has no nanoseconds; the reader of raw files hands them over so
    exp.DType.TIMESTAMP_NS: "STRING",
}
_TRIED: Mapping[type[exp.Expr], str] = {exp.Add: "try_add", exp.Sub: "try_subtract", exp.Mul: "try_multiply"}

Rewrite = Callable[[Any], exp.Expr]


def for_spark(tree: exp.Expr, types: Mapping[str, str]) -> exp.Expr:
    """Return a copy of a DuckDB tree that gives the same values in Spark, to be written with `DIALECT`.

    `types` are Spark's types of the tables' columns by name, empty where tables differ in one.
    """
    copied = tree.copy()
    _settle_kinds(copied, {name: _KINDS.get(kind.partition("(")[0], "") for name, kind in types.items()})
    for attempted in copied.find_all(exp.Try):
        for node in attempted.walk():
            node.meta["tried"] = True
    return _rewritten(copied)


_KINDS = {
    "string": "string",
    "double": "double",
    "float": "double",
    "decimal": "decimal",
    "timestamp": "timestamp",
    "timestamp_ntz": "time",
    "date": "date",
    "boolean": "boolean",
    **dict.fromkeys(("tinyint", "smallint", "int", "bigint"), "whole"),
}


def _settle_kinds(tree: exp.Expr, kinds: dict[str, str]) -> None:
    """Set the type of each column, if its name determines it."""
    inner_first = list(reversed(list(tree.find_all(exp.Alias))))
    # other columns may have their type from a name that is found to be ambiguous
    for _ in range(2):
        for item in inner_first:
            for place in item.this.find_all(exp.Column):
                place.meta["kind"] = kinds.get(place.name, "")
            kind = _known_type(item.this)
            is_same = isinstance(item.this, exp.Column) and item.this.name == item.alias
            kinds[item.alias] = kind if is_same or kinds.get(item.alias, kind) == kind else ""
    for place in tree.find_all(exp.Column):
        place.meta["kind"] = kinds.get(place.name, "")
    # outer first, because an inner value may contain an outer parameter
    for bound in tree.find_all(exp.Transform):
        _settle_parameter(bound)


def _settle_parameter(bound: exp.Transform) -> None:
    """Set the type of a lambda's parameter where the list has one known value."""
    if not isinstance(bound.this, exp.Array) or not isinstance(bound.expression, exp.Lambda):
        return
    value = bound.this.expressions[0]
    name = bound.expression.expressions[0].name
    for place in bound.expression.this.find_all(exp.Column):
        if place.name == name and not place.table:
            place.meta["kind"] = _known_type(value)
        elif place.table == name and isinstance(value, exp.RegexpExtract):
            # a named group
            place.meta["kind"] = "string"


def _rewritten(node: exp.Expr) -> exp.Expr:
    digits = _hash_digits(node)
    if digits is not None:
        return _spark("CAST(conv(:digits, 16, 10) AS BIGINT)", digits=_rewritten(digits))
    for child in list(node.iter_expressions()):
        # the new expression may contain the child
        hole = exp.Placeholder()
        child.replace(hole)
        hole.replace(_rewritten(child))
    rewrite = _REWRITES.get(type(node))
    return rewrite(node) if rewrite is not None else node


@functools.lru_cache(maxsize=512)
def _template(text: str) -> exp.Expr:
    return sqlglot.parse_one(text, dialect=DIALECT)


def _spark(template: str, /, **holes: Any) -> exp.Expr:
    """Return `template` (Spark SQL) with `:name` replaced by `holes[name]`."""
    tree = _template(template).copy()
    for hole in list(tree.find_all(exp.Placeholder)):
        value = literal(holes[hole.name])
        hole.replace(value.copy())
    return tree


def _call(name: str, *arguments: exp.Expr) -> exp.Expr:
    """Return a function call that is written unchanged."""
    return exp.Anonymous(this=name, expressions=list(arguments))


# --- texts of values -------------------------------------------------------------------------------------------------


def _text_of(value: exp.Expr) -> exp.Expr:
    """Return DuckDB's text of a value of any type."""
    known = _known_type(value)
    if known == "string":
        return value
    text = _spark("CAST(:value AS STRING)", value=value)
    if known in ("boolean", "whole", "date", "time", "decimal"):
        return text
    found = _by_type(
        value,
        text,
        double=_text_of_double(text),
        timestamp=_spark("CAST(:value AS STRING) || '+00'", value=value),
    )
    found.meta["kind"] = "string"
    return found


def _common(value: exp.Coalesce | exp.Case) -> str:
    """Return the common type of all alternative values."""
    if isinstance(value, exp.Coalesce):
        parts = [value.this, *value.expressions]
    else:
        parts = [item.args["true"] for item in value.args["ifs"]]
        parts += [value.args["default"]] if value.args.get("default") is not None else []
    kinds = {_known_type(part) for part in parts if not isinstance(part, exp.Null)}
    return kinds.pop() if len(kinds) == 1 else ""


_CAST_KINDS = {
    exp.DType.DATE: "date",
    exp.DType.DOUBLE: "double",
    exp.DType.TEXT: "string",
    exp.DType.VARCHAR: "string",
}
_RESULTS: Mapping[str, tuple[type[exp.Expr], ...]] = {
    "boolean": (exp.Predicate, exp.Boolean, exp.Not, exp.And, exp.Or),
    "whole": (exp.Length,),
    "string": (
        exp.Concat,
        exp.DPipe,
        exp.Lower,
        exp.MD5,
        exp.RegexpReplace,
        exp.Repeat,
        exp.Replace,
        exp.Substring,
        exp.Trim,
        exp.Upper,
    ),
}
_STRING_CALLS = frozenset(("concat_ws", "md5", "hex", "to_json", "regexp_extract", "regexp_replace"))


def _known_type(value: exp.Expr) -> str:
    """Return the result of `typeof` if the expression alone determines it; empty otherwise."""
    kind: str = value.meta.get("kind", "")
    if kind:
        return kind
    if isinstance(value, (exp.Paren, exp.Abs, exp.Max, exp.Min, exp.AnyValue, exp.Nullif, exp.Try)):
        return _known_type(value.this)
    if isinstance(value, (exp.Coalesce, exp.Case)):
        return _common(value)
    if isinstance(value, (exp.Add, exp.Sub, exp.Mul, exp.Mod)):
        return _type_of_arithmetic(value)
    if isinstance(value, exp.Cast):
        if value.to.this in _WHOLE:
            return "whole"
        return _CAST_KINDS.get(value.to.this, "")
    if isinstance(value, exp.Bracket) and isinstance(value.this, exp.Transform):
        return _known_type(value.this.expression.this)
    if isinstance(value, exp.Literal):
        return "string" if value.is_string else "whole" if value.is_int else ""
    if isinstance(value, exp.Anonymous):
        name = value.name.lower()
        return "string" if name in _STRING_CALLS else {"shiftrightunsigned": "whole", "try_divide": ""}.get(name, "")
    return next((kind for kind, nodes in _RESULTS.items() if isinstance(value, nodes)), "")


def _type_of_arithmetic(value: exp.Binary) -> str:
    parts = (value.this, value.expression)
    kinds = {"decimal" if part.is_number and not part.is_int else _known_type(part) for part in parts}
    if kinds == {"whole"}:
        return "whole"
    # an interval times a double is an interval
    return "double" if "double" in kinds and kinds <= {"double", "decimal", "whole"} else ""


def _text_of_double(text: exp.Expr) -> exp.Expr:
    """Return DuckDB's text of a double, made from Java's.

    Doubles of at most 15 digits differ where their digits do, so a text of no more, without a zero at its end, is the
    shortest already; it is most of what data has, and Spark compiles it.
    """
    # a text of another type is not a number's, and is in this branch only for Spark to find its type
    return _spark(
        f"CASE WHEN {_IS_SHORT} THEN :text ELSE :shortest END",
        text=text,
        shortest=_shortest(_spark("CAST(:text AS DOUBLE)", text=text)),
    )


def _shortest(double: exp.Expr) -> exp.Expr:
    """Return the shortest exact text of a double, in the form of C's %g: 1.0, 0.0001, 1e-05, 1e+16."""
    # two digits at least, where the two smallest doubles need but one
    java = _spark(
        "replace(replace(reflect(:algorithm, 'toString', coalesce(:double, 0D)), '4.9E-324', '5.0E-324'), "
        "'9.9E-324', '1.0E-323')",
        algorithm=_SHORTEST,
        double=double,
    )
    # Java writes 1.0E-4 below 0.001 and 1.2345678E7 from 10 000 000 on
    return _spark(
        "CASE WHEN :double IS NOT NULL THEN transform(array(:java), j -> CASE "
        "WHEN j = 'NaN' THEN 'nan' WHEN endswith(j, 'Infinity') THEN replace(j, 'Infinity', 'inf') "
        "WHEN NOT contains(j, 'E') THEN j ELSE concat(CASE WHEN startswith(j, '-') THEN '-' ELSE '' END, "
        "transform(array(named_struct("
        "'d', rtrim('0', replace(ltrim('-', split_part(j, 'E', 1)), '.', '')), "
        "'e', CAST(split_part(j, 'E', 2) AS INT))), p -> CASE "
        "WHEN p.e BETWEEN -4 AND -1 THEN concat('0.', repeat('0', -p.e - 1), p.d) "
        "WHEN p.e BETWEEN 0 AND 15 AND length(p.d) <= p.e + 1 THEN concat(rpad(p.d, p.e + 1, '0'), '.0') "
        "WHEN p.e BETWEEN 0 AND 15 THEN concat(left(p.d, p.e + 1), '.', substr(p.d, p.e + 2)) "
        "ELSE concat(left(p.d, 1), CASE WHEN length(p.d) > 1 THEN concat('.', substr(p.d, 2)) ELSE '' END, "
        "CASE WHEN p.e < 0 THEN 'e-' ELSE 'e+' END, "
        "CASE WHEN abs(p.e) < 10 THEN concat('0', abs(p.e)) ELSE CAST(abs(p.e) AS STRING) END) END)[0]) END)[0] END",
        double=double,
        java=java,
    )


# --- casts -----------------------------------------------------------------------------------------------------------


def _type(node: exp.DataType) -> exp.Expr:
    if node.this in _TYPES:
        return exp.DataType.build(_TYPES[node.this], dialect=DIALECT)
    return node


def _cast(node: exp.Cast) -> exp.Expr:
    """Translate a cast; with TRY_CAST or in a TRY, it is null if it fails."""
    value, target = node.this, node.to
    tries = isinstance(node, exp.TryCast) or node.meta.get("tried", False)
    # without `safe`, sqlglot writes a plain cast
    kind = functools.partial(exp.TryCast, safe=True) if tries else exp.Cast
    plain: exp.Expr = kind(this=value, to=target)
    if node.meta.get("same"):
        return plain
    if isinstance(value, exp.Null) or (isinstance(value, exp.Literal) and target.this not in _TEXTS):
        return plain
    if target.this in _TEXTS or target.is_type("string"):
        return _text_of(value)
    text = _spark("CAST(:value AS STRING)", value=value)
    if target.this in _TIMES:
        dashed = _spark("replace(:text, '/', '-')", text=text)
        read = kind(this=dashed, to=target.copy())
        return _by_type(value, plain, string=read if target.this is exp.DType.DATE else _time_read(dashed, read, kind))
    if target.this in _WHOLE or target.this is exp.DType.DECIMAL:
        places = target.expressions[1].name if len(target.expressions) > 1 else "0"
        double = _spark("TRY_CAST(:text AS DOUBLE)", text=text)
        if target.this is exp.DType.DECIMAL:
            # multiplied as doubles before they are rounded
            return _by_type(value, plain, double=kind(this=_scaled(double, int(places)), to=target.copy()))
        half = _spark("round(TRY_CAST(:text AS DECIMAL(38, 10)), 0)", text=text)
        return _by_type(
            value,
            plain,
            # a text may have a fraction; halves are rounded away from zero, but those of doubles to the even number
            string=exp.func(
                "coalesce",
                exp.TryCast(this=text, to=target.copy(), safe=True),
                kind(this=half.copy(), to=target.copy()),
            ),
            double=kind(this=_spark("rint(:double)", double=double), to=target.copy()),
            decimal=kind(this=half, to=target.copy()),
        )
    if target.this is exp.DType.DOUBLE:
        # Java reads 1.5d and hexadecimal numbers, too
        return _by_type(
            value,
            plain,
            string=_spark(
                "CASE WHEN regexp(:text, :number) THEN :plain END", text=text, number=_NUMBER, plain=plain.copy()
            ),
        )
    return plain


def _time_read(text: exp.Expr, read: exp.Cast, kind: Callable[..., exp.Cast]) -> exp.Expr:
    """Translate a cast of text to a time: with a blank at the end it fails, and 24:00 is the next midnight."""
    midnight = _spark("regexp_replace(:text, '([T ])24:', '$100:')", text=text)
    return _spark(
        "CASE WHEN regexp(:text, '[\\\\t\\\\n\\\\f\\\\r ]\\\\z') THEN NULL "
        "WHEN regexp(:text, '[T ]24:00(:00([.]0+)?)?([^0-9:.]|\\\\z)') THEN :midnight + INTERVAL '1' DAY "
        "ELSE :read END",
        text=text,
        midnight=kind(this=midnight, to=read.to.copy()),
        read=read,
    )


def _by_type(value: exp.Expr, other: exp.Expr, **branches: exp.Expr) -> exp.Expr:
    """Choose an expression by the type of `value`: string, double, decimal, timestamp or `other`."""
    known = _known_type(value)
    if known:
        return branches.get(known, other)
    found = exp.Case(ifs=[], default=other)
    for kind, branch in branches.items():
        found.append("ifs", exp.If(this=_spark(_IS_TYPE[kind], value=value), true=branch))
    return found


_IS_TYPE = {
    "string": "typeof(:value) = 'string'",
    "double": "typeof(:value) IN ('double', 'float')",
    "decimal": "typeof(:value) LIKE 'decimal%'",
    "timestamp": "typeof(:value) = 'timestamp'",
}


def _scaled(double: exp.Expr, places: int) -> exp.Expr:
    """Round a double as C does: times a power of ten, halves away from zero; the result is a decimal."""
    return _spark(
        "try_divide(transform(array(:double * CAST(:unit AS DOUBLE)), y -> "
        "CASE WHEN abs(y) < 4503599627370496D THEN CAST(CAST(sign(y) * (floor(abs(y)) + CASE WHEN "
        "abs(y) - floor(abs(y)) >= 0.5D THEN 1 ELSE 0 END) AS BIGINT) AS DECIMAL(38, 0)) "
        # whole already; Spark would take its text, which is the shortest and not the exact one
        "WHEN abs(y) < 4e37D THEN CAST(CAST(y / 4611686018427387904D AS BIGINT) AS DECIMAL(19, 0)) "
        "* CAST(4611686018427387904 AS DECIMAL(19, 0)) + CAST(CAST(y - CAST(CAST(y / 4611686018427387904D AS BIGINT) "
        "AS DOUBLE) * 4611686018427387904D AS BIGINT) AS DECIMAL(19, 0)) "
        "ELSE TRY_CAST(y AS DECIMAL(38, 0)) END)[0], CAST(:unit AS DECIMAL(38, 0)))",
        double=double,
        unit="1" + "0" * places,
    )


# --- operators -------------------------------------------------------------------------------------------------------


def _arithmetic(node: exp.Binary) -> exp.Expr:
    if not node.meta.get("tried"):
        return node
    return _call(_TRIED[type(node)], node.this, node.expression)


def _negated(node: exp.Neg) -> exp.Expr:
    if not node.meta.get("tried") or isinstance(node.this, exp.Literal):
        return node
    return _spark("try_subtract(0, :value)", value=node.this)


def _divided(node: exp.Div) -> exp.Expr:
    return _spark("try_divide(CAST(:a AS DOUBLE), CAST(:b AS DOUBLE))", a=node.this, b=node.expression)


def _joined(node: exp.DPipe) -> exp.Expr:
    for name in ("this", "expression"):
        node.set(name, _text_of(node.args[name]))
    return node


def _in_zone(node: exp.AtTimeZone) -> exp.Expr:
    """Translate AT TIME ZONE between wall clock and instant. In UTC, Spark's time zone, both look the same."""
    zone = node.args["zone"]
    if isinstance(zone, exp.Literal) and zone.name.upper() == "UTC":
        marked = exp.Paren(this=node.this)
        marked.meta["turns"] = not node.this.meta.get("turns", False)
        return marked
    value = node.this
    local, instant = ("timestamp_ntz", "timestamp")
    if value.meta.get("turns"):
        local, instant = instant, local
    # for a wall clock time that occurs twice, DuckDB takes the later instant
    return _spark(
        "CASE WHEN typeof(:value) IN (:local, 'date') THEN transform(array(to_utc_timestamp(:value, :zone)), u -> "
        "CASE WHEN from_utc_timestamp(u + INTERVAL '1' HOUR, :zone) = CAST(:value AS TIMESTAMP) "
        "THEN u + INTERVAL '1' HOUR ELSE u END)[0] ELSE from_utc_timestamp(:value, :zone) END",
        value=value,
        zone=zone,
        local=local,
    )


# --- regular expressions ---------------------------------------------------------------------------------------------


_SPACES = {r"\s": r"[\t\n\f\r ]", r"\S": r"[^\t\n\f\r ]"}


def _pattern(pattern: exp.Expr, *, whole: bool = False) -> exp.Expr:
    """Translate a pattern of RE2 to Java's; a pattern that is no literal is not changed."""
    if not isinstance(pattern, exp.Literal):
        return _spark("concat('(?du)\\\\A(?:', :pattern, ')\\\\z')", pattern=pattern) if whole else pattern
    found, in_class = [], False
    for item in re.findall(r"\\.|\[:\^?\w+:\]|\(\?P<|\[\^?\]?|.", pattern.name, re.DOTALL):
        if item in _SPACES:
            found.append(_SPACES[item][1:-1] if in_class else _SPACES[item])
        elif item.startswith("[:"):
            is_not = item[2] == "^"
            found.append(("\\P{" if is_not else "\\p{") + item.strip("[:^]").capitalize() + "}")
        elif item == "(?P<":
            found.append("(?<")
        else:
            in_class = (in_class and item != "]") or (not in_class and item.startswith("["))
            found.append(item)
    text = "".join(found)
    # only a line feed ends a line, and case folding applies to all letters
    return literal(rf"(?du)\A(?:{text})\z" if whole else f"(?du){text}")


def _matches(node: exp.Binary | exp.Func, *, whole: bool = False) -> exp.Expr:
    return _call("regexp", node.this, _pattern(node.expression, whole=whole))


def _extracted(node: exp.RegexpExtract) -> exp.Expr:
    group, pattern = node.args.get("group") or literal(0), _pattern(node.expression)
    if not isinstance(group, exp.Array):
        return _call("regexp_extract", node.this, pattern, group)
    # the names of all groups, in order
    parts = [
        part
        for place, name in enumerate(group.expressions, 1)
        for part in (name, _call("regexp_extract", node.this, pattern, literal(place)))
    ]
    return _call("named_struct", *[part.copy() for part in parts])


def _replaced(node: exp.RegexpReplace) -> exp.Expr:
    pattern, replacement = _pattern(node.expression), node.args["replacement"]
    if isinstance(replacement, exp.Literal):
        replacement = literal(re.sub(r"\\(\d)", r"$\1", replacement.name.replace("$", r"\$")))
    modifiers = node.args.get("modifiers")
    if modifiers is not None and "g" in modifiers.name:
        return _call("regexp_replace", node.this, pattern, replacement)
    # only the first match
    return _spark(
        "CASE WHEN regexp(:text, :pattern) THEN concat(left(:text, regexp_instr(:text, :pattern) - 1), "
        "regexp_replace(regexp_substr(:text, :pattern), :pattern, :replacement), "
        "substr(:text, regexp_instr(:text, :pattern) + length(regexp_substr(:text, :pattern)))) ELSE :text END",
        text=node.this,
        pattern=pattern,
        replacement=replacement,
    )


# --- dates and times -------------------------------------------------------------------------------------------------

_PATTERNS = {
    "Y": "yyyy",
    "m": "M",
    "d": "d",
    "H": "H",
    "I": "h",
    "M": "m",
    "S": "s",
    "y": "yy",
    "j": "D",
    "f": "SSSSSS",
}
_PATTERNS |= {"b": "MMM", "B": "MMMM", "p": "a", "a": "E", "A": "EEEE", "z": "[xxx][xx][x]", "%": "%"}
_FIXED = {"m": "MM", "d": "dd", "H": "HH", "I": "hh", "M": "mm", "S": "ss"}


def time_pattern(form: str) -> str:
    """Translate a format of strptime to Java's. Raises ConfigError for a directive that Spark does not have."""
    found = []
    parts = re.findall(r"%-?.|[^%]+", form)
    for place, part in enumerate(parts):
        if not part.startswith("%"):
            found.append("'" + part.replace("'", "''") + "'")
            continue
        name = part[-1]
        if name not in _PATTERNS:
            raise ConfigError(
                "reading a time format for Spark",
                received=f"{part} in {form!r}",
                known=[f"%{known}" for known in _PATTERNS],
                next_step="use these, or run the source with 'engine: duckdb'",
            )
        # numbers that touch can only be separated by their number of digits
        beside = [parts[other] for other in (place - 1, place + 1) if 0 <= other < len(parts)]
        is_packed = any(other.startswith("%") for other in beside)
        found.append(_FIXED.get(name, _PATTERNS[name]) if is_packed else _PATTERNS[name])
    return "".join(found)


def _parsed_time(value: exp.Expr, form: exp.Expr) -> exp.Expr:
    parsed = _spark("try_to_timestamp(:value, :form)", value=value, form=time_pattern(form.name))
    return parsed if "%z" in form.name else _spark("CAST(:parsed AS TIMESTAMP_NTZ)", parsed=parsed)


def _time_of_parts(node: exp.TimestampFromParts) -> exp.Expr:
    parts = {name: node.args[name] for name in ("year", "month", "day", "hour", "min", "sec")}
    return _spark("CAST(try_make_timestamp(:year, :month, :day, :hour, :min, :sec) AS TIMESTAMP_NTZ)", **parts)


_BOUNDARIES = {
    "year": "year(:b) - year(:a)",
    "quarter": "(year(:b) * 4 + quarter(:b)) - (year(:a) * 4 + quarter(:a))",
    "month": "(year(:b) * 12 + month(:b)) - (year(:a) * 12 + month(:a))",
    "week": "datediff(CAST(date_trunc('week', :b) AS DATE), CAST(date_trunc('week', :a) AS DATE)) DIV 7",
    "day": "datediff(CAST(:b AS DATE), CAST(:a AS DATE))",
    "hour": "(unix_micros(date_trunc('hour', :b)) - unix_micros(date_trunc('hour', :a))) DIV 3600000000",
    "minute": "(unix_micros(date_trunc('minute', :b)) - unix_micros(date_trunc('minute', :a))) DIV 60000000",
    "second": "(unix_micros(date_trunc('second', :b)) - unix_micros(date_trunc('second', :a))) DIV 1000000",
}


def _difference(node: exp.DateDiff) -> exp.Expr:
    """Count the boundaries of a unit between two times."""
    unit = node.args["unit"].name.lower().removesuffix("s") if node.args.get("unit") else "day"
    if unit not in _BOUNDARIES:
        raise ConfigError("writing date_diff for Spark", received=repr(unit), known=list(_BOUNDARIES))
    return exp.cast(exp.paren(_spark(_BOUNDARIES[unit], b=node.this, a=node.expression)), "BIGINT")


def _seconds(value: exp.Expr) -> exp.Expr:
    return _spark("CAST(unix_micros(CAST(:value AS TIMESTAMP)) AS DOUBLE) / 1000000D", value=value)


def _part(node: exp.Extract) -> exp.Expr:
    unit, value = node.this.name.lower(), node.expression
    if unit == "epoch":
        return _seconds(value)
    if unit in ("dow", "dayofweek", "weekday"):
        return _spark("CAST(dayofweek(:value) - 1 AS BIGINT)", value=value)
    if unit == "isodow":
        return _spark("CAST(weekday(:value) + 1 AS BIGINT)", value=value)
    if unit == "second":
        return _spark("CAST(second(:value) AS BIGINT)", value=value)
    return exp.cast(node, "BIGINT")


# --- aggregates and windows ------------------------------------------------------------------------------------------


def _first_of(pairs: exp.Expr, most: exp.Expr) -> exp.Expr:
    return _spark("slice(transform(sort_array(:pairs), s -> s.col2), 1, :most)", pairs=pairs, most=most)


def _sliced(node: exp.Bracket) -> exp.Expr:
    """Translate list(x ORDER BY y)[1:n]: the first n values."""
    listed, (piece,) = node.this, node.expressions
    if not isinstance(listed, exp.ArrayAgg) or not isinstance(piece, exp.Slice):
        return node
    ordered = listed.this
    key = ordered.expressions[0].this
    return _first_of(_spark("collect_list(struct(:key, :value))", key=key, value=ordered.this), piece.expression)


def _lowest(node: exp.ArgMin) -> exp.Expr:
    """Translate min_by(x, y, n), which ignores null x."""
    count = node.args.get("count")
    if count is None:
        return node
    return _call("min_by", node.this, node.expression, count)


def _counted_if(node: exp.CountIf) -> exp.Expr:
    return _spark("sum(CASE WHEN :c THEN 1 WHEN NOT :c THEN 0 END)", c=node.this)


def _summed(node: exp.Sum) -> exp.Expr:
    return _call("try_sum", node.this) if node.meta.get("tried") else node


def _average(node: exp.Avg) -> exp.Expr:
    return _spark("avg(CAST(:value AS DOUBLE))", value=node.this)


_RANKS = (exp.RowNumber, exp.Rank, exp.DenseRank, exp.Ntile)


def _window(node: exp.Window) -> exp.Expr:
    """Translate a window with FILTER or DISTINCT, which Spark does not have."""
    if isinstance(node.this, exp.Filter):
        function, condition = node.this.this, node.this.expression.this
        argument = function.this if not isinstance(function, exp.Anonymous) else function.expressions[0]
        counted = literal(1) if isinstance(argument, exp.Star) else argument.copy()
        argument.replace(_spark("CASE WHEN :c THEN :value END", c=condition, value=counted))
        node.set("this", function)
    if isinstance(node.this, exp.Count) and isinstance(node.this.this, exp.Distinct):
        node.set("this", _call("collect_set", *node.this.this.expressions))
        return exp.cast(_call("size", node), "BIGINT")
    return exp.cast(node, "BIGINT") if isinstance(node.this, _RANKS) else node


# --- functions -------------------------------------------------------------------------------------------------------


def _hash_digits(node: exp.Expr) -> exp.Expr | None:
    """Translate the cast of a hash text '0x...' to a number, which Spark cannot cast."""
    text = node.this if isinstance(node, exp.Cast) else None
    if not isinstance(text, exp.DPipe) or text.left != exp.Literal.string("0x"):
        return None
    digits = text.right
    return digits if isinstance(digits, exp.Left) and isinstance(digits.this, exp.MD5) else None


def _record(node: exp.Anonymous) -> exp.Expr:
    return _spark("to_json(:fields, map('ignoreNullFields', 'false'))", fields=_call("named_struct", *node.expressions))


_ANONYMOUS: Mapping[str, Rewrite] = {
    "concat_ws": lambda node: node,
    "epoch_us": lambda node: _spark("unix_micros(:a)", a=node.expressions[0]),
    "isfinite": lambda node: _spark("(NOT isnan(:a) AND abs(:a) < double('inf'))", a=node.expressions[0]),
    "json_object": _record,
    "row": lambda node: _call("struct", *node.expressions),
    "strlen": lambda node: _spark("CAST(octet_length(:a) AS BIGINT)", a=node.expressions[0]),
    "suffix": lambda node: _spark("endswith(:a, :b)", a=node.expressions[0], b=node.expressions[1]),
    # the reader of raw files returns a nested value as text
    "to_json": lambda node: node.expressions[0],
    "to_microseconds": lambda node: _spark(
        "make_dt_interval(0, 0, 0, CAST(:a AS DECIMAL(18, 0)) * 0.000001BD)", a=node.expressions[0]
    ),
    "try_strptime": lambda node: _parsed_time(*node.expressions),
}


def _named(node: exp.Anonymous) -> exp.Expr:
    rewrite = _ANONYMOUS.get(node.name.lower())
    return rewrite(node) if rewrite is not None else node


def _as_bigint(node: exp.Expr) -> exp.Expr:
    """Cast a whole number to 64 bits, as in DuckDB; Spark has 32."""
    return exp.cast(node, "BIGINT")


def _within(condition: str) -> Rewrite:
    """Translate a function that is null outside its domain."""
    return lambda node: _spark(f"CASE WHEN {condition} THEN :value END", x=node.this, value=node)


def _logarithm(node: exp.Log) -> exp.Expr:
    base, value = node.this, node.expression
    return _call({"2": "log2", "10": "log10"}[base.name], value)


def _rounded(node: exp.Round) -> exp.Expr:
    places = node.args.get("decimals")
    if places is None or not isinstance(places, exp.Literal) or places.name == "0":
        return node
    text = _spark("TRY_CAST(CAST(:value AS STRING) AS DOUBLE)", value=node.this)
    double = _spark("CAST(:scaled AS DOUBLE)", scaled=_scaled(text, int(places.name)))
    return _by_type(node.this, node, double=double)


def _concatenated(node: exp.Concat) -> exp.Expr:
    return _call("concat_ws", literal(""), *[_text_of(part) for part in node.expressions])


def _as_bytes(text: exp.Expr) -> exp.Expr:
    """Return a text with one letter for each byte, for functions that count bytes in DuckDB."""
    return _spark("decode(encode(:text, 'utf-8'), 'iso-8859-1')", text=text)


def _most(node: exp.Greatest | exp.Least) -> exp.Expr:
    return node if node.expressions else node.this


def _condition(node: exp.If) -> exp.Expr:
    if isinstance(node.this, exp.Null):
        node.set("this", exp.false())
    return node


def _selected(node: exp.Select) -> exp.Expr:
    """Translate QUALIFY to a condition on an extra column, which a star does not select."""
    qualify = node.args.get("qualify")
    if qualify is None:
        return node
    order, limit = node.args.get("order"), node.args.get("limit")
    for part in ("qualify", "order", "limit"):
        node.set(part, None)
    node.append("expressions", exp.alias_(qualify.this, _QUALIFIED, quoted=True))
    star = exp.Star(except_=[identifier(_QUALIFIED)])
    outer = exp.select(star).from_(node.subquery("q")).where(column(_QUALIFIED))
    for place in order.find_all(exp.Column) if order is not None else ():
        place.set("table", None)
    outer.set("order", order)
    outer.set("limit", limit)
    return outer


_REWRITES: Mapping[type[exp.Expr], Rewrite] = {
    exp.DataType: _type,
    exp.Cast: _cast,
    exp.TryCast: _cast,
    exp.Try: lambda node: node.this,
    exp.Select: _selected,
    exp.Anonymous: _named,
    # operators
    exp.Add: _arithmetic,
    exp.Sub: _arithmetic,
    exp.Mul: _arithmetic,
    exp.Neg: _negated,
    exp.Div: _divided,
    exp.DPipe: _joined,
    exp.AtTimeZone: _in_zone,
    exp.BitwiseRightShift: lambda node: _call("shiftrightunsigned", node.this, node.expression),
    exp.If: _condition,
    # numbers
    exp.Greatest: _most,
    exp.Least: _most,
    exp.Acos: _within("abs(:x) <= 1 OR isnan(:x)"),
    exp.Asin: _within("abs(:x) <= 1 OR isnan(:x)"),
    exp.Sqrt: _within(":x >= 0"),
    exp.Log: _logarithm,
    exp.Round: _rounded,
    # texts
    exp.Concat: _concatenated,
    exp.Decode: lambda node: _spark("try_validate_utf8(CAST(:a AS STRING))", a=node.this),
    exp.Length: _as_bigint,
    exp.Levenshtein: lambda node: _spark(
        "CAST(levenshtein(:a, :b) AS BIGINT)", a=_as_bytes(node.this), b=_as_bytes(node.expression)
    ),
    exp.StrPosition: _as_bigint,
    exp.RegexpFullMatch: lambda node: _matches(node, whole=True),
    exp.RegexpLike: _matches,
    exp.RegexpExtract: _extracted,
    exp.RegexpReplace: _replaced,
    # dates and times
    exp.DateDiff: _difference,
    exp.DateTrunc: lambda node: _call("date_trunc", literal(node.args["unit"].name), node.this),
    exp.DateFromParts: lambda node: _spark(
        "CAST(try_make_timestamp(:y, :m, :d, 0, 0, 0) AS DATE)",
        y=node.args["year"],
        m=node.args["month"],
        d=node.args["day"],
    ),
    exp.DayOfWeekIso: lambda node: _spark("CAST(weekday(:a) + 1 AS BIGINT)", a=node.this),
    exp.Extract: _part,
    exp.StrToTime: lambda node: _parsed_time(node.this, node.args["format"]),
    exp.TimestampFromParts: _time_of_parts,
    exp.TimeToUnix: lambda node: _seconds(node.this),
    **dict.fromkeys(
        (exp.Day, exp.DayOfMonth, exp.DayOfYear, exp.Hour, exp.Minute, exp.Month, exp.Quarter, exp.Second), _as_bigint
    ),
    exp.Week: lambda node: _spark("CAST(weekofyear(:a) AS BIGINT)", a=node.this),
    exp.WeekOfYear: _as_bigint,
    exp.Year: _as_bigint,
    # aggregates and windows
    exp.ArgMin: _lowest,
    exp.Avg: _average,
    exp.Bracket: _sliced,
    exp.CountIf: _counted_if,
    exp.PercentileCont: lambda node: _call("percentile", node.this, node.expression),
    exp.Sum: _summed,
    exp.Window: _window,
}
