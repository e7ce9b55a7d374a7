"""Looks at all sources of a group in one tick: those that are due, the oldest look first, within a limited time.

Dagster's daemon spends more time on a tick than a look takes, so one tick looks at many sources. Each look stands for
itself: one that fails is recorded and shown, and the others go on; one that does not end is left alone. A source that a
person paused is not looked at.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import dagster as dg

from dataops_assets.components.assets import SourceAssets
from dataops_assets.components.dead_runs import end_dead_runs
from dataops_assets.components.local_runs import lock_of
from dataops_assets.components.look_and_tell import look_and_tell
from dataops_assets.components.platform import Platform
from dataops_assets.components.quiet_looks import MetadataOfGroup, QuietLooks
from dataops_assets.components.source_look import Look
from dataops_assets.config.source import Source
from dataops_assets.errors import DataOpsError, LookFailed

MOST_SECONDS = 20.0
"""The time after which a tick begins no other look. Dagster gives a tick 60 seconds, and a look may read for 20."""

_MOST_SOURCES = 100
_MOST_AREAS = 20
# a look at an object store, a database or a function is a request there
_REQUESTS_EVERY_SECONDS = 10
# a tick comes a moment early or late
_SLACK_SECONDS = 1.0
_SHOWN = 3


def groups_of(sources: Iterable[Source]) -> dict[str, list[str]]:
    """Return the sources in groups by name: one a subject area, and several if the area has more than 100 sources.

    With many areas a group has 100 sources in the order of areas, because each group costs a tick.
    """
    by_area: dict[str, list[str]] = {}
    for source in sorted(sources, key=lambda each: (each.area, each.name)):
        by_area.setdefault(source.area, []).append(source.name)
    if len(by_area) > _MOST_AREAS:
        by_area = {"all": [name for names in by_area.values() for name in names]}
    found: dict[str, list[str]] = {}
    for area, names in by_area.items():
        # an area can be a path, and the name of a sensor cannot
        first = area.replace("/", "_")
        for number in range(0, len(names), _MOST_SOURCES):
            group = f"{first}_{number // _MOST_SOURCES + 1}" if number else first
            while group in found or (group != area and group in by_area):
                # another area may have such a name
                group += "_"
            found[group] = names[number : number + _MOST_SOURCES]
    return found


@dataclass(frozen=True)
class GroupTick:
    """The result of one tick: looks and errors by source, and the number of due sources for which no time was left."""

    looks: Mapping[str, Look] = field(default_factory=dict)
    failed: Mapping[str, DataOpsError] = field(default_factory=dict)
    left: int = 0

    @property
    def requests(self) -> list[dg.RunRequest]:
        """Return the runs that all looks request."""
        return [request for look in self.looks.values() for request in look.requests]

    @property
    def summary(self) -> str:
        """Return what the looks found, as one text; empty if there was no look."""
        found = [f"{name}: {look.summary}" for name, look in self.looks.items() if not look.is_silent]
        silent = len(self.looks) - len(found)
        if silent:
            found.append(f"no new input of {silent} sources" if silent > 1 else "no new input of 1 source")
        return "; ".join(found)

    def raise_failures(self) -> None:
        """Raise an error that names the looks that failed, if any did."""
        if len(self.failed) == 1:
            raise next(iter(self.failed.values()))
        if self.failed:
            texts = [f"{name}: {error}" for name, error in list(self.failed.items())[:_SHOWN]]
            rest = len(self.failed) - len(texts)
            raise LookFailed(
                f"looking for new inputs of {len(self.failed)} sources",
                received="; ".join([*texts, *([f"and {rest} more"] if rest else [])]),
                next_step="dataops status shows all of them",
            )


class _Member:
    """One source of a group, with what this process remembers of its looks."""

    def __init__(self, assets: SourceAssets, every: float, clock: Callable[[], float]) -> None:
        sources = len(assets.sources)
        self.assets = assets
        self.name = assets.source.name
        self.quiet = QuietLooks(assets.source, max(every, _REQUESTS_EVERY_SECONDS), sources, clock)
        self.every = every
        self.began: float | None = None
        self.looking = threading.Lock()

    def is_due(self, now: float) -> bool:
        return self.began is None or now - self.began >= self.every - _SLACK_SECONDS


class LookGroup:
    """The sources of one sensor. The threads of a code server share it safely."""

    def __init__(
        self, members: Sequence[SourceAssets], groups: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`groups` is the number of groups of the code location."""
        self._clock = clock
        self._members = [_Member(each, _seconds(each, groups), clock) for each in members]
        self._metadata = MetadataOfGroup([member.name for member in self._members])
        self._reading = threading.Lock()

    @property
    def every_seconds(self) -> float:
        """Return the time between two ticks."""
        return min(member.every for member in self._members)

    def tick(
        self, platform: Platform, instance: dg.DagsterInstance, log: logging.Logger, *, at_all: bool = False
    ) -> GroupTick:
        """Look at the sources that are due and not quiet; `at_all`: at all that are not paused.

        Raises StorageError if the metadata cannot be read.
        """
        began = self._clock()
        due = [member for member in self._members if at_all or member.is_due(began)]
        due.sort(key=lambda member: -1.0 if member.began is None else member.began)
        if not due:
            return GroupTick()
        with self._reading:
            known = self._metadata.now(platform)
        looks: dict[str, Look] = {}
        failed: dict[str, DataOpsError] = {}
        for number, member in enumerate(due):
            now = self._clock()
            if now - began >= MOST_SECONDS:
                log.info(f"{len(due) - number} sources are left for the next tick")
                return GroupTick(looks, failed, len(due) - number)
            if known.records[member.name].paused:
                continue
            if not member.looking.acquire(blocking=False):
                log.warning(f"{member.name}: a look that began {now - (member.began or now):.0f} s ago has not ended")
                continue
            try:
                member.began = now
                state = known.states[member.name]
                if not at_all and member.quiet.is_quiet(platform.environment, state):
                    continue
                if not looks and not failed:
                    _end_dead_runs(platform, instance, log)
                before = member.quiet.surroundings(platform.environment, state)
                member.quiet.looked(None)
                looks[member.name] = look_and_tell(member.assets, platform, instance, log)
                member.quiet.looked(before if looks[member.name].is_at_rest else None, self._clock() - now)
            except DataOpsError as error:
                log.error(str(error), exc_info=error.__cause__)
                failed[member.name] = error
            finally:
                member.looking.release()
        return GroupTick(looks, failed)


def _end_dead_runs(platform: Platform, instance: dg.DagsterInstance, log: logging.Logger) -> None:
    for run_id in end_dead_runs(instance, lock_of(platform.environment)):
        log.warning(f"run {run_id} is dead: its process was killed")


def _seconds(assets: SourceAssets, groups: int) -> float:
    return float(assets.source.discovery.seconds_between_looks(len(assets.sources), groups))
