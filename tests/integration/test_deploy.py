"""The files below deploy/ are what Dagster, the platform's settings and each other expect.

No container engine and no cluster runs here: what they alone could show is said in docs/deploy.md.
"""

from __future__ import annotations

import re
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster import DagsterInstance

from dataops_assets.config.environment import environment_from
from dataops_assets.errors import ConfigError

PROJECT = Path(__file__).resolve().parents[2]
DEPLOY = PROJECT / "deploy"


def read(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))


def instance_from(name: str, home: Path) -> DagsterInstance:
    home.mkdir(exist_ok=True)
    shutil.copy(DEPLOY / name, home / "dagster.yaml")
    return DagsterInstance.from_config(str(home))


def interpolated(text: str, given: dict[str, str]) -> str:
    """Compose's `${NAME}`, `${NAME:-default}` and `${NAME:?message}`."""

    def value(match: re.Match[str]) -> str:
        name, default = match["name"], match["default"]
        return given[name] if default is None else given.get(name, default)

    return re.sub(r"\$\{(?P<name>\w+)(?::-(?P<default>[^}]*)|:\?[^}]*)?\}", value, text)


def test_a_machine_of_its_own_queues_runs_by_pool_and_reports_nothing_home(tmp_path: Path) -> None:
    with instance_from("local/dagster.yaml", tmp_path / "home") as instance:
        concurrency = instance.get_concurrency_config()
        assert not instance.telemetry_enabled
        assert concurrency.run_queue_config is not None
        assert concurrency.run_queue_config.max_concurrent_runs == 2
        assert concurrency.pool_config.default_pool_limit == 1
        assert concurrency.pool_config.pool_granularity is not None
        assert concurrency.pool_config.pool_granularity.value == "run"


@pytest.mark.parametrize("place", ["local", "production"])
def test_runs_wait_for_a_code_server_that_starts_again(place: str) -> None:
    settings = read(f"{place}/dagster.yaml")
    queue = settings["run_coordinator"]["config"]
    waits = queue["max_user_code_failure_retries"] * queue["user_code_failure_retry_delay"]
    assert waits >= settings["run_monitoring"]["start_timeout_seconds"] == 300


@pytest.mark.postgres
def test_production_keeps_what_dagster_knows_in_postgresql(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", postgres_url)
    with instance_from("production/dagster.yaml", tmp_path / "one") as instance:
        assert not instance.telemetry_enabled
        instance.add_dynamic_partitions("sales", ["2015-07-31_012345"])
    # another process of the deployment has a home of its own
    with instance_from("production/dagster.yaml", tmp_path / "other") as instance:
        assert instance.get_dynamic_partitions("sales") == ["2015-07-31_012345"]


def test_production_does_not_start_without_its_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_POSTGRES_URL", raising=False)
    with pytest.raises(Exception, match="DAGSTER_POSTGRES_URL"):
        instance_from("production/dagster.yaml", tmp_path / "home").get_runs_count()


def test_compose_describes_an_environment_and_services_that_find_each_other() -> None:
    compose = read("compose.yaml")
    services = compose["services"]
    for name, service in services.items():
        assert set(service.get("depends_on", {})) <= set(services), name
        mounted = {volume.partition(":")[0] for volume in service.get("volumes", [])}
        assert mounted <= set(compose["volumes"]), name
    (location,) = read("production/workspace.yaml")["load_from"]
    assert location["grpc_server"]["host"] in services
    assert f"EXPOSE 3000 {location['grpc_server']['port']}" in (DEPLOY / "Dockerfile").read_text()

    password = {"POSTGRES_PASSWORD": "secret"}
    variables = {name: interpolated(text, password) for name, text in services["code"]["environment"].items()}
    environment = environment_from(variables, PROJECT)
    assert environment.name == "staging"
    assert environment.metadata_url == "postgresql://dataops:secret@postgres:5432/dataops"
    # the data outlives the container
    mounts = tuple(volume.partition(":")[2] for volume in services["code"]["volumes"])
    assert environment.storage.startswith(mounts)
    assert environment.warehouse.startswith(mounts)


def test_services_start_with_programs_that_the_lock_installs() -> None:
    commands = [service["command"] for service in read("compose.yaml")["services"].values() if "command" in service]
    assert len(commands) == 2
    for command in commands:
        assert (Path(sys.executable).parent / command[0]).exists(), command


def test_helm_values_with_their_secret_describe_a_production_environment() -> None:
    values = read("helm/values.yaml")
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    variables = {item["name"]: item["value"] for item in deployment["env"]}
    with pytest.raises(ConfigError, match="DATAOPS_STORAGE"):
        environment_from(variables, PROJECT)
    secret = re.findall(
        r"DATAOPS_\w+",
        next(text for text in (DEPLOY / "helm/values.yaml").read_text().split("\n") if "dataops-settings " in text),
    )
    environment = environment_from(variables | dict.fromkeys(secret, "s3://bucket"), PROJECT)
    assert environment.name == "production"
    assert environment.dbt_target == "snowflake"


def test_the_image_installs_groups_that_exist_and_copies_files_that_are_sent() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    groups = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (wanted,) = re.findall(r"setup\.sh /app/\.venv (.+)", dockerfile)
    assert set(wanted.split()) <= set(groups)
    sent = {line[1:] for line in (PROJECT / ".dockerignore").read_text().split("\n") if line.startswith("!")}
    for line in re.findall(r"^COPY (?!--from)(.+)$", dockerfile, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (PROJECT / source).exists(), source
            assert source.split("/")[0] in sent, source
