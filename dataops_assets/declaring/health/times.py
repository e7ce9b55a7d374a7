"""Kinds of unhealthy dates and times: stand-ins, the future, the far past, several formats, midnights."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Sequence

from dataops_assets.declaring.health.finding import ColumnView, Finding, time_of

_LEAST_ROWS = 20
_STAND_INS = {(9999, 12, 31), (9999, 1, 1), (2999, 12, 31), (1900, 1, 1), (1970, 1, 1), (1899, 12, 30), (1, 1, 1)}
_FAR_PAST = 1900
_MARGIN = dt.timedelta(days=366)
_PLANNED = re.compile(r"due|plan|expir|valid|until|end|deadline|next|sched|expected|deliver|matur|best", re.IGNORECASE)
_FORMS = {
    r"\d{4}-\d{1,2}-\d{1,2}": "2024-01-31",
    r"\d{4}/\d{1,2}/\d{1,2}": "2024/01/31",
    r"\d{1,2}\.\d{1,2}\.\d{4}": "31.01.2024",
    r"\d{1,2}/\d{1,2}/\d{4}": "01/31/2024",
    r"\d{1,2}-\d{1,2}-\d{4}": "31-01-2024",
    r"\d{1,2}/\d{1,2}/\d{2}": "01/31/24",
    r"\d{1,2}[ -][A-Za-z]{3,9}[ -]\d{2,4}": "31 Jan 2024",
    r"[A-Za-z]{3,9} \d{1,2},? \d{4}": "Jan 31, 2024",
}
_CLOCK = r"([T ]\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?)?"


def stand_in_dates(view: ColumnView) -> Finding | None:
    """Dates such as 9999-12-31 or 1900-01-01 that stand for a missing one."""
    stand_ins = [time for time in view.times if (time.year, time.month, time.day) in _STAND_INS]
    others = [time for time in view.times if time not in stand_ins]
    # among dates of that time it is a day as any other
    apart = [time for time in stand_ins if all(abs(time - other) > _MARGIN for other in others)]
    return view.found("stand_in_dates", "dates look as if they stand for a missing one", _texts(view, apart))


def future_dates(view: ColumnView) -> Finding | None:
    """A few dates after the day on which the files came."""
    if _PLANNED.search(view.declared.name):
        return None
    last = dt.datetime.combine(view.today, dt.time()) + dt.timedelta(days=2)
    after = [time for time in view.times if time > last and (time.year, time.month, time.day) not in _STAND_INS]
    count = sum(view.times[time] for time in after)
    # a column of plans is in the future as a whole
    if count > 0.2 * sum(view.times.values()):
        return None
    return view.found("future_dates", f"dates are after {view.today}, the day of the files", _texts(view, after))


def unlikely_dates(view: ColumnView) -> Finding | None:
    """A few dates of a century before all others, or centuries ahead."""
    before = [time for time in view.times if time.year < _FAR_PAST or time.year > view.today.year + 100]
    before = [time for time in before if (time.year, time.month, time.day) not in _STAND_INS]
    rows = sum(view.times.values())
    if sum(view.times[time] for time in before) > 0.2 * rows:
        return None
    return view.found("unlikely_dates", "dates are in a century that is unlikely", _texts(view, before))


def midnights(view: ColumnView) -> Finding | None:
    """Times that are all midnight, in a column declared with a time of day."""
    times = view.times
    if view.family == "date" or len(times) < 5 or sum(times.values()) < _LEAST_ROWS:
        return None
    if any(time.time() != dt.time() for time in times):
        return None
    return view.found("midnights", "all times are midnight: the column may be a date", view.values)


def two_date_formats(view: ColumnView) -> Finding | None:
    """Dates written in two ways."""
    if len(view.declared.date_formats) > 1:
        minor = [text for text in view.values if time_of(text, view.declared.date_formats[:1]) is None]
        return view.found("two_date_formats", "dates are written in two formats", minor)
    if not view.is_text:
        return None
    forms: dict[str, list[str]] = {}
    for text in view.words:
        for form in _FORMS:
            if re.fullmatch(form + _CLOCK, text.strip()):
                forms.setdefault(form, []).append(text)
                break
    counted = sum(map(len, forms.values()))
    if len(forms) < 2 or 10 * counted < 9 * len(view.words):
        return None
    usual = max(forms, key=lambda form: sum(view.words[text] for text in forms[form]))
    others = [text for form, found in forms.items() if form != usual for text in found]
    return view.found("two_date_formats", f"dates are written in several formats, most like {_FORMS[usual]}", others)


def unclear_dates(view: ColumnView) -> Finding | None:
    """Find dates in which day and month can be exchanged, such as 03/04/2024."""
    if not view.is_text or len(view.words) < 2:
        return None
    shape = re.compile(r"(\d{1,2})([/-])(\d{1,2})\2(\d{4}|\d{2})" + _CLOCK)
    found = [shape.fullmatch(text.strip()) for text in view.words]
    if not all(found):
        return None
    pairs = [(int(item[1]), int(item[3])) for item in found if item]
    is_both_ways = all(1 <= one <= 12 and 1 <= other <= 12 for one, other in pairs)
    is_neither = any(one > 12 for one, _ in pairs) and any(other > 12 for _, other in pairs)
    if (not is_both_ways and not is_neither) or all(one == other for one, other in pairs):
        return None
    what = (
        "day and month cannot be told apart" if is_both_ways else "some dates begin with the day, some with the month"
    )
    return view.found("unclear_dates", what, view.words)


def impossible_dates(view: ColumnView) -> Finding | None:
    """Texts of the form of a date that are no day: 2024-02-30, 0000-00-00."""
    if not view.is_text:
        return None
    shaped = [text for text in view.words if re.fullmatch(r"\d{4}-\d{2}-\d{2}" + _CLOCK, text.strip())]
    bad = [text for text in shaped if time_of(text, ("",)) is None]
    if 10 * len(shaped) < 9 * len(view.words) or len(bad) == len(shaped):
        return None
    return view.found("impossible_dates", "values are written as dates and are no days", bad)


def _texts(view: ColumnView, times: Sequence[dt.datetime]) -> list[str]:
    wanted = set(times)
    return [text for text in view.values if time_of(text, view.declared.date_formats) in wanted] if wanted else []


KINDS: Sequence[Callable[[ColumnView], Finding | None]] = (
    stand_in_dates,
    future_dates,
    unlikely_dates,
    midnights,
    two_date_formats,
    unclear_dates,
    impossible_dates,
)
