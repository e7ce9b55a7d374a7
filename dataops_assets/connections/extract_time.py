"""Reads the extract time of an input from its file name or its modification time.

Grain: one file name. Times are aware, in UTC, at microsecond precision.
"""

from __future__ import annotations

import datetime as dt
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from dataops_assets.config.connection import ExtractTime
from dataops_assets.errors import ConfigError, InputError

_WORD = r"[^\W\d_]+\.?"
# What each strptime directive matches. Locale-wide ones (%c, %x, %X) have no fixed shape and are left out.
_DIRECTIVES = {
    "Y": r"[0-9]{4}",
    "G": r"[0-9]{4}",
    "y": r"[0-9]{2}",
    "m": r"1[0-2]|0[1-9]|[1-9]",
    "d": r"3[01]|[12][0-9]|0[1-9]|[1-9]",
    "H": r"2[0-3]|[01][0-9]|[0-9]",
    "I": r"1[0-2]|0[1-9]|[1-9]",
    "M": r"[0-5][0-9]|[0-9]",
    "S": r"[0-5][0-9]|[0-9]",
    "f": r"[0-9]{1,6}",
    "j": r"36[0-6]|3[0-5][0-9]|[12][0-9]{2}|0[1-9][0-9]|00[1-9]|[1-9][0-9]|[1-9]",
    "U": r"5[0-3]|[0-4][0-9]|[0-9]",
    "W": r"5[0-3]|[0-4][0-9]|[0-9]",
    "V": r"5[0-3]|0[1-9]|[1-4][0-9]|[1-9]",
    "w": r"[0-6]",
    "u": r"[1-7]",
    "a": _WORD,
    "A": _WORD,
    "b": _WORD,
    "B": _WORD,
    "p": r"[AaPp][Mm]",
    "z": r"[+-][0-9]{2}:?[0-5][0-9]|Z",
}
# the patterns of directives with optional digits, when another number touches them
_FULL = {
    "m": r"1[0-2]|0[1-9]",
    "d": r"3[01]|[12][0-9]|0[1-9]",
    "H": r"2[0-3]|[01][0-9]",
    "I": r"1[0-2]|0[1-9]",
    "M": r"[0-5][0-9]",
    "S": r"[0-5][0-9]",
    "j": r"36[0-6]|3[0-5][0-9]|[12][0-9]{2}|0[1-9][0-9]|00[1-9]",
    "U": r"5[0-3]|[0-4][0-9]",
    "W": r"5[0-3]|[0-4][0-9]",
    "V": r"5[0-3]|0[1-9]|[1-4][0-9]",
}
_YEARS = frozenset("YGy")
_WORDLIKE = frozenset("aAbBpz")
_WIDTHS = {"Y": 4, "G": 4, "f": 6, "j": 3, "w": 1, "u": 1}
_TOKEN = re.compile(r"%(?P<directive>.?)|(?P<any>\*)|(?P<text>[^%*]+)", re.DOTALL)
# Between two values, so that strptime splits them where the pattern did; no directive matches it.
_BETWEEN = "|"


@dataclass(frozen=True)
class _Pattern:
    name: re.Pattern[str]
    shape: re.Pattern[str]
    format: str


def extract_time(rule: ExtractTime, name: str, modified: dt.datetime, zone: dt.tzinfo) -> dt.datetime:
    """Return the extract time of the file `name`, last changed at `modified` (aware).

    A time without an offset in a name is in `zone`. Raises InputError for a name that does not match the pattern,
    unless the rule declares `otherwise`. Raises InputError also for a name of the right form with a date that does not
    exist, because such a file has a date, although a wrong one. Raises ConfigError for a pattern that strptime refuses.
    """
    if not rule.pattern:
        return modified
    pattern = _compiled(rule.pattern)
    match = pattern.name.fullmatch(name)
    if match is not None:
        try:
            time = dt.datetime.strptime(_BETWEEN.join(match.groups()), pattern.format)  # noqa: DTZ007 - the zone follows
            return _as_utc(time, zone)
        except (ValueError, OverflowError) as error:
            raise _no_time(name, rule.pattern, str(error)) from error
    if pattern.shape.fullmatch(name):
        raise _no_time(name, rule.pattern, "no such date or time")
    if rule.otherwise == "modified":
        return modified
    if rule.otherwise_time is not None:
        return rule.otherwise_time
    raise _no_time(name, rule.pattern, "the name does not match the pattern")


def require_pattern(pattern: str) -> None:
    """Raise ConfigError for a pattern that can match no file name; an empty pattern is allowed."""
    if pattern:
        _compiled(pattern)


