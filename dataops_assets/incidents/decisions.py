"""Decides which events a look records, so that each cause has one incident.

A decision depends only on the recorded incidents and on what was seen. If a look is repeated, because the process was
killed before its events were recorded or after, it decides the same or nothing.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dataops_assets.incidents.grouping import Lineage, causes
from dataops_assets.incidents.journal import Event, EventKind, Incident, folded
from dataops_assets.incidents.problem import Problem, is_check

INSTANT = dt.timedelta(microseconds=1)
"""The least time between two events of an incident."""


@dataclass(frozen=True)
class Seen:
    """The problems and passed checks that one look found.

    * `problems`: all problems that are there now: of checks, those that ran since the look before suffice.
    * `passed`: by key, when checks passed that ran since the look before.
    * `brief`: problems of checks that failed since the look before, and have passed again.
    """

    problems: Sequence[Problem] = ()
    passed: Mapping[str, dt.datetime] = field(default_factory=dict)
    brief: Sequence[Problem] = ()


@dataclass(frozen=True)
class Recorded:
    """The recorded events of all incidents that a look may change, and the number of the next new incident."""

    events: Sequence[Event] = ()
    next_number: int = 1


def decide(
    recorded: Recorded, seen: Seen, lineage: Lineage, now: dt.datetime, reopen_within: dt.timedelta
) -> list[Event]:
    """Return the events to record. A problem that comes back within `reopen_within` opens its incident again."""
    look = _Look(recorded, lineage, now, reopen_within)
    current = look.current(seen)
    look.clear({item.key for item in current}, seen.passed)
    look.group([item for item in current if not look.is_settled(item)])
    for problem in seen.brief:
        look.brief(problem, seen.passed.get(problem.key, now))
    return look.events


class _Look:
    """One look. Its incidents are always those after the events that it has made."""

    def __init__(self, recorded: Recorded, lineage: Lineage, now: dt.datetime, reopen_within: dt.timedelta) -> None:
        self.events: list[Event] = []
        self._lineage = lineage
        self._now = now
        self._reopen_within = reopen_within
        self._next = recorded.next_number
        self._recorded: dict[int, list[Event]] = {}
        for event in recorded.events:
            self._recorded.setdefault(event.incident_id, []).append(event)
        self._incidents = folded(recorded.events)

    def current(self, seen: Seen) -> list[Problem]:
        """Return the problems that are there: those that were seen, and those of checks that did not run again."""
        found = {item.key: item for item in seen.problems}
        for incident in self._incidents.values():
            for key, problem in incident.problems.items():
                is_there = is_check(key) and key not in seen.passed and self._lineage.knows(problem.asset)
                if incident.state != "resolved" and is_there:
                    found.setdefault(key, problem)
        return [found[key] for key in sorted(found)]

    def clear(self, there: set[str], passed: Mapping[str, dt.datetime]) -> None:
        """Record which problems are over."""
        for incident in list(self._incidents.values()):
            for key in sorted(incident.problems.keys() - there):
                is_gone = not self._lineage.knows(incident.problems[key].asset)
                if not is_check(key) or key in passed or is_gone:
                    self._record(incident.incident_id, "cleared", passed.get(key, self._now), key)

    def is_settled(self, problem: Problem) -> bool:
        """Return whether a person resolved the problem, and nothing new was seen of it since."""
        incident = self._last_with(problem.key)
        return (
            incident is not None
            and incident.state == "resolved"
            and incident.resolved_at is not None
            and incident.joined is None
            and problem.key in incident.problems
            and problem.last <= incident.resolved_at
        )

    def group(self, problems: Sequence[Problem]) -> None:
        """Give each problem to the incident of its cause."""
        by_key = {item.key: item for item in problems}
        cause_of = causes(problems, self._lineage, self._together())
        groups: dict[str, list[Problem]] = {}
        for key, cause in sorted(cause_of.items()):
            groups.setdefault(cause, []).append(by_key[key])
        for cause in sorted(groups, key=lambda key: (by_key[key].began, key)):
            members = groups[cause]
            target = self._join(members) or self._back(by_key[cause], members) or self._new()
            # the cause first, so that the incident is opened with it
            for problem in sorted(members, key=lambda item: item.key != cause):
                self._put(target, problem, cause, set(groups))

    def brief(self, problem: Problem, passed: dt.datetime) -> None:
        """Record a problem that came and went since the look before."""
        last = self._last_with(problem.key)
        if last is not None and (problem.key in last.problems or problem.last <= last.touched[problem.key]):
            return
        target = self._back(problem, [problem]) or self._new()
        self._found(target, problem, problem.key)
        self._record(target, "cleared", passed, problem.key)

    def _together(self) -> dict[str, int]:
        return {
            key: number
            for number, incident in self._incidents.items()
            if incident.state != "resolved"
            for key in incident.problems
        }

    def _last_with(self, key: str) -> Incident | None:
        found = [incident for incident in self._incidents.values() if key in incident.known]
        return max(found, key=lambda item: (item.joined is None, item.incident_id)) if found else None

    def _join(self, members: Sequence[Problem]) -> int:
        """Return the incident that the members have; if they have several, those become part of the first one."""
        together, keys = self._together(), {item.key for item in members}
        have = sorted({together[key] for key in keys if key in together})
        for other in have[1:]:
            # an incident that also has a problem with another cause stays
            if self._incidents[other].problems.keys() <= keys:
                self._record(other, "joined", self._now, details={"into": have[0]})
        return have[0] if have else 0

    def _back(self, cause: Problem, members: Sequence[Problem]) -> int:
        """Return the incident that comes back with these problems; 0 if it was resolved too long ago."""
        for problem in (cause, *members):
            last = self._last_with(problem.key)
            if last is None or last.resolved_at is None or last.joined is not None:
                continue
            if self._now - last.resolved_at <= self._reopen_within:
                return last.incident_id
        return 0

    def _new(self) -> int:
        self._next += 1
        return self._next - 1

    def _put(self, target: int, problem: Problem, cause: str, causes_now: set[str]) -> None:
        elsewhere = self._together().get(problem.key, target)
        if elsewhere != target:
            return
        incident = self._incidents.get(target)
        there = incident.problems.get(problem.key) if incident is not None else None
        if incident is not None and there is not None and incident.state != "resolved":
            # the cause changes if the one before is over, or is explained by this one
            is_cause = problem.key != cause or incident.cause == cause or incident.cause in causes_now
            if there.is_like(problem) and is_cause:
                return
        self._found(target, problem, cause)

    def _found(self, target: int, problem: Problem, cause: str) -> None:
        details = {"problem": problem.as_data(), "cause": cause}
        self._record(target, "found", problem.last, problem.key, details)

    def _record(
        self, number: int, kind: EventKind, at: dt.datetime, key: str = "", details: Mapping[str, Any] | None = None
    ) -> None:
        if number in self._recorded:
            # what is decided later happened later, also if a clock differs or the evidence is older: no new event
            # changes what an earlier one meant, of which people were told
            at = max(at, max(event.at for event in self._recorded[number]) + INSTANT)
        event = Event(number, kind, at, self._now, key, details=details or {})
        self.events.append(event)
        self._apply(event)

    def _apply(self, event: Event) -> None:
        some = self._recorded.setdefault(event.incident_id, [])
        some.append(event)
        self._incidents.update(folded(some))
