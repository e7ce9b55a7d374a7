"""The warehouse: every model of the dbt project as an asset, its tests as checks, in one graph with the hub.

Annotations are not postponed in this module: Dagster reads those of an asset's function as types.
"""

import contextlib
import datetime as dt
import json
import os
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

import dagster as dg
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from sqlglot import exp
from sqlglot.errors import ParseError

from dataops_assets.components.assets import RETRIES
from dataops_assets.components.automation import when_published
from dataops_assets.components.build_history import Build, as_data, builds_of, judged_rows
from dataops_assets.components.dbt_areas import comparisons_by_op, models_by_op
from dataops_assets.components.dbt_catalogue import Catalogue, ModelEntry, TestEntry, prepare
from dataops_assets.components.dbt_lineage import LineageReader, Origin, QueryLineage
from dataops_assets.components.dbt_sources import require_made
from dataops_assets.components.declarations import Declarations, declared_sources
from dataops_assets.components.events import HUB_VERSIONS, RUN
from dataops_assets.components.looks import profiled_look
from dataops_assets.components.other_locations import CONDITIONS, row_conditions
from dataops_assets.components.personal import personal_columns
from dataops_assets.components.warehouse_results import COLUMN, FAILING_ROWS
from dataops_assets.config.environment import environment_from
from dataops_assets.config.quality import Checks, DistributionCheck, SchemaCheck, VolumeCheck
from dataops_assets.config.warehouse import Warehouse
from dataops_assets.engines.dbt import DbtProject, Invocation, NodeResult, invoke
from dataops_assets.errors import ConfigError, DataOpsError, nearest
from dataops_assets.profiles import Profile
from dataops_assets.quality.checks import BASELINE, input_outcomes
from dataops_assets.quality.control.verdicts import Judgement
from dataops_assets.report import CheckOutcome

# profiles of earlier builds, which checks compare with, are stored in the metadata of the materializations
_PROFILE = "dataops/profile"
_PROFILES: TypeAdapter[Profile] = TypeAdapter(Profile)
# the rows of earlier builds
_BUILDS = "dataops/builds"
_RETRY_SECONDS = 5.0
# the warehouse of one deployment has one writer
_POOL = "warehouse"
_KINDS = {
    "volume": "Compares the rows of the table with the declared limits and with the builds before.",
    "schema": "Compares the columns and types of the table with those that the model declares.",
    "distribution": "Compares null shares and means of the columns with the builds before.",
}


class BuildOptions(dg.Config):
    """Options of a materialization by hand."""

    full_refresh: bool = Field(False, description="Rebuild incremental models, instead of writing only differences.")


