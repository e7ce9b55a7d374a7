"""The embedded engine: DuckDB over Delta tables, in this process, with no services."""

from __future__ import annotations

import datetime as dt
import decimal
import itertools
import os
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import duckdb
import pyarrow as pa
from sqlglot import exp

from dataops_assets.config.environment import Environment
from dataops_assets.engines.base import FILE, POSITION, Session, empty, places_by_file
from dataops_assets.errors import StorageError
from dataops_assets.sql import DIALECT, Relation, alias, query, table
from dataops_assets.storage import log
from dataops_assets.storage.delta import DataFile, TableVersion, require_sound
from dataops_assets.storage.objects import is_remote

# An extension comes from a package whose hash is locked, like all native code here; to check its signature as well
# takes 0.4 s of every process
TRUSTING = {"allow_unsigned_extensions": "true"}
_FILE_SIZE = "256MB"
_STATS_TEXT_LIMIT = 64


def load_extensions(connection: duckdb.DuckDBPyConnection, *, remote: bool) -> None:
    """Let a connection read Delta tables; on an object store if `remote`.

    Extensions are loaded from their Python packages: nothing is downloaded, and nothing is installed. A connection made
    with the options `TRUSTING` loads them in no time.
    """
    for name in ("delta", "httpfs") if remote else ("delta",):
        folder = resources.files(f"duckdb_extension_{name}") / "extensions" / f"v{duckdb.__version__}"
        connection.load_extension(str(folder / f"{name}.duckdb_extension"))
    if remote:
        _use_s3(connection)


class DuckDBEngine:
    """Opens DuckDB sessions, with spill files below the environment's home.

    Each process has one database with the extensions loaded (this takes 0.15 s). A session is a connection of its own,
    so its temporary tables are private, and sessions may run in parallel threads.
    """

    name = "duckdb"

    def __init__(self, environment: Environment) -> None:
        self._spill = environment.home / "spill"
        self._remote = is_remote(environment.storage)
        self._memory = environment.memory
        self._lock = threading.Lock()
        self._database: duckdb.DuckDBPyConnection | None = None

    @contextmanager
    def session(self) -> Iterator[DuckDBSession]:
        """Open a connection; its temporary tables are removed when it closes."""
        with self._lock:
            if self._database is None:
                self._database = self._open()
            connection = self._database.cursor()
        try:
            connection.execute("SET TimeZone = 'UTC'")
            yield DuckDBSession(connection)
        finally:
            connection.close()

    def _open(self) -> duckdb.DuckDBPyConnection:
        config: dict[str, Any] = {**TRUSTING, "temp_directory": str(self._spill)}
        if self._memory:
            config["memory_limit"] = self._memory
        database = duckdb.connect(config=config)
        load_extensions(database, remote=self._remote)
        return database


def _use_s3(connection: duckdb.DuckDBPyConnection) -> None:
    endpoint = os.environ.get("AWS_ENDPOINT_URL", "")
    options = {
        "TYPE": "s3",
        "KEY_ID": os.environ.get("AWS_ACCESS_KEY_ID", ""),
        "SECRET": os.environ.get("AWS_SECRET_ACCESS_KEY", ""),
        "SESSION_TOKEN": os.environ.get("AWS_SESSION_TOKEN", ""),
        "REGION": os.environ.get("AWS_REGION", os.environ.get("AWS_DEFAULT_REGION", "us-east-1")),
        "ENDPOINT": endpoint.split("://")[-1],
        "USE_SSL": "" if endpoint.startswith("https") or not endpoint else "false",
        "URL_STYLE": "path" if endpoint else "",
    }
    given = {name: value for name, value in options.items() if value}
    settings = ", ".join(f"{name} ${name}" for name in given)
    connection.execute("CREATE OR REPLACE SECRET object_store (" + settings + ")", given)


