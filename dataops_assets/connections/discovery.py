"""Looking for new inputs: which arrivals are new, which are known already, and which must wait.

Grain: one arrival, that is one version of a file or one extract of a hook. What is found is recorded before it is
returned, inputs first: a look that is killed is simply repeated by the next one, which finds the same ids. Deciding
what was seen already rests on (origin, size, modified) and on digests, never on a clock or a position in a list, so
neither a restart nor a moved clock makes it miss an arrival or take one twice.

Known limits: a writer that stands still for longer than `settle_seconds` looks finished (what it adds later is a new
version of the file, hence a new input). The first file of a look is hashed whatever the budget, so that every look
gets on; a file that takes longer than the caller may wait needs a higher limit there. Rows with a hook's own types are
hashed as the Parquet bytes pyarrow makes of them.
"""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dataops_assets.config.connection import FileConnection, PythonConnection
from dataops_assets.config.environment import Environment
from dataops_assets.config.refresh import AppendRefresh, KeyRefresh
from dataops_assets.config.source import Source
from dataops_assets.connections.extract_time import extract_time
from dataops_assets.connections.files import Files, FileVersion, file_name
from dataops_assets.connections.python import encode, load_hook
from dataops_assets.errors import ConfigError, DataOpsError, InputError
from dataops_assets.metadata.store import Arrival, MetadataStore
from dataops_assets.steps.report import Input
from dataops_assets.storage.raw import RawArea

SETTLING = "settling"
_THREADS = 8
_Clock = Callable[[], float]


@dataclass(frozen=True)
class Duplicate:
    """An arrival that is an input the platform has already."""

    origin: str
    known: Input

    def __str__(self) -> str:
        return f"{self.origin}: already known as {self.known.input_id} (from {self.known.origin})"


@dataclass(frozen=True)
class Problem:
    """An arrival that cannot be taken, and why; told at every look until it is gone."""

    origin: str
    error: DataOpsError


@dataclass(frozen=True)
class Discovery:
    """What one look found. `new` is sorted and recorded; `duplicates` are those that this look met first.

    `settling` are files that may still be written, `left` what the time budget left for the next look.
    """

    new: list[Input] = field(default_factory=list)
    duplicates: list[Duplicate] = field(default_factory=list)
    settling: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


class Inventory:
    """The inputs of a source, and the one rule that says which arrivals are the same input.

    The same bytes with the same extract time (to the second) are one input. Where the extract time says nothing about
    a row (`append`, and `key` with `order_by`), the same bytes are one input whatever their time, and the one known
    first stays.
    """

    def __init__(self, source: Source, known: Iterable[Input]) -> None:
        """`known` are the inputs registered so far."""
        refresh = source.refresh
        self._by_digest_alone = isinstance(refresh, AppendRefresh) or (
            isinstance(refresh, KeyRefresh) and refresh.order_by is not None
        )
        self._inputs: dict[str, Input] = {}
        for item in sorted(known):
            self._inputs.setdefault(self._identity(item), item)

    def place(self, item: Input) -> Input:
        """The input that `item` is: itself where it is new, otherwise the known one."""
        return self._inputs.setdefault(self._identity(item), item)

    def __contains__(self, item: Input) -> bool:
        return self._identity(item) in self._inputs

    def newest(self) -> dt.datetime | None:
        """The newest extract time."""
        return max((item.extract_time for item in self._inputs.values()), default=None)

    def _identity(self, item: Input) -> str:
        return item.digest if self._by_digest_alone else item.input_id


def input_from(extract_time: dt.datetime, digest: str, origin: str, size: int) -> Input:
    """The input of one arrival; `extract_time` is aware, `digest` a sha256 in hexadecimal."""
    utc = extract_time.astimezone(dt.UTC)
    return Input(utc, f"{utc:%Y%m%dT%H%M%SZ}-{digest[:12]}", digest, origin, size)


