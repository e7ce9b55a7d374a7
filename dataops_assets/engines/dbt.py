"""Runs dbt in this process, and returns its results as objects.

Reason: importing dbt takes three to four seconds, which a process pays at most once. Results of nodes come back as
objects, so no log lines are parsed.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from dataops_assets.config.environment import Environment
from dataops_assets.errors import ConfigError, StorageError
from dataops_assets.profiles import ColumnProfile, Profile

if TYPE_CHECKING:
    from dbt.cli.main import dbtRunnerResult
    from dbt.contracts.graph.manifest import Manifest
    from dbt_common.events.base_types import EventMsg

# the modules that running dbt imports; it imports the adapter by its name
_MODULES = ("dbt.cli.main", "dbt.adapters.duckdb.connections", "dbt.adapters.duckdb.impl")
# dbt keeps its state in module variables, and works in its project's folder
_ONE_AT_A_TIME = threading.Lock()
# DuckDB's message when another process has the file open
_LOCKED = "Could not set lock on file"


@dataclass(frozen=True)
class DbtProject:
    """A dbt project with its target and settings.

    `artifacts` is a folder of the deployment that dbt may write to; it holds the parsed project between two runs.
    """

    folder: Path
    artifacts: Path
    environment: Environment

    @property
    def variables(self) -> Mapping[str, str]:
        """Return the environment variables that profiles and macros read."""
        return {
            "DATAOPS_ENV": self.environment.name,
            "DATAOPS_HOME": str(self.environment.home),
            "DATAOPS_STORAGE": self.environment.storage,
            "DATAOPS_LANDING": self.environment.landing,
            "DATAOPS_METADATA_URL": self.environment.metadata_url,
            "DATAOPS_WAREHOUSE": self.environment.warehouse,
            "DATAOPS_DBT_TARGET": self.environment.dbt_target,
        }


@dataclass(frozen=True)
class NodeResult:
    """The result of one model, test or hook; `status` is dbt's: success, error, skipped, pass, fail, warn.

    `failures` are a test's failing rows; `compiled` is the SQL that was run.
    """

    unique_id: str
    status: str
    seconds: float
    message: str
    failures: int | None
    compiled: str


@dataclass(frozen=True)
class Invocation:
    """The result of one dbt command: node results in the order they finished, and the logs of macros.

    `profiles` and `previews` (a few rows as texts, in the order of the profile's columns) of the tables that were built
    or asked for, by unique id; `changed` counts the identities that an
    incremental model found to differ, by unique id; `versions` are those the hub tables were read at, None for a table
    without rows, by asset key such as 'hub/sales'.
    """

    results: tuple[NodeResult, ...]
    profiles: Mapping[str, Profile]
    previews: Mapping[str, Sequence[Sequence[str | None]]]
    changed: Mapping[str, int]
    versions: Mapping[str, int | None]


def import_dbt() -> None:
    """Import dbt, so that a later command begins at once. Has no effect in a process that has imported it already."""
    for name in _MODULES:
        import_module(name)


def read_once(project: DbtProject) -> None:
    """Let dbt read a parsed project, so that the next commands of this process and of its forks begin at once.

    The first command of a process compiles the code that reads and checks dbt's files: more than half of the time of a
    small build. Raises as `invoke`.
    """
    # without a log: a fork would close its file by number, and dbt in the fork could later close another file with it
    invoke(project, ["--quiet", "--log-level-file", "none", "parse"])


def parse(project: DbtProject) -> Manifest:
    """Parse a project, and return what it consists of. It is written to the artifacts, too, and read from there again.

    Raises as `invoke`.
    """
    done, _, _ = _run(project, ["--quiet", "parse"], None)
    # of this command it is a manifest
    return cast("Manifest", done.result)


def invoke(project: DbtProject, command: Sequence[str], parsed: Manifest | None = None) -> Invocation:
    """Run a dbt command such as ["build", "--select", ...] and return the result of each node, also of failed ones.

    `parsed`: the project, if it is parsed already. Raises ConfigError where the project is wrong and StorageError where
    the warehouse cannot be reached or read, with dbt's own words.
    """
    # the results come back as objects; to write the manifest twice takes a third of the time of a small build
    done, logged, errors = _run(project, [*command, "--no-write-json"], parsed)
    results = tuple(_node_result(result) for result in getattr(done.result, "results", ()))
    for result in results:
        # a hook or an operation, on which all others depend
        if result.unique_id.startswith(("operation.", "macro.")) and result.status == "error":
            # the error of an operation is only logged
            raise _unreachable(_attempted(project, command), result.message or "\n".join(errors))
    return Invocation(
        results,
        profiles={item["profile_of"]: _profile(item) for item in logged if "profile_of" in item},
        previews={item["profile_of"]: item["preview"] for item in logged if "profile_of" in item},
        changed={item["changed_in"]: item["identities"] for item in logged if "changed_in" in item},
        versions={item["pinned"]: item["version"] for item in logged if "pinned" in item},
    )


def _attempted(project: DbtProject, command: Sequence[str]) -> str:
    return f"running dbt {command[0]} in {project.folder.name}"


def _run(
    project: DbtProject, command: Sequence[str], parsed: Manifest | None
) -> tuple[dbtRunnerResult, list[Mapping[str, Any]], list[str]]:
    """Run a dbt command; return its result, the JSON objects that macros logged, and the messages of errors."""
    # imported here, because only a process that runs dbt should pay for it
    import duckdb
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
    from dbt.cli.main import dbtRunner
    from dbt_common.exceptions import CompilationError, DbtBaseException, DbtConfigError

    logged: list[Mapping[str, Any]] = []
    errors: list[str] = []
    places = [
        *("--project-dir", str(project.folder), "--profiles-dir", str(project.folder)),
        *("--target-path", str(project.artifacts), "--log-path", str(project.artifacts)),
        # dbt colours what it prints also where it prints into a file or a pipe
        "--use-colors" if sys.stdout.isatty() else "--no-use-colors",
    ]
    with _ONE_AT_A_TIME, _variables(project.variables), contextlib.chdir(project.folder):
        try:
            done = dbtRunner(parsed, callbacks=[_log_reader(logged, errors)]).invoke([*command, *places])
        finally:
            # otherwise this process would lock the warehouse's file for all others
            DuckDBConnectionManager.close_all_connections()  # type: ignore[no-untyped-call]  # dbt-duckdb has no types
    attempted = _attempted(project, command)
    if isinstance(done.exception, CompilationError | DbtConfigError):
        raise ConfigError(attempted, received=str(done.exception)) from done.exception
    # if its first connection fails, dbt raises DuckDB's own error
    if isinstance(done.exception, DbtBaseException | duckdb.IOException):
        raise _unreachable(attempted, str(done.exception)) from done.exception
    if done.exception is not None:
        raise done.exception
    return done, logged, errors


def _node_result(result: Any) -> NodeResult:
    # an operation is no node
    node = getattr(result, "node", result)
    return NodeResult(
        unique_id=node.unique_id,
        status=str(result.status),
        seconds=float(result.execution_time),
        message=result.message or "",
        failures=result.failures,
        compiled=getattr(node, "compiled_code", None) or "",
    )


def _unreachable(attempted: str, message: str) -> StorageError:
    if _LOCKED not in message:
        return StorageError(attempted, received=message)
    return StorageError(
        attempted,
        # the rest is advice for readers, which does not help a writer
        received=message.partition(". However")[0],
        next_step="close the warehouse's file in the process that is named: while that has it open, even to read, no "
        "other process can write to it",
    )


def _log_reader(logged: list[Mapping[str, Any]], errors: list[str]) -> Callable[[EventMsg], None]:
    """Make a listener that collects the JSON objects logged by macros, and dbt's error messages."""

    def read(event: EventMsg) -> None:
        # a protocol buffer behind a type that does not know its fields
        info: Any = event.info
        if info.level == "error":
            errors.append(info.msg)
        if info.name == "JinjaLogDebug" and info.msg.startswith("{"):
            with contextlib.suppress(json.JSONDecodeError):
                logged.append(json.loads(info.msg))

    return read


def _profile(item: Mapping[str, Any]) -> Profile:
    columns = tuple(
        ColumnProfile(
            name=column["name"],
            type=column["type"],
            nulls=int(column["nulls"]),
            distinct=int(column["distinct"]),
            min=column["min"],
            max=column["max"],
            mean=_number(column["mean"]),
            stddev=_number(column["stddev"]),
        )
        for column in item["columns"]
    )
    return Profile(asset=item["asset"], input_id="", rows=int(item["rows"]), columns=columns)


def _number(text: str | None) -> float | None:
    """Return a number; None for NaN and infinity, which cannot be compared."""
    number = math.nan if text is None else float(text)
    return number if math.isfinite(number) else None


@contextlib.contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for dbt, which reads its settings only there; restore them afterwards."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
