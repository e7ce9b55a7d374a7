"""Tries a plan on data: does its work in a private environment, and compares the tables with those of the deployment.

The deployment is only read. The environment is removed afterwards, also if the trial fails.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dataops_assets.components.personal import hidden_columns
from dataops_assets.components.platform import Platform
from dataops_assets.config.environment import Environment, environment_from
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.engines.warehouse_copies import copy_to
from dataops_assets.metadata.plan_store import StoredPlan
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.operations import environments
from dataops_assets.operations.planning import apply
from dataops_assets.operations.planning.data_differences import TableDifference, difference
from dataops_assets.operations.planning.plan import Plan, Tree, make_plan
from dataops_assets.operations.planning.sample import (
    build_earlier_models,
    reduce_sources,
    sources_of,
    warehouse_before,
)
from dataops_assets.operations.planning.source_work import Begin, DoneWork
from dataops_assets.operations.planning.trial_models import TriedModels, build_models, compare_models
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.upkeep.releases import failed
from dataops_assets.storage.delta import TableVersion

_TABLES = ("hub/{}", "hub/{}_current")


@dataclass(frozen=True)
class Trial:
    """The result of a plan that was tried in a private environment, and how the tables differ afterwards.

    * `failed`: what would stop or fail, beside the work: checks of tables, tests of models.
    * `warned`: tests of severity warn that do not pass. `not_compared`: models, with the reason.
    * `sample`: the number of inputs of each source that were taken; None for all.
    """

    work: Sequence[DoneWork]
    tables: Sequence[TableDifference]
    failed: Sequence[str] = ()
    warned: Sequence[str] = ()
    not_compared: Sequence[str] = ()
    sample: int | None = None

    @property
    def errors(self) -> list[str]:
        """Return the errors of the work: inputs, gates, validations, checks and models that would fail."""
        return [*(f"{item.kind} {item.table}: {item.error}" for item in self.work if item.error), *self.failed]


def try_plan(
    plan: Plan,
    tree: Tree,
    contexts: Sequence[SourceContext],
    project: Path,
    say: Begin,
    sample: int | None = None,
) -> Trial:
    """Do the work of a plan in a private environment of the deployment, build its models, and compare.

    `sample`: take only so many inputs of each source, the newest. Raises ConfigError where no private environment can
    be made, StorageError while a step runs.
    """
    parent, metadata = contexts[0].environment, contexts[0].metadata
    say("make a private environment")
    with (
        _private(parent, metadata, [context.source.name for context in contexts], plan, project) as inside,
        unreported(),
    ):
        platform = Platform(inside)
        theirs = [platform.source_context(context.source, context.sources) for context in contexts]
        tried, notes = TriedModels(), list[str]()
        if sample is not None:
            notes += reduce_sources(platform, sources_of(plan, tree), sample, say)
            plan = make_plan(tree, theirs, platform.metadata)
            build_earlier_models(plan, tree, (parent, inside), tried)
        before = _before(inside, theirs)
        failed_before = set(failed(theirs))
        done = [item for item in _work(plan, tree, theirs, platform.metadata, say) if item.kind != "build"]
        if not any(item.error for item in done):
            build_models(plan.work, tree, (parent, inside), tried)
        say("compare the tables")
        tables = _compared(plan, tree, theirs, before)
        compare_models(plan.work, tree, (parent, inside), warehouse_before(inside), tried)
        problems = [item for item in failed(theirs) if item not in failed_before]
    tables += tried.tables
    shown = [item for item in tables if item.rows_before or item.rows_after]
    return Trial(
        [*done, *tried.work], shown, [*notes, *problems, *tried.failed], tried.warned, tried.not_compared, sample
    )


def _before(inside: Environment, contexts: Sequence[SourceContext]) -> Mapping[str, TableVersion]:
    """Return the versions of the tables before the work; the file of the warehouse is copied."""
    copy_to(Path(inside.warehouse), warehouse_before(inside))
    keys = [pattern.format(context.source.name) for context in contexts for pattern in _TABLES]
    found = {key: contexts[0].table(key).snapshot() for key in keys} if contexts else {}
    return {key: snapshot for key, snapshot in found.items() if snapshot is not None}


def _compared(
    plan: Plan, tree: Tree, contexts: Sequence[SourceContext], before: Mapping[str, TableVersion]
) -> list[TableDifference]:
    touched = {item.subject for item in plan.work} & tree.declared.sources.keys()
    with DuckDBEngine(contexts[0].environment).session() as session:
        return [
            difference(session, key, before.get(key), context.table(key).snapshot(), hidden)
            for context in contexts
            if context.source.name in touched
            for hidden in [hidden_columns(context.source, tree.declared.rules(context.source.name))]
            for key in (pattern.format(context.source.name) for pattern in _TABLES)
        ]


def _work(
    plan: Plan, tree: Tree, contexts: Sequence[SourceContext], metadata: MetadataStore, say: Begin
) -> Iterator[DoneWork]:
    stored = StoredPlan(
        plan.plan_id, environments.now(), getpass.getuser(), "", plan.load_id, plan.declared, plan.as_data()
    )
    metadata.plans.save(stored)
    applying = apply.begin(plan.plan_id, tree, contexts, metadata, getpass.getuser())
    yield from apply.carry_out(applying, contexts, metadata, _built_apart, say)


def _built_apart(tables: Sequence[str]) -> Mapping[str, str]:
    # models are built with their tests, and without Dagster
    return dict.fromkeys(tables, "")


@contextmanager
def _private(
    parent: Environment, metadata: MetadataStore, sources: Sequence[str], plan: Plan, project: Path
) -> Iterator[Environment]:
    wanted = environments.described(parent, f"plan-{plan.plan_id}", getpass.getuser(), None)
    with environments.while_working(parent, metadata, sources, wanted) as made:
        yield environment_from(made.variables, project)


@contextmanager
def unreported() -> Iterator[None]:
    """Let steps report to no Dagster instance in this block."""
    home = os.environ.pop("DAGSTER_HOME", None)
    try:
        yield
    finally:
        if home is not None:
            os.environ["DAGSTER_HOME"] = home