def discover(
    source: Source,
    environment: Environment,
    metadata: MetadataStore,
    *,
    now: dt.datetime,
    budget_seconds: float = 20.0,
    clock: _Clock = time.monotonic,
) -> Discovery:
    """Look for new inputs of `source` and record them. `now` (aware) is the wall clock, `clock` measures the budget.

    Re-run: finds what is new since. Raises ConfigError for a wrong declaration and StorageError when the place cannot
    be listed; whatever is wrong with one arrival is one of the `problems`.
    """
    look = _Look(source, metadata, now)
    deadline = clock() + budget_seconds
    if isinstance(source.connection, FileConnection):
        files = Files(source.connection, environment.landing, os.environ)
        _look_at_files(look, source.connection, files, deadline, clock)
    else:
        raw = RawArea.of(environment.storage, source.name)
        _look_at_extracts(look, source.connection, raw, deadline, clock)
    return look.found


def waiting(source: Source, metadata: MetadataStore) -> list[Input]:
    """Registered inputs that no run has begun to ingest, oldest first.

    Runs are requested from this and not from what one look found, so that a crash between recording and requesting
    loses nothing.
    """
    begun = metadata.step_status(source.name, "ingest")
    return [item for item in metadata.inputs(source.name) if item.input_id not in begun]


class _Look:
    """One look at a source: what is known, what is found, and recording it."""

    def __init__(self, source: Source, metadata: MetadataStore, now: dt.datetime) -> None:
        self.source = source
        self.now = now
        self.zone = _zone(source)
        self.found = Discovery()
        self._metadata = metadata
        self._arrivals: list[Arrival] = []
        self.known = {(item.origin, item.size, item.modified): item for item in metadata.arrivals(source.name)}

    @functools.cached_property
    def inventory(self) -> Inventory:
        """The known inputs; read only by a look that has something to compare with them."""
        return Inventory(self.source, self._metadata.inputs(self.source.name))

    def seen(self, version: FileVersion) -> Arrival | None:
        """What was recorded about this version of a file."""
        return self.known.get((version.origin, version.size, version.modified))

    def take(self, version: FileVersion, item: Input) -> None:
        """Place an arrival among the known inputs."""
        known = self.inventory.place(item)
        note = ""
        if known is item:
            self.found.new.append(item)
        elif known.origin != item.origin:
            note = f"already known as {known.input_id}"
            self.found.duplicates.append(Duplicate(item.origin, known))
        self._arrivals.append(
            Arrival(version.origin, version.size, version.modified, item.digest, known.input_id, self.now, note)
        )

    def wait(self, version: FileVersion, *, remember: bool) -> None:
        """Leave a file that may still be written; `remember` this state for the next look to compare with."""
        self.found.settling.append(version.origin)
        if remember:
            self._arrivals.append(Arrival(version.origin, version.size, version.modified, "", None, self.now, SETTLING))

    def refuse(self, origin: str, error: DataOpsError) -> None:
        """Tell what is wrong with an arrival."""
        self.found.problems.append(Problem(origin, error))

    def forget(self) -> None:
        """Record nothing of this look."""
        self.found.new.clear()
        self._arrivals.clear()

    def record(self) -> None:
        """Keep what was found: inputs before arrivals, so that an arrival never names an input that is not there."""
        self.found.new.sort()
        if self._arrivals:
            self._metadata.register_source(self.source)
            self._metadata.register_inputs(self.source.name, self.found.new)
            self._metadata.remember_arrivals(self.source.name, self._arrivals)
            self._arrivals.clear()


