"""One look at a REST API: reads all pages of what is due, and writes its records to one raw file in JSON Lines.

Grain: one extract. All pages of it, or nothing. Nothing is recorded here: the caller records the input and the position
together, so a look that dies or fails is made again.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from dataops_assets.config.rest import RestConnection, RestIncremental
from dataops_assets.connections.content import digest_of_file
from dataops_assets.connections.databases.extract import Extract
from dataops_assets.connections.databases.position import Comparable, Position, comparable, lowered, packed
from dataops_assets.connections.databases.reading import CursorKind
from dataops_assets.connections.formats.json_text import json_text
from dataops_assets.connections.rest.client import RestClient
from dataops_assets.connections.rest.paging import pages, value_at
from dataops_assets.errors import InputError, StorageError

_RESTARTS = 3
_DIGEST_BYTES = 16
_EMPTY = b"[]\n"
_DATE = len("2024-01-01")
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?")


@dataclass(frozen=True)
class RestRequest:
    """The arguments of an extract: the position, the time of this look, and whether the source's rows have a key."""

    connection: RestConnection
    since: Position
    now: dt.datetime
    has_key: bool


def extract_api(request: RestRequest, client: RestClient, folder: Path) -> Extract:
    """Read what is new into a file in `folder`. Raises StorageError, ConfigError or InputError; then nothing is new."""
    connection = request.connection
    reads = fingerprint(connection)
    since = request.since if request.since.reads == reads else Position(reads=reads)
    incremental = connection.incremental
    is_full = incremental is None or _is_full_due(incremental, since, request.now)
    known = replace(since, low="", taken="") if is_full else since
    for _ in range(_RESTARTS):
        found = _read(request, known, client, folder)
        if found is not None:
            break
    else:
        raise StorageError(
            f"reading the pages of {connection.path} of the API {connection.api!r}",
            received=f"records were added or removed while the pages were read, {_RESTARTS} times",
            next_step="nothing: the next look tries again. It helps if params ask for a fixed order",
        )
    path, rows, following = found
    following = replace(following, reads=reads)
    if is_full:
        following = replace(following, full_at=request.now.isoformat())
    size = path.stat().st_size
    # of changes, none say nothing; of all records, none say that the collection is empty
    if incremental is not None and not size:
        return Extract(following)
    if not size:
        # a file without bytes looks like a delivery that broke off
        path = path.with_suffix(".json")
        path.write_bytes(_EMPTY)
        size = len(_EMPTY)
    digest = digest_of_file(path)
    if is_full:
        following = replace(following, content=digest)
        # the same as the last one, and nothing was taken in between
        if digest == since.content and len(since.since_full) <= 1:
            return Extract(following)
        following = replace(following, since_full=())
    return Extract(following, path, rows, digest, size)


def fingerprint(connection: RestConnection) -> str:
    """Return a digest of what decides which records a look reads."""
    incremental = connection.incremental
    told = (
        *(connection.api, connection.path, sorted(connection.params.items()), connection.records_at),
        (incremental.cursor, incremental.param, incremental.start) if incremental is not None else (),
        # a source without a body keeps the digest that it had before there were bodies
        *((json_text(connection.body),) if connection.body is not None else ()),
    )
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


def _is_full_due(incremental: RestIncremental, since: Position, now: dt.datetime) -> bool:
    if not since.full_at:
        return True
    last = dt.datetime.fromisoformat(since.full_at)
    return incremental.full_every is not None and not last <= now < last + incremental.full_every


def _read(request: RestRequest, since: Position, client: RestClient, folder: Path) -> tuple[Path, int, Position] | None:
    """Read all pages to a file; None if the collection changed meanwhile, so that records may be missing."""
    connection = request.connection
    path = folder / "records.jsonl"
    before: set[bytes] = set()
    count, written, total = 0, 0, None
    with path.open("wb") as stream:
        taking = _Taking(connection.incremental, since)
        for number, page in enumerate(pages(client, connection, _since(connection.incremental, since))):
            if number and page.total != total:
                return None
            total = page.total
            here: set[bytes] = set()
            for record in page.records:
                text = _text(record, connection)
                digest = hashlib.blake2b(text.encode("utf-8", "backslashreplace"), digest_size=_DIGEST_BYTES).digest()
                # a record that moved to the next page while the pages were read
                if request.has_key and digest in before:
                    continue
                here.add(digest)
                count += 1
                if taking.takes(record, digest):
                    written += 1
                    stream.write(text.encode("utf-8", "backslashreplace") + b"\n")
            before |= here
    if total is not None and count != total:
        return None
    return path, written, taking.following()


