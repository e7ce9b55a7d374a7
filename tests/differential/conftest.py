"""One Spark application for all tests of this folder, and both engines by name."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataops_assets.components.platform import spark_session
from dataops_assets.config.environment import Environment, environment_from
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.engines.spark import SparkEngine

PROJECT = Path(__file__).resolve().parents[2]
# the scenarios and cases are those of the other tests
FOLDERS = ("faults", "integration", "integration/kafka", "properties", "unit/rules", "unit/steps")
sys.path += [str(PROJECT / "tests" / folder) for folder in FOLDERS]
# plans of a few rows cost what is spent on planning and compiling them
SMALL = {
    "spark.ui.enabled": "false",
    "spark.driver.memory": "2g",
    "spark.sql.shuffle.partitions": "1",
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.databricks.delta.snapshotPartitions": "1",
    # the default is a share of the heap: 32 MB for each sort of a few rows
    "spark.buffer.pageSize": "1m",
    # a process of some minutes does not get back what optimizing its code costs
    "spark.driver.extraJavaOptions": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:MetaspaceSize=256m "
    "-XX:ReservedCodeCacheSize=240m",
    # nobody looks at what was done, and how
    "spark.sql.ui.explainMode": "simple",
    "spark.ui.retainedJobs": "1",
    "spark.ui.retainedStages": "1",
    "spark.ui.retainedTasks": "1",
    "spark.sql.ui.retainedExecutions": "1",
}


def _refuse(reason: str) -> None:
    """Leave out what needs a part that is missing here; CI has all parts."""
    if os.environ.get("DATAOPS_CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def _jars() -> str:
    return os.environ.get("DATAOPS_SPARK_JARS") or str(
        Path(os.environ.get("DATAOPS_HOME") or PROJECT / ".dataops") / "jars"
    )


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Settings of both engines, below a temporary folder."""
    home = tmp_path_factory.mktemp("engines")
    return environment_from(
        {
            "DATAOPS_ENV": "test",
            "DATAOPS_HOME": str(home),
            "DATAOPS_SPARK_MASTER": "local[2]",
            "DATAOPS_SPARK_JARS": _jars(),
            "DATAOPS_SPARK_CONF": json.dumps({**SMALL, "spark.sql.warehouse.dir": str(home / "warehouse")}),
        },
        home,
    )


@pytest.fixture(scope="session")
def spark(environment: Environment, has_spark: None) -> Iterator[SparkEngine]:
    """Spark, started once."""
    engine = SparkEngine(environment, spark_session)
    yield engine
    engine.stop()


@pytest.fixture(scope="session")
def has_spark() -> None:
    """All that Spark needs is here."""
    if importlib.util.find_spec("dagster_pyspark") is None:
        _refuse("no Spark here (make spark)")
    if shutil.which("java") is None:
        _refuse("no Java here (Debian: apt-get install openjdk-17-jre-headless)")
    if not list(Path(_jars()).glob("delta-spark*.jar")):
        _refuse("no jars of Delta Lake for Spark here (make jars)")


@pytest.fixture(scope="session")
def duckdb(environment: Environment) -> DuckDBEngine:
    """The embedded engine."""
    return DuckDBEngine(environment)
