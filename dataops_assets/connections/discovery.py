"""Finds new inputs: decides which arrivals are new, which are known, and which must wait.

Grain: one arrival, which is one version of a file, one extract of a hook or of a database, or one slice of a topic. A
look records its arrivals before it returns them, inputs first. If a look is killed, the next one repeats it and finds
the same ids.
Known arrivals are recognized by (origin, size, modified) and by digests, and never by a clock or a position in a list.
So after a restart or a change of the clock no arrival is missed or taken twice. An extract of a database, and a slice
of a topic, is recorded in one transaction with the position that the next look continues from.

Known limits: if a writer pauses for longer than `settle_seconds`, its file seems finished; later additions make a new
version of the file, and so a new input. The first files of a look (40, or 64 MiB of them) are hashed even if the time
is over, so that each look makes progress on a busy machine. If one file takes longer than the caller can wait, the
caller needs a higher limit. Rows of a hook are hashed as the Parquet bytes that pyarrow writes for them.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dataops_assets.config.connection import FileConnection, PythonConnection
from dataops_assets.config.databases import AnyConnection, AnyDatabase, DatabaseConnection
from dataops_assets.config.environment import Environment
from dataops_assets.config.kafka import KafkaCluster, KafkaConnection
from dataops_assets.config.refresh import AppendRefresh
from dataops_assets.config.rest import RestApi, RestConnection
from dataops_assets.config.source import Source
from dataops_assets.connections.content import Digests, digests_of, digests_of_extract
from dataops_assets.connections.databases.extract import Extract, ExtractRequest, extract, is_due
from dataops_assets.connections.databases.opening import (
    database_of,
    require_api,
    require_cluster,
    require_declared,
)
from dataops_assets.connections.databases.position import Position
from dataops_assets.connections.extract_time import extract_time
from dataops_assets.connections.files import Files, FileVersion, file_name
from dataops_assets.connections.formats.compression import Compression, compression_of
from dataops_assets.connections.python import encode, load_hook
from dataops_assets.errors import ConfigError, DataOpsError, InputError
from dataops_assets.masking import mask
from dataops_assets.metadata.position_store import FinishedLook
from dataops_assets.metadata.store import Arrival, MetadataStore
from dataops_assets.report import Input
from dataops_assets.storage.raw import RawArea

SETTLING = "settling"
_THREADS = 8
# every look reads this number of the oldest files, even if its time is over; fewer if they are larger together
_LEAST_FILES = 40
_LEAST_BYTES = 64 << 20
# of the content's digest in an id: more if another input of the same extract time has the same ones
_DIGITS = (6, 12, 24, 64)
_CHUNK = 1 << 20
# between two looks at a database, if nothing else is declared
_EVERY = dt.timedelta(hours=1)
# and at a topic
_EVERY_OF_TOPICS = dt.timedelta(minutes=1)
_NO_DATABASES: Mapping[str, AnyConnection] = MappingProxyType({})
_Clock = Callable[[], float]


@dataclass(frozen=True)
class Problem:
    """An arrival that cannot be taken, with the reason; reported at every look until it is gone."""

    origin: str
    error: DataOpsError


@dataclass(frozen=True)
class FoundInputs:
    """The result of one look. `new` is sorted and recorded; `noted` are arrivals of this look with a note.

    `settling` are files that may still be written. `left` are files that the next look reads, because time ran out.
    """

    new: list[Input] = field(default_factory=list)
    noted: list[Arrival] = field(default_factory=list)
    settling: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
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
        for item in sorted(self._inputs.values()):
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
    clock: _Clock = time.monotonic


_USUAL_TIME = ReadingTime()


def discover(
    source: Source,
    environment: Environment,
    metadata: MetadataStore,
    *,
    now: dt.datetime,
    databases: Mapping[str, AnyConnection] = _NO_DATABASES,
    limit: ReadingTime = _USUAL_TIME,
) -> FoundInputs:
    """Look for new inputs of `source` and record them. `now` (aware) is the wall clock.

    `databases` are the declared connections by name; a source that is read from a database needs them.

    `limit` is the time for reading: it begins when the files are listed, or when the first extract arrives. Even if
    it is over, the first `limit.least_files` files are read, unless they are large, and one extract is taken.

    Re-run: finds the arrivals since the last look. Raises ConfigError for a wrong declaration and StorageError when the
    place cannot be listed. A fault of one arrival is one of the `problems`.
    """
    look = _Look(source, metadata, now)
    if isinstance(source.connection, FileConnection):
        files = Files(source.connection, environment.landing, os.environ)
        _look_at_files(look, source.connection, files, limit)
        return look.found
    raw = RawArea.of(environment.storage, source.name)
    if isinstance(source.connection, DatabaseConnection):
        _look_at_database(look, source.connection, raw, require_declared(source.connection.database, databases))
    elif isinstance(source.connection, RestConnection):
        _look_at_api(look, source.connection, raw, require_api(source.connection.api, databases))
    elif isinstance(source.connection, KafkaConnection):
        _look_at_topic(look, source.connection, raw, require_cluster(source.connection.cluster, databases), limit)
    else:
        _look_at_extracts(look, source.connection, raw, limit.budget_seconds, limit.clock)
    return look.found


def waiting(source: Source, metadata: MetadataStore) -> list[Input]:
    """Return the registered inputs that no run has begun to ingest, oldest first.

    Runs are requested for these, and not for the inputs that one look found. So a crash between recording and
    requesting loses nothing.
    """
    begun = metadata.step_status(source.name, "ingest")
    return [item for item in metadata.inputs(source.name) if item.input_id not in begun]


class _Look:
    """One look at a source: compares the files found with the known inputs, and records them."""

    def __init__(self, source: Source, metadata: MetadataStore, now: dt.datetime) -> None:
        self.source = source
        self.now = now
        self.zone = _zone(source)
        self.found = FoundInputs()
        self.metadata = metadata
        self._arrivals: list[Arrival] = []
        self._placed: dict[str, None] = {}
        known = metadata.arrivals(source.name)
        self.known = {(item.origin, item.size, item.modified): item for item in known}
        self._by_origin: dict[str, list[Arrival]] = {}
        for item in sorted(known, key=lambda item: (item.modified, item.seen_at)):
            self._by_origin.setdefault(item.origin, []).append(item)

    @functools.cached_property
    def inventory(self) -> Inventory:
        """The known inputs. They are read only if the look has an arrival to compare with them."""
        return Inventory(self.metadata.inputs(self.source.name))

    def seen(self, version: FileVersion) -> Arrival | None:
        """Return what is recorded about this version of a file."""
        return self.known.get((version.origin, version.size, version.modified))

    def input_of(
        self, version: FileVersion, extract_time: dt.datetime, arrival: dt.datetime, digests: Digests
    ) -> Input:
        """Return the input of an arrival; the times are aware."""
        utc = extract_time.astimezone(dt.UTC)
        found = Input(utc, arrival, "", digests.received, version.origin, version.size, digests.content)
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
            self.metadata.register_source(self.source)
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


def _look_at_files(look: _Look, connection: FileConnection, files: Files, limit: ReadingTime) -> None:
    listing = files.list()
    for origin, error in listing.refused.items():
        look.refuse(origin, error)
    for item in listing.left_out.values():
        look.leave_out(item.version, item.reason, connection.settle_seconds)
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
    # oldest first: if the budget ends a look, the history before that point is complete
    dated.sort(key=lambda each: each[:2])
    # listing many files, or waiting for a store, takes nothing from the time there is for reading them
    deadline = limit.clock() + limit.budget_seconds
    least = _least([version for _, _, version in dated], max(limit.least_files, 1))

    def examine(number: int) -> Digests | str | DataOpsError:
        version = dated[number][2]
        compression = compression_of(file_name(version.origin), connection.compression)
        return _examine(files, version, compression, deadline if number >= least else None, limit.clock)

    with ThreadPoolExecutor(_THREADS) as pool:
        states = pool.map(examine, range(len(dated)))
        for (extracted, origin, version), state in zip(dated, states, strict=True):
            if isinstance(state, DataOpsError):
                look.refuse(origin, state)
            elif isinstance(state, Digests):
                look.take(version, look.input_of(version, extracted, version.modified, state))
            elif state == _CHANGED:
                look.wait(version, remember=False)
            else:
                look.found.left.append(origin)
    look.record()


def _least(versions: Sequence[FileVersion], files: int) -> int:
    """Return how many files are read even without time left: one, and more if they are small together."""
    size = 0
    for number, version in enumerate(versions[:files]):
        size += version.size
        if number and size > _LEAST_BYTES:
            return number
    return min(files, len(versions))


_CHANGED = "changed"
_LATE = "late"


def _is_settled(version: FileVersion, seen: Arrival | None, now: dt.datetime, wait_seconds: float) -> bool:
    """Return whether the file is complete: nobody writes it any more.

    It is complete if its last change is old enough. Then (size, modified) also identifies a version: a later write gets
    a later time, even in a store with whole seconds. It is also complete if an earlier look, long enough ago, saw the
    same version; this helps if the clock was changed.
    """
    if wait_seconds == 0 or (now - version.modified).total_seconds() >= wait_seconds:
        return True
    return seen is not None and abs((now - seen.seen_at).total_seconds()) >= wait_seconds


class _Stopped(Exception):
    """A file was not read to its end: `_LATE` if the time ran out, `_CHANGED` if the file was written meanwhile."""


def _examine(
    files: Files, version: FileVersion, compression: Compression, deadline: float | None, clock: _Clock
) -> Digests | str | DataOpsError:
    """Return the digests of a file; `_LATE` if the time ran out, `_CHANGED` if the file was written meanwhile."""

    def watched() -> Iterator[bytes]:
        size = 0
        for chunk in files.chunks(version.origin):
            size += len(chunk)
            if size > version.size:
                # the file grows, perhaps as fast as it is read
                raise _Stopped(_CHANGED)
            if deadline is not None and clock() >= deadline:
                raise _Stopped(_LATE)
            yield chunk

    if deadline is not None and clock() >= deadline:
        return _LATE
    try:
        found = digests_of(watched(), version.size, compression)
        return found if files.version(version.origin) == version else _CHANGED
    except _Stopped as stopped:
        return str(stopped)
    except DataOpsError as error:
        return error


def _look_at_extracts(look: _Look, connection: PythonConnection, raw: RawArea, budget: float, clock: _Clock) -> None:
    hook = load_hook(connection.function)
    origins = f"python:{connection.function}/"
    # a duplicate makes no input, but the hook must not have to give it again
    times = [item.modified for item in look.known.values() if item.origin.startswith(origins)]
    newest = look.inventory.newest()
    previous = max([*times, newest] if newest is not None else times, default=None)
    last: dt.datetime | None = None
    deadline: float | None = None
    try:
        for extract in hook(previous, **connection.arguments):
            # from the first extract on: until then the hook may have waited for its system
            deadline = clock() + budget if deadline is None else deadline
            try:
                name, content = encode(extract, connection.function)
            except InputError as error:
                # nothing after it is taken: otherwise the next look would start behind it and never see it again
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
            version = FileVersion(mask(f"{origins}{name}"), len(content), extracted)
            item = look.input_of(version, extracted, look.arrives(), digests_of_extract(name, content))
            seen = look.seen(version)
            if seen is None or seen.digest != item.digest:
                if item not in look.inventory:
                    # the extract cannot be asked for again, so its bytes are kept before it is known
                    raw.put(item, [content])
                else:
                    # an extract that a hook gives again keeps its first arrival
                    item = replace(item, arrival=look.inventory.now(item.input_id).arrival)
                look.take(version, item)
            if clock() >= deadline:
                look.found.left.append(connection.function)
                break
        raw.sync()
    finally:
        # also where the hook itself fails: what it gave before is kept
        look.record()


def _look_at_database(look: _Look, connection: DatabaseConnection, raw: RawArea, declared: AnyDatabase) -> None:
    """Take an extract if one is due: first its bytes are safe in the raw area, then input and position are recorded."""
    source, metadata = look.source, look.metadata
    last = metadata.positions.last_look(source.name)
    # with a schedule, each of its ticks is due
    every = dt.timedelta(0) if source.discovery.schedule else _EVERY
    if not is_due(connection.every, last.looked_at, look.now, every):
        return

    def earlier(ids: Sequence[str]) -> list[Path]:
        return [raw.sound_path(item) for item in metadata.inputs(source.name, ids)]

    taken_at = _taken_at(look)
    raw_names = {item.name: item.raw_name for item in source.columns}
    asked = ExtractRequest(
        connection,
        Position.from_json(last.position or {}),
        last.looked_at,
        look.now,
        [raw_names[name] for name in source.refresh.key],
        earlier,
    )
    with tempfile.TemporaryDirectory(prefix="extract-") as folder:
        taken = extract(asked, database_of(declared), Path(folder))
        name = f"{connection.table or source.name}_{taken_at:%Y%m%dT%H%M%S%f}.parquet"
        _record_extract(look, raw, taken, _Extracted(f"database:{connection.database}/{name}", taken_at, last.looks))


def _look_at_api(look: _Look, connection: RestConnection, raw: RawArea, declared: RestApi) -> None:
    """Take an extract if one is due, as from a database."""
    # the library of requests is imported only where an API is a source
    from dataops_assets.connections.rest.client import Patience, RestClient
    from dataops_assets.connections.rest.extract import RestRequest, extract_api
    from dataops_assets.connections.rest.signing import signing_of

    source = look.source
    last = look.metadata.positions.last_look(source.name)
    every = dt.timedelta(0) if source.discovery.schedule else _EVERY
    if not is_due(connection.every, last.looked_at, look.now, every):
        return
    taken_at = _taken_at(look)
    since = Position.from_json(last.position or {})
    asked = RestRequest(connection, since, look.now, has_key=bool(source.refresh.key))
    patience = Patience(declared.longest_wait.total_seconds())
    client = RestClient(declared, signing_of(declared, os.environ), patience, connection.limits.document_bytes)
    with tempfile.TemporaryDirectory(prefix="extract-") as folder, client.session:
        taken = extract_api(asked, client, Path(folder))
        ending = taken.path.suffix if taken.path is not None else ""
        name = f"{source.name}_{taken_at:%Y%m%dT%H%M%S%f}{ending}"
        _record_extract(look, raw, taken, _Extracted(f"rest:{connection.api}/{name}", taken_at, last.looks))


def _look_at_topic(
    look: _Look, connection: KafkaConnection, raw: RawArea, declared: KafkaCluster, limit: ReadingTime
) -> None:
    """Take slices of a topic if a look is due: all that is there when it begins, within the limit of time.

    Each slice is recorded before the next one is read. What is left is due at the next look.
    """
    # the library of the client is imported only where a topic is a source
    from dataops_assets.connections.kafka.client import client_of
    from dataops_assets.connections.kafka.extract import KafkaPosition, SliceRequest, read_slice
    from dataops_assets.connections.kafka.registry import Registry
    from dataops_assets.connections.kafka.topic import Topic

    source = look.source
    last = look.metadata.positions.last_look(source.name)
    since, looks = KafkaPosition.from_json(last.position or {}), last.looks
    every = dt.timedelta(0) if source.discovery.schedule else _EVERY_OF_TOPICS
    if not since.is_behind and not is_due(connection.every, last.looked_at, look.now, every):
        return
    deadline = limit.clock() + limit.budget_seconds
    registry = Registry(declared, os.environ) if connection.needs_registry else None
    topic = Topic(client_of(declared, os.environ), connection.topic)
    with contextlib.ExitStack() as closing:
        closing.callback(topic.close)
        if registry is not None:
            closing.callback(registry.close)
        state = topic.state()
        while True:
            taken_at = _taken_at(look)
            with tempfile.TemporaryDirectory(prefix="slice-") as folder:
                found = read_slice(SliceRequest(connection, since, state, registry), topic, Path(folder))
                name = f"{connection.topic}_{taken_at:%Y%m%dT%H%M%S%f}.messages.parquet"
                origin = f"kafka:{connection.cluster}/{connection.topic}/{found.ranges}/{name}"
                extracted = _Extracted(origin, taken_at, looks, found.path, found.digest, found.size, found.note)
                _record(look, raw, extracted, _unchanged(found.position.as_json()))
            since, looks = found.position, looks + 1
            if not since.is_behind:
                break
            if limit.clock() >= deadline:
                look.found.left.append(f"kafka:{connection.cluster}/{connection.topic}")
                break


def _taken_at(look: _Look) -> dt.datetime:
    """Return the time of an extract: later than all earlier extracts, even if the clock is wrong."""
    newest = look.inventory.newest()
    return look.now if newest is None else max(look.now, newest + dt.timedelta(microseconds=1))


@dataclass(frozen=True)
class _Extracted:
    """An extract with its origin and time, and the number of looks that were recorded when it began.

    Without a `path` nothing was new.
    """

    origin: str
    at: dt.datetime
    before: int
    path: Path | None = None
    digest: str = ""
    size: int = 0
    note: str = ""


def _record_extract(look: _Look, raw: RawArea, taken: Extract, extracted: _Extracted) -> None:
    """Record an extract of a database or an API."""
    connection = look.source.connection
    incremental = connection.incremental if isinstance(connection, DatabaseConnection | RestConnection) else None

    def following(item: Input | None) -> dict[str, Any]:
        position = taken.position
        return (position if item is None else position.after(item.input_id, incremental)).as_json()

    found = replace(extracted, path=taken.path, digest=taken.digest, size=taken.size)
    _record(look, raw, found, following)


def _record(look: _Look, raw: RawArea, taken: _Extracted, following: Callable[[Input | None], dict[str, Any]]) -> None:
    """Put the bytes of an extract into the raw area, and then record input and position together."""
    source, item = look.source, None
    if taken.path is not None:
        version = FileVersion(taken.origin, taken.size, taken.at)
        item = look.input_of(version, taken.at, look.arrives(), Digests(taken.digest, taken.digest, taken.size))
        with taken.path.open("rb") as stream:
            raw.put(item, iter(lambda: stream.read(_CHUNK), b""))
        raw.sync()
    look.metadata.register_source(source)
    done = FinishedLook(source.name, taken.before, look.now, following(item), item, taken.note)
    look.metadata.positions.record(done)
    if item is not None:
        look.inventory.place(item)
        look.found.new.append(item)


def _unchanged(position: dict[str, Any]) -> Callable[[Input | None], dict[str, Any]]:
    """Return what gives a position that does not depend on the input."""
    return lambda _item: position


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
