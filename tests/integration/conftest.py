"""What tests of whole code locations share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from own_components import only_own_components

from dataops_assets.components.migrations_once import read_migrations_once
from dataops_assets.operations import code_version, project

# as each process of a deployment does
read_migrations_once()


@pytest.fixture(scope="module")
def gcs_endpoint() -> Iterator[str]:
    """The URL of an emulator of Google Cloud Storage; each test makes a bucket of its own in it."""
    from emulated_gcs import emulated_gcs

    with emulated_gcs("first") as url:
        yield url


@pytest.fixture(scope="module")
def azure_endpoint() -> Iterator[str]:
    """The URL of an emulator of Azure Blob Storage; each test makes a container of its own in it."""
    from emulated_azure import emulated_azure

    with emulated_azure() as url:
        yield url


@pytest.fixture(scope="module")
def empty_sftp_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A private SFTP server (OpenSSH); each test makes a folder of its own in it."""
    # its libraries are needed by few tests
    from file_servers import sftp_server

    home = tmp_path_factory.mktemp("sftp")
    (home / "files").mkdir()
    with sftp_server(home / "files", home / "keys") as found:
        yield found


@pytest.fixture(scope="session", autouse=True)
def _no_other_components() -> Iterator[None]:
    with only_own_components():
        yield


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster instance of the test alone, in memory: Dagster's files take half of a test's time."""
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project and an empty DATAOPS_HOME in one folder."""
    monkeypatch.setattr(project, "PROJECT", tmp_path)
    monkeypatch.setattr(project, "DEFS", tmp_path / "defs")
    monkeypatch.setenv("DATAOPS_ENV", "test")
    monkeypatch.setenv("DATAOPS_HOME", str(tmp_path))
    monkeypatch.setenv(code_version.VARIABLE, "abc")
    return tmp_path


@pytest.fixture
def instance_of_commands(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> dg.DagsterInstance:
    """The instance in memory, which commands of this process find; test_instance_by_hand tests how they find theirs."""
    monkeypatch.setenv("DAGSTER_HOME", "in memory")
    monkeypatch.setattr(dg.DagsterInstance, "get", lambda: nullcontext(instance))
    return instance
