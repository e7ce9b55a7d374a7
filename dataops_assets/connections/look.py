"""One look at a source: which arrivals are new and which are known, and how they are recorded.

Grain: one arrival, which is one version of a file, one extract of a hook, of a database or of an API, or one slice of a
topic or a log. Inputs are recorded before arrivals, so that an arrival never names a missing input.
"""

from __future__ import annotations

import datetime as dt
import functools
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dataops_assets.config.refresh import AppendRefresh
from dataops_assets.config.source import Source
from dataops_assets.connections.content import Digests
from dataops_assets.connections.file_manifests import with_manifest
from dataops_assets.connections.files import FileVersion
from dataops_assets.errors import ConfigError, DataOpsError
from dataops_assets.metadata.store import Arrival, MetadataStore, VersionKey, version_key
from dataops_assets.report import IN_ORDER, Input

SETTLING = "settling"
Clock = Callable[[], float]

# every look reads this number of the oldest files, even if its time is over; fewer if they are larger together
_LEAST_FILES = 40
# of the content's digest in an id: more if another input of the same extract time has the same ones
_DIGITS = (6, 12, 24, 64)
# with more extract times in a look, all inputs are read
_FEW_TIMES = 20
# inputs farther apart never have one local time, so they never have one id
_SAME_CLOCK = dt.timedelta(hours=26)


@dataclass(frozen=True)
class Problem:
    """An arrival that cannot be taken, with the reason; reported at every look until it is gone."""

    origin: str
    error: DataOpsError


@dataclass(frozen=True)
class FoundInputs:
    """The result of one look. `new` is sorted and recorded; `noted` are arrivals of this look with a note.

    `settling` are files that may still be written, `alone` those whose manifest is not there. `left` are
    files that the next look reads, because time ran out. `taken_away` says which files were moved or deleted.
    """

    new: list[Input] = field(default_factory=list)
    noted: list[Arrival] = field(default_factory=list)
    settling: list[str] = field(default_factory=list)
    alone: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    taken_away: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


class Inventory:
    """The inputs of a source, with the one rule that decides which arrivals are the same input.

    The same content at the same extract time is one input. It arrived when the newest version with this content was
    made. So an input and its place in the order do not depend on the arrival that is found first. An input keeps the id
    with which it was registered.
    """

    def __init__(self, known: Iterable[Input]) -> None:
        """`known` are the inputs registered so far."""
        self._inputs = {item.input_id: item for item in known}
        self.last_arrival = max((item.arrival for item in self._inputs.values()), default=None)
        self._by_content: dict[str, Input] = {}
        self._ids = {(item.extract_time, item.content): item.input_id for item in self._inputs.values()}
        for item in sorted(self._inputs.values(), key=IN_ORDER):
            self._by_content.setdefault(item.content, item)

    def identified(self, item: Input, zone: dt.tzinfo) -> Input:
        """Return the arrival with its id: that of the same input if it is known, otherwise one that no other has."""
        identity = item.extract_time, item.content
        if identity not in self._ids:
            ids = (input_id_of(item, zone, digits) for digits in _DIGITS)
            self._ids[identity] = next(input_id for input_id in ids if input_id not in self._inputs)
        return replace(item, input_id=self._ids[identity])

    def place(self, item: Input) -> Input | None:
        """Add `item` to the inputs; return the known state of the same input, None if it is new."""
        known = self._inputs.get(item.input_id)
        placed = item if known is None else replace(known, arrival=max(known.arrival, item.arrival))
        self._inputs[item.input_id] = placed
        self.last_arrival = placed.arrival if self.last_arrival is None else max(self.last_arrival, placed.arrival)
        self._by_content.setdefault(item.content, placed)
        return known

    def now(self, input_id: str) -> Input:
        """Return an input as it is known now."""
        return self._inputs[input_id]

    def with_content(self, item: Input) -> Input | None:
        """Return an input of another extract time that has the same content."""
        other = self._by_content.get(item.content)
        return other if other is not None and other.input_id != item.input_id else None

    def __contains__(self, item: Input) -> bool:
        return item.input_id in self._inputs

    def newest(self) -> dt.datetime | None:
        """Return the newest extract time."""
        return max((item.extract_time for item in self._inputs.values()), default=None)


