"""Which engine a source runs on: its own, or the deployment's; a wrong one is refused with the known ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from declared import source

from dataops_assets.components.platform import Platform
from dataops_assets.config.environment import environment_from
from dataops_assets.engines.spark_dialect import time_pattern
from dataops_assets.errors import ConfigError


def environment(home: Path, **variables: str):
    return environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home), **variables}, home)


@pytest.mark.parametrize(("deployed", "others"), [({}, "duckdb"), ({"DATAOPS_ENGINE": "spark"}, "spark")])
def test_a_source_may_name_its_own_engine(deployed: dict[str, str], others: str, tmp_path: Path) -> None:
    platform = Platform(environment(tmp_path, **deployed))
    heavy = source("heavy", {"id": "integer"}, refresh={"type": "append"}, engine="spark")
    light = source("light", {"id": "integer"}, refresh={"type": "append"}, engine="duckdb")
    plain = source("plain", {"id": "integer"}, refresh={"type": "append"})
    sources = {item.name: item for item in (heavy, light, plain)}
    engines = {name: platform.source_context(item, sources).engine for name, item in sources.items()}
    assert {name: engine.name for name, engine in engines.items()} == {
        "heavy": "spark",
        "light": "duckdb",
        "plain": others,
    }
    assert engines["plain"] is (engines["heavy"] if others == "spark" else engines["light"])


def test_an_unknown_engine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"DATAOPS_ENGINE.*duckdb.*spark"):
        environment(tmp_path, DATAOPS_ENGINE="flink")


@pytest.mark.parametrize("conf", ["{", "[]", '{"spark.executor.memory": 8}'])
def test_settings_of_spark_are_texts_and_told_to_nobody(conf: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="DATAOPS_SPARK_CONF") as found:
        environment(tmp_path, DATAOPS_SPARK_CONF=conf)
    assert "8" not in str(found.value).replace('"8g"', "")


def test_settings_of_spark_are_read(tmp_path: Path) -> None:
    found = environment(
        tmp_path, DATAOPS_SPARK_MASTER="spark://host:7077", DATAOPS_SPARK_JARS="", DATAOPS_SPARK_CONF='{"a": "secret"}'
    )
    assert (found.spark.master, found.spark.jars, found.spark.conf) == ("spark://host:7077", None, {"a": "secret"})
    assert "secret" not in repr(found)


@pytest.mark.parametrize(
    ("form", "pattern"),
    [("%d.%m.%Y %H:%M", "d'.'M'.'yyyy' 'H':'m"), ("%Y%m%d", "yyyyMMdd"), ("%b %d, %Y", "MMM' 'd', 'yyyy")],
)
def test_time_formats_are_javas(form: str, pattern: str) -> None:
    assert time_pattern(form) == pattern


def test_a_time_format_that_spark_does_not_know_is_refused() -> None:
    with pytest.raises(ConfigError, match="%W"):
        time_pattern("%Y-%W")
