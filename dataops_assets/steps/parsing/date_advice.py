"""Says in which format rejected dates and times look written: a common one, Excel's day numbers, or seconds since 1970.

It names a format only if all given values have it. If several formats fit, it names them: then no value tells which.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence

DATES = (
    "%Y-%m-%d",
    "%Y/%m/%d",
    "%Y.%m.%d",
    "%d.%m.%Y",
    "%d.%m.%y",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d/%m/%y",
    "%m/%d/%y",
    "%d-%m-%Y",
    "%m-%d-%Y",
    "%d %b %Y",
    "%d-%b-%Y",
    "%d-%b-%y",
    "%d %B %Y",
    "%b %d, %Y",
    "%B %d, %Y",
)
PACKED = {"%Y%m%d": 8, "%d%m%Y": 8, "%m%d%Y": 8, "%y%m%d": 6, "%d%m%y": 6, "%Y%m%d%H%M": 12, "%Y%m%d%H%M%S": 14}
TIMES = ("", " %H:%M", " %H:%M:%S", "T%H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
_ISO = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?")
_EXCEL = re.compile(r"[2-7]\d{4}(\.\d+)?")
_SINCE_1970 = {
    "epoch_seconds": re.compile(r"1\d{9}(\.\d+)?"),
    "epoch_milliseconds": re.compile(r"1\d{12}(\.\d+)?"),
    "epoch_microseconds": re.compile(r"1\d{15}"),
}
_MOST_NAMED = 3


def looks_like(values: Sequence[str], kind: str, declared: Sequence[str] = ()) -> str:
    """Return what rejected values of a column look like, and what to declare; empty if they look like nothing known.

    `kind` is the column's type: date, timestamp or timestamptz. `declared` are its formats; they are not named again.
    """
    texts = list(dict.fromkeys(value.strip() for value in values))
    if not texts:
        return ""
    if _all(_EXCEL, texts):
        return (
            "looks like day numbers of Excel: export dates as text, or declare a number and compute the date by a rule"
        )
    for word, pattern in _SINCE_1970.items():
        if _all(pattern, texts) and word not in declared:
            what = "declare the type timestamptz with" if kind == "date" else "set"
            return f"looks like {word.removeprefix('epoch_')} since 1970: {what} date_format: {word}"
    if kind == "date" and _all(_ISO, texts):
        return "looks like ISO 8601 with a time of day: declare the type timestamp"
    fitting = [form for form in fitting_formats(texts) if form not in declared]
    if not fitting:
        return ""
    with_time = kind == "date" and any("%H" in form or "%I" in form for form in fitting)
    what = "declare the type timestamp with this date_format" if with_time else "set date_format"
    if len(fitting) == 1:
        return f"looks like {fitting[0]}: {what}"
    return f"looks like {' or '.join(fitting[:_MOST_NAMED])}, and no value tells which: ask the sender, then {what}"


def fitting_formats(texts: Sequence[str]) -> list[str]:
    """Return the common formats that all texts have."""
    common = [*(f"{date}{time}" for time in TIMES for date in DATES), *PACKED]
    return [form for form in common if all(_has(text, form) for text in texts)]


def _has(text: str, form: str) -> bool:
    """Return whether a text has a format; numbers that touch must have all their digits."""
    if form in PACKED and (len(text) != PACKED[form] or not text.isdigit()):
        return False
    try:
        dt.datetime.strptime(text, form)  # noqa: DTZ007
    except ValueError:
        return False
    return True


def _all(pattern: re.Pattern[str], texts: Sequence[str]) -> bool:
    return all(pattern.fullmatch(text) for text in texts)
