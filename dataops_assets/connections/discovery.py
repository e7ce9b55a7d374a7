"""Finds new inputs of a source, whatever it is read from.

A look records its arrivals before it returns them, inputs first. If a look is killed, the next one repeats it and finds
the same ids. Known arrivals are recognized by (origin, size, modified) and by digests, and never by a clock or a
position in a list. So after a restart or a change of the clock no arrival is missed or taken twice. An extract of a
database, and a slice of a topic or a log, is recorded in one transaction with the position that the next look
continues from.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Mapping
from types import MappingProxyType

from dataops_assets.config.connection import FileConnection
from dataops_assets.config.databases import AnyConnection, DatabaseConnection
from dataops_assets.config.environment import Environment
from dataops_assets.config.kafka import KafkaConnection
from dataops_assets.config.replication import ReplicationConnection
from dataops_assets.config.rest import RestConnection
from dataops_assets.config.source import Source
from dataops_assets.connections.databases.opening import (
    require_api,
    require_cluster,
    require_declared,
    require_logged,
)
from dataops_assets.connections.extract_look import (
    look_at_api,
    look_at_database,
    look_at_hook,
    look_at_log,
    look_at_topic,
)
from dataops_assets.connections.file_look import look_at_files
from dataops_assets.connections.files import Files
from dataops_assets.connections.look import FoundInputs, Look, ReadingTime
from dataops_assets.engines.spark import SparkEngine
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.report import Input
from dataops_assets.storage.links import is_private
from dataops_assets.storage.raw import RawArea

_NO_DATABASES: Mapping[str, AnyConnection] = MappingProxyType({})
_USUAL_TIME = ReadingTime()


def discover(
    source: Source,
    environment: Environment,
    metadata: MetadataStore,
    *,
    now: dt.datetime,
    databases: Mapping[str, AnyConnection] = _NO_DATABASES,
    limit: ReadingTime = _USUAL_TIME,
    spark: SparkEngine | None = None,
) -> FoundInputs:
    """Look for new inputs of `source` and record them. `now` (aware) is the wall clock.

    `databases` are the declared connections by name; a source that is read from a database needs them. `spark` reads
    topics whose `reader` is Spark.

    `limit` is the time for reading: it begins when the files are listed, or when the first extract arrives. Even if
    it is over, the first `limit.least_files` files are read, unless they are large, and one extract is taken.

    Re-run: finds the arrivals since the last look. Raises ConfigError for a wrong declaration and StorageError when the
    place cannot be listed. A fault of one arrival is one of the `problems`.
    """
    look = Look(source, metadata, now)
    if isinstance(source.connection, FileConnection):
        connection = source.connection
        if is_private(environment.home):
            # it leaves the files, and the messages about them, to its parent
            connection = connection.model_copy(update={"after_pickup": None, "notifications": None})
        look_at_files(look, connection, Files(connection, environment.landing, os.environ), limit)
        return look.found
    raw = RawArea.of(environment.storage, source.name)
    if isinstance(source.connection, DatabaseConnection):
        look_at_database(look, source.connection, raw, require_declared(source.connection.database, databases))
    elif isinstance(source.connection, RestConnection):
        look_at_api(look, source.connection, raw, require_api(source.connection.api, databases))
    elif isinstance(source.connection, KafkaConnection):
        look_at_topic(look, source.connection, raw, require_cluster(source.connection.cluster, databases), limit, spark)
    elif isinstance(source.connection, ReplicationConnection):
        declared = require_logged(source.connection, databases)
        look_at_log(look, source.connection, environment, raw, declared, limit)
    else:
        look_at_hook(look, source.connection, raw, limit)
    return look.found


def waiting(source: Source, metadata: MetadataStore) -> list[Input]:
    """Return the registered inputs that no run has begun to ingest, oldest first.

    Runs are requested for these, and not for the inputs that one look found. So a crash between recording and
    requesting loses nothing.
    """
    begun = metadata.step_status(source.name, "ingest")
    return [item for item in metadata.inputs(source.name) if item.input_id not in begun]
