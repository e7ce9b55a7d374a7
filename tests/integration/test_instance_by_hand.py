"""`dataops …` outside of `make`, from any folder and without variables: it finds Dagster's instance, or says so."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from dataops_assets.components.declarations import declared_sources
from dataops_assets.components.platform import Platform
from dataops_assets.config.environment import environment_from
from dataops_assets.connections.discovery import discover

PROJECT = Path(__file__).resolve().parents[2]


def dataops(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command in `folder`, with no other variables than these."""
    program = Path(sys.executable).parent / "dataops"
    return subprocess.run([program, *words], cwd=folder, env=variables, capture_output=True, text=True, check=False)


def test_without_an_instance_a_command_says_so_and_changes_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    done = dataops(tmp_path, "reset", "airlines", "parse", DATAOPS_HOME=str(home))
    assert done.returncode == 2
    assert f"no DAGSTER_HOME, and no dagster.yaml in {home / 'dagster'}; nothing was changed" in done.stderr
    assert "next: set DAGSTER_HOME" in done.stderr
    assert not home.exists()


def test_an_instance_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    done = dataops(tmp_path, "run", DATAOPS_HOME=str(tmp_path / "home"), DAGSTER_HOME=str(missing))
    assert done.returncode == 2
    assert f"DAGSTER_HOME={missing}, which is no folder; nothing was done" in done.stderr


def test_the_instance_is_found_below_the_home_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    (home / "dagster").mkdir(parents=True)
    (home / "dagster" / "dagster.yaml").write_bytes((PROJECT / "deploy" / "local" / "dagster.yaml").read_bytes())
    landing = home / "landing" / "flights" / "airlines"
    landing.mkdir(parents=True)
    (landing / "airlines_2013-01-01.csv").write_text("carrier,name\nAA,American Airlines Inc.\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    register(home)
    done = dataops(elsewhere, "reset", "airlines", "ingest", DATAOPS_HOME=str(home))
    assert done.returncode == 0, done.stderr + done.stdout
    monkeypatch.setenv("DAGSTER_HOME", str(home / "dagster"))
    with dg.DagsterInstance.get() as instance:
        for layer in ("raw", "lake", "hub"):
            assert instance.get_latest_materialization_event(dg.AssetKey([layer, "airlines"])) is not None, layer


def register(home: Path) -> None:
    """What a sensor's look does."""
    platform = Platform(environment_from({"DATAOPS_HOME": str(home)}, PROJECT))
    source = declared_sources(PROJECT / "dataops_assets" / "defs").sources["airlines"]
    platform.metadata.contracts.register(source)
    later = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    assert discover(source, platform.environment, platform.metadata, now=later).new