class DuckDBSession:
    """One DuckDB connection and its temporary tables."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection
        self._numbers = itertools.count()

    def scan(
        self, snapshot: TableVersion, *, positions: bool = False, only: Collection[str] | None = None
    ) -> exp.Subquery:
        """See `Session.scan`. An empty table is a query without rows, because `delta_scan` refuses it."""
        files = [file for file in snapshot.files if only is None or file.path in only]
        require_sound(snapshot, files)
        if not files:
            extra = {FILE: "VARCHAR", POSITION: "BIGINT"} if positions else {}
            return exp.Subquery(this=empty({**snapshot.columns, **extra}))
        names: list[exp.Expr] = [exp.column(name, quoted=True) for name in snapshot.columns]
        place = file_name = exp.column("filename")
        if _are_plain(snapshot, files):
            source = query(
                "SELECT * FROM read_parquet($files, hive_partitioning = FALSE)",
                files=exp.Array(expressions=[exp.Literal.string(f"{snapshot.uri}/{file.path}") for file in files]),
            )
            file_name = query("substr($place, $start)", place=place, start=len(snapshot.uri) + 2)
        else:
            source = query(
                "SELECT * FROM delta_scan($uri, version = $version)", uri=snapshot.uri, version=snapshot.version
            )
            if only is not None:
                wanted = [exp.Literal.string(f"{snapshot.uri}/{path}") for path in sorted(only)]
                source = source.where(exp.In(this=place, expressions=wanted))
        if positions:
            names += [alias(file_name, FILE), alias(exp.column("file_row_number"), POSITION)]
        source.set("expressions", names)
        return exp.Subquery(this=source)

    def execute(self, statement: exp.Expr) -> duckdb.DuckDBPyConnection:
        """Run a statement. Raises StorageError where files cannot be read or written."""
        with _storing("running a query"):
            return self.connection.execute(_text(statement))

    def create(self, query: exp.Expr) -> Relation:
        """See `Session.create`."""
        return self._create("TABLE", query)

    def define(self, query: exp.Expr) -> Relation:
        """See `Session.define`."""
        return self._create("VIEW", query)

    def _create(self, kind: str, query: exp.Expr) -> Relation:
        name = f"s_relation_{next(self._numbers)}"
        self.execute(exp.Create(this=table(name), kind=kind, expression=query, properties=_TEMPORARY))
        made = self.connection.table(name)
        return Relation(name, dict(zip(made.columns, map(str, made.types), strict=True)))

    def register(self, rows: pa.Table) -> Relation:
        """See `Session.register`."""
        self.connection.register("s_registered", rows)
        made = self.create(query("SELECT * FROM s_registered"))
        self.connection.unregister("s_registered")
        return made

    def fetch(self, query: exp.Expr) -> pa.Table:
        """See `Session.fetch`."""
        with _storing("reading the rows of a query"):
            return self.execute(query).to_arrow_table()

    def schema(self, query: exp.Expr) -> Mapping[str, str]:
        """See `Session.schema`."""
        described = self.execute(exp.Describe(this=query)).fetchall()
        return {row[0]: row[1] for row in described}

    def write(self, query: exp.Expr, uri: str, columns: Mapping[str, str]) -> list[DataFile]:
        """See `Session.write`. Statistics come from the writer, so nothing is read back."""
        attempted = f"writing data files of {uri}"
        if not is_remote(uri):
            with _storing(attempted):
                Path(uri).mkdir(parents=True, exist_ok=True)
        layout = f"FILE_SIZE_BYTES '{_FILE_SIZE}', FILENAME_PATTERN 'part-{{uuid}}'"
        # level 1 takes two thirds of the time of level 3, and files are 3 % larger
        options = f"FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, {layout}, APPEND, RETURN_STATS"
        target = exp.Literal.string(uri).sql(DIALECT)
        statement = exp.Command(this="COPY", expression=f"({_text(query)}) TO {target} ({options})")
        with _storing(attempted):
            written = self.connection.execute(statement.sql(DIALECT)).fetchall()
        return [
            DataFile(
                path=_relative(row[0], uri),
                size=int(row[2]),
                rows=int(row[1]),
                stats=_delta_stats(row[4] or {}, columns),
            )
            for row in written
            if row[1]
        ]

    def positions(self, snapshot: TableVersion, rows: exp.Expr) -> dict[str, Sequence[int]]:
        """See `Session.positions`."""
        return {_relative(unquote(file), snapshot.uri): places for file, places in places_by_file(self, rows)}

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """See `Session.reading`."""
        yield self

    def taken(self, reader: Session, rows: exp.Query) -> exp.Query:  # noqa: ARG002  it is this session
        """See `Session.taken`."""
        return rows


# the last three are raised for damaged files without checksums, which are read unverified
_STORAGE_ERRORS = (
    duckdb.IOException,
    duckdb.OutOfMemoryException,
    duckdb.HTTPException,
    duckdb.SerializationException,
    duckdb.InternalException,
    duckdb.FatalException,
)


@contextmanager
def _storing(attempted: str) -> Iterator[None]:
    """Raise StorageError if files cannot be read or written; DuckDB names the file or URL."""
    try:
        yield
    except (*_STORAGE_ERRORS, OSError) as error:
        raise StorageError(
            attempted,
            # the text after a blank line is the statement, or a dump of the error
            received=str(error).split("\n\n")[0],
            next_step="check that the store is reachable and has room and that memory suffices, then run again; "
            "the last published version is untouched",
        ) from error


_TEMPORARY = exp.Properties(expressions=[exp.TemporaryProperty()])


def _text(statement: exp.Expr) -> str:
    """Return the text of a statement.

    Not of a copy: copying takes longer than writing, and what the writer changes in a statement changes no text of it.
    """
    return statement.sql(DIALECT, copy=False)


def _are_plain(snapshot: TableVersion, files: Sequence[DataFile]) -> bool:
    """Return whether these files can be read as plain Parquet: no row is deleted, and each has all columns.

    DuckDB then reads them without the log, which takes a tenth of the time for a small table.
    """
    if is_remote(snapshot.uri) or any(character in snapshot.uri for character in "*?["):
        return False
    wanted = set(snapshot.columns)
    return all(not file.deletion_vector and set(file.stats.get("nullCount", ())) == wanted for file in files)


def _relative(path: str, uri: str) -> str:
    return path.removeprefix("file://").removeprefix(uri.rstrip("/") + "/")


def _delta_stats(statistics: Mapping[str, Mapping[str, str]], types: Mapping[str, str]) -> dict[str, Any]:
    stats: dict[str, dict[str, Any]] = {"minValues": {}, "maxValues": {}, "nullCount": {}}
    for quoted, found in statistics.items():
        name = quoted[1:-1].replace('""', '"') if quoted.startswith('"') else quoted
        if name not in types:
            continue
        if "null_count" in found:
            stats["nullCount"][name] = int(found["null_count"])
        if "min" not in found or "max" not in found:
            continue
        low, high = (_stat_value(found[end], types[name]) for end in ("min", "max"))
        if low is not None and high is not None and found.get("has_nan") != "true":
            stats["minValues"][name] = low
            stats["maxValues"][name] = high
    return stats


def _stat_value(text: str, kind: str) -> Any:
    """Return a bound in Delta's form; None if pruning by it would not be safe."""
    if kind in ("BIGINT", "INTEGER", "SMALLINT", "TINYINT"):
        return int(text)
    if kind.startswith("DECIMAL"):
        return log.number(decimal.Decimal(text))
    if kind == "VARCHAR":
        return text if len(text) <= _STATS_TEXT_LIMIT else None
    try:
        if kind == "DATE":
            return dt.date.fromisoformat(text).isoformat()
        if kind == "TIMESTAMP":
            return dt.datetime.fromisoformat(text).isoformat(timespec="microseconds")
        if kind == "TIMESTAMP WITH TIME ZONE":
            moment = dt.datetime.fromisoformat(text).astimezone(dt.UTC)
            return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    except (ValueError, OverflowError):
        # a date outside Python's years: without a bound the file is always read
        return None
    return None
