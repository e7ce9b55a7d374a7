"""Finds the glob that names of files share, and the strptime pattern of the time in them."""

from __future__ import annotations

import datetime as dt
import fnmatch
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dataops_assets.config.connection import ExtractTime
from dataops_assets.connections.extract_time import extract_time
from dataops_assets.errors import DataOpsError

_YEAR = r"(?:19|20)[0-9]{2}"
_MONTH, _DAY = r"(?:0[1-9]|1[0-2])", r"(?:0[1-9]|[12][0-9]|3[01])"
_HOUR, _MINUTE = r"(?:[01][0-9]|2[0-3])", r"[0-5][0-9]"
_FIRST = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
# from the most exact to the least; (?<![0-9]) so that no number is cut
_CLOCK = (
    (rf"{_HOUR}{_MINUTE}{_MINUTE}", "%H%M%S"),
    (rf"{_HOUR}:{_MINUTE}:{_MINUTE}", "%H:%M:%S"),
    (rf"{_HOUR}-{_MINUTE}-{_MINUTE}", "%H-%M-%S"),
    (rf"{_HOUR}_{_MINUTE}_{_MINUTE}", "%H_%M_%S"),
    (rf"{_HOUR}{_MINUTE}", "%H%M"),
    (rf"{_HOUR}:{_MINUTE}", "%H:%M"),
    (rf"{_HOUR}-{_MINUTE}", "%H-%M"),
)
_DATES = (
    *((f"{_YEAR}{mark}{_MONTH}{mark}{_DAY}", f"%Y{mark}%m{mark}%d") for mark in ("-", "_", ".", "")),
    *((f"{_DAY}{mark}{_MONTH}{mark}{_YEAR}", f"%d{mark}%m{mark}%Y") for mark in (".", "-", "_")),
    *((f"{_MONTH}{mark}{_DAY}{mark}{_YEAR}", f"%m{mark}%d{mark}%Y") for mark in ("-", "_")),
    *((f"{_YEAR}{mark}{_MONTH}", f"%Y{mark}%m") for mark in ("-", "_", ".", "")),
    (_YEAR, "%Y"),
)


@dataclass(frozen=True)
class FileNames:
    """The glob and the extract times that the names of files give.

    * `pattern`: of the extract time; empty if the names have no time. `otherwise`: its time for names without one.
    * `times`: the extract time of each file, by its name.
    * `why`: the reason, as a sentence.
    """

    glob: str
    pattern: str
    otherwise: str
    times: dict[str, dt.datetime]
    why: str

    @property
    def rule(self) -> ExtractTime:
        """Return the origin of the extract time as it is declared."""
        return ExtractTime(pattern=self.pattern, otherwise=self.otherwise)


def read_names(names: Sequence[str]) -> FileNames:
    """Return the facts in the names of files in one folder."""
    unique = sorted(set(names))
    for pattern, glob in _patterns(unique):
        times = {name: time for name in unique if (time := _time_of(name, pattern)) is not None}
        if not times or 2 * len(times) < len(unique):
            continue
        if len(times) == len(unique):
            why = "the names of all files have this form" if len(unique) > 1 else "the name of the file has this form"
            return FileNames(glob, pattern, "", times, why)
        first = min(times.values()) - dt.timedelta(days=1)
        others = [name for name in unique if name not in times]
        told = ", ".join(others[:3])
        why = f"{len(times)} of {len(unique)} names have this form; the others ({told}) are taken as older"
        times |= dict.fromkeys(others, first.replace(hour=0, minute=0, second=0, microsecond=0))
        return FileNames(_glob(unique), pattern, first.date().isoformat(), times, why)
    why = "no name has a date: the time of an input is the modification time of its file"
    return FileNames(_glob(unique), "", "", {}, why)


def _time_of(name: str, pattern: str) -> dt.datetime | None:
    try:
        return extract_time(ExtractTime(pattern=pattern), name, _FIRST, dt.UTC)
    except DataOpsError:
        return None


