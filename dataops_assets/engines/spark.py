"""The distributed engine: Spark over Delta tables, local or on any cluster that its settings name.

Spark computes and reads; which files a table consists of is read and committed by `storage/delta.py`, as with every
other engine. pyspark is imported when a session is first opened, so a deployment without it can import this module.
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
from dataops_assets.sql import alias, column, query, table
from dataops_assets.storage import deletion_vectors
from dataops_assets.storage.delta import DataFile, Table, TableVersion, require_sound
from dataops_assets.storage.objects import Folder, is_remote

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import DataType

_SETTINGS: Mapping[str, str] = {
    # it would be most of what a run's log holds
    "spark.ui.showConsoleProgress": "false",
    # what queries mean
    "spark.sql.ansi.enabled": "true",
    "spark.sql.caseSensitive": "true",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.timestampType": "TIMESTAMP_LTZ",
    "spark.sql.legacy.timeParserPolicy": "CORRECTED",
    # what files look like: as the other engines write them
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.parquet.compression.codec": "zstd",
    "spark.hadoop.parquet.compression.codec.zstd.level": "1",
    "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
    "spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}
# without a checksum file beside each; what writes to an object store keeps its buffers in files that need theirs
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
# types that only files have, as what Spark gets them
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
# as spark.sql.autoBroadcastJoinThreshold
_MOST_SENT = 10 * _MB
# beyond it, what is deleted is not sent along with a query
_MOST_MASKED = 200_000
_SPARK_NAMES: Mapping[str, str] = {sql: spark for spark, sql in _SQL_NAMES.items()}


class SparkEngine:
    """Opens Spark sessions, all of one Spark application a process.

    `DATAOPS_SPARK_MASTER`, `DATAOPS_SPARK_JARS` and `DATAOPS_SPARK_CONF` say where it runs and with what;
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
        """A session with temporary views of its own."""
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
    """The Spark application of this process."""
    try:
        from pyspark.logger import PySparkLogger
    except ModuleNotFoundError as error:
        raise ConfigError(
            "starting Spark", received="no package pyspark", next_step="install the extra 'spark' of this project"
        ) from error
    # a failed query is told once, by the error that the step raises
    PySparkLogger.getLogger("SQLQueryContextLogger").disabled = True
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    place = {"spark.app.name": "dataops-assets", "spark.master": environment.spark.master}
    files = _object_store(os.environ) if is_remote(environment.storage) else _LOCAL_FILES
    settings = {**_SETTINGS, **_on_one_machine(environment.spark.master), **files}
    application = open_session({**place, **_jars(environment), **settings, **environment.spark.conf})
    application.sparkContext.setLogLevel("ERROR")
    return application


def _on_one_machine(master: str) -> dict[str, str]:
    """How Spark works where one process does all of it. Its own settings are for a cluster.

    With them most of a small shuffle's 200 parts are empty, a file of less than 128 MB is the work of one core, a
    driver has the 1 GB that suffice to say what others shall do, and its memory is collected so that it answers soon.
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
    """Bytes of this machine, or of the container that is less."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _CONTAINER_LIMIT.read_text().strip() if _CONTAINER_LIMIT.exists() else ""
    return min(machine, int(limit)) if limit.isdecimal() else machine


def _object_store(variables: Mapping[str, str]) -> dict[str, str]:
    """The object store as the other readers find it, by the usual variables; Spark takes the credentials by itself."""
    endpoint = variables.get("AWS_ENDPOINT_URL")
    region = variables.get("AWS_REGION", variables.get("AWS_DEFAULT_REGION"))
    settings: dict[str, str] = {}
    if endpoint:
        # what is not Amazon's rarely has a host name for each bucket
        settings |= {"fs.s3a.endpoint": endpoint, "fs.s3a.path.style.access": "true"}
    if region:
        settings["fs.s3a.endpoint.region"] = region
    return {f"spark.hadoop.{name}": value for name, value in settings.items()}


