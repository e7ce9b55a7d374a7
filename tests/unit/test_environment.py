"""What environment variables a deployment needs, and what is said of one that is missing or wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlglot import parse_one

from dataops_assets.config.environment import environment_from
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.errors import ConfigError


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"DATAOPS_ENV": "prod"}, "reading DATAOPS_ENV; received: 'prod'; known: local, test, staging, production"),
        ({"DATAOPS_ENV": "production"}, "reading DATAOPS_STORAGE for DATAOPS_ENV=production; received: nothing"),
        ({"DATAOPS_ENGINE": "polars"}, "reading DATAOPS_ENGINE; received: 'polars'; known: duckdb, spark"),
        ({"DATAOPS_MEMORY": "lots"}, "reading DATAOPS_MEMORY; received: 'lots'; next: write it as 4GB or 1500MB"),
        ({"DATAOPS_STORAGE": "s3://bucket/a b"}, "choose a folder without blanks"),
        ({"DATAOPS_STORAGE": "storage"}, "reading DATAOPS_STORAGE; received: 'storage', which is not absolute"),
        ({"DATAOPS_LANDING": "file:landing"}, "reading DATAOPS_LANDING; received: 'file:landing', which is not abs"),
        ({"DATAOPS_WAREHOUSE": "file://data/w.duckdb"}, "write three slashes before a path of this machine: file:///"),
        ({"DATAOPS_OUTPUTS": "./out"}, "reading DATAOPS_OUTPUTS; received: './out', which is not absolute"),
    ],
)
def test_a_wrong_or_missing_setting_is_named(variables: dict[str, str], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        environment_from(variables, tmp_path)
    assert said in str(error.value)


def test_locally_everything_lies_below_one_folder(tmp_path: Path) -> None:
    environment = environment_from({"DATAOPS_HOME": str(tmp_path / "x")}, tmp_path)
    assert environment.storage == str(tmp_path / "x" / "storage")
    assert environment.metadata_url == f"sqlite:///{tmp_path / 'x' / 'metadata.db'}"


def test_the_embedded_engine_takes_no_more_memory_than_it_may(tmp_path: Path) -> None:
    environment = environment_from({"DATAOPS_MEMORY": "1500MiB"}, tmp_path)
    with DuckDBEngine(environment).session() as session:
        found = session.fetch(parse_one("SELECT current_setting('memory_limit') AS m", dialect="duckdb"))
    assert found.column("m")[0].as_py() == "1.4 GiB"
