"""Looks at sources that are not files: functions, databases, APIs, topics and logs. A look writes one raw file.

The bytes are safe in the raw area before input and position are recorded, in one transaction. So a look that is killed
changes nothing, and the next one continues from the same position. Rows of a function are hashed as the Parquet bytes
that pyarrow writes for them.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataops_assets.config.connection import PythonConnection
from dataops_assets.config.databases import AnyDatabase, DatabaseConnection
from dataops_assets.config.environment import Environment
from dataops_assets.config.kafka import KafkaCluster, KafkaConnection
from dataops_assets.config.replication import ReplicationConnection
from dataops_assets.config.rest import RestApi, RestConnection
from dataops_assets.connections.content import Digests, digests_of_extract
from dataops_assets.connections.databases.extract import Extract, ExtractRequest, extract, is_due
from dataops_assets.connections.databases.opening import LoggedDatabase, database_of, log_of
from dataops_assets.connections.databases.position import Position
from dataops_assets.connections.databases.replication import Changes, LogPosition
from dataops_assets.connections.files import FileVersion
from dataops_assets.connections.look import Look, ReadingTime
from dataops_assets.connections.python import encode, load_hook
from dataops_assets.errors import ConfigError, InputError
from dataops_assets.masking import mask
from dataops_assets.metadata.position_store import FinishedLook, RecordedLook
from dataops_assets.report import Input
from dataops_assets.storage.raw import RawArea

if TYPE_CHECKING:
    from dataops_assets.connections.kafka.extract import Slice
    from dataops_assets.connections.kafka.spark_topic import SparkTopic
    from dataops_assets.connections.kafka.topic import Topic
    from dataops_assets.engines.spark import SparkEngine

_CHUNK = 1 << 20
# between two looks at a database, if nothing else is declared
_EVERY = dt.timedelta(hours=1)
# and at a topic or a log
_EVERY_OF_STREAMS = dt.timedelta(minutes=1)


def look_at_hook(look: Look, connection: PythonConnection, raw: RawArea, limit: ReadingTime) -> None:
    """Take the extracts that a function yields, until time runs out after the first. Raises the function's errors."""
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
            deadline = limit.clock() + limit.budget_seconds if deadline is None else deadline
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
            if limit.clock() >= deadline:
                look.found.left.append(connection.function)
                break
        raw.sync()
    finally:
        # also where the hook itself fails: what it gave before is kept
        look.record()


def look_at_database(look: Look, connection: DatabaseConnection, raw: RawArea, declared: AnyDatabase) -> None:
    """Take an extract if one is due: first its bytes are safe in the raw area, then input and position are recorded."""
    source, metadata = look.source, look.metadata
    last = metadata.positions.last_look(source.name)
    if not _is_due(look, connection.every, last, _EVERY):
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


def look_at_api(look: Look, connection: RestConnection, raw: RawArea, declared: RestApi) -> None:
    """Take an extract if one is due, as from a database."""
    # the library of requests is imported only where an API is a source
    from dataops_assets.connections.rest.client import Patience, RestClient
    from dataops_assets.connections.rest.extract import RestRequest, extract_api
    from dataops_assets.connections.rest.signing import signing_of

    source = look.source
    last = look.metadata.positions.last_look(source.name)
    if not _is_due(look, connection.every, last, _EVERY):
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


def look_at_topic(
    look: Look,
    connection: KafkaConnection,
    raw: RawArea,
    declared: KafkaCluster,
    limit: ReadingTime,
    spark: SparkEngine | None,
) -> None:
    """Take slices of a topic if a look is due: all that is there when it begins, within the limit of time.

    Each slice is recorded before the next one is read. What is left is due at the next look. `spark` reads the messages
    where the connection says so; without new ones it is not started.
    """
    # the library of the client is imported only where a topic is a source
    from dataops_assets.connections.kafka.extract import KafkaPosition, SliceRequest, read_slice
    from dataops_assets.connections.kafka.registry import Registry

    last = look.metadata.positions.last_look(look.source.name)
    since = KafkaPosition.from_json(last.position or {})
    if not since.is_behind and not _is_due(look, connection.every, last, _EVERY_OF_STREAMS):
        return
    deadline = limit.clock() + limit.budget_seconds
    place = f"kafka:{connection.cluster}/{connection.topic}"
    registry = Registry(declared, os.environ) if connection.needs_registry else None
    topic = _topic(connection, declared, spark)
    with contextlib.ExitStack() as closing:
        closing.callback(topic.close)
        if registry is not None:
            closing.callback(registry.close)
        state = topic.state()
        before = last.looks
        while True:
            taken_at = _taken_at(look)
            with tempfile.TemporaryDirectory(prefix="slice-") as folder:
                found = read_slice(SliceRequest(connection, since, state, registry), topic, Path(folder))
                name = f"{connection.topic}_{taken_at:%Y%m%dT%H%M%S%f}.messages.parquet"
                _record_part(look, raw, found, _Extracted(f"{place}/{found.ranges}/{name}", taken_at, before))
            since, before = found.position, before + 1
            if _is_over(look, place, limit, deadline, is_behind=since.is_behind):
                break