def _jars(environment: Environment) -> dict[str, str]:
    """Where Spark finds the jars of Delta Lake, and those of the object store where there is one."""
    folder = environment.spark.jars
    if folder is None:
        return {}
    jars = sorted(folder.glob("*.jar"))
    if not any(jar.name.startswith("delta-spark") for jar in jars):
        raise ConfigError(
            "starting Spark",
            received=f"no jar of Delta Lake in {folder}",
            next_step="fetch the jars with 'make jars', or set DATAOPS_SPARK_JARS to where they are",
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
        """Forget all temporary views, and remove what was staged."""
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
        """See `Session.scan`. The files that the snapshot names are read, without going through the log again."""
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
        """Rows of Parquet files with their places, without those whose places the deletion vectors name."""
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
            # not equal, which would be a part of what each row is looked up by: few positions are to be found at all
            same_file = (rows[FILE] <= gone["file"]) & (rows[FILE] >= gone["file"])
            here = (rows[POSITION] == gone["position"]) & same_file
            parts.append(rows.join(gone.hint("broadcast"), here, "left_anti"))
        return functools.reduce(lambda one, other: one.unionByName(other), parts)

    def _parquet(self, snapshot: TableVersion, files: Sequence[DataFile]) -> DataFrame:
        paths = [_url(f"{snapshot.uri}/{file.path}") for file in files]
        rows = self.spark.read.schema(_schema(snapshot.columns)).parquet(*paths)
        return _placed(rows)

    def _by_log(self, snapshot: TableVersion, files: Sequence[DataFile]) -> DataFrame:
        """The same by Delta Lake's reader, which reads deletion vectors where the rows are and not here."""
        reader = self.spark.read.format("delta").option("versionAsOf", snapshot.version)
        rows = _placed(reader.load(_place(snapshot.uri, "")))
        if not files:
            return rows
        called = _names(rows)
        return rows.where(rows[FILE].isin([called[_place(snapshot.uri, file.path)] for file in files]))

    def create(self, name: str, query: exp.Expr) -> None:
        """See `Session.create`. The rows are computed once and kept by the executors, without where they came from."""
        with _storing("running a query"):
            rows, is_small = _kept(self._frame(query))
            # of rows that are kept Spark knows no size: every join with them would sort and move both sides
            self._view(rows.hint("broadcast") if is_small else rows, name)

    def define(self, name: str, query: exp.Expr) -> None:
        """See `Session.define`."""
        with _storing("running a query"):
            self._view(self._frame(query), name)

    def register(self, name: str, rows: pa.Table) -> None:
        """See `Session.register`."""
        with _storing("taking a small table"):
            self._view(self.spark.createDataFrame(rows), name)

    def fetch(self, query: exp.Expr) -> pa.Table:
        """See `Session.fetch`."""
        with _storing("reading the rows of a query"):
            found: pa.Table = self._frame(query).toArrow()
        return found

    def schema(self, query: exp.Expr) -> Mapping[str, str]:
        """See `Session.schema`."""
        with _storing("analysing a query"):
            return {field.name: _sql_name(field.dataType) for field in self._frame(query).schema.fields}

    def write(self, query: exp.Expr, uri: str, columns: Mapping[str, str]) -> list[DataFile]:
        """See `Session.write`. Jobs that write to one folder clear away each other's files: each has its own."""
        folder = f"part-{uuid.uuid4()}"
        with _storing(f"writing data files of {uri}"):
            self._frame(query).write.parquet(_place(uri, folder))
        return written_files(uri, folder, columns)

    def positions(self, snapshot: TableVersion, rows: exp.Expr) -> dict[str, Sequence[int]]:
        """See `Session.positions`."""
        return {_relative(file, snapshot.uri): places for file, places in places_by_file(self, rows)}

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """See `Session.reading`. Raw files are read by the embedded engine, which knows their formats."""
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

    def _view(self, rows: DataFrame, name: str = "") -> str:
        name = name or f"s_view_{uuid.uuid4().hex}"
        rows.createOrReplaceTempView(_quoted(name))
        self._views.add(name)
        for field in rows.schema.fields:
            kind = field.dataType.simpleString()
            # what tables call alike may be of several types
            self._types[field.name] = kind if self._types.get(field.name, kind) == kind else ""
        return name


@contextmanager
def _storing(attempted: str) -> Iterator[None]:
    """Where files cannot be read or written, or a query fails, say so as a StorageError."""
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except (Py4JError, PySparkException, OSError) as error:
        raise StorageError(
            attempted,
            # what follows is where in Spark it happened
            received=str(error).strip().split("\n\tat ")[0],
            next_step="check that the store is there, has room and that memory suffices, then run again; "
            "the last published version is untouched",
        ) from error


def _kept(rows: DataFrame) -> tuple[DataFrame, bool]:
    """The rows, computed and kept by the executors, and whether Spark would send a table of that size to them all."""
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


def _sql_name(kind: DataType) -> str:
    name = kind.simpleString()
    return _SQL_NAMES.get(name, name.upper())


def _is_known(kind: str) -> bool:
    return kind in _SPARK_NAMES or kind.startswith("DECIMAL")


def _quoted(name: str) -> str:
    return exp.to_identifier(name, quoted=True).sql(DIALECT)


def _url(path: str) -> str:
    """A path for Spark's readers, to which some characters of a local one would be a pattern's."""
    return _hadoop(path) if is_remote(path) else "file:" + re.sub(r"([\\{}\[\]*?])", r"\\\1", path)


def _place(uri: str, path: str) -> str:
    """The URL of a data file, not encoded."""
    return f"{_hadoop(uri)}/{path}" if is_remote(uri) else f"file:{uri}/{path}"


def _hadoop(uri: str) -> str:
    """A URL as Hadoop's file systems are called."""
    return re.sub("^s3:", "s3a:", uri)


def _placed(rows: DataFrame) -> DataFrame:
    """Rows of files with file, as Spark calls it, and position."""
    from pyspark.sql.functions import col

    return rows.withColumns({FILE: col("_metadata.file_path"), POSITION: col("_metadata.row_index")})


def _names(rows: DataFrame) -> dict[str, str]:
    """What `_placed` calls the files of `rows`, by `_place`. Spark's names are encoded; not each row's is decoded."""
    # readers differ in the slashes where they list their files
    names = [name.replace("file:///", "file:/") for name in rows.inputFiles()]
    return {unquote(name): name for name in names}


def _relative(place: str, uri: str) -> str:
    return unquote(place).removeprefix(_place(uri.rstrip("/"), ""))