def input_id_of(item: Input, zone: dt.tzinfo, digits: int) -> str:
    """Return an id for an input that people can read and type: `2024-05-04_5f54de`.

    That is the extract time in the source's time zone, without a time of day if it is midnight, and the first `digits`
    of the content's digest.
    """
    local = item.extract_time.astimezone(zone)
    fraction = f"{local:.%f}" if local.microsecond else ""
    clock = f"T{local:%H%M%S}{fraction}" if local.time() != dt.time() else ""
    return f"{local.date().isoformat()}{clock}_{item.content[:digits]}"


@dataclass(frozen=True)
class ReadingTime:
    """The time in which a look may read, by its clock, and the number of files that it always reads (at least one)."""

    budget_seconds: float = 20.0
    least_files: int = _LEAST_FILES
    clock: Clock = time.monotonic


class Look:
    """One look at a source: compares the files found with the known inputs, and records them."""

    def __init__(self, source: Source, metadata: MetadataStore, now: dt.datetime) -> None:
        self.source = source
        self.now = now
        self.zone = _zone(source)
        self.found = FoundInputs()
        self.metadata = metadata
        self._arrivals: list[Arrival] = []
        self._placed: dict[str, None] = {}
        self._concerned: tuple[str, ...] | None = None
        self._near: tuple[dt.datetime, ...] | None = None

    def concerns(self, origins: Iterable[str]) -> None:
        """Say before anything else that the look is about these files: only their versions are read."""
        self._concerned = tuple(origins)

    def dates_from(self, times: Collection[dt.datetime]) -> None:
        """Say that all arrivals of the look have these extract times: if they are few, only inputs beside are read."""
        # `append` also compares with inputs of any other time
        if len(times) <= _FEW_TIMES and not isinstance(self.source.refresh, AppendRefresh):
            self._near = tuple(times)

    @functools.cached_property
    def known(self) -> dict[tuple[str, int, dt.datetime], Arrival]:
        """The recorded versions of the files that the look is about."""
        found = self.metadata.arrivals(self.source.name, origins=self._concerned)
        return {(item.origin, item.size, item.modified): item for item in found}

    def taken(self) -> frozenset[VersionKey]:
        """Return the versions, of the files that the look is about, that were read."""
        return frozenset(version_key(*version) for version, item in self.known.items() if item.digest)

    @functools.cached_property
    def _by_origin(self) -> dict[str, list[Arrival]]:
        """The known versions of each file, earliest first. Most looks have none to compare with."""
        found: dict[str, list[Arrival]] = {}
        for item in sorted(self.known.values(), key=attrgetter("modified", "seen_at")):
            found.setdefault(item.origin, []).append(item)
        return found

    @functools.cached_property
    def inventory(self) -> Inventory:
        """The known inputs. They are read only if the look has an arrival to compare with them."""
        if self._near is None:
            return Inventory(self.metadata.inputs(self.source.name))
        ids = {item.input_id for item in self.known.values() if item.input_id}
        inputs = self.metadata.inputs(self.source.name, sorted(ids))
        return Inventory([*inputs, *self.metadata.inputs_near(self.source.name, self._near, _SAME_CLOCK)])

    def seen(self, version: FileVersion) -> Arrival | None:
        """Return what is recorded about this version of a file."""
        return self.known.get((version.origin, version.size, version.modified))

    def input_of(
        self,
        version: FileVersion,
        extract_time: dt.datetime,
        arrival: dt.datetime,
        digests: Digests,
        manifest: str = "",
    ) -> Input:
        """Return the input of an arrival; the times are aware, `manifest` is the text of its manifest."""
        utc = extract_time.astimezone(dt.UTC)
        content = with_manifest(digests, manifest).content
        found = Input(utc, arrival, "", digests.received, version.origin, digests.size, content, manifest)
        return self.inventory.identified(found, self.zone)

    def take(self, version: FileVersion, item: Input) -> None:
        """Place an arrival among the known inputs."""
        notes = self._notes(version, item)
        known = self.inventory.place(item)
        if known is None:
            self.found.new.append(item)
        elif known.origin != item.origin:
            notes.append(f"already known as {known.input_id}")
        self._placed[item.input_id] = None
        arrival = Arrival(
            version.origin, version.size, version.modified, item.digest, item.input_id, self.now, "; ".join(notes)
        )
        self._arrivals.append(arrival)
        self._by_origin.setdefault(version.origin, []).append(arrival)
        if notes:
            self.found.noted.append(arrival)

    def _notes(self, version: FileVersion, item: Input) -> list[str]:
        """Return notes on an arrival: the version of the file that it replaces, and other inputs of its content."""
        notes = []
        keeps_all = isinstance(self.source.refresh, AppendRefresh)
        before = [
            other
            for other in self._by_origin.get(version.origin, ())
            if other.input_id and other.modified <= version.modified
        ]
        if before and before[-1].input_id != item.input_id:
            replaced = self.inventory.now(before[-1].input_id or "")
            if replaced.extract_time == item.extract_time:
                both = "is a version after {}; append keeps the rows of both" if keeps_all else "replaces {}"
                notes.append(both.format(replaced.input_id))
        if keeps_all and (same := self.inventory.with_content(item)) is not None:
            notes.append(f"the same content as {same.input_id}; append keeps the rows of the first alone")
        return notes

    def arrives(self) -> dt.datetime:
        """Return the arrival of an extract: now, but later than all earlier arrivals, even if the clock is wrong."""
        last = self.inventory.last_arrival
        return self.now if last is None else max(self.now, last + dt.timedelta(microseconds=1))

    def wait(self, version: FileVersion, *, remember: bool) -> None:
        """Leave a file that may still be written; `remember` this state for the next look to compare with."""
        self.found.settling.append(version.origin)
        if remember:
            self._arrivals.append(Arrival(version.origin, version.size, version.modified, "", None, self.now, SETTLING))

    def leave_out(self, version: FileVersion, reason: str, settle_seconds: float) -> None:
        """Report once, when it no longer changes, a file that is not taken because of its name.

        Until then a program may still be writing it, and may rename it when it is complete.
        """
        note = f"left out: {reason}"
        if 0 <= (self.now - version.modified).total_seconds() < settle_seconds:
            return
        if any(item.note == note for item in self._by_origin.get(version.origin, ())):
            return
        arrival = Arrival(version.origin, version.size, version.modified, "", None, self.now, note)
        self._arrivals.append(arrival)
        self._by_origin.setdefault(version.origin, []).append(arrival)
        self.found.noted.append(arrival)

    def refuse(self, origin: str, error: DataOpsError) -> None:
        """Report the fault of an arrival."""
        self.found.problems.append(Problem(origin, error))

    def forget(self) -> None:
        """Record nothing of this look."""
        self.found.new.clear()
        self.found.noted.clear()
        self._placed.clear()
        self._arrivals.clear()

    def record(self) -> None:
        """Record the result: inputs before arrivals, so that an arrival never names a missing input."""
        self.found.new[:] = sorted(self.inventory.now(item.input_id) for item in self.found.new)
        if self._arrivals:
            self.metadata.contracts.register(self.source)
            # known inputs, too: their later arrival counts from now on
            placed = [self.inventory.now(input_id) for input_id in self._placed]
            new = set(self.metadata.register_inputs(self.source.name, placed))
            self.metadata.remember_arrivals(self.source.name, self._arrivals)
            self._try_again([item.input_id for item in placed if item.input_id not in new])
            self._arrivals.clear()

    def _try_again(self, ids: Sequence[str]) -> None:
        """Reset failed ingests of inputs that arrived again; perhaps their bytes were gone."""
        status = self.metadata.step_status(self.source.name, "ingest") if ids else {}
        failed = [input_id for input_id in ids if status.get(input_id) == "failed"]
        if failed:
            self.metadata.forget(self.source.name, ["ingest"], failed)


def _zone(source: Source) -> dt.tzinfo:
    name = source.discovery.timezone
    if name == "UTC":
        # known without a time zone database
        return dt.UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, IsADirectoryError) as error:
        raise ConfigError(
            f"reading discovery.timezone of source {source.name!r}",
            received=repr(name),
            next_step="use an IANA name such as Europe/Berlin",
        ) from error
