"""The settings of a deployment (its name, engine and places), read from environment variables.

`DATAOPS_ENV` names the deployment; a missing setting is an error that names the variable and how to set it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from dataops_assets.config.places import place_of
from dataops_assets.errors import ConfigError

EnvironmentName = Literal["local", "test", "staging", "production"]
EngineName = Literal["duckdb", "spark"]
VARIABLES = tuple(
    f"DATAOPS_{name}"
    for name in (
        *("ENV", "ENGINE", "MEMORY", "HOME", "STORAGE", "LANDING", "OUTPUTS", "METADATA_URL", "WAREHOUSE"),
        *("DBT_TARGET", "SPARK_MASTER", "SPARK_JARS", "SPARK_CONF", "CODE_VERSION", "WARM_RUNS"),
    )
)
"""The variables that set something of a deployment."""
_MEMORY = re.compile(r"[0-9]+(\.[0-9]+)? ?[KMGT]i?B")
_PLAIN_URL = re.compile(r"[a-z][a-z0-9+.-]*://[A-Za-z0-9._=/-]+")


class SparkSettings(BaseModel):
    """Settings to start Spark for sources whose engine is Spark: master, folder of jars, further settings.

    If there is no folder, the cluster provides the jars.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    master: str
    jars: Path | None
    # settings may contain credentials, and the text of a value can get into logs
    conf: Mapping[str, str] = Field(repr=False)


class Environment(BaseModel):
    """The settings of one deployment. Paths are absolute paths or URLs.

    `memory` is the most that the embedded engine uses in each process before it spills to disk; empty: its own limit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: EnvironmentName
    engine: EngineName
    memory: str
    home: Path
    storage: str
    landing: str
    # empty where it is not set outside a local deployment: then outputs need absolute paths
    outputs: str
    # It may contain a password, and the text of a value can get into logs
    metadata_url: str = Field(repr=False)
    warehouse: str
    dbt_target: str
    spark: SparkSettings


def environment_from(variables: Mapping[str, str], project: Path) -> Environment:
    """Return the environment that `variables` (usually `os.environ`) describe.

    `DATAOPS_ENV` defaults to `local`, where all data is below `DATAOPS_HOME` (default `<project>/.dataops`).
    Others must set storage, landing and metadata. Raises ConfigError for an unknown name or a missing setting.
    """
    name, engine, memory = _choices(variables)
    home = Path(variables.get("DATAOPS_HOME", str(project / ".dataops"))).absolute()
    local = name in ("local", "test")

    def setting(variable: str, default: str) -> str:
        value = variables.get(variable, "")
        if value:
            return value
        if local:
            return default
        raise ConfigError(
            f"reading {variable} for DATAOPS_ENV={name}",
            received="nothing",
            next_step=f"set {variable} in the environment",
        )

    def place(variable: str, default: str) -> str:
        return place_of(setting(variable, default), f"reading {variable}")

    storage = place("DATAOPS_STORAGE", str(home / "storage"))
    if "://" in storage and not _PLAIN_URL.fullmatch(storage):
        raise ConfigError(
            "reading DATAOPS_STORAGE",
            received=repr(storage),
            known=["s3://bucket/folder with letters, digits and . _ - = only"],
            # if a name has characters to escape, DuckDB reads another name than the one that it wrote
            next_step="choose a folder without blanks and other characters that a URL escapes",
        )
    dbt_target = setting("DATAOPS_DBT_TARGET", "duckdb")
    # other targets have their own settings
    of_warehouse = place if dbt_target == "duckdb" else setting
    outputs = variables.get("DATAOPS_OUTPUTS", "") or (str(home / "outputs") if local else "")
    return Environment.model_validate(
        {
            "name": name,
            "engine": engine,
            "memory": memory,
            "home": home,
            "storage": storage,
            "landing": place("DATAOPS_LANDING", str(home / "landing")),
            "outputs": place_of(outputs, "reading DATAOPS_OUTPUTS") if outputs else "",
            "metadata_url": setting("DATAOPS_METADATA_URL", f"sqlite:///{home / 'metadata.db'}"),
            "warehouse": of_warehouse("DATAOPS_WAREHOUSE", str(home / "warehouse.duckdb")),
            "dbt_target": dbt_target,
            "spark": _spark_from(variables, home),
        }
    )


def _choices(variables: Mapping[str, str]) -> tuple[str, str, str]:
    """Return the name of the environment, the engine, and its memory. Raises ConfigError for unknown ones."""
    name = variables.get("DATAOPS_ENV", "local")
    if name not in get_args(EnvironmentName):
        raise ConfigError(
            "reading DATAOPS_ENV",
            received=repr(name),
            known=get_args(EnvironmentName),
            next_step="set DATAOPS_ENV to one",
        )
    engine = variables.get("DATAOPS_ENGINE", "duckdb")
    if engine not in get_args(EngineName):
        raise ConfigError("reading DATAOPS_ENGINE", received=repr(engine), known=get_args(EngineName))
    memory = variables.get("DATAOPS_MEMORY", "")
    if memory and not _MEMORY.fullmatch(memory):
        raise ConfigError("reading DATAOPS_MEMORY", received=repr(memory), next_step="write it as 4GB or 1500MB")
    return name, engine, memory


def _spark_from(variables: Mapping[str, str], home: Path) -> SparkSettings:
    jars = variables.get("DATAOPS_SPARK_JARS", str(home / "jars"))
    text = variables.get("DATAOPS_SPARK_CONF", "") or "{}"
    try:
        conf = json.loads(text)
    except ValueError:
        conf = None
    if not isinstance(conf, dict) or not all(isinstance(value, str) for value in conf.values()):
        raise ConfigError(
            "reading DATAOPS_SPARK_CONF",
            # it may contain a secret
            received="a value that is not a JSON object of texts",
            next_step='write it as {"spark.executor.memory": "8g"}',
        )
    return SparkSettings(
        master=variables.get("DATAOPS_SPARK_MASTER", "") or "local[*]",
        jars=Path(jars).absolute() if jars else None,
        conf=conf,
    )