def _look_at_files(look: _Look, connection: FileConnection, files: Files, deadline: float, clock: _Clock) -> None:
    listing = files.list()
    for origin, error in listing.refused.items():
        look.refuse(origin, error)
    dated: list[tuple[dt.datetime, str, FileVersion]] = []
    for version in listing.versions:
        seen = look.seen(version)
        if seen is not None and seen.digest:
            continue
        try:
            name = file_name(version.origin)
            extracted = extract_time(connection.extract_time, name, version.modified, look.zone)
        except InputError as error:
            look.refuse(version.origin, error)
            continue
        if _is_settled(version, seen, look.now, connection.settle_seconds):
            dated.append((extracted, version.origin, version))
        else:
            # A file from the future never reaches an age: it is taken when two looks see it unchanged. Only such
            # files are remembered, so that an ordinary growing file leaves no trail of states.
            look.wait(version, remember=seen is None and version.modified > look.now)
    # oldest first: where the budget ends a look, the history before that point is whole
    dated.sort(key=lambda each: each[:2])
    with ThreadPoolExecutor(_THREADS) as pool:
        states = pool.map(
            lambda numbered: _examine(files, numbered[1][2], None if numbered[0] == 0 else deadline, clock),
            enumerate(dated),
        )
        for (extracted, origin, version), state in zip(dated, states, strict=True):
            if isinstance(state, DataOpsError):
                look.refuse(origin, state)
            elif state == _CHANGED:
                look.wait(version, remember=False)
            elif state == _LATE:
                look.found.left.append(origin)
            else:
                look.take(version, input_from(extracted, state, origin, version.size))
    look.record()


_CHANGED = "changed"
_LATE = "late"


def _is_settled(version: FileVersion, seen: Arrival | None, now: dt.datetime, wait_seconds: float) -> bool:
    """Whether nobody writes the file any more.

    By its age; this also makes (size, modified) a sound name of a version, since a later write gets a later time even
    where a store keeps whole seconds. Or because it was the same at an earlier look, for a clock that was moved.
    """
    if wait_seconds == 0 or (now - version.modified).total_seconds() >= wait_seconds:
        return True
    return seen is not None and abs((now - seen.seen_at).total_seconds()) >= wait_seconds


def _examine(files: Files, version: FileVersion, deadline: float | None, clock: _Clock) -> str | DataOpsError:
    """The sha256 of a file's bytes; `_LATE` where time ran out, `_CHANGED` where it was written meanwhile."""
    hashed = hashlib.sha256()
    try:
        if deadline is not None and clock() >= deadline:
            return _LATE
        size = 0
        for chunk in files.chunks(version.origin):
            hashed.update(chunk)
            size += len(chunk)
            if size > version.size:
                # it grows, perhaps as fast as it is read
                return _CHANGED
            if deadline is not None and clock() >= deadline:
                return _LATE
        return hashed.hexdigest() if files.version(version.origin) == version else _CHANGED
    except DataOpsError as error:
        return error


def _look_at_extracts(look: _Look, connection: PythonConnection, raw: RawArea, deadline: float, clock: _Clock) -> None:
    hook = load_hook(connection.function)
    origins = f"python:{connection.function}/"
    # a duplicate makes no input, but the hook must not have to give it again
    times = [item.modified for item in look.known.values() if item.origin.startswith(origins)]
    newest = look.inventory.newest()
    previous = max([*times, newest] if newest is not None else times, default=None)
    last: dt.datetime | None = None
    try:
        for extract in hook(previous, **connection.arguments):
            try:
                name, content = encode(extract, connection.function)
            except InputError as error:
                # nothing after it is taken: the next look would go on behind it, and it would never be seen again
                look.refuse(connection.function, error)
                break
            extracted = _aware(extract.extract_time, look.zone)
            if last is not None and extracted < last:
                look.forget()
                raise ConfigError(
                    f"taking extracts of {connection.function}",
                    received=f"{extracted.isoformat()} after {last.isoformat()}",
                    next_step="yield extracts in the order of their extract times; nothing of this look was taken",
                )
            last = extracted
            version = FileVersion(f"{origins}{name}", len(content), extracted)
            item = input_from(extracted, hashlib.sha256(content).hexdigest(), version.origin, version.size)
            seen = look.seen(version)
            if seen is None or seen.digest != item.digest:
                if item not in look.inventory:
                    # the extract cannot be asked for again, so its bytes are kept before it is known
                    raw.put(item, content)
                look.take(version, item)
            if clock() >= deadline:
                look.found.left.append(connection.function)
                break
        raw.sync()
    finally:
        # also where the hook itself fails: what it gave before is kept
        look.record()


def _aware(time: dt.datetime, zone: dt.tzinfo) -> dt.datetime:
    return (time if time.tzinfo is not None else time.replace(tzinfo=zone)).astimezone(dt.UTC)


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