def _as_utc(time: dt.datetime, zone: dt.tzinfo) -> dt.datetime:
    aware = time if time.tzinfo is not None else time.replace(tzinfo=zone)
    return aware.astimezone(dt.UTC)


def _no_time(name: str, pattern: str, reason: str) -> InputError:
    return InputError(
        f"reading the extract time of file {name!r} with connection.extract_time.pattern {pattern!r}",
        received=reason,
        next_step="rename the file, correct the pattern, set extract_time.otherwise, or narrow connection.path",
    )


@functools.lru_cache(maxsize=256)
def _compiled(pattern: str) -> _Pattern:
    name: list[str] = []
    shape: list[str] = []
    directives: list[str] = []
    tokens = list(_TOKEN.finditer(pattern))
    for index, token in enumerate(tokens):
        if token["any"]:
            # lazy: if a name has two dates, the first one counts
            name.append(".*?")
            shape.append(".*?")
            continue
        directive = token["directive"]
        text = "%" if directive == "%" else token["text"]
        if text is not None:
            name.append(re.escape(text))
            shape.append(re.escape(text))
            continue
        if directive not in _DIRECTIVES or directive in directives:
            raise ConfigError(
                f"reading connection.extract_time.pattern {pattern!r}",
                received=f"'%{directive}' " + ("twice" if directive in directives else ""),
                known=[f"%{known}" for known in _DIRECTIVES],
                next_step="use each directive once; '*' matches any text",
            )
        directives.append(directive)
        beside = (*tokens[max(index - 1, 0) : index], *tokens[index + 1 : index + 2])
        # if numbers touch, the end of a shorter number is unknown
        is_fixed = directive in _FULL and any(map(_is_number, beside))
        name.append(f"({_FULL[directive] if is_fixed else _DIRECTIVES[directive]})")
        width = _WIDTHS.get(directive, 2)
        # digits where a number belongs, whatever their value; possessive, so that a long name is no long search
        digits = f"[0-9]{{{width if is_fixed else 1},{width}}}+"
        shape.append(_DIRECTIVES[directive] if directive in _WORDLIKE else digits)
    _require_exact(pattern, frozenset(directives))
    flags = re.IGNORECASE | re.DOTALL
    return _Pattern(
        re.compile("".join(name), flags),
        re.compile("".join(f"(?:{part})" for part in shape), flags),
        _BETWEEN.join(f"%{directive}" for directive in directives),
    )


def _is_number(token: re.Match[str]) -> bool:
    return bool(token["directive"]) and token["directive"] not in {*_WORDLIKE, "%"}


def _require_exact(pattern: str, given: frozenset[str]) -> None:
    """Raise ConfigError if strptime would guess or omit a part of the time."""
    for is_wrong, received, next_step in _inexact(given):
        if is_wrong:
            raise ConfigError(
                f"reading connection.extract_time.pattern {pattern!r}",
                received=received,
                known=[f"%{known}" for known in _DIRECTIVES],
                next_step=next_step,
            )


def _inexact(given: frozenset[str]) -> Iterator[tuple[bool, str, str]]:
    """A reason why a pattern is inexact: whether it applies, the fault, and what to write instead."""
    months, hours, weekdays = given & set("mbB"), given & set("HI"), given & set("aAwu")
    days = given & set("dj") or (weekdays and given & set("UWV"))
    week = "write the ISO week with its weekday, such as '%G-W%V-%u', or the date"
    yield (
        not given & _YEARS,
        "no year",
        "name the year in the pattern, or leave it empty to take the file's modification time",
    )
    yield len(given & _YEARS) > 1, "two years", "name one of them, and put '*' for the other"
    yield len(months) > 1, "the month twice", "name one of them, and put '*' for the other"
    yield len(hours) > 1, "the hour twice", "write %H, or %I with %p"
    yield bool(given & set("UWV")) and not weekdays, "a week without its weekday", week
    yield len(given & set("UWV")) > 1, "the week twice", week
    yield ("G" in given) != ("V" in given), "%G and %V belong together", week
    yield bool(given & set("UWV")) and bool(months or given & set("dj")), "a week beside a date", week
    yield "j" in given and bool(months or given & set("dG")), "a day of the year beside a date", "write %Y and %j alone"
    yield "d" in given and not months, "a day without its month", "add %m, or write %j for the day of the year"
    yield bool(weekdays) and not days, "a weekday without its date", week
    yield bool(hours) and not days, "an hour without its day", "add the day, such as %Y-%m-%d"
    yield ("I" in given) != ("p" in given), "%I and %p belong together", "write %H, or %I with %p"
    yield "M" in given and not hours, "a minute without its hour", "add %H"
    yield "S" in given and "M" not in given, "a second without its minute", "add %M"
    yield "f" in given and "S" not in given, "a fraction without its second", "add %S"
