"""A code location of two small sources, its landing folder and its Dagster instance, driven as the daemon drives it."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from dagster.components.testing import create_defs_folder_sandbox
from own_components import only_own_components

from dataops_assets.components.look_groups import LookGroup
from dataops_assets.components.look_sensors import look_sensors
from dataops_assets.components.platform import Platform
from dataops_assets.components.source import source_assets
from dataops_assets.config.environment import environment_from
from dataops_assets.sql import query
from dataops_assets.storage.delta import Table

SOURCE_TYPE = "dataops_assets.components.SourceComponent"

CUSTOMERS: dict[str, Any] = {
    "name": "customers",
    "area": "shop",
    "connection": {
        "type": "files",
        "path": "customers/*.csv",
        "extract_time": {"pattern": "customers_%Y-%m-%d.csv"},
        "settle_seconds": 0,
    },
    "columns": [{"name": "id", "type": "integer", "nullable": False}, {"name": "name"}],
    "refresh": {"type": "full", "key": ["id"]},
}

ORDERS: dict[str, Any] = {
    "name": "orders",
    "area": "shop",
    "description": "One row an order.",
    "owners": ["team:shop"],
    "connection": {
        "type": "files",
        "path": "orders/*",
        "extract_time": {"pattern": "orders_%Y-%m-%d.csv*"},
        "settle_seconds": 0,
    },
    "columns": [
        {"name": "id", "type": "integer", "nullable": False, "description": "Number of the order."},
        {"name": "customer", "type": "integer", "tags": {"pii": "id"}},
        {"name": "amount", "type": "double"},
    ],
    "refresh": {"type": "key", "key": ["id"]},
    "relations": {"who": {"source": "customers", "on": {"customer": "id"}}},
    "rules": [
        {"name": "customer_name", "expression": "who.name"},
        {"name": "of_customer", "expression": "sum(amount) over (partition by customer)", "mode": "keep_current"},
    ],
    "validations": [
        {"name": "positive", "expression": "amount > 0", "severity": "warn"},
        {"name": "sane", "expression": "amount < 1000000", "severity": "fail"},
    ],
}


def orders(**changes: Any) -> dict[str, Any]:
    """The orders source with some attributes replaced."""
    return copy.deepcopy(ORDERS) | changes


def standalone() -> dict[str, Any]:
    """Orders that need no other source."""
    return orders(relations={}, rules=[], validations=[])


def declaration(source: Mapping[str, Any]) -> str:
    """The text of a source's defs.yaml."""
    return yaml.safe_dump({"type": SOURCE_TYPE, "attributes": dict(source)}, sort_keys=False)


def told_by(error: BaseException | None) -> str:
    """What a person reads: the error and those it comes from, a line each."""
    texts: list[str] = []
    while error is not None:
        texts.append(str(error))
        error = error.__cause__
    return "\n".join(texts)


@contextmanager
def loaded(*sources: Mapping[str, Any]) -> Iterator[dg.Definitions]:
    """The definitions of these sources, without resources."""
    with only_own_components(), create_defs_folder_sandbox() as sandbox:
        for source in sources:
            folder = sandbox.defs_folder_path / str(source["area"]) / str(source["name"])
            folder.mkdir(parents=True)
            (folder / "defs.yaml").write_text(declaration(source))
        with sandbox.build_all_defs() as definitions:
            yield definitions


@dataclass(frozen=True)
class Answer:
    """What a look at one source found: the runs to start, what it told Dagster, and a message if it wants no run."""

    run_requests: list[dg.RunRequest]
    skip_message: str | None
    new_partitions: list[str]
    asset_events: list[Any]


