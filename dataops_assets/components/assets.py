"""The assets of one source: thin wrappers that run a step for the inputs of a Dagster run and report to Dagster.

Annotations are not postponed in this module: Dagster reads those of an asset's function.
"""

import functools
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from dataops_assets.components import events
from dataops_assets.components.automation import when_published
from dataops_assets.components.events import asset_key
from dataops_assets.components.graph import StepNode, nodes, table_columns
from dataops_assets.components.incident_link import incident_link
from dataops_assets.components.input_partitions import InputPartitions, partitions_name, partitions_read_once
from dataops_assets.components.looks import step_look
from dataops_assets.components.platform import Platform
from dataops_assets.components.secrets_removed import SecretsRemoved
from dataops_assets.components.source_progress import newest_done
from dataops_assets.config.databases import AnyConnection
from dataops_assets.config.source import Source
from dataops_assets.errors import DataOpsError
from dataops_assets.masking import cut_secrets
from dataops_assets.report import Input, InputReport, StepReport
from dataops_assets.rules.compiler import CompiledRules
from dataops_assets.steps.recording import run_recorded
from dataops_assets.steps.source_context import SourceContext

PLATFORM = "platform"
RETRIES = 2
"""Maximum number of retries of a step in a run, after a temporary fault (a lost race, an unreachable store)."""

_RETRY_SECONDS = 2.0


def _run_step(context: dg.AssetExecutionContext) -> Iterator[Any]:
    raise NotImplementedError


_SIGNATURE = inspect.signature(_run_step)


@dataclass(frozen=True)
class SourceAssets:
    """The assets of one source, made when the code location is loaded."""

    source: Source
    sources: Mapping[str, Source]
    rules: CompiledRules
    databases: Mapping[str, AnyConnection] = field(default_factory=dict)
    declared_at: dg.CodeReferencesMetadataValue | None = None

    @functools.cached_property
    def nodes(self) -> tuple[StepNode, ...]:
        """Return the source's steps. They are made once: making them takes as long as compiling the rules."""
        return nodes(self.source, self.rules)

    def definitions(self) -> list[dg.AssetsDefinition]:
        """Return one assets definition for each step."""
        partitions = InputPartitions(name=partitions_name(self.source.name))
        return [self._definition(node, partitions if node.is_per_input else None) for node in self.nodes]

    def _definition(self, node: StepNode, partitions: InputPartitions | None) -> dg.AssetsDefinition:
        step = _StepRun(self.source, self.sources, self.rules, node)

        def run_step(context: dg.AssetExecutionContext) -> Iterator[Any]:
            yield from step(context)

        # Dagster asks for it sixteen times, and Python would find it out anew each time
        run_step.__dict__["__signature__"] = _SIGNATURE
        make = dg.multi_asset(
            name=f"{node.name}_{self.source.name}",
            specs=self._specs(node, partitions),
            check_specs=self._check_specs(node),
            # Without subsets, automation would request the checks of this asset by name. Then Dagster would run no
            # checks of the other assets in the run; these would never pass, and assets downstream would wait forever.
            can_subset=True,
            # one run takes all its inputs at once, because a history has hundreds
            backfill_policy=dg.BackfillPolicy.single_run() if partitions else None,
            # two runs of a source at once would only compete for the commits of its tables
            pool=f"source_{self.source.name}",
            required_resource_keys={PLATFORM},
        )
        return make(run_step)

    def _specs(self, node: StepNode, partitions: InputPartitions | None) -> list[dg.AssetSpec]:
        source = self.source
        freshness = source.checks.freshness
        policy = dg.FreshnessPolicy.time_window(freshness.fail_window, freshness.warn_window)
        common: dict[str, Any] = {
            "group_name": source.area,
            "owners": list(source.owners),
            "code_version": node.code_version,
            "partitions_def": partitions,
            "tags": {"dataops/source": source.name, "dataops/step": node.name},
        }
        place = {} if self.declared_at is None else {"dagster/code_references": self.declared_at}
        same = dg.IdentityPartitionMapping() if partitions else None
        whole = dg.AllPartitionMapping() if partitions else None
        reads = [dg.AssetDep(asset_key(key), partition_mapping=same) for key in node.reads]
        related = [dg.AssetDep(asset_key(key), partition_mapping=whole) for key in node.related]
        # which part of them an input comes from is not known
        fed = [dg.AssetDep(asset_key(key)) for key in source.fed_by] if node.layer == "raw" else []
        specs = [
            dg.AssetSpec(
                asset_key(node.key),
                deps=[*reads, *related, *fed],
                description=node.description,
                kinds={node.layer, *node.kinds},
                freshness_policy=policy if freshness.enabled else None,
                automation_condition=None if node.is_per_input else when_published(),
                metadata=place | events.column_metadata(source, self.rules, node, table_columns(source, node)),
                **common,
            )
        ]
        if node.beside is not None:
            specs.append(
                dg.AssetSpec(
                    asset_key(node.beside),
                    deps=reads,
                    description=f"Rejected rows of {source.name}, with the reason, the column and the value.",
                    kinds={node.layer, *node.kinds},
                    # most inputs have no rejected rows
                    skippable=True,
                    metadata=place,
                    **common,
                )
            )
        return specs

    def _check_specs(self, node: StepNode) -> list[dg.AssetCheckSpec]:
        return [
            dg.AssetCheckSpec(kind, asset=asset_key(node.key), description=_CHECKS[kind], blocking=is_blocking)
            for kind, is_blocking in node.checks.items()
        ]


