"""Implements a declared `date_format` with the meaning of Python's `datetime.strptime`, on both engines.

A format becomes one regular expression. Its groups are put together to a date and a time of the engine. The engine's
own strptime is not used: it reads `3/2/20` as the year 20, and the engines differ.

Every accepted text has the value that Python's strptime gives. A few texts that Python takes are rejected, because they
may mean something else: a number with fewer digits than its directive has, where another number follows at once (with
`%Y%m%d`, `2013111` is the 11 January or the 1 November), the day 366 or the week 53 of a year that has none, and digits
of other scripts. Names of months, days and halves of the day are the English ones, as in Python without a locale.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlglot import exp

from dataops_assets.errors import ConfigError
from dataops_assets.sql import DIALECT, computed_once, literal, query
from dataops_assets.steps.parsing.epoch_times import MICROSECONDS

_MONTHS = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
# the characters that Python treats as space
_SPACES = r"[\x09-\x0d\x1c-\x20\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}]+"
_YEAR = "[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9]"
_OFFSET = (
    r"[+-](?:[01][0-9]|2[0-3])[0-5][0-9](?:[0-5][0-9](?:\.[0-9]{1,6})?)?"
    r"|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,6})?)?|(?-i:Z)"
)
_FIRST, _LAST = "0001-01-01 00:00:00", "9999-12-31 23:59:59.999999"
_SAME_AS = {"c": "%a %b %d %H:%M:%S %Y", "x": "%m/%d/%y", "X": "%H:%M:%S"}


@dataclass(frozen=True)
class _Directive:
    """One directive: its part of a time, its pattern, and its pattern where its digits touch other digits."""

    part: str
    pattern: str
    packed: str = ""


def _names(names: Sequence[str], part: str) -> _Directive:
    return _Directive(part, "|".join(sorted(names, key=len, reverse=True)))


_DIRECTIVES: Mapping[str, _Directive] = {
    "Y": _Directive("year", _YEAR, _YEAR),
    "y": _Directive("year", "[0-9]{2}", "[0-9]{2}"),
    "G": _Directive("year", _YEAR, _YEAR),
    "m": _Directive("month", "1[0-2]|0[1-9]|[1-9]", "1[0-2]|0[1-9]"),
    "b": _names([name[:3] for name in _MONTHS], "month"),
    "B": _names(_MONTHS, "month"),
    "d": _Directive("day", "3[01]|[12][0-9]|0[1-9]|[1-9]| [1-9]", "3[01]|[12][0-9]|0[1-9]| [1-9]"),
    "j": _Directive(
        "ordinal",
        "36[0-6]|3[0-5][0-9]|[12][0-9]{2}|0[1-9][0-9]|00[1-9]|[1-9][0-9]|0[1-9]|[1-9]",
        "36[0-6]|3[0-5][0-9]|[12][0-9]{2}|0[1-9][0-9]|00[1-9]",
    ),
    "U": _Directive("week", "5[0-3]|[0-4][0-9]|[0-9]", "5[0-3]|[0-4][0-9]"),
    "W": _Directive("week", "5[0-3]|[0-4][0-9]|[0-9]", "5[0-3]|[0-4][0-9]"),
    "V": _Directive("week", "5[0-3]|0[1-9]|[1-4][0-9]|[1-9]", "5[0-3]|0[1-9]|[1-4][0-9]"),
    "a": _names([name[:3] for name in _DAYS], "weekday"),
    "A": _names(_DAYS, "weekday"),
    "w": _Directive("weekday", "[0-6]", "[0-6]"),
    "u": _Directive("weekday", "[1-7]", "[1-7]"),
    "H": _Directive("hour", "2[0-3]|[01][0-9]|[0-9]", "2[0-3]|[01][0-9]"),
    "I": _Directive("hour", "1[0-2]|0[1-9]|[1-9]", "1[0-2]|0[1-9]"),
    "p": _names(("am", "pm"), "half"),
    "M": _Directive("minute", "[0-5][0-9]|[0-9]", "[0-5][0-9]"),
    "S": _Directive("second", "[0-5][0-9]|[0-9]", "[0-5][0-9]"),
    # digits of a fraction are counted from its start, so only what follows at once needs all of them
    "f": _Directive("fraction", "[0-9]{1,6}", "[0-9]{6}"),
    "z": _Directive("offset", _OFFSET),
    "Z": _Directive("zone", "utc|gmt"),
}
_OF_A_CLOCK = {"hour", "minute", "second", "fraction", "offset"}


@dataclass(frozen=True)
class TimeFormat:
    """A format that can be read exactly. `directives`: the letter of the directive for each part of a time."""

    text: str
    pattern: str
    directives: Mapping[str, str]

    @property
    def has_offset(self) -> bool:
        """Whether the format has an offset, so that its values are instants."""
        return "offset" in self.directives


@functools.lru_cache(maxsize=256)
def time_format(text: str) -> TimeFormat:
    """Return the meaning of a strptime format.

    Raises ConfigError for a directive that Python does not know, and for an ambiguous format.
    """
    pieces = [
        piece for part in _split(text) for piece in (_split(_SAME_AS[part[1]]) if part[1:] in _SAME_AS else [part])
    ]
    unknown = [piece for piece in pieces if piece[0] == "%" and piece != "%%" and piece[1:] not in _DIRECTIVES]
    letters = [piece[1:] for piece in pieces if piece[0] == "%" and piece != "%%"]
    if unknown or not letters:
        raise _refused(text, f"{unknown[0]!r} is no directive" if unknown else "it has no directive")
    directives: dict[str, str] = {}
    for letter in letters:
        part = _DIRECTIVES[letter].part
        if part in directives:
            raise _refused(text, f"%{directives[part]} and %{letter} both tell the {part}")
        directives[part] = letter
    problem = _left_open(directives)
    if problem:
        raise _refused(text, problem)
    return TimeFormat(text, "".join(_patterns(pieces)), directives)


def parsed(value: exp.Expr, form: TimeFormat, target: str) -> exp.Expression:
    """Convert the text `value` to a DATE, or to a TIMESTAMP (in UTC if the format has an offset); null if that fails.

    A text with a time of day is a date only at midnight, without an offset or in UTC.
    """
    found = {part: exp.column(part, "s_parts") for part in form.directives}
    texts: dict[str, exp.Expr] = {part: query("nullif($text, '')", text=node) for part, node in found.items()}
    day = _day(texts, form.directives)
    if not _OF_A_CLOCK & set(texts):
        time: exp.Expr = _tried(day, target)
    else:
        time = _tried(query("$day || $clock", day=day, clock=_clock(texts)), "TIMESTAMP")
        offset = _offset(found["offset"]) if form.has_offset else None
        if target == "DATE":
            midnight = "CASE WHEN date_trunc('day', s_time) = s_time THEN CAST(s_time AS DATE) END"
            midnight = midnight.replace("WHEN", "WHEN $offset = 0 AND") if form.has_offset else midnight
            holes = {"offset": offset} if form.has_offset else {}
            time = computed_once("s_time", time, query(midnight, **holes))
        elif form.has_offset:
            time = query("$time - to_microseconds($offset)", time=time, offset=offset)
    if form.has_offset or "week" in texts:
        time = computed_once(
            "s_any", time, query("CASE WHEN s_any BETWEEN $first AND $last THEN s_any END", **_ends(target))
        )
    named = query(
        "regexp_extract($value, $pattern, $parts)",
        value=value,
        pattern=form.pattern,
        parts=exp.array(*[literal(part) for part in found]),
    )
    return computed_once("s_parts", named, time)


# --- reading a format ------------------------------------------------------------------------------------------------


def _split(text: str) -> list[str]:
    """Split a format into directives, runs of spaces and the text between them."""
    return re.findall(r"%.?|\s+|[^%\s]+", text, re.DOTALL)


def _refused(text: str, problem: str) -> ConfigError:
    return ConfigError(
        "reading a date_format",
        received=f"{text!r}: {problem}",
        known=[*(f"%{letter}" for letter in (*_DIRECTIVES, *_SAME_AS, "%")), *MICROSECONDS],
        next_step="use strptime directives for each part of a time, such as %d.%m.%Y %H:%M:%S, or the unit of a number",
    )


def _left_open(directives: Mapping[str, str]) -> str:
    """Return why a format with these directives is ambiguous; empty if it is not."""
    there = set(directives)
    letters = set(directives.values())
    if "year" not in there:
        return "it has no year"
    if "G" in letters or "V" in letters:
        is_whole = {"G", "V"} <= letters and "weekday" in there and not there & {"month", "day", "ordinal"}
        return "" if is_whole else "%G, %V and a day of the week (%u, %w, %a, %A) are a date only together"
    if "week" in there and ("weekday" not in there or there & {"month", "day", "ordinal"}):
        return "a week (%U, %W) is a date only with a day of the week (%u, %w, %a, %A), and without month and day"
    if "ordinal" in there and there & {"month", "day"}:
        return "%j tells the month and the day already"
    if "day" in there and "month" not in there:
        return "it has a day and no month"
    if ("I" in letters) != ("p" in letters):
        return "%I (12 hours) and %p (AM or PM) tell the hour only together"
    return ""


def _patterns(pieces: Sequence[str]) -> list[str]:
    """Return the regular expressions (RE2 and Java) of the pieces, for the whole text, without regard to case."""
    found = [r"(?i)\A"]
    for place, piece in enumerate(pieces):
        if piece.isspace():
            found.append(_SPACES)
        elif piece[0] != "%" or piece == "%%":
            found.append(re.sub(r"([\\.^$*+?(){}\[\]|])", r"\\\1", piece.removeprefix("%") if piece == "%%" else piece))
        else:
            directive = _DIRECTIVES[piece[1]]
            before = place > 0 and _has_digit(pieces[place - 1], -1)
            after = place + 1 < len(pieces) and _has_digit(pieces[place + 1], 0)
            is_packed = directive.packed and (after or (before and piece != "%f"))
            found.append(f"({directive.packed if is_packed else directive.pattern})")
    found.append(r"\z")
    return found


def _has_digit(piece: str, end: int) -> bool:
    """Whether a piece has a digit at this end."""
    if piece[0] == "%" and piece != "%%":
        return bool(_DIRECTIVES[piece[1]].packed) or (piece == "%z" and end == -1)
    return piece[end].isdecimal()


# --- the value of a text ---------------------------------------------------------------------------------------------


def _tried(value: exp.Expr, target: str) -> exp.Expression:
    return exp.TryCast(this=value, to=exp.DataType.build(target, dialect=DIALECT))


def _ends(target: str) -> dict[str, exp.Expr]:
    first, last = (_FIRST[:10], _LAST[:10]) if target == "DATE" else (_FIRST, _LAST)
    return {name: exp.cast(literal(text), target, dialect=DIALECT) for name, text in (("first", first), ("last", last))}


def _whole(text: exp.Expr) -> exp.Expr:
    return _tried(text.copy(), "INTEGER")


def _place(text: exp.Expr, names: Sequence[str], start: int) -> exp.Expr:
    """Return the position of a name in `names`, counted from `start`, as a text."""
    found = exp.Case(this=query("lower($text)", text=text))
    for place, name in enumerate(names, start):
        found.append("ifs", exp.If(this=literal(name), true=literal(str(place))))
    return found


def _day(texts: Mapping[str, exp.Expr], directives: Mapping[str, str]) -> exp.Expr:
    """Return the day in ISO 8601."""
    year = texts["year"]
    if directives["year"] == "y":
        year = query("CASE WHEN $year < '69' THEN '20' ELSE '19' END || $year", year=year)
    if "ordinal" in texts:
        first = _tried(query("$year || '-01-01'", year=year), "DATE")
        day = query("$first + ($ordinal - 1)", first=first, ordinal=_whole(texts["ordinal"]))
        in_year = query("CASE WHEN year(s_day) = $year THEN CAST(s_day AS VARCHAR) END", year=_whole(year))
        return computed_once("s_day", day, in_year)
    if "week" in texts:
        return computed_once("s_day", _day_of_week(year, texts, directives), query("CAST(s_day AS VARCHAR)"))
    month = texts.get("month", literal("1"))
    if directives.get("month") in ("b", "B"):
        names = _MONTHS if directives["month"] == "B" else [name[:3] for name in _MONTHS]
        month = _place(month, names, 1)
    # a day may have a space before it
    day = query("trim($day)", day=texts["day"]) if "day" in texts else literal("1")
    return query("$year || '-' || $month || '-' || $day", year=year, month=month, day=day)


def _day_of_week(year: exp.Expr, texts: Mapping[str, exp.Expr], directives: Mapping[str, str]) -> exp.Expr:
    """Return the day for a week number and a weekday."""
    weekday, week = texts["weekday"], _whole(texts["week"])
    letter = directives["weekday"]
    if letter in ("a", "A"):
        number: exp.Expr = _whole(_place(weekday, _DAYS if letter == "A" else [name[:3] for name in _DAYS], 0))
    else:
        # from Monday; %w counts from Sunday, %u from 1
        number = query("($day + 6) % 7", day=_whole(weekday))
    first = _tried(
        query("$year || $start", year=year, start="-01-04" if directives["week"] == "V" else "-01-01"), "DATE"
    )
    before: exp.Expr = query("CAST(isodow(s_first) AS INTEGER) - 1")
    if directives["week"] == "V":
        # the week of 4 January is the first; a week belongs to the year that its Thursday is in
        monday = query("s_first - ($before) + 7 * ($week - 1)", before=before, week=week)
        in_year = query(
            "CASE WHEN year(s_monday + 3) = $year THEN s_monday + $number END", year=_whole(year), number=number
        )
        return computed_once("s_first", first, computed_once("s_monday", monday, in_year))
    if directives["week"] == "U":
        before, number = (query("($day + 1) % 7", day=exp.paren(day)) for day in (before, number))
    day = query(
        "s_first + CASE WHEN s_week = 0 THEN $number - ($before) "
        "ELSE (7 - ($before)) % 7 + 7 * (s_week - 1) + $number END",
        before=before,
        number=exp.paren(number),
    )
    return computed_once("s_first", first, computed_once("s_week", week, day))


def _clock(texts: Mapping[str, exp.Expr]) -> exp.Expr:
    """Return the time of day in ISO 8601, with a space before it."""
    hour = texts.get("hour", literal("0"))
    if "half" in texts:
        hour = query(
            "CAST($hour % 12 + CASE lower($half) WHEN 'pm' THEN 12 ELSE 0 END AS INTEGER)",
            hour=_whole(hour),
            half=texts["half"],
        )
        hour = exp.cast(hour, "VARCHAR")
    clock = query(
        "' ' || $hour || ':' || $minute || ':' || $second",
        hour=hour,
        minute=texts.get("minute", literal("0")),
        second=texts.get("second", literal("0")),
    )
    return (
        query("$clock || '.' || $fraction", clock=clock, fraction=texts["fraction"]) if "fraction" in texts else clock
    )


def _offset(text: exp.Expr) -> exp.Expr:
    """Return the microseconds of an offset, east of UTC."""
    plain = query("replace($text, ':', '')", text=text)
    seconds = [
        query("coalesce(TRY_CAST(substr($plain, $start, 2) AS BIGINT), 0)", plain=plain, start=start)
        for start in (2, 4, 6)
    ]
    return query(
        "CASE WHEN left($plain, 1) = '-' THEN -1 ELSE 1 END * ((($hours * 60 + $minutes) * 60 + $seconds) * 1000000 + "
        "coalesce(TRY_CAST(rpad(substr($plain, 9), 6, '0') AS BIGINT), 0))",
        plain=plain,
        hours=seconds[0],
        minutes=seconds[1],
        seconds=seconds[2],
    )
