"""The distributed engine: Spark over Delta tables, in local mode or on a cluster.

Spark reads and computes. `storage/delta.py` reads and commits the list of files of a table, as for every engine.
pyspark is imported when the first session is opened, so a deployment without it can import this module.
"""

from __future__ import annotations

import functools
import os
import re
import sys
import threading
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pyarrow as pa
from sqlglot import exp

from dataops_assets.config.environment import Environment
from dataops_assets.engines.base import FILE, POSITION, Session, empty, places_by_file
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.engines.spark_dialect import DIALECT, for_spark
from dataops_assets.engines.spark_files import written_files
from dataops_assets.errors import ConfigError, StorageError
from dataops_assets.sql import Relation, alias, column, query, table
from dataops_assets.storage import deletion_vectors
from dataops_assets.storage.delta import DataFile, Table, TableVersion, require_sound
from dataops_assets.storage.objects import Folder, is_remote

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import DataType

_SETTINGS: Mapping[str, str] = {
    # the progress bar would fill most of a run's log
    "spark.ui.showConsoleProgress": "false",
    # settings that change the meaning of queries
    "spark.sql.ansi.enabled": "true",
    "spark.sql.caseSensitive": "true",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.timestampType": "TIMESTAMP_LTZ",
    "spark.sql.legacy.timeParserPolicy": "CORRECTED",
    # settings of files: the same as the other engines write
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.parquet.compression.codec": "zstd",
    "spark.hadoop.parquet.compression.codec.zstd.level": "1",
    "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
    "spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}
# no checksum file beside each data file; buffers for an object store need theirs
_LOCAL_FILES: Mapping[str, str] = {"spark.hadoop.fs.file.impl": "org.apache.hadoop.fs.RawLocalFileSystem"}
_SQL_NAMES: Mapping[str, str] = {
    "string": "VARCHAR",
    "bigint": "BIGINT",
    "int": "INTEGER",
    "smallint": "SMALLINT",
    "tinyint": "TINYINT",
    "double": "DOUBLE",
    "float": "FLOAT",
    "boolean": "BOOLEAN",
    "binary": "BLOB",
    "date": "DATE",
    "timestamp": "TIMESTAMP WITH TIME ZONE",
    "timestamp_ntz": "TIMESTAMP",
}
_PLACE: Mapping[str, str] = {FILE: "VARCHAR", POSITION: "BIGINT"}
# types that occur only in files, and the types that Spark reads them as
_STAGED: Mapping[str, str] = {
    **dict.fromkeys(("UTINYINT", "USMALLINT", "UINTEGER"), "BIGINT"),
    "UBIGINT": "DECIMAL(20,0)",
    "TIMESTAMP_S": "TIMESTAMP",
    "TIMESTAMP_MS": "TIMESTAMP",
    "TIMESTAMP_NS": "VARCHAR",
}
_PARTS_A_CORE = 2
_MB = 1024 * 1024
_LEAST_MEMORY = 1024 * _MB
_CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")
_BYTES_A_VALUE = 16
# the same as spark.sql.autoBroadcastJoinThreshold
_MOST_SENT = 10 * _MB
# with more deleted rows than this, their positions are not sent with a query
_MOST_MASKED = 200_000
_SPARK_NAMES: Mapping[str, str] = {sql: spark for spark, sql in _SQL_NAMES.items()}


class SparkEngine:
    """Opens Spark sessions. A process has one Spark application for all of them.

    `DATAOPS_SPARK_MASTER`, `DATAOPS_SPARK_JARS` and `DATAOPS_SPARK_CONF` configure it;
    `open_session` makes a Spark session of settings by name.
    """

    name = "spark"

    def __init__(self, environment: Environment, open_session: Callable[[Mapping[str, str]], SparkSession]) -> None:
        self._environment = environment
        self._open_session = open_session
        self._lock = threading.Lock()
        self._application: SparkSession | None = None

    @contextmanager
    def session(self) -> Iterator[SparkSqlSession]:
        """Open a session with its own temporary views."""
        with self._lock:
            if self._application is None:
                self._application = _started(self._environment, self._open_session)
            session = SparkSqlSession(self._application.newSession(), self._environment)
        try:
            yield session
        finally:
            session.close()

    def stop(self) -> None:
        """End the application, with all its sessions."""
        with self._lock:
            if self._application is not None:
                self._application.stop()
                self._application = None


def _started(environment: Environment, open_session: Callable[[Mapping[str, str]], SparkSession]) -> SparkSession:
    """Start the Spark application of this process."""
    try:
        from pyspark.logger import PySparkLogger
    except ModuleNotFoundError as error:
        raise ConfigError(
            "starting Spark", received="no package pyspark", next_step="install the extra 'spark' of this project"
        ) from error
    # a failed query is reported once, by the error of the step
    PySparkLogger.getLogger("SQLQueryContextLogger").disabled = True
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    place = {"spark.app.name": "dataops-assets", "spark.master": environment.spark.master}
    files = _object_store(os.environ) if is_remote(environment.storage) else _LOCAL_FILES
    settings = {**_SETTINGS, **_on_one_machine(environment.spark.master), **files}
    application = open_session({**place, **_jars(environment), **settings, **environment.spark.conf})
    application.sparkContext.setLogLevel("ERROR")
    return application


def _on_one_machine(master: str) -> dict[str, str]:
    """Return settings for Spark in one process; its defaults are made for a cluster.

    With the defaults, most of the 200 parts of a small shuffle are empty, one core reads a whole file below 128 MB, the
    driver has only 1 GB, and garbage collection is optimized for short pauses instead of throughput.
    """
    if not master.startswith("local"):
        return {}
    parts = str(_PARTS_A_CORE * (os.cpu_count() or 1))
    return {
        "spark.sql.shuffle.partitions": parts,
        "spark.sql.files.minPartitionNum": parts,
        "spark.driver.memory": f"{max(_machine_memory() // 4, _LEAST_MEMORY) // _MB}m",
        "spark.driver.extraJavaOptions": "-XX:+UseParallelGC",
    }


def _machine_memory() -> int:
    """Return the memory of this machine in bytes, or of the container if that is less."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _CONTAINER_LIMIT.read_text().strip() if _CONTAINER_LIMIT.exists() else ""
    return min(machine, int(limit)) if limit.isdecimal() else machine


def _object_store(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of the object store from the usual variables; Spark finds the credentials by itself."""
    endpoint = variables.get("AWS_ENDPOINT_URL")
    region = variables.get("AWS_REGION", variables.get("AWS_DEFAULT_REGION"))
    settings: dict[str, str] = {}
    if endpoint:
        # stores other than Amazon's rarely have a host name for each bucket
        settings |= {"fs.s3a.endpoint": endpoint, "fs.s3a.path.style.access": "true"}
    if region:
        settings["fs.s3a.endpoint.region"] = region
    return {f"spark.hadoop.{name}": value for name, value in settings.items()}


def _jars(environment: Environment) -> dict[str, str]:
    """Return the jars of Delta Lake, and of the object store if there is one."""
    folder = environment.spark.jars
    if folder is None:
        return {}
    jars = sorted(folder.glob("*.jar"))
    if not any(jar.name.startswith("delta-spark") for jar in jars):
        raise ConfigError(
            "starting Spark",
            received=f"no jar of Delta Lake in {folder}",
            next_step="fetch the jars with 'make jars', or set DATAOPS_SPARK_JARS to their folder",
        )
    return {"spark.driver.extraClassPath": os.pathsep.join(map(str, jars))}


class SparkSqlSession:
    """One Spark session and its temporary views."""

    def __init__(self, spark: SparkSession, environment: Environment) -> None:
        self.spark = spark
        self._environment = environment
        self._views: set[str] = set()
        self._types: dict[str, str] = {}
        self._staged: list[str] = []

    def close(self) -> None:
        """Remove all temporary views and staged files."""
        for name in self._views:
            self.spark.catalog.dropTempView(_quoted(name))
        for uri in self._staged:
            folder = Folder(uri)
            folder.delete([item.path for item in folder.objects()])
            if not is_remote(uri):
                Path(uri).rmdir()

    def scan(
        self, snapshot: TableVersion, *, positions: bool = False, only: Collection[str] | None = None
    ) -> exp.Subquery:
        """See `Session.scan`. Reads the files of the snapshot, without reading the log again."""
        files = [file for file in snapshot.files if only is None or file.path in only]
        require_sound(snapshot, files)
        if not files:
            return exp.Subquery(this=empty({**snapshot.columns, **(_PLACE if positions else {})}))
        with _storing(f"reading {snapshot.uri}"):
            masked = sum(file.deleted for file in files)
            if masked > _MOST_MASKED:
                rows = self._by_log(snapshot, files if only is not None else ())
            else:
                rows = self._by_files(snapshot, files)
            named = [rows[_quoted(name)] for name in (*snapshot.columns, *(_PLACE if positions else ()))]
            name = self._view(rows.select(*named))
        return exp.Subquery(this=query("SELECT * FROM $rows", rows=table(name)))

    def _by_files(self, snapshot: TableVersion, files: Sequence[DataFile]) -> DataFrame:
        """Read rows of Parquet files with their places, without the rows in the deletion vectors."""
        from pyspark.sql.functions import explode

        whole = [file for file in files if not file.deletion_vector]
        masked = [file for file in files if file.deletion_vector]
        parts = [self._parquet(snapshot, whole)] if whole else []
        if masked:
            folder = Table(snapshot.uri).folder
            rows = self._parquet(snapshot, masked)
            called = _names(rows)
            vectors = [deletion_vectors.read(folder, file.deletion_vector or {}) for file in masked]
            deleted = pa.table(
                {
                    "file": pa.array([called[_place(snapshot.uri, file.path)] for file in masked], pa.string()),
                    "positions": pa.array([list(vector) for vector in vectors], pa.list_(pa.int64())),
                }
            )
            gone = self.spark.createDataFrame(deleted).select("file", explode("positions").alias("position"))
            # no equality, which would become part of the join key of each row: only few positions have to be found
            same_file = (rows[FILE] <= gone["file"]) & (rows[FILE] >= gone["file"])
            here = (rows[POSITION] == gone["position"]) & same_file
            parts.append(rows.join(gone.hint("broadcast"), here, "left_anti"))
        return functools.reduce(lambda one, other: one.unionByName(other), parts)

    def _parquet(self, snapshot: TableVersion, files: Sequence[DataFile]) -> DataFrame:
        paths = [_url(f"{snapshot.uri}/{file.path}") for file in files]
        rows = self.spark.read.schema(_schema(snapshot.columns)).parquet(*paths)
        return _placed(rows)

    def _by_log(self, snapshot: TableVersion, files: Sequence[DataFile]) -> DataFrame:
        """Read the same rows by Delta Lake's reader, which reads deletion vectors on the executors."""
        reader = self.spark.read.format("delta").option("versionAsOf", snapshot.version)
        rows = _placed(reader.load(_place(snapshot.uri, "")))
        if not files:
            return rows
        called = _names(rows)
        return rows.where(rows[FILE].isin([called[_place(snapshot.uri, file.path)] for file in files]))

    def create(self, query: exp.Expr) -> Relation:
        """See `Session.create`. The rows are computed once and cached by the executors, without their lineage."""
        with _storing("running a query"):
            rows, is_small = _kept(self._frame(query))
            # Spark does not know the size of cached rows: every join with them would shuffle both sides
            return self._relation(rows.hint("broadcast") if is_small else rows)

    def define(self, query: exp.Expr) -> Relation:
        """See `Session.define`."""
        with _storing("running a query"):
            return self._relation(self._frame(query))

    def register(self, rows: pa.Table) -> Relation:
        """See `Session.register`."""
        # Spark takes a time without a zone for an instant; in UTC, the session's zone, both look the same
        local = [item.name for item in rows.schema if pa.types.is_timestamp(item.type) and item.type.tz is None]
        with _storing("taking a small table"):
            frame = self.spark.createDataFrame(rows)
            times = {item: frame[f"`{item.replace('`', '``')}`"].cast("timestamp_ntz") for item in local}
            return self._relation(frame.withColumns(times))

    def _relation(self, rows: DataFrame) -> Relation:
        return Relation(self._view(rows), _sql_types(rows))

    def fetch(self, query: exp.Expr) -> pa.Table:
        """See `Session.fetch`."""
        with _storing("reading the rows of a query"):
            found: pa.Table = self._frame(query).toArrow()
        return found

    def schema(self, query: exp.Expr) -> Mapping[str, str]:
        """See `Session.schema`."""
        with _storing("analysing a query"):
            return _sql_types(self._frame(query))

    def write(self, query: exp.Expr, uri: str, columns: Mapping[str, str]) -> list[DataFile]:
        """See `Session.write`. Each write has its own folder, because jobs in one folder remove each other's files."""
        folder = f"part-{uuid.uuid4()}"
        with _storing(f"writing data files of {uri}"):
            self._frame(query).write.parquet(_place(uri, folder))
        return written_files(uri, folder, columns)

    def positions(self, snapshot: TableVersion, rows: exp.Expr) -> dict[str, Sequence[int]]:
        """See `Session.positions`."""
        return {_relative(file, snapshot.uri): places for file, places in places_by_file(self, rows)}

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """See `Session.reading`. DuckDB reads raw files, because it knows their formats."""
        with DuckDBEngine(self._environment).session() as reader:
            yield reader

    def taken(self, reader: Session, rows: exp.Query) -> exp.Query:
        """See `Session.taken`. The rows are staged as Parquet files, which this session removes when it closes."""
        folder = f"{self._environment.storage}/staged/{uuid.uuid4()}"
        self._staged.append(folder)
        given = reader.schema(rows)
        kinds = {name: kind if _is_known(kind) else _STAGED.get(kind, "JSON") for name, kind in given.items()}
        shown = [
            column(name, "r")
            if kind == given[name]
            else alias(exp.cast(exp.func("to_json", column(name, "r")), "VARCHAR"), name)
            if kind == "JSON"
            else alias(exp.cast(column(name, "r"), kind, dialect="duckdb"), name)
            for name, kind in kinds.items()
        ]
        columns = {name: "VARCHAR" if kind == "JSON" else kind for name, kind in kinds.items()}
        files = reader.write(query("SELECT $shown FROM $rows AS r", shown=shown, rows=rows), folder, columns)
        if not files:
            return empty(columns)
        with _storing("reading staged rows"):
            paths = [_url(f"{folder}/{file.path}") for file in files]
            name = self._view(self.spark.read.schema(_schema(columns)).parquet(*paths))
        found: exp.Query = query("SELECT * FROM $rows", rows=table(name))
        return found

    def _frame(self, query: exp.Expr) -> DataFrame:
        return self.spark.sql(for_spark(query, self._types).sql(DIALECT))

    def _view(self, rows: DataFrame) -> str:
        name = f"s_view_{uuid.uuid4().hex}"
        rows.createOrReplaceTempView(_quoted(name))
        self._views.add(name)
        for field in rows.schema.fields:
            kind = field.dataType.simpleString()
            # columns of one name may have different types in several tables
            self._types[field.name] = kind if self._types.get(field.name, kind) == kind else ""
        return name


@contextmanager
def _storing(attempted: str) -> Iterator[None]:
    """Raise StorageError if files cannot be read or written, or if a query fails."""
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except (Py4JError, PySparkException, OSError) as error:
        raise StorageError(
            attempted,
            # the rest is Spark's stack trace
            received=str(error).strip().split("\n\tat ")[0],
            next_step="check that the store is reachable and has room and that memory suffices, then run again; "
            "the last published version is untouched",
        ) from error


def _kept(rows: DataFrame) -> tuple[DataFrame, bool]:
    """Compute and cache rows; return them, and whether their size allows a broadcast."""
    from pyspark.sql import Observation
    from pyspark.sql import functions as of

    kinds = {field.name: field.dataType.simpleString() for field in rows.schema.fields}
    size = of.count(of.lit(1)) * of.lit(_BYTES_A_VALUE * len(kinds))
    for name in (name for name, kind in kinds.items() if kind in ("string", "binary")):
        size += of.coalesce(of.sum(of.octet_length(rows[_quoted(name)])), of.lit(0))
    seen = Observation()
    kept = rows.observe(seen, size.alias("size")).localCheckpoint(eager=True)
    return kept, seen.get["size"] <= _MOST_SENT


def _schema(columns: Mapping[str, str]) -> str:
    return ", ".join(f"{_quoted(name)} {_spark_name(kind)}" for name, kind in columns.items())


def _spark_name(kind: str) -> str:
    return _SPARK_NAMES.get(kind, kind)


def _sql_types(rows: DataFrame) -> dict[str, str]:
    return {field.name: _sql_name(field.dataType) for field in rows.schema.fields}


def _sql_name(kind: DataType) -> str:
    name = kind.simpleString()
    return _SQL_NAMES.get(name, name.upper())


def _is_known(kind: str) -> bool:
    return kind in _SPARK_NAMES or kind.startswith("DECIMAL")


def _quoted(name: str) -> str:
    return exp.to_identifier(name, quoted=True).sql(DIALECT)


def _url(path: str) -> str:
    """Return a path for Spark's readers, with the pattern characters of a local path escaped."""
    return _hadoop(path) if is_remote(path) else "file:" + re.sub(r"([\\{}\[\]*?])", r"\\\1", path)


def _place(uri: str, path: str) -> str:
    """Return the URL of a data file, not encoded."""
    return f"{_hadoop(uri)}/{path}" if is_remote(uri) else f"file:{uri}/{path}"


def _hadoop(uri: str) -> str:
    """Return a URL with the scheme of Hadoop's file system."""
    return re.sub("^s3:", "s3a:", uri)


def _placed(rows: DataFrame) -> DataFrame:
    """Add file (Spark's name) and position to the rows of files."""
    from pyspark.sql.functions import col

    return rows.withColumns({FILE: col("_metadata.file_path"), POSITION: col("_metadata.row_index")})


def _names(rows: DataFrame) -> dict[str, str]:
    """Map the encoded file names that `_placed` gives to `_place`, so that not every row is decoded."""
    # readers differ in the slashes of file names
    names = [name.replace("file:///", "file:/") for name in rows.inputFiles()]
    return {unquote(name): name for name in names}


def _relative(place: str, uri: str) -> str:
    return unquote(place).removeprefix(_place(uri.rstrip("/"), ""))
