"""The component that turns one declared output into the asset `output/<name>` with its checks.

Annotations are not postponed in this module: Dagster reads those of an asset's function.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import dagster as dg
from pydantic import BaseModel

from dataops_assets.components import events
from dataops_assets.components.assets import PLATFORM, RETRIES
from dataops_assets.components.automation import when_published
from dataops_assets.components.declarations import Declarations, OutputDeclaration
from dataops_assets.components.output_checks import over_hub, require_function, require_target
from dataops_assets.components.platform import Platform
from dataops_assets.components.scaffold import OutputScaffolder
from dataops_assets.components.secrets_removed import SecretsRemoved
from dataops_assets.components.source import declared_at, declared_once
from dataops_assets.config.outputs import Output
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.errors import ConfigError, DataOpsError, GateFailed, nearest
from dataops_assets.outputs.context import OutputContext
from dataops_assets.outputs.deliver import deliver
from dataops_assets.outputs.mapping import Compiled
from dataops_assets.report import CheckKind, StepReport

TABLE_NAME = "dagster/table_name"
"""The metadata of a model with the name of its table in SQL."""
_KINDS = {"table": "table", "topic": "kafka", "http": "api"}
_RETRY_SECONDS = 5.0
_WAREHOUSE_POOL = "warehouse"
_CHECKS: Mapping[CheckKind, str] = {
    "delivery": "Compares what the target has, or confirmed, with the rows that were delivered.",
    "volume": "Compares the number of rows with the declared limits, before anything is delivered.",
}


@dg.scaffold_with(OutputScaffolder)
class OutputComponent(dg.Component):
    """A delivery from a hub or a warehouse model to a table, files, a topic or an API: the asset output/<name>.

    It is delivered when its table was published and the checks of the table passed. Delivering again changes nothing.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """Return the model of the YAML attributes; dg and editors use it for completion and checks."""
        return Output

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        """Return the description of the component that dg shows."""
        return dg.ComponentTypeSpec(
            description="A delivery from a hub or a model to a table, files, a topic or an API.",
            tags=["dataops", "outputs"],
            produces=["asset", "asset_check"],
        )

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        """Create the component from a valid declaration. Raises ConfigError if the file declares nothing."""
        if not isinstance(attributes, Output):
            raise ConfigError(f"reading {context.path}", received="no attributes", known=["name", "area", "from", "to"])
        return cls(attributes.name)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Build the asset. Raises ConfigError with file and line if the output does not fit its table."""
        declared = declared_once(context.component_tree)
        return dg.Definitions(assets=[output_asset(declared.outputs[self.name], declared)])

    @classmethod
    def get_code_references_for_yaml(cls, *_: Any) -> Sequence[Any]:
        """Return nothing: the asset names its place itself."""
        return []


def require_models(declared: Declarations, made: Sequence[dg.AssetKey]) -> None:
    """Raise ConfigError for an output of a table, or a feed of one, that no asset of the code location makes."""
    known = ["/".join(key.path) for key in made]
    _require_feeding(declared, known)
    for item in declared.outputs.values():
        if item.output.source not in known:
            layer = item.output.source.partition("/")[0]
            alike = [name for name in known if name.startswith(f"{layer}/")]
            raise ConfigError(
                f"{item.place('from')}: no such table",
                received=item.output.source,
                known=alike,
                next_step=nearest(item.output.source, alike),
            )


def _require_feeding(declared: Declarations, known: Sequence[str]) -> None:
    """Raise ConfigError for a misspelt `fed_by`. An asset that resembles none here is one of another code location."""
    for item in declared.by_name.values():
        for index, key in enumerate(item.source.fed_by):
            if key not in known and (hint := nearest(key, known)):
                raise ConfigError(f"{item.place('fed_by', index)}: no such asset", received=key, next_step=hint)


def blocking_checks(assets: Iterable[object]) -> dict[str, list[str]]:
    """Return by asset key the names of the blocking checks of these definitions of assets and checks."""
    found: dict[str, list[str]] = {}
    for item in assets:
        if isinstance(item, dg.AssetsDefinition):
            for spec in item.check_specs:
                if spec.blocking:
                    found.setdefault("/".join(spec.asset_key.path), []).append(spec.name)
    return found


def relations(assets: Iterable[object]) -> dict[str, str]:
    """Return by asset key the tables of the models among these definitions, as dbt names them in SQL."""
    return {
        "/".join(spec.key.path): str(spec.metadata[TABLE_NAME])
        for item in assets
        if isinstance(item, dg.AssetsDefinition)
        for spec in item.specs
        if TABLE_NAME in spec.metadata
    }


def output_asset(item: OutputDeclaration, declared: Declarations) -> dg.AssetsDefinition:
    """Return the asset of an output. Raises ConfigError with file and line if the output does not fit its table."""
    output = item.output
    of_table = over_hub(item, declared)
    require_target(item, declared)
    require_function(item)
    run = _Run(output, declared)
    checks = [name for name in _CHECKS if name != "volume" or output.checks.volume.enabled]

    @dg.multi_asset(
        name=f"deliver_{output.name}",
        specs=[_spec(item, of_table)],
        check_specs=[
            dg.AssetCheckSpec(name, asset=events.asset_key(f"output/{output.name}"), description=_CHECKS[name])
            for name in checks
        ],
        can_subset=True,
        # two deliveries at once would wait for each other's lock; a model is read while dbt does not write
        pool=_WAREHOUSE_POOL if of_table is None else f"output_{output.name}",
        required_resource_keys={PLATFORM},
    )
    def run_delivery(context: dg.AssetExecutionContext) -> Iterator[Any]:
        yield from run(context)

    return run_delivery


def _spec(item: OutputDeclaration, of_table: Compiled | None) -> dg.AssetSpec:
    output = item.output
    key, table = events.asset_key(f"output/{output.name}"), events.asset_key(output.source)
    freshness = output.checks.freshness
    policy = dg.FreshnessPolicy.time_window(freshness.fail_window, freshness.warn_window)
    told = json.dumps(output.model_dump(mode="json", by_alias=True, exclude={"description", "owners"}), sort_keys=True)
    metadata: dict[str, Any] = {"dagster/code_references": declared_at(item.file, item.line)}
    if of_table is not None:
        described = {column.name: column.description or None for column in output.columns}
        metadata["dagster/column_schema"] = dg.TableSchema(
            [dg.TableColumn(name, kind, described.get(name)) for name, kind in of_table.columns.items()]
        )
        metadata["dagster/column_lineage"] = dg.TableColumnLineage(
            {
                name: [dg.TableColumnDep(table, origin) for origin in sorted(origins)]
                for name, origins in of_table.origins.items()
            }
        )
    return dg.AssetSpec(
        key,
        deps=[table],
        description=output.description or f"Delivers {output.source}.",
        group_name=output.area,
        owners=list(output.owners),
        kinds={"output", _KINDS.get(output.to.type, "") or getattr(output.to, "format", "")},
        code_version=hashlib.sha256(told.encode()).hexdigest()[:12],
        freshness_policy=policy if freshness.enabled else None,
        automation_condition=when_published(),
        metadata=metadata,
    )


@dataclass(frozen=True)
class _Run:
    """Delivers one output in a run of Dagster."""

    output: Output
    declared: Declarations

    def __call__(self, context: dg.AssetExecutionContext) -> Iterator[Any]:
        """Deliver and report. Raises RetryRequested if a retry can help, and Failure if not."""
        platform: Platform = getattr(context.resources, PLATFORM)
        try:
            with SecretsRemoved(f"delivering output {self.output.name!r}"):
                self._require_passed(context, platform)
                report = deliver(self._context(platform))
        except DataOpsError as error:
            raise _stopped(context, error) from error
        error_found = report.inputs[0].error
        if error_found is None:
            # the asset of a run of checks alone has delivered, too, but can have no result
            made = dg.MaterializeResult if context.selected_asset_keys else dg.AssetMaterialization
            yield made(asset_key=events.asset_key(report.asset), metadata=_metadata(report))
        wanted = {key.name for key in context.selected_asset_check_keys}
        declared: dict[CheckKind, bool] = {name: True for name in _CHECKS if name in wanted}
        yield from events.check_results(report, {report.asset: declared})
        if error_found is not None:
            raise _stopped(context, error_found) from error_found

    def _context(self, platform: Platform) -> OutputContext:
        engine = platform.engine_of("duckdb")
        if not isinstance(engine, DuckDBEngine):
            raise TypeError(type(engine).__name__)
        declared = self.declared
        return OutputContext(
            platform.environment,
            self.output,
            declared.sources,
            declared.databases,
            engine,
            platform.metadata,
            platform.relations.get(self.output.source, ""),
        )

    def _require_passed(self, context: dg.AssetExecutionContext, platform: Platform) -> None:
        """Raise GateFailed if a blocking check of the table failed last, whoever started this run."""
        if self.output.when_held == "deliver":
            return
        for check in platform.blocking_checks.get(self.output.source, ()):
            key = dg.AssetCheckKey(events.asset_key(self.output.source), check)
            record = context.instance.get_latest_asset_check_evaluation_record(key)
            event = record.event.dagster_event if record is not None and record.event is not None else None
            if event is None or event.event_type != dg.DagsterEventType.ASSET_CHECK_EVALUATION:
                continue
            found = event.asset_check_evaluation_data
            if not found.passed and found.severity == dg.AssetCheckSeverity.ERROR:
                raise GateFailed(
                    f"delivering output {self.output.name!r} from {self.output.source}",
                    received=f"its blocking check {check} failed: {found.description or 'no reason given'}",
                    next_step="correct the data, or declare when_held: deliver; nothing was delivered",
                )


def _metadata(report: StepReport) -> dict[str, Any]:
    metadata: dict[str, Any] = {f"{events.RUN}{name}": value for name, value in report.inputs[0].counts.items()}
    metadata |= {f"{events.RUN}{name}": value for name, value in report.notes.items()}
    metadata[f"{events.RUN}seconds"] = round(report.seconds, 3)
    if report.rows is not None:
        metadata["dagster/row_count"] = report.rows
    if report.read:
        metadata[events.HUB_VERSIONS] = dict(report.read)
    return metadata


def _stopped(context: dg.AssetExecutionContext, error: DataOpsError) -> dg.Failure | dg.RetryRequested:
    if not error.permanent and context.retry_number < RETRIES:
        context.log.warning(str(error))
        return dg.RetryRequested(max_retries=RETRIES, seconds_to_wait=_RETRY_SECONDS)
    return dg.Failure(description=str(error), allow_retries=False)