class WarehouseComponent(dg.Component):
    """The models of a dbt project as assets `warehouse/<model>`, grouped by their folder, with dbt tests as checks.

    One dbt run builds the selected models of a subject area; it reads each hub table at one version. A fault in one
    area blocks no other area. A run without changes in the hub writes nothing to the incremental models.
    """

    def __init__(self, warehouse: Warehouse) -> None:
        self.warehouse = warehouse

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """Return the model of the YAML attributes; dg and editors use it for completion and checks."""
        return Warehouse

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        """Return the description of the component that dg shows."""
        return dg.ComponentTypeSpec(
            description="The warehouse: the models of a dbt project, in one graph with the hub.",
            tags=["dataops", "dbt"],
            produces=["asset", "asset_check"],
        )

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:  # noqa: ARG003
        """Create the component from a declaration, which may be empty."""
        return cls(attributes if isinstance(attributes, Warehouse) else Warehouse())

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Build the assets and checks of the dbt project.

        Raises ConfigError if dbt cannot parse it, if it reads a table or column that no declared source makes, or if
        checks are declared for an unknown model.
        """
        environment = environment_from(os.environ, context.project_root)
        project, catalogue = prepare(context.project_root / self.warehouse.project, environment)
        declared = declared_sources(context.component_tree.defs_module_path)
        require_made(catalogue.sources, declared)
        known = [model.name for model in catalogue.models]
        for name in self.warehouse.model_checks:
            if name not in (*known, *catalogue.disabled):
                raise ConfigError(
                    "reading model_checks of the warehouse", received=name, known=known, next_step=nearest(name, known)
                )

        tests = comparisons_by_op(catalogue)
        apart = {test.unique_id for several in tests.values() for _, test in several}
        return dg.Definitions(
            assets=[
                self._models_op(name, models, apart, _Dbt(project, catalogue, declared))
                for name, models in models_by_op(catalogue).items()
            ],
            asset_checks=[
                self._tests_op(name, several, _Dbt(project, catalogue, declared)) for name, several in tests.items()
            ],
        )

    def _models_op(self, name: str, models: Sequence[ModelEntry], apart: Set[str], dbt: "_Dbt") -> dg.AssetsDefinition:
        """Define one op with models that are built together, and their checks except for the tests that run `apart`."""

        @dg.multi_asset(
            name=name,
            specs=[self._asset_spec(model) for model in models],
            check_specs=[spec for model in models for spec in self._check_specs(model, apart)],
            can_subset=True,
            pool=_POOL,
        )
        def build(context: dg.AssetExecutionContext, config: BuildOptions) -> Iterator[Any]:
            yield from self._build(context.op_execution_context, config, dbt)

        return build

    def _tests_op(
        self,
        name: str,
        tests: Sequence[tuple[ModelEntry, TestEntry]],
        dbt: "_Dbt",
    ) -> dg.AssetChecksDefinition:
        """Define one op with tests that compare models of several ops, and so run after all of these."""

        @dg.multi_asset_check(
            name=name,
            # a blocking test here could block a model that it waits for
            specs=[_test_spec(model, test, blocking=False) for model, test in tests],
            can_subset=True,
            pool=_POOL,
        )
        def compare(context: dg.AssetCheckExecutionContext) -> Iterator[Any]:
            yield from self._build(context.op_execution_context, BuildOptions(full_refresh=False), dbt)

        return compare

    # --- what is declared --------------------------------------------------------------------------------------------

    def _checks(self, model: ModelEntry) -> Checks:
        return self.warehouse.model_checks.get(model.name, self.warehouse.checks)

    def _asset_spec(self, model: ModelEntry) -> dg.AssetSpec:
        freshness = self._checks(model).freshness
        policy = dg.FreshnessPolicy.time_window(freshness.fail_window, freshness.warn_window)
        return dg.AssetSpec(
            key=dg.AssetKey(model.key),
            deps=[dg.AssetKey(key) for key in model.reads],
            description=model.description,
            group_name=model.group,
            owners=list(model.owners or self.warehouse.owners),
            tags=model.tags,
            kinds=set(model.kinds),
            code_version=model.code_version,
            # dbt skips the models downstream of a failed one
            skippable=True,
            freshness_policy=policy if freshness.enabled else None,
            automation_condition=when_published(),
            metadata={
                "dagster/table_name": exp.to_table(model.relation).sql(identify=False),
                "dagster/column_schema": _schema(model, {column.name: column.type for column in model.columns}),
                "dbt/materialized": model.materialized,
                "dbt/unique_id": model.unique_id,
            },
        )

    def _check_specs(self, model: ModelEntry, apart: Set[str]) -> Iterator[dg.AssetCheckSpec]:
        for test in model.tests:
            if test.unique_id not in apart:
                yield _test_spec(model, test, blocking=test.blocking)
        checks = self._checks(model)
        by_kind: dict[str, VolumeCheck | SchemaCheck | DistributionCheck] = {
            "volume": checks.volume,
            "schema": checks.table_schema,
            "distribution": checks.distribution,
        }
        for kind, check in by_kind.items():
            if check.enabled:
                yield dg.AssetCheckSpec(
                    kind, asset=dg.AssetKey(model.key), description=_KINDS[kind], blocking=check.severity == "fail"
                )

    # --- what is done ------------------------------------------------------------------------------------------------

    def _build(self, context: dg.OpExecutionContext, options: BuildOptions, dbt: "_Dbt") -> Iterator[Any]:
        """Build the selected models, run the selected checks, and report the result of each.

        Raises Failure if a model could not be built, after all other results are reported.
        """
        project, catalogue = dbt.project, dbt.catalogue
        chosen = _Chosen.of(context, catalogue)
        results: dict[str, NodeResult] = {}
        profiles: dict[str, Profile] = {}
        now = dt.datetime.now(dt.UTC)
        # read first, because the events reported below become part of the history
        history = chosen.baselines(context)
        if chosen.models or chosen.tests:
            build = _run_dbt(context, project, chosen.build_command(options))
            results = {result.unique_id: result for result in build.results}
            profiles |= build.profiles
            personal = set(personal_columns(dbt.declared))
            for unique_id, result in results.items():
                if unique_id in chosen.models and result.status == "success":
                    model = chosen.models[unique_id]
                    lineage = LineageReader(catalogue).read(result.compiled)
                    hidden = _made_of(lineage.columns, personal)
                    # models that are built later may read this one
                    personal |= {(model.key, name) for name in hidden}
                    if unique_id in profiles:
                        profiles[unique_id] = _without_values(profiles[unique_id], hidden)
                    known = history.get(model.name, _History())
                    if unique_id in profiles:
                        known.builds.append(Build(now, profiles[unique_id].rows))
                    yield _materialization(model, result, build, lineage, profiles.get(unique_id), known.builds)
        if chosen.only_checked:
            operation = ["run-operation", "log_profiles", "--args", json.dumps({"models": chosen.only_checked})]
            profiles |= _run_dbt(context, project, operation).profiles
        for unique_id, (model, test) in chosen.tests.items():
            if unique_id in results and results[unique_id].status != "skipped":
                yield _test_result(model, test, results[unique_id])
        for model in chosen.profiled:
            if model.unique_id in profiles:
                found = self._outcomes(model, profiles[model.unique_id], history[model.name], dbt)
                yield from (_check_result(model, item) for item in found if (model.name, item.check) in chosen.kinds)
        _raise_for_failed(chosen, results)

    def _outcomes(
        self, model: ModelEntry, profile: Profile, known: "_History", dbt: "_Dbt"
    ) -> tuple[CheckOutcome, ...]:
        """Check a table: its columns against the builds before, its rows against what process control expects."""
        checks, catalogue = self._checks(model), dbt.catalogue
        # as many tables as there are sources and models share the false alarms
        judgement = known.judged(model, checks, len(dbt.declared.by_name) + len(catalogue.models))
        expected = _expected_types(model, profile, catalogue.dialect)
        return input_outcomes(profile, known.profiles, checks, expected, judgement=judgement)


@dataclass
class _History:
    """The earlier builds of a table: their profiles, the newest first, and their numbers of rows, the oldest first."""

    profiles: list[Profile] = field(default_factory=list)
    builds: list[Build] = field(default_factory=list)

    def judged(self, model: ModelEntry, checks: Checks, tables: int) -> Judgement | None:
        """Return what process control says of the rows of the newest build."""
        if not self.builds:
            return None
        return judged_rows("/".join(model.key), self.builds[-1], self.builds[:-1], checks, tables)


@dataclass(frozen=True)
class _Dbt:
    """The dbt project, its catalogue, and the sources whose tables it reads."""

    project: DbtProject
    catalogue: Catalogue
    declared: Declarations


@dataclass(frozen=True)
class _Chosen:
    """The selection of a run: models and tests by their unique id; kinds of check as (model name, kind)."""

    models: Mapping[str, ModelEntry]
    tests: Mapping[str, tuple[ModelEntry, TestEntry]]
    kinds: frozenset[tuple[str, str]]
    profiled: Sequence[ModelEntry]

    @classmethod
    def of(cls, context: dg.OpExecutionContext, catalogue: Catalogue) -> Self:
        """Find the selected assets and checks of a run in the catalogue."""
        checks = {(tuple(key.asset_key.path), key.name) for key in context.selected_asset_check_keys}
        assets = {tuple(key.path) for key in context.selected_asset_keys}
        kinds = frozenset((m.name, kind) for m in catalogue.models for kind in _KINDS if (m.key, kind) in checks)
        return cls(
            models={model.unique_id: model for model in catalogue.models if model.key in assets},
            tests={
                test.unique_id: (model, test)
                for model in catalogue.models
                for test in model.tests
                if (model.key, test.name) in checks
            },
            kinds=kinds,
            profiled=[model for model in catalogue.models if any(name == model.name for name, _ in kinds)],
        )

    @property
    def only_checked(self) -> list[str]:
        """Return the models that the run checks but does not build."""
        return [model.unique_id for model in self.profiled if model.unique_id not in self.models]

    def baselines(self, context: dg.OpExecutionContext) -> dict[str, _History]:
        """Return by model name what is known of the table before the one that is checked."""
        found = {model.name: _history(context, model) for model in self.profiled}
        for model in self.profiled:
            if model.unique_id not in self.models:
                # the table is checked as it was built last, so the newest profile is its own
                del found[model.name].profiles[:1]
        return found

    def build_command(self, options: BuildOptions) -> list[str]:
        """Return the dbt command for exactly these models and tests. By default dbt would add tests, also unit tests.

        Without models the command is `test`: `build` would skip the tests downstream of a failed test.
        """
        models = [model.selector for model in self.models.values()]
        tests = [test.selector for _, test in self.tests.values()]
        flags = ["--full-refresh"] if options.full_refresh else []
        exactly = ["--indirect-selection", "empty", "--exclude-resource-type", "unit_test"]
        command = ["build", *flags] if models else ["test"]
        return [*command, *exactly, "--select", *models, *tests]


def _test_spec(model: ModelEntry, test: TestEntry, *, blocking: bool) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        test.name,
        asset=dg.AssetKey(model.key),
        description=test.description,
        additional_deps=[dg.AssetKey(key) for key in test.others],
        blocking=blocking,
    )


def _made_of(lineage: Mapping[str, Set[Origin]], personal: Set[Origin]) -> set[str]:
    """Return the columns, in lower case, that are made of one of these: SQL ignores the case of a name."""
    return {
        name.lower()
        for name, origins in lineage.items()
        if any((key, column.lower()) in personal for key, column in origins)
    }


def _without_values(profile: Profile, hidden: Set[str]) -> Profile:
    columns = tuple(
        replace(item, min=None, max=None, mean=None, stddev=None) if item.name.lower() in hidden else item
        for item in profile.columns
    )
    return replace(profile, columns=columns)


def _materialization(
    model: ModelEntry,
    result: NodeResult,
    build: Invocation,
    lineage: QueryLineage,
    profile: Profile | None,
    builds: Sequence[Build],
) -> dg.MaterializeResult[None]:
    deps = {
        name: [dg.TableColumnDep(dg.AssetKey(key), column) for key, column in sorted(origins)]
        for name, origins in lineage.columns.items()
    }
    versions = {key: build.versions[key] for key in map("/".join, model.reads) if key in build.versions}
    metadata: dict[str, Any] = {
        "dagster/column_lineage": dg.TableColumnLineage(deps),
        f"{RUN}seconds": round(result.seconds, 3),
        HUB_VERSIONS: versions,
    }
    if lineage.is_read:
        metadata[CONDITIONS] = row_conditions(lineage.conditions)
    if model.unique_id in build.changed:
        metadata[f"{RUN}changed rows"] = build.changed[model.unique_id]
    if profile is not None:
        metadata["dagster/row_count"] = profile.rows
        metadata["dagster/column_schema"] = _schema(model, {column.name: column.type for column in profile.columns})
        metadata[_PROFILE] = dg.MetadataValue.json(asdict(profile))
        metadata[_BUILDS] = dg.MetadataValue.json(as_data(builds))
        metadata |= profiled_look(profile, build.previews[model.unique_id])
    return dg.MaterializeResult(asset_key=dg.AssetKey(model.key), metadata=metadata)


def _test_result(model: ModelEntry, test: TestEntry, result: NodeResult) -> dg.AssetCheckResult:
    # a test with severity warn also only warns if it cannot run, as long as the table it compares with does not exist
    return dg.AssetCheckResult(
        asset_key=dg.AssetKey(model.key),
        check_name=test.name,
        passed=result.status == "pass",
        severity=_severity(warns=not test.blocking),
        description=result.message or None,
        metadata={
            FAILING_ROWS: result.failures or 0,
            "seconds": round(result.seconds, 3),
            **({COLUMN: test.column} if test.column else {}),
        },
    )


def _severity(*, warns: bool) -> dg.AssetCheckSeverity:
    return dg.AssetCheckSeverity.WARN if warns else dg.AssetCheckSeverity.ERROR


def _raise_for_failed(chosen: _Chosen, results: Mapping[str, NodeResult]) -> None:
    failed = [result for name, result in results.items() if name in chosen.models and result.status == "error"]
    if not failed:
        return
    skipped = [name for name, result in results.items() if name in chosen.models and result.status == "skipped"]
    raise dg.Failure(
        description="\n\n".join(result.message for result in failed),
        metadata={
            "failed": [chosen.models[result.unique_id].name for result in failed],
            "not_built": [chosen.models[name].name for name in skipped],
        },
        allow_retries=False,
    )


def _run_dbt(context: dg.OpExecutionContext, project: DbtProject, command: Sequence[str]) -> Invocation:
    try:
        return invoke(project, command)
    except DataOpsError as error:
        raise _stopped(context, error) from error


def _stopped(context: dg.OpExecutionContext, error: DataOpsError) -> dg.Failure | dg.RetryRequested:
    """Return the exception to raise if dbt as a whole could not run: a retry, if a retry can help."""
    if not error.permanent and context.retry_number < RETRIES:
        context.log.warning(str(error))
        return dg.RetryRequested(max_retries=RETRIES, seconds_to_wait=_RETRY_SECONDS)
    return dg.Failure(description=str(error), allow_retries=False)


def _schema(model: ModelEntry, types: Mapping[str, str]) -> dg.TableSchema:
    descriptions = {column.name: column.description for column in model.columns}
    return dg.TableSchema([dg.TableColumn(name, kind or "?", descriptions.get(name)) for name, kind in types.items()])


def _expected_types(model: ModelEntry, profile: Profile, dialect: str) -> dict[str, str]:
    """Return the declared columns with types as the engine names them (TIMESTAMP WITH TIME ZONE for timestamptz)."""
    found = {column.name.lower(): column for column in profile.columns}
    expected = {}
    for declared in model.columns:
        column = found.get(declared.name.lower())
        if column is None:
            expected[declared.name] = declared.type
        elif _type(declared.type, dialect) == _type(column.type, dialect):
            expected[column.name] = column.type
        else:
            expected[column.name] = declared.type
    return expected


def _type(text: str, dialect: str) -> exp.DataType | str:
    with contextlib.suppress(ParseError):
        return exp.DataType.build(text, dialect=dialect)
    return text


def _history(context: dg.OpExecutionContext, model: ModelEntry) -> _History:
    """Return what the events of the last builds of a table tell."""
    found = _History()
    for record in context.instance.fetch_materializations(dg.AssetKey(model.key), limit=BASELINE).records:
        metadata = record.asset_materialization.metadata if record.asset_materialization else {}
        if not found.builds and _BUILDS in metadata:
            found.builds = builds_of(metadata[_BUILDS].value)
        # another version of this code may have written another format; then the profile is left out
        with contextlib.suppress(ValidationError):
            if _PROFILE in metadata:
                found.profiles.append(_PROFILES.validate_python(metadata[_PROFILE].value))
    return found


def _check_result(model: ModelEntry, outcome: CheckOutcome) -> dg.AssetCheckResult:
    chart = {"control chart": dg.MetadataValue.md(outcome.chart)} if outcome.chart else {}
    return dg.AssetCheckResult(
        asset_key=dg.AssetKey(model.key),
        check_name=outcome.check,
        passed=outcome.passed,
        severity=_severity(warns=outcome.severity == "warn"),
        description=outcome.explanation,
        metadata={**outcome.numbers, **chart},
    )