def _patterns(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield patterns of times with their globs, the best first: those of the most names, then the most exact ones."""
    found: dict[str, dict[str, tuple[str, str]]] = {}
    for name in names:
        for directives, before, after in _readings(name):
            found.setdefault(directives, {}).setdefault(name, (before, after))
    exact = [directives for _, directives in _DATES]
    for directives in sorted(found, key=lambda item: (-len(found[item]), -len(item), exact.index(_date_of(item)))):
        before = _merged([before for before, _ in found[directives].values()])
        after = _merged([after for _, after in found[directives].values()])
        pattern = f"{before.replace('%', '%%')}{directives}{after.replace('%', '%%')}"
        yield pattern, re.sub(r"\*+", "*", f"{_literal(before)}*{_literal(after)}")


def _date_of(directives: str) -> str:
    return max((date for _, date in _DATES if directives.startswith(date)), key=len)


def _readings(name: str) -> Iterator[tuple[str, str, str]]:
    """Yield the ways to read a time in a name: the directives, and what is before and after it."""
    for date, directives in _DATES:
        for begin in re.finditer(rf"(?<![0-9]){date}", name):
            before, after = name[: begin.start()], name[begin.end() :]
            clock, of_clock = _clock(after) if "%d" in directives else ("", "")
            if clock:
                yield directives + of_clock, before, after[len(clock) :]
            if not after[:1].isdigit():
                yield directives, before, after


def _clock(text: str) -> tuple[str, str]:
    """Return the time of day at the begin of a text, and its directives."""
    for form, directives in _CLOCK:
        for between in ("T", "_", "-", " ", "t", "."):
            found = re.match(rf"{re.escape(between)}{form}(?![0-9])", text)
            if found:
                return found[0], between + directives
        if directives == "%H%M%S" and (found := re.match(rf"{form}(?![0-9])", text)):
            return found[0], directives
    return "", ""


def _merged(texts: Sequence[str]) -> str:
    """Return what all texts have in common, with '*' for the rest between."""
    if len(set(texts)) == 1:
        return texts[0]
    prefix = _start(texts)
    rest = [text[len(prefix) :] for text in texts]
    # from a mark on, so that no word is cut: of north_ and south_ it is the mark alone
    suffix = re.sub(r"^[^\W_]+", "", _common([text[::-1] for text in rest])[::-1])
    return f"{prefix}*{suffix}"


def _start(texts: Sequence[str]) -> str:
    """Return what all texts begin with, up to a number or to a mark between words."""
    common = re.sub(r"[0-9]+$", "", _common(texts))
    has_numbers = all(text[len(common) : len(common) + 1].isdigit() or text == common for text in texts)
    return common if has_numbers else re.sub(r"[^\W_]+$", "", common)


def _glob(names: Sequence[str]) -> str:
    """Return the pattern of paths that has all names: the same start and end, with '*' between."""
    if len(names) == 1:
        return _literal(names[0])
    prefix = re.sub(r"[0-9][0-9._-]*$", "", _start(names))
    endings = {_ending(name) for name in names}
    if len(endings) > 1:
        common = _common(sorted(endings))
        return f"{_literal(prefix)}*{_literal(common)}*" if common else f"{_literal(prefix)}*"
    return f"{_literal(prefix)}*{_literal(endings.pop())}"


def _common(texts: Sequence[str]) -> str:
    """Return the longest text that all texts begin with."""
    first, last = min(texts), max(texts)
    return first[: next((place for place, sign in enumerate(first) if last[place] != sign), len(first))]


def _ending(name: str) -> str:
    stem, ending = os.path.splitext(name)
    inner = os.path.splitext(stem)[1]
    return f"{inner}{ending}" if ending.lower() in (".gz", ".zip", ".zst") and inner[1:].isalpha() else ending


def _literal(text: str) -> str:
    """Return a text as a pattern of paths; '*' stays what it is there."""
    return re.sub(r"([?[])", r"[\1]", text)


def matches(name: str, glob: str) -> bool:
    """Return whether a pattern has a name."""
    return fnmatch.fnmatchcase(name, glob)