def _topic(connection: KafkaConnection, declared: KafkaCluster, spark: SparkEngine | None) -> Topic | SparkTopic:
    """Return the topic, to be read as the connection says."""
    from dataops_assets.connections.kafka.client import client_of
    from dataops_assets.connections.kafka.topic import Topic

    topic = Topic(client_of(declared, os.environ), connection.topic)
    if connection.reader == "consumer":
        return topic
    from dataops_assets.connections.kafka.spark_options import options_of
    from dataops_assets.connections.kafka.spark_topic import SparkTopic

    if spark is None:
        raise ConfigError(
            f"reading the topic {connection.topic!r} by Spark",
            received="a look without Spark",
            next_step="look by the sensor, or set connection.reader to consumer",
        )
    return SparkTopic(topic, options_of(declared, os.environ), spark)


def look_at_log(
    look: Look,
    connection: ReplicationConnection,
    environment: Environment,
    raw: RawArea,
    declared: LoggedDatabase,
    limit: ReadingTime,
) -> None:
    """Take the changes of a table from the log, if a look is due: all that are there, within the limit of time.

    What a look makes on the server, such as a slot, is recorded before it is made. Raises StorageError, ConfigError,
    and InputError if changes are gone.
    """
    last = look.metadata.positions.last_look(look.source.name)
    cannot_wait = LogPosition.from_json(last.position or {}).cannot_wait
    if not cannot_wait and not _is_due(look, connection.every, last, _EVERY_OF_STREAMS):
        return
    deadline = limit.clock() + limit.budget_seconds
    # deployments of two environments are two readers
    log = log_of(connection, declared, f"{environment.name}_{look.source.name}")
    since = log.position(last.position or {})
    place, before = f"replication:{connection.database}/{connection.table}", last.looks
    begun = log.beginning(since)
    if begun is not None:
        _record(look, raw, _Extracted(place, look.now, before), _unchanged(begun.as_json()))
        since, before = begun, before + 1
    while True:
        taken_at = _taken_at(look)
        with tempfile.TemporaryDirectory(prefix="log-") as folder:
            found = log.read(since, Path(folder))
            name = f"{connection.table}_{taken_at:%Y%m%dT%H%M%S%f}.jsonl"
            _record_part(look, raw, found, _Extracted(f"{place}/{name}", taken_at, before))
        if found.problem is not None:
            look.refuse(place, found.problem)
        since, before = found.position, before + 1
        if _is_over(look, place, limit, deadline, is_behind=since.is_behind):
            break


def _is_due(look: Look, every: dt.timedelta | None, last: RecordedLook, usual: dt.timedelta) -> bool:
    """Return whether a look is due. With a schedule, each of its ticks is due."""
    return is_due(every, last.looked_at, look.now, dt.timedelta(0) if look.source.discovery.schedule else usual)


def _is_over(look: Look, place: str, limit: ReadingTime, deadline: float, *, is_behind: bool) -> bool:
    """Return whether a look ends: all that was there is taken, or its time is over and the next look goes on."""
    if is_behind and limit.clock() >= deadline:
        look.found.left.append(place)
        return True
    return not is_behind


def _taken_at(look: Look) -> dt.datetime:
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


def _record_extract(look: Look, raw: RawArea, taken: Extract, extracted: _Extracted) -> None:
    """Record an extract of a database or an API."""
    connection = look.source.connection
    incremental = connection.incremental if isinstance(connection, DatabaseConnection | RestConnection) else None

    def following(item: Input | None) -> dict[str, Any]:
        position = taken.position
        return (position if item is None else position.after(item.input_id, incremental)).as_json()

    found = replace(extracted, path=taken.path, digest=taken.digest, size=taken.size)
    _record(look, raw, found, following)


def _record_part(look: Look, raw: RawArea, taken: Slice | Changes, extracted: _Extracted) -> None:
    """Record a part of a topic or a log."""
    found = replace(extracted, path=taken.path, digest=taken.digest, size=taken.size, note=taken.note)
    _record(look, raw, found, _unchanged(taken.position.as_json()))


def _record(look: Look, raw: RawArea, taken: _Extracted, following: Callable[[Input | None], dict[str, Any]]) -> None:
    """Put the bytes of an extract into the raw area, and then record input and position together."""
    source, item = look.source, None
    if taken.path is not None:
        version = FileVersion(taken.origin, taken.size, taken.at)
        item = look.input_of(version, taken.at, look.arrives(), Digests(taken.digest, taken.digest, taken.size))
        with taken.path.open("rb") as stream:
            raw.put(item, iter(lambda: stream.read(_CHUNK), b""))
        raw.sync()
    look.metadata.contracts.register(source)
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
