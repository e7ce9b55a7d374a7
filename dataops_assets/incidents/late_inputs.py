"""Finds the sources whose next input is late, by declared limits or by limits learnt from earlier arrivals."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from dataops_assets.config.source import Source
from dataops_assets.incidents.problem import LATE, Problem
from dataops_assets.metadata.incident_store import IncidentStore
from dataops_assets.quality.control.due import MOST_INPUTS, Arrival, Due, learn_due

# the budget of false alarms of late inputs, as a part of that of the checks
_PART = 0.1


@dataclass(frozen=True)
class _Limits:
    """The times from which the next input of a source is late, as a warning and as a failure, and the message."""

    warn: dt.datetime
    fail: dt.datetime
    summary: str


def late_inputs(store: IncidentStore, sources: Mapping[str, Source], now: dt.datetime) -> Iterator[Problem]:
    """Return the problems of the sources whose next input is late."""
    for source, limits in sorted(_limits(store, sources, now).items()):
        if now < limits.warn:
            continue
        is_fail = now >= limits.fail
        yield Problem(
            f"raw/{source}",
            LATE,
            "fail" if is_fail else "warn",
            limits.warn,
            # nothing new is seen of it while time goes by, so what a person resolved stays resolved until it is worse
            limits.fail if is_fail else limits.warn,
            limits.summary,
            f"ask who delivers {source}; dataops status {source} shows files that are not taken",
            source,
        )


def next_late(store: IncidentStore, sources: Mapping[str, Source], now: dt.datetime) -> dt.datetime | None:
    """Return when the next source becomes late, or worse."""
    times = [time for limits in _limits(store, sources, now).values() for time in (limits.warn, limits.fail)]
    return min((time for time in times if time > now), default=None)


def _limits(store: IncidentStore, sources: Mapping[str, Source], now: dt.datetime) -> dict[str, _Limits]:
    """Return the limits of the sources that had an input."""
    watched = {name: item for name, item in sources.items() if item.checks.freshness.enabled}
    found = {}
    for source, last in store.last_inputs().items():
        if source not in watched:
            continue
        is_declared = watched[source].checks.freshness.is_declared
        learnt = None if is_declared else _learnt(store, watched[source], last, len(sources))
        found[source] = learnt or _declared(watched[source], last, now)
    return found


def _declared(source: Source, last: dt.datetime, now: dt.datetime) -> _Limits:
    """Return the limits that YAML sets, or those by default. `last`: when the newest input was seen."""
    freshness = source.checks.freshness
    warn, fail = last + freshness.warn_window, last + freshness.fail_window
    hours = freshness.fail_after_hours if now >= fail else freshness.warn_after_hours
    told = f"no new input of {source.name} since {last:%Y-%m-%d %H:%M} UTC; one is due every {hours:g} hours"
    return _Limits(warn, fail, told)


def _learnt(store: IncidentStore, source: Source, last: dt.datetime, sources: int) -> _Limits | None:
    control = source.checks.control
    known_since = max(control.new_normal, default=None)
    allowed = control.false_alarms_a_day * _PART / sources
    due = _due(store, source.name, (last, known_since), allowed, control.country)
    if due is None:
        return None
    known = due.seen(last)
    return _Limits(known.at, known.missing, f"{source.name}: {known.sentence}")


@lru_cache(maxsize=4096)
def _due(
    store: IncidentStore,
    source: str,
    seen: tuple[dt.datetime, dt.date | None],
    alarms_a_day: float,
    country: str | None,
) -> Due | None:
    """Return when the next input is due, by the inputs since the second day of `seen`.

    The first one is when the newest input was seen: what is learnt stays the same until there is a newer one.
    """
    _, since = seen
    arrivals = [Arrival(*item) for item in store.arrivals(source, MOST_INPUTS)]
    some = [item for item in arrivals if since is None or item.extracted.date() >= since]
    return learn_due(some, alarms_a_day, country)
