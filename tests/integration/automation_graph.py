"""Assets without content, in small graphs, and what a daemon does with them.

Annotations are not postponed here: Dagster reads those of an asset's function.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import dagster as dg

from dataops_assets.components.automation import when_published
from dataops_assets.components.automation_sensor import QuietAutomation


class Graph:
    """Assets without content, their checks by name with the outcome to tell, and the daemon's ticks."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.outcomes: dict[str, bool] = {}
        self.broken: set[str] = set()
        self.dying: set[str] = set()
        self.read: dict[str, dict[str, int]] = {}
        self.during: dict[str, Callable[[], object]] = {}
        self._assets: list[dg.AssetsDefinition] = []
        self._cursor: Any = None
        self.now = 0.0
        self.told: str | None = None
        self._sensor = QuietAutomation("automation", lambda: self.now, target=dg.AssetSelection.all())

    def add(
        self,
        name: str,
        *reads: str,
        automated: bool = False,
        blocking: Mapping[str, bool] | None = None,
        partitions: dg.PartitionsDefinition[str] | None = None,
    ) -> Self:
        """An asset that reads others. `blocking` are its checks, with whether they block."""

        @dg.multi_asset(
            name=name,
            specs=[
                dg.AssetSpec(
                    name,
                    deps=list(reads),
                    automation_condition=when_published() if automated else None,
                    partitions_def=partitions,
                )
            ],
            check_specs=[
                dg.AssetCheckSpec(check, asset=name, blocking=is_blocking)
                for check, is_blocking in (blocking or {}).items()
            ],
            can_subset=True,
        )
        def made(context: dg.AssetExecutionContext) -> Iterator[Any]:
            self.during.get(name, bool)()
            if name in self.broken:
                raise dg.Failure("broken", allow_retries=False)
            if name in self.dying:
                # what a run that is killed or runs out of memory leaves: no step that says why it failed
                raise MemoryError
            if context.selected_asset_keys:
                yield dg.MaterializeResult(asset_key=name, metadata={"hub_versions": self.read.get(name, {})})
            for key in context.selected_asset_check_keys:
                if key.name in self.outcomes:
                    yield dg.AssetCheckResult(
                        asset_key=name, check_name=key.name, passed=self.outcomes[key.name], metadata={}
                    )

        self._assets.append(made)
        return self

    @property
    def definitions(self) -> dg.Definitions:
        return dg.Definitions(assets=self._assets, executor=dg.in_process_executor)

    def tick(self) -> set[str]:
        """What the daemon requests now. The sensor that skips evaluations requests the same as one that never does."""
        found = dg.evaluate_automation_conditions(self.definitions, self.instance, cursor=self._cursor)
        self._cursor = found.cursor
        keys = [key for asset in self._assets for key in asset.keys]
        requested = {key.to_user_string() for key in keys if found.get_num_requested(key)}
        assert {key for request in self.sensor_tick().run_requests or () for key in names_of(request)} == requested
        return requested

    def sensor_tick(self) -> Any:
        """What the sensor of automation answers now."""
        repository = self.definitions.get_repository_def()
        context = dg.build_sensor_context(self.instance, cursor=self.told, repository_def=repository)
        with context:
            answer = self._sensor.evaluate_tick(context)
        self.told = answer.cursor
        return answer

    def make(
        self,
        *names: str,
        partition: str | None = None,
        checks: bool = True,
        only_checks: bool = False,
        tags: Mapping[str, str] | None = None,
    ) -> bool:
        """Materialize assets in one run, with their checks or without."""
        keys = [dg.AssetKey(name) for name in names]
        job = self.definitions.resolve_implicit_global_asset_job_def()
        # so that the run says what it is for, as the daemon's do
        selection: dict[str, Any] = {"asset_selection": keys}
        if only_checks:
            found = {key for asset in self._assets for key in asset.check_keys if key.asset_key in keys}
            job, selection = job.get_subset(asset_check_selection=found), {}
        elif not checks:
            job, selection = job.get_subset(asset_selection=set(keys), asset_check_selection=set()), {}
        result = job.execute_in_process(
            instance=self.instance, partition_key=partition, raise_on_error=False, tags=dict(tags or {}), **selection
        )
        return result.success


def names_of(request: dg.RunRequest) -> set[str]:
    """The assets that a request is for."""
    return {key.to_user_string() for key in request.asset_selection or ()}
