"""A real Dagster with everything of its own: webserver, daemon, code location, home and landing folder."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import HTTPError, URLError

PROJECT = Path(__file__).resolve().parents[2]
T = TypeVar("T")
LOCATION = "dataops_assets"
REPOSITORY = "__repository__"
UNFINISHED = ["QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING"]


def free_port() -> int:
    """A port that is free now and below those that the system gives to connections: a server binds it seconds later."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def wait_until(found: Callable[[], T], what: str, seconds: float) -> T:
    """The first true value of `found`, asked for every half second.

    It usually takes less than `seconds`, and on a machine that is ten times as busy less than ten times that.
    """
    deadline = time.monotonic() + 10 * seconds
    while True:
        value = found()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what}: not within {10 * seconds} s"
        time.sleep(0.5)


def environment(home: Path, **more: str) -> dict[str, str]:
    """The variables of a deployment below `home`; nothing of the developer's own deployment is inherited."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("DAGSTER_", "DATAOPS_"))}
    programs = Path(sys.executable).parent
    return inherited | {
        "DATAOPS_ENV": "test",
        "DATAOPS_HOME": str(home),
        "DAGSTER_HOME": str(home / "dagster"),
        # as `make` sets it
        "DAGSTER_EMIT_PARTITION_SUBSET_IN_PLANNED_EVENTS": "true",
        "DAGSTER_GRPC_TIMEOUT_SECONDS": "180",
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        **more,
    }


@contextmanager
def running(
    command: Sequence[str], variables: Mapping[str, str], log: Path, folder: Path = PROJECT
) -> Iterator[subprocess.Popen[bytes]]:
    """A program of the environment in the project's folder, with its output in `log`; interrupted at the end."""

    def as_from_a_terminal() -> None:
        # a program started by a script in the background ignores SIGINT, and Dagster's processes hand that on
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / command[0]), *command[1:]],
            cwd=folder,
            env=dict(variables),
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=as_from_a_terminal,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