class CodeLocation:
    """What a daemon, a run launcher and a person do, one act at a time."""

    def __init__(self, definitions: dg.Definitions, instance: dg.DagsterInstance, home: Path) -> None:
        self.instance = instance
        self.landing = home / "landing"
        self.environment = environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home)
        tree = definitions.component_tree
        assert tree is not None
        self.sources = source_assets(tree)
        self._declared = dg.Definitions.merge(definitions, dg.Definitions(sensors=look_sensors(self.sources)))
        self.restart()

    def restart(self) -> None:
        """A new process: nothing is left but what is on disk."""
        self.groups = {name: LookGroup([assets]) for name, assets in self.sources.items()}
        self.platform = Platform(self.environment)
        self.definitions = dg.Definitions.merge(
            self._declared, dg.Definitions(resources={"platform": self.platform}, executor=dg.in_process_executor)
        )
        self.repository = self.definitions.get_repository_def()

    def land(self, source: str, name: str, content: str | bytes) -> None:
        path = self.landing / source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    def tick(self, source: str, *, seen_late: bool = False) -> Answer:
        """What a look at a source answers; the runs are not made.

        Wherever a tick would leave the look out, the look finds nothing, if nothing happens that only a look after half
        a minute sees (`seen_late`).
        """
        group = self.groups[source]
        (member,) = group._members
        if member.began is not None and not seen_late:
            # the next tick is never too early here
            member.began = float("-inf")
            if answer := self._answer(source, at_all=False):
                return answer
            answer = self._answer(source, at_all=True)
            assert answer is not None
            assert not any((answer.run_requests, answer.new_partitions, answer.asset_events)), answer
            return answer
        answer = self._answer(source, at_all=True)
        assert answer is not None
        return answer

    def _answer(self, source: str, *, at_all: bool) -> Answer | None:
        found = self.groups[source].tick(self.platform, self.instance, logging.getLogger("look"), at_all=at_all)
        if not found.requests:
            found.raise_failures()
        if not found.looks:
            return None
        seen = found.looks[source]
        message = None if seen.requests else seen.summary
        return Answer(list(seen.requests), message, list(seen.new_partitions), list(seen.events))

    def forget_told(self, source: str) -> None:
        """What looks told is lost, as if the process had been killed before it was recorded."""
        self.groups[source] = LookGroup([self.sources[source]])
        self.instance.daemon_cursor_storage.set_cursor_values({f"dataops/told/{source}": ""})

    def run(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        tags = {**request.tags, "dagster/run_key": request.run_key or ""}
        return self.materialize(["/".join(key.path) for key in request.asset_selection or ()], tags)

    def materialize(self, assets: list[str], tags: Mapping[str, str]) -> dg.ExecuteInProcessResult:
        """A run of some assets as a person starts it."""
        return self.repository.get_implicit_global_asset_job_def().execute_in_process(
            instance=self.instance,
            asset_selection=[dg.AssetKey(asset.split("/")) for asset in assets],
            tags=dict(tags),
            raise_on_error=False,
        )

    def settle(self, *sources: str) -> list[dg.ExecuteInProcessResult]:
        """Tick and run until nothing is requested any more."""
        results: list[dg.ExecuteInProcessResult] = []
        for _ in range(20):
            requests = [request for source in sources for request in self.tick(source).run_requests or ()]
            if not requests:
                return results
            results += [self.run(request) for request in requests]
        raise AssertionError("the sensors never come to rest")

    def rows(self, table: str, *columns: str) -> list[tuple[Any, ...]]:
        """Some columns of a table's rows, sorted."""
        snapshot = Table(f"{self.environment.storage}/{table}").snapshot()
        if snapshot is None:
            return []
        with self.platform.engine.session() as session:
            found = session.fetch(query("SELECT * FROM $rows AS r", rows=session.scan(snapshot)))
        return sorted(zip(*(found.column(name).to_pylist() for name in columns), strict=True))

    def partitions(self, source: str) -> list[str]:
        return list(self.instance.get_dynamic_partitions(f"{source}_inputs"))

    def materialized(self, asset: str) -> dict[str, dg.AssetMaterialization]:
        """The newest materialization of every partition of an asset."""
        found = self.instance.fetch_materializations(dg.AssetKey(asset.split("/")), limit=1000, ascending=True)
        return {
            record.asset_materialization.partition or "": record.asset_materialization
            for record in found.records
            if record.asset_materialization
        }

    def declared(self, asset: str) -> Mapping[str, Any]:
        """The metadata of an asset's spec."""
        return self.repository.asset_graph.get(dg.AssetKey(asset.split("/"))).metadata

    def status(self, source: str, step: str) -> dict[str, str]:
        """The status of a step by the day of its input."""
        found = self.platform.metadata.step_status(source, step)
        return {day_of(input_id): status for input_id, status in found.items()}


def day_of(input_id: str) -> str:
    """The day of an input's extract time, as in 20240105."""
    return input_id[:10].replace("-", "")


def failures(result: dg.ExecuteInProcessResult) -> list[str]:
    """What a person reads of a run's failed steps."""
    return [
        event.step_failure_data.user_failure_data.description or ""
        if event.step_failure_data.user_failure_data
        else event.step_failure_data.error_display_string
        for event in result.all_events
        if event.is_step_failure
    ]


def checks(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    """A run's check results by 'asset:check'."""
    return {f"{'/'.join(item.asset_key.path)}:{item.check_name}": item for item in result.get_asset_check_evaluations()}