_CHECKS = {
    "volume": "Compares the size of one input with the declared limits and with the inputs before it.",
    "schema": "Compares columns and types with the contract.",
    "distribution": "Compares null shares and means with the inputs before.",
    "contract": "The gate: checks the declared contract before anything is published.",
    "deletes": "Counts the rows that an input deletes by absence. Too many deletes wait for approval.",
    "suspended_deletes": "Fails while inputs delete nothing by absence, because rejected rows have no readable key.",
    "waits_for": "Checks that the sources that inputs wait for are recent enough.",
    "validation": "Counts the rows that fail the declared validations.",
}


@dataclass(frozen=True)
class _Told:
    """An input that succeeded, and what its event tells of it alone."""

    report: InputReport
    details: dict[str, Any]


@dataclass(frozen=True)
class _StepRun:
    """One step of one source, executed by a run."""

    source: Source
    sources: Mapping[str, Source]
    rules: CompiledRules
    node: StepNode

    def __call__(self, context: dg.AssetExecutionContext) -> Iterator[Any]:
        """Run the step for the run's inputs. Inputs that succeeded are reported before a failure is raised.

        A run of checks alone ("Execute" in the UI) names no input. It runs the step again for the newest input that has
        passed it: so the checks see what a run would publish, with the present declaration.

        Raises RetryRequested if a retry can help, and Failure if not.
        """
        platform: Platform = getattr(context.resources, PLATFORM)
        ids = _partitions_of(context) if self.node.is_per_input else [""]
        known: dict[str, Input] = {}
        try:
            with SecretsRemoved(f"{self.node.name} of {self.source.name!r}"):
                source_context = platform.source_context(self.source, self.sources)
                source_context.metadata.contracts.register(self.source)
                ids = ids or [newest_done(source_context, self.node.name)]
                if self.node.is_per_input:
                    known = {item.input_id: item for item in source_context.metadata.inputs(self.source.name, ids)}
                report = run_recorded(source_context, self.node.as_step, list(known.values()), ids, context.run.run_id)
        except DataOpsError as error:
            reports = [InputReport(input_id, error=error) for input_id in ids]
            raise self._failure(context, reports, known, len(ids)) from error
        yield from self._events(context, source_context, report, known)
        failures = report.failures
        if failures:
            # Dagster shows the texts of all causes
            cut_secrets(failures[0].error)
            raise self._failure(context, failures, known, len(ids)) from failures[0].error

    def _events(
        self,
        context: dg.AssetExecutionContext,
        source_context: SourceContext,
        report: StepReport,
        known: Mapping[str, Input],
    ) -> Iterator[Any]:
        good = events.in_order([item for item in report.inputs if item.error is None], known)
        selected = context.selected_asset_keys
        # the step of a run of checks alone has published its table, too
        if not selected or asset_key(self.node.key) in selected:
            of_table = events.table_metadata(source_context, report)
            of_table |= events.undeclared_columns(self.source, self.rules, self.node, report.columns)
            of_run = events.run_metadata(self.node, report)
            if good:
                platform: Platform = getattr(context.resources, PLATFORM)
                of_run |= step_look(
                    platform.engine_of("duckdb"), source_context, self.rules, self.node, good[-1].input_id
                )
            told = [_Told(item, events.input_metadata(item, known.get(item.input_id))) for item in good]
            yield from self._taken_out(source_context, report, of_table)
            yield from self._materializations(context, report, told, of_table, of_run)
        if self.node.beside is not None and asset_key(self.node.beside) in selected:
            yield from self._beside(context, report, good, known)
        wanted = {key.name for key in context.selected_asset_check_keys}
        yield from events.check_results(
            report,
            {self.node.key: {kind: True for kind in self.node.checks if kind in wanted}},
            incident_link(source_context.environment.metadata_url, context.run),
        )

    def _taken_out(
        self, source_context: SourceContext, report: StepReport, of_table: dict[str, Any]
    ) -> Iterator[dg.AssetMaterialization]:
        """Report the inputs that the step took out of its table; they can be inputs that the run does not name."""
        out = events.taken_out(report)
        if not out:
            return
        inputs = source_context.metadata.inputs(self.source.name, [item.input_id for item in out])
        known = {item.input_id: item for item in inputs}
        key, tags = asset_key(self.node.key), events.version_tags(self.node, report)
        for item in out:
            metadata = of_table | events.held_metadata(item, known.get(item.input_id))
            yield dg.AssetMaterialization(key, partition=item.input_id, metadata=metadata, tags=tags)

    def _materializations(
        self,
        context: dg.AssetExecutionContext,
        report: StepReport,
        good: Sequence[_Told],
        of_table: dict[str, Any],
        of_run: dict[str, Any],
    ) -> Iterator[Any]:
        """Report each input. The last event is of the newest input, and it alone has the numbers of the whole run."""
        key = asset_key(self.node.key)
        # the events of one run name one version: Dagster warns where the newest event has another one, or none
        tags = events.version_tags(self.node, report)
        version = dg.DataVersion(tags[events.DATA_VERSION])
        if report.failures or not context.selected_asset_keys:
            # a result would be for all partitions of the run, so report each published partition by itself; the assets
            # of a run of checks alone can have no result
            for item in good:
                metadata = of_table | item.details | (of_run if item is good[-1] else {})
                partition = item.report.input_id or None
                yield dg.AssetMaterialization(key, partition=partition, metadata=metadata, tags=tags)
            if not good and not self.node.is_per_input:
                yield dg.AssetMaterialization(key, metadata=of_table | of_run, tags=tags)
            return
        if len(good) <= 1:
            details = good[0].details if good else {}
            yield dg.MaterializeResult(asset_key=key, metadata=of_table | of_run | details, data_version=version)
            return
        with partitions_read_once():
            for item in good:
                context.add_asset_metadata(item.details, asset_key=key, partition_key=item.report.input_id)
        # Dagster makes one event for each partition of the run, in no order
        yield dg.MaterializeResult(asset_key=key, metadata=of_table, data_version=version)
        newest = good[-1]
        yield dg.AssetMaterialization(
            key, partition=newest.report.input_id, metadata=of_table | newest.details | of_run, tags=tags
        )

    def _beside(
        self,
        context: dg.AssetExecutionContext,
        report: StepReport,
        good: Sequence[InputReport],
        known: Mapping[str, Input],
    ) -> Iterator[Any]:
        """Report the quarantine if rows were rejected, or if the run selects only the quarantine."""
        key = asset_key(self.node.beside or "")
        if not report.failures and (len(good) == 1 or asset_key(self.node.key) not in context.selected_asset_keys):
            with partitions_read_once():
                for item in good:
                    details = events.rejected_metadata([item])
                    context.add_asset_metadata(details, asset_key=key, partition_key=item.input_id)
            yield dg.MaterializeResult(asset_key=key)
            return
        for item in good:
            if item.counts.get(events.REJECTED):
                details = events.input_metadata(item, known.get(item.input_id)) | events.rejected_metadata([item])
                yield dg.AssetMaterialization(key, partition=item.input_id, metadata=details)

    def _failure(
        self, context: dg.AssetExecutionContext, reports: Sequence[InputReport], known: Mapping[str, Input], total: int
    ) -> dg.Failure | dg.RetryRequested:
        worth_another_try = any(item.error is not None and not item.error.permanent for item in reports)
        told = events.failure(self.source, self.node.name, reports, known, total)
        if worth_another_try and context.retry_number < RETRIES:
            context.log.warning(told.description)
            return dg.RetryRequested(max_retries=RETRIES, seconds_to_wait=_RETRY_SECONDS * 2**context.retry_number)
        return told


def _partitions_of(context: dg.AssetExecutionContext) -> list[str]:
    """Return the partitions of a run; none if it names none, as a run of checks alone."""
    has_partitions = context.has_partition_key or context.has_partition_key_range
    return list(context.partition_keys) if has_partitions else []
