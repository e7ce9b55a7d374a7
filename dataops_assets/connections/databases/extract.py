"""One look at a database: reads what is due under one snapshot, and writes it to one raw file.

Grain: one extract. Nothing is recorded here: the caller records the input and the position together. Every row version
that is committed is taken. It is taken once, but for these cases: an extract of the whole table has all rows again, and
after four billion transactions the cursor xmin may give an old row again.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from sqlglot import exp

from dataops_assets.config.databases import TRANSACTION, DatabaseConnection, Incremental
from dataops_assets.connections.content import digest_of_file
from dataops_assets.connections.databases.deletions import deleted_rows
from dataops_assets.connections.databases.position import (
    Position,
    comparable,
    digest_of_row,
    fingerprint,
    lowered,
    packed,
)
from dataops_assets.connections.databases.reading import (
    Begin,
    CursorKind,
    Database,
    Field,
    ParallelSnapshot,
    Snapshot,
    Statement,
    Take,
    Transactions,
    require_columns,
    schema_of,
)
from dataops_assets.errors import ConfigError, StorageError, nearest
from dataops_assets.sql import column, identifier, query

_ROWS = 50_000
_XIDS = 1 << 32
# half of the numbers of transactions: beyond it, older and newer cannot be told apart
_FURTHEST = 1 << 31


@dataclass(frozen=True)
class Extract:
    """The result of a look: a file of the rows that it took, and the position of the next look.

    Without a `path` there is nothing new. `rows` is the number of rows, `digest` the sha256 of the file. The id of the
    input is not in `position` yet.
    """

    position: Position
    path: Path | None = None
    rows: int = 0
    digest: str = ""
    size: int = 0


@dataclass(frozen=True)
class ExtractRequest:
    """The arguments of an extract.

    * `since`: the position. `last_look`: its time, None at the first look. `now`: the time of this look.
    * `key`: columns of the key, to find deleted rows. `earlier`: gives the raw files of inputs, in their order.
    """

    connection: DatabaseConnection
    since: Position
    last_look: dt.datetime | None
    now: dt.datetime
    key: Sequence[str] = ()
    earlier: Callable[[Sequence[str]], Sequence[Path]] = lambda _ids: ()


def is_due(every: dt.timedelta | None, last_look: dt.datetime | None, now: dt.datetime, usual: dt.timedelta) -> bool:
    """Return whether the next look is due: after `every`, if it is declared. If the clock was set back, it is."""
    if last_look is None or now < last_look:
        return True
    return now - last_look >= (every if every is not None else usual)


def extract(request: ExtractRequest, database: Database, folder: Path) -> Extract:
    """Read what is new into a file in `folder`. Raises StorageError, ConfigError or InputError; then nothing is new."""
    reads = fingerprint(request.connection)
    since = request.since if request.since.reads == reads else Position(reads=reads)
    incremental = request.connection.incremental
    is_full = incremental is None or _is_full_due(incremental, since, request.now)
    asked = replace(request, since=replace(since, low="", taken="") if is_full else since)
    with database.snapshot() as snapshot:
        horizon = _horizon(request.connection, snapshot, database)
        condition = _condition(asked, horizon, is_first=not since.full_at, is_full=is_full)
        written = _Written(folder / "read.parquet", incremental, request.connection)
        _read(asked, database, snapshot, condition, written.begin)
    written.close()
    following = replace(since, reads=reads, settled=horizon.settled if horizon is not None else None)
    if is_full:
        following = replace(following, full_at=request.now.isoformat())
    path = written.path
    if incremental is not None and incremental.cursor != TRANSACTION:
        path, following = _without_taken(written, asked, following)
    if not is_full:
        return _of_file(path, following) if pq.read_metadata(path).num_rows else Extract(following)
    content = digest_of_file(path)
    following = replace(following, content=content)
    # the same as the last one, and nothing was taken in between
    if content == since.content and len(since.since_full) <= 1:
        return Extract(following)
    if incremental is not None and incremental.deleted and since.since_full:
        path = _with_deleted(path, incremental.deleted, request)
    return _of_file(path, replace(following, since_full=()))


def _is_full_due(incremental: Incremental, since: Position, now: dt.datetime) -> bool:
    if not since.full_at:
        return True
    last = dt.datetime.fromisoformat(since.full_at)
    return incremental.full_every is not None and not last <= now < last + incremental.full_every


def _horizon(connection: DatabaseConnection, snapshot: Snapshot, database: Database) -> Transactions | None:
    """Return the transactions of the snapshot, if they are the cursor."""
    if connection.incremental is None or connection.incremental.cursor != TRANSACTION:
        return None
    if snapshot.transactions is None:
        raise ConfigError(
            f"reading the cursor {TRANSACTION} in {database.place}",
            received="a database without it",
            known=["a table of PostgreSQL"],
            next_step="name a column as connection.incremental.cursor",
        )
    return snapshot.transactions


# --- what is read ----------------------------------------------------------------------------------------------------


def _read(
    request: ExtractRequest, database: Database, snapshot: Snapshot, condition: exp.Expr | None, begin: Begin
) -> None:
    """Read the query, or the rows of the table that fulfil the condition."""
    connection, since = request.connection, request.since
    values = {"last_cursor": since.last_cursor(), "last_extract": request.last_look}
    if connection.query:
        snapshot.read(Statement(connection.query, values), "", begin)
        return
    *schema, name = connection.table.split(".")
    table = exp.Table(this=identifier(name), db=identifier(schema[0]) if schema else None)
    rows = query("SELECT * FROM $rows", rows=table)
    if condition is not None:
        rows = rows.where(condition)
    # an index may give rows from a cursor value on in an order of its own
    if connection.parallel == 1 or since.low:
        snapshot.read(Statement(rows.sql(dialect=database.dialect), values), connection.table, begin)
        return
    if not isinstance(snapshot, ParallelSnapshot):
        raise ConfigError(
            f"reading {connection.table} in {database.place} by {connection.parallel} connections",
            received="a kind of database that one connection reads",
            known=["PostgreSQL"],
            next_step="leave out parallel: one connection reads the same rows",
        )
    snapshot.read_parallel(rows, table, connection.parallel, begin)


def _condition(
    request: ExtractRequest, horizon: Transactions | None, *, is_first: bool, is_full: bool
) -> exp.Expr | None:
    """Return the condition of the rows of a table that are due; None for all."""
    incremental, since = request.connection.incremental, request.since
    if incremental is None:
        return None
    if horizon is not None:
        return _settled(horizon, since.settled, is_first=is_first, is_full=is_full)
    if not since.low:
        return None
    # rows without a place in the order are read each time, and compared with those that were taken
    return query(
        "$cursor >= $low OR $cursor IS NULL",
        cursor=column(incremental.cursor),
        low=exp.Var(this="{{ last_cursor }}"),
    )


def _settled(horizon: Transactions, since: int | None, *, is_first: bool, is_full: bool) -> exp.Expr | None:
    """Return the condition of rows whose transaction had ended for everyone, and was not taken before.

    A transaction that began before the snapshot and commits later has a number from `settled` on, and so have its
    subtransactions. Its rows are taken by a later look. A full look takes every row that is there: it is compared with
    earlier looks to find deleted rows. Numbers are of 32 bits in a row, so they are compared as distances.
    """
    distance = query(
        "($end - CAST(CAST($xmin AS TEXT) AS BIGINT)) & $ones",
        end=exp.Literal.number(horizon.settled % _XIDS),
        xmin=exp.column(TRANSACTION),
        ones=exp.Literal.number(_XIDS - 1),
    )
    if not is_full and since is not None:
        if horizon.settled - since < _FURTHEST:
            return query("$distance BETWEEN 1 AND $most", distance=distance, most=horizon.settled - since)
        return None
    if is_first:
        # the distance of a number from `settled` on is zero, or wraps around
        return query(
            "NOT ($distance = 0 OR $distance > $least)",
            distance=distance,
            least=_XIDS - 1 - (horizon.next - horizon.settled),
        )
    return None


# --- what is written -------------------------------------------------------------------------------------------------


class _Written:
    """A Parquet file of the rows as they are read."""

    def __init__(self, path: Path, incremental: Incremental | None, connection: DatabaseConnection) -> None:
        self.path = path
        self.kind: CursorKind = ""
        self._incremental = incremental
        self._connection = connection
        self._writer: pq.ParquetWriter | None = None

    def begin(self, fields: Sequence[Field]) -> Take:
        """Open the file for these columns, and return what takes the rows."""
        attempted = f"reading {self._connection.table or 'the query'} of the database {self._connection.database!r}"
        require_columns(fields, attempted)
        schema = schema_of(fields)
        deleted = ""
        if self._incremental is not None:
            deleted = self._incremental.deleted
            self.kind = _cursor_kind(self._incremental.cursor, fields, attempted)
            if deleted:
                require_columns([*fields, Field(deleted, "boolean")], attempted)
                schema = schema.append(pa.field(deleted, pa.bool_()))
        writer = pq.ParquetWriter(self.path, schema, compression="zstd", compression_level=1)
        self._writer = writer

        def take(rows: pa.Table) -> None:
            if deleted:
                rows = rows.append_column(deleted, pa.array([False] * len(rows), pa.bool_()))
            try:
                writer.write_table(rows)
            except OSError as error:
                # told here: a driver would take it for an error of its connection
                raise StorageError(
                    f"{attempted}: writing the rows to {self.path.parent}",
                    received=str(error),
                    next_step="free space in the folder of temporary files; the next look reads the rows again",
                ) from error

        return take

    def close(self) -> None:
        """Complete the file."""
        if self._writer is not None:
            self._writer.close()


def _cursor_kind(cursor: str, fields: Sequence[Field], attempted: str) -> CursorKind:
    if cursor == TRANSACTION:
        return ""
    names = [item.name for item in fields]
    if cursor not in names:
        raise ConfigError(
            f"{attempted}: looking for the cursor {cursor!r}",
            received="no such column",
            known=names,
            next_step=nearest(cursor, names),
        )
    kind = fields[names.index(cursor)].cursor
    if not kind:
        raise ConfigError(
            f"{attempted}: looking at the cursor {cursor!r}",
            received="a column of a type from whose highest value a look cannot continue",
            known=["a number", "a date", "a time"],
            next_step="choose another column, or read the whole table",
        )
    return kind


def _without_taken(written: _Written, request: ExtractRequest, following: Position) -> tuple[Path, Position]:
    """Return a file without the rows that were taken before, and the position with the cursor values of this look."""
    incremental = request.connection.incremental
    if incremental is None:
        return written.path, following
    kind, cursor = written.kind, incremental.cursor
    highest = comparable(request.since.highest or None, kind)
    for batch in _batches(written.path, [cursor]):
        for value in batch.column(0).to_pylist():
            found = comparable(value, kind)
            if found is not None and (highest is None or found > highest):  # type: ignore[operator]
                highest = found
    low = lowered(highest, kind, incremental) if highest is not None else ""
    start = comparable(low or None, kind)
    before = request.since.taken_rows()
    known: Counter[bytes] = Counter(before)
    taken: list[bytes] = []
    target = written.path.with_name("new.parquet")
    with pq.ParquetWriter(target, pq.read_schema(written.path), compression="zstd", compression_level=1) as writer:
        for batch in _batches(written.path):
            place = batch.schema.get_field_index(cursor)
            values = [comparable(value, kind) for value in batch.column(place).to_pylist()]
            above = [value is None or start is None or value >= start for value in values]  # type: ignore[operator]
            if not known and not any(above):
                writer.write_batch(batch)
                continue
            is_new = []
            for row, is_above in zip(
                zip(*(part.to_pylist() for part in batch.columns), strict=True), above, strict=True
            ):
                digest = digest_of_row(row)
                is_new.append(not known[digest])
                known[digest] -= 1 if known[digest] else 0
                if is_above:
                    taken.append(digest)
            writer.write_batch(batch if all(is_new) else batch.filter(pa.array(is_new)))
    text = "" if highest is None else str(highest)
    return target, replace(following, highest=text, low=low, kind=kind, taken=packed(taken))


def _batches(path: Path, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path) as opened:
        yield from opened.iter_batches(batch_size=_ROWS, columns=columns)


def _with_deleted(path: Path, deleted: str, request: ExtractRequest) -> Path:
    """Return a file with the rows of the whole table, and with the rows that it no longer has, marked as deleted."""
    gone = deleted_rows(request.earlier(request.since.since_full), path, request.key, deleted)
    if not len(gone):
        return path
    target = path.with_name("marked.parquet")
    schema = pq.read_schema(path)
    with pq.ParquetWriter(target, schema, compression="zstd", compression_level=1) as writer:
        for batch in _batches(path):
            writer.write_batch(batch)
        writer.write_table(gone.select(schema.names).cast(schema))
    return target


def _of_file(path: Path, following: Position) -> Extract:
    return Extract(following, path, pq.read_metadata(path).num_rows, digest_of_file(path), path.stat().st_size)