def _text(record: Mapping[str, Any], connection: RestConnection) -> str:
    try:
        return json_text(record)
    except RecursionError as error:
        raise InputError(
            f"reading the pages of {connection.path} of the API {connection.api!r}",
            received="a record with too many levels",
            known=[f"at most {connection.limits.nesting}"],
            next_step="leave such values out by params; nothing of this look was taken",
        ) from error


def _since(incremental: RestIncremental | None, since: Position) -> Mapping[str, str | Decimal]:
    """Return the parameter that asks for what is new; a number is a Decimal, which has all digits."""
    if incremental is None:
        return {}
    value = incremental.start
    if since.low:
        found = _comparable(since.low, since.kind)
        value = since.low
        if isinstance(found, dt.date):
            iso = found.isoformat().replace("+00:00", "Z")
            value = found.strftime(incremental.format) if incremental.format else iso
    is_number = since.kind == "number" if since.low else _NUMBER.fullmatch(value)
    return {incremental.param: Decimal(value) if is_number else value} if value else {}


class _Taking:
    """Leaves out records that were taken before, and finds the highest value of the cursor."""

    def __init__(self, incremental: RestIncremental | None, since: Position) -> None:
        self._incremental = incremental
        self._since = since
        self._kind: CursorKind = since.kind
        self._highest = _comparable(since.highest or None, since.kind)
        self._known: Counter[bytes] = since.taken_rows()
        self._taken: list[tuple[Comparable | None, bytes]] = []

    def takes(self, record: Mapping[str, Any], digest: bytes) -> bool:
        """Return whether a record is new."""
        if self._incremental is None:
            return True
        value = self._value(value_at(record, self._incremental.cursor))
        if value is not None and (self._highest is None or value > self._highest):  # type: ignore[operator]
            self._highest = value
        self._taken.append((value, digest))
        if self._known[digest]:
            self._known[digest] -= 1
            return False
        return True

    def _value(self, given: Any) -> Comparable | None:
        if given is None:
            return None
        kind = _kind_of(given)
        found = _comparable(given, kind)
        if not kind or found is None or (self._kind and kind != self._kind):
            raise InputError(
                f"looking at the cursor {self._incremental.cursor if self._incremental else ''!r}",
                received=f"{given!r}" + (f" among values of kind {self._kind}" if self._kind else ""),
                known=["a number", "a date", "an ISO 8601 time"],
                next_step="choose another cursor; nothing of this look was taken",
            )
        self._kind = kind
        return found

    def following(self) -> Position:
        """Return the position after these records."""
        if self._incremental is None:
            return self._since
        if self._highest is None:
            return self._since
        low = lowered(self._highest, self._kind, self._incremental)
        start = _comparable(low, self._kind)
        # records below it are not asked for again
        again = [digest for value, digest in self._taken if value is None or start is None or value >= start]  # type: ignore[operator]
        return replace(self._since, highest=str(self._highest), low=low, kind=self._kind, taken=packed(again))


def _kind_of(given: Any) -> CursorKind:
    if isinstance(given, int | Decimal) and not isinstance(given, bool):
        return "number"
    if not isinstance(given, str):
        return ""
    return "date" if len(given) == _DATE else "time"


def _comparable(value: object, kind: CursorKind) -> Comparable | None:
    """Return a cursor's value to compare; a time without a zone is in UTC."""
    found = comparable(value, kind)
    if isinstance(found, dt.datetime):
        return found.replace(tzinfo=dt.UTC) if found.tzinfo is None else found.astimezone(dt.UTC)
    return found