class LiveDagster:
    """What a person does in the UI, said in GraphQL."""

    def __init__(self, url: str, landing: Path, log: Path, session: int = 0) -> None:
        """`session` is the id of the session of its processes."""
        self.url = url
        self.session = session
        self.landing = landing
        self.log = log

    def ask(self, query: str, **variables: Any) -> Any:
        """The data of a GraphQL answer. Errors fail the test."""
        request = urllib.request.Request(
            f"{self.url}/graphql",
            data=json.dumps({"query": query, "variables": variables}).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=600) as response:
                answer = json.load(response)
        except HTTPError as error:
            raise AssertionError(f"{error}: {error.read().decode(errors='replace')[:4000]}") from error
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def locations(self) -> dict[str, Any]:
        """The code locations by name, each with its repositories, or the error that kept it from loading."""
        data = self.ask(
            """query { workspaceOrError { ... on Workspace { locationEntries { name loadStatus locationOrLoadError {
                 ... on RepositoryLocation { repositories { name } }
                 ... on PythonError { message } } } } } }"""
        )
        return {entry["name"]: entry for entry in data["workspaceOrError"]["locationEntries"]}

    def assert_loaded(self) -> None:
        """The code location is there, with assets of both areas, and its sensors are on."""

        def entry() -> object:
            return self.locations().get(LOCATION, {}).get("locationOrLoadError")

        assert wait_until(entry, "the code location answers", 120) == {"repositories": [{"name": REPOSITORY}]}
        assert {"raw/flights", "hub/sales_current", "warehouse/fct_flights"} <= set(self.assets())
        assert self.sensors()["looks_at_flights"]["sensorState"]["status"] == "RUNNING"

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/server_info", timeout=60):
                return True
        except (URLError, ConnectionError, TimeoutError):
            return False

    def land(self, path: str, content: bytes) -> None:
        """A file appears in the landing folder, whole."""
        target = self.landing / path
        target.parent.mkdir(parents=True, exist_ok=True)
        part = self.landing.parent / f"{target.name}.part"
        part.write_bytes(content)
        part.replace(target)

    def assets(self) -> dict[str, Any]:
        """The asset graph by key."""
        data = self.ask(
            """query { assetNodes {
                assetKey { path } groupName kinds description isPartitioned isExecutable
                partitionDefinition { name type } dependencyKeys { path }
                owners { __typename ... on TeamAssetOwner { team } ... on UserAssetOwner { email } }
                automationCondition { label }
            } }"""
        )
        return {"/".join(node["assetKey"]["path"]): node for node in data["assetNodes"]}

    def partitions(self, asset: str) -> list[str]:
        data = self.ask(
            """query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) {
                ... on AssetNode { partitionKeys } } }""",
            key={"path": asset.split("/")},
        )
        return list(data["assetNodeOrError"]["partitionKeys"])

    def materializations(self, asset: str, limit: int = 50) -> list[Any]:
        """Newest first; each with its partition, run and metadata entries by label."""
        data = self.ask(
            """query($key: AssetKeyInput!, $limit: Int) { assetOrError(assetKey: $key) {
              ... on Asset { assetMaterializations(limit: $limit) { partition runId timestamp metadataEntries {
                label __typename
                ... on IntMetadataEntry { intValue }
                ... on FloatMetadataEntry { floatValue }
                ... on TextMetadataEntry { text }
                ... on JsonMetadataEntry { jsonString }
                ... on TableSchemaMetadataEntry { schema { columns { name type } } }
                ... on TableColumnLineageMetadataEntry {
                  lineage { columnName columnDeps { assetKey { path } columnName } } }
              } } } } }""",
            key={"path": asset.split("/")},
            limit=limit,
        )
        found = data["assetOrError"].get("assetMaterializations", [])
        for event in found:
            event["metadata"] = {entry["label"]: entry for entry in event.pop("metadataEntries")}
        return list(found)

    def declared(self, asset: str) -> dict[str, Any]:
        """The metadata entries of an asset's spec, by label."""
        data = self.ask(
            """query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode { metadataEntries {
                label
                ... on TableSchemaMetadataEntry { schema { columns { name type } } }
                ... on TableColumnLineageMetadataEntry {
                  lineage { columnName columnDeps { assetKey { path } columnName } } }
              } } } }""",
            key={"path": asset.split("/")},
        )
        return {entry["label"]: entry for entry in data["assetNodeOrError"]["metadataEntries"]}

    def checks(self, asset: str) -> dict[str, Any]:
        """The asset's checks by name, each with its newest evaluation (None before the first)."""
        data = self.ask(
            """query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
              assetChecksOrError { ... on AssetChecks { checks { name blocking description
                executionForLatestMaterialization { runId status evaluation {
                  success severity description partition metadataEntries { label } } } } } } } } }""",
            key={"path": asset.split("/")},
        )
        checks = data["assetNodeOrError"]["assetChecksOrError"]["checks"]
        for check in checks:
            check["latest"] = check.pop("executionForLatestMaterialization")
        return {check["name"]: check for check in checks}

    def sensors(self) -> dict[str, Any]:
        data = self.ask(
            """query($repository: RepositorySelector!) { sensorsOrError(repositorySelector: $repository) {
              ... on Sensors { results { name sensorType sensorState { status } } } } }""",
            repository={"repositoryLocationName": LOCATION, "repositoryName": REPOSITORY},
        )
        return {sensor["name"]: sensor for sensor in data["sensorsOrError"]["results"]}

    def runs(self, statuses: Sequence[str] | None = None) -> list[Any]:
        """Newest first."""
        data = self.ask(
            """query($filter: RunsFilter) { runsOrError(filter: $filter, limit: 500) { ... on Runs { results {
              runId status jobName startTime tags { key value } assetSelection { path } } } } }""",
            filter={"statuses": list(statuses)} if statuses else {},
        )
        found = data["runsOrError"]["results"]
        for run in found:
            run["tags"] = {tag["key"]: tag["value"] for tag in run["tags"]}
        return list(found)

    def is_quiet(self) -> bool:
        """Whether no run is waiting or running."""
        return not self.runs(UNFINISHED)

    def events(self, run_id: str) -> list[Any]:
        data = self.ask(
            """query($run: ID!) { logsForRun(runId: $run) { ... on EventConnection { events {
              __typename
              ... on MessageEvent { message eventType }
              ... on ExecutionStepFailureEvent { error { message cause { message } } stepKey }
            } } } }""",
            run=run_id,
        )
        return list(data["logsForRun"]["events"])

    def failures(self) -> dict[str, Any]:
        """What Dagster recorded of each run that failed, by the run's id."""
        return {
            run["runId"]: {
                "job": run["jobName"],
                "assets": run["assetSelection"],
                "events": [
                    (event.get("eventType"), event["message"], event.get("error"))
                    for event in self.events(run["runId"])
                    if "error" in event or str(event.get("eventType")).endswith("FAILURE")
                ],
            }
            for run in self.runs(["FAILURE"])
        }

    def launch(self, assets: Sequence[str], partition: str | None = None) -> str:
        """Materialize a selection, as the UI's button does; the id of the run."""
        tags = [{"key": "dagster/partition", "value": partition}] if partition else []
        data = self.ask(
            """mutation($run: ExecutionParams!) { launchRun(executionParams: $run) { __typename
              ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
              ... on RunConfigValidationInvalid { errors { message } } ... on InvalidSubsetError { message } } }""",
            run={
                "selector": {
                    "repositoryLocationName": LOCATION,
                    "repositoryName": REPOSITORY,
                    "jobName": "__ASSET_JOB",
                    "assetSelection": [{"path": asset.split("/")} for asset in assets],
                    "assetCheckSelection": None,
                },
                "runConfigData": {},
                "executionMetadata": {"tags": tags},
            },
        )
        assert data["launchRun"]["__typename"] == "LaunchRunSuccess", data
        return str(data["launchRun"]["run"]["runId"])

    def finished(self, run_id: str, seconds: float = 120) -> str:
        """The status in which a run ends."""

        def status() -> str | None:
            data = self.ask("query($run: ID!) { runOrError(runId: $run) { ... on Run { status } } }", run=run_id)
            return None if data["runOrError"]["status"] in UNFINISHED else str(data["runOrError"]["status"])

        return str(wait_until(status, f"run {run_id}", seconds))


# as `make dev` starts it
DAGSTER_DEV = ("dagster", "dev", "--workspace", "workspace.yaml")


@contextmanager
def live_dagster(home: Path, program: Sequence[str] = DAGSTER_DEV, project: Path = PROJECT) -> Iterator[LiveDagster]:
    """Webserver and daemon of a project on a free port, with the instance file of one machine."""
    instance = home / "dagster" / "dagster.yaml"
    instance.parent.mkdir(parents=True)
    instance.write_bytes((project / "deploy" / "local" / "dagster.yaml").read_bytes())
    landing = home / "landing"
    landing.mkdir()
    port = free_port()
    log = home / "dagster-dev.log"
    # a copy of the project is not installed
    found_at = {} if project == PROJECT else {"PYTHONPATH": str(project)}
    command = [*program, "--host", "127.0.0.1", "--port", str(port)]
    with running(command, environment(home, **found_at), log, project) as process:
        server = LiveDagster(f"http://127.0.0.1:{port}", landing, log, process.pid)

        def up() -> bool:
            assert process.poll() is None, log.read_text(errors="replace")[-4000:]
            return server.answers()

        wait_until(up, "the webserver answers", 300)
        yield server
