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

from dataops_assets.components.platform import Platform
from dataops_assets.config.environment import Environment, environment_from
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.metadata.plan_store import StoredPlan
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.operations import environments
from dataops_assets.operations.planning import apply
from dataops_assets.operations.planning.data_differences import TableDifference, difference
from dataops_assets.operations.planning.plan import Plan, Tree
from dataops_assets.operations.planning.source_work import Begin, DoneWork
from dataops_assets.rules.compiler import CompiledRules
from dataops_assets.steps.source_context import SourceContext

_TABLES = ("hub/{}", "hub/{}_current")


@dataclass(frozen=True)
class Trial:
    """What became of the work of a plan in a private environment, and how the tables differ afterwards."""

    work: Sequence[DoneWork]
    tables: Sequence[TableDifference]

    @property
    def errors(self) -> list[str]:
        """Return what the work stumbled over: inputs, gates and validations that would fail."""
        return [f"{item.kind} {item.table}: {item.error}" for item in self.work if item.error]


def try_plan(
    plan: Plan,
    tree: Tree,
    contexts: Sequence[SourceContext],
    project: Path,
    say: Begin,
) -> Trial:
    """Do the work of a plan in a private environment of the deployment, and compare. dbt models are not built.

    Raises ConfigError where no private environment can be made, StorageError while a step runs.
    """
    parent, metadata = contexts[0].environment, contexts[0].metadata
    touched = sorted({item.subject for item in plan.work} & tree.declared.sources.keys())
    say("make a private environment")
    with _private(parent, metadata, [context.source.name for context in contexts], plan, project) as inside:
        platform = Platform(inside)
        theirs = [platform.source_context(context.source, context.sources) for context in contexts]
        with unreported():
            done = list(_work(plan, tree, theirs, platform.metadata, say))
        say("compare the tables")
        with DuckDBEngine(parent).session() as session:
            found = [
                difference(session, key, before.table(key).snapshot(), after.table(key).snapshot(), personal)
                for before, after in zip(contexts, theirs, strict=True)
                if before.source.name in touched
                for personal in [_personal(tree.declared.rules(before.source.name))]
                for key in (pattern.format(before.source.name) for pattern in _TABLES)
            ]
    return Trial(done, [item for item in found if item.rows_before or item.rows_after])


def _work(
    plan: Plan, tree: Tree, contexts: Sequence[SourceContext], metadata: MetadataStore, say: Begin
) -> Iterator[DoneWork]:
    stored = StoredPlan(
        plan.plan_id, environments.now(), getpass.getuser(), "", plan.load_id, plan.declared, plan.as_data()
    )
    metadata.plans.save(stored)
    applying = apply.begin(plan.plan_id, tree, contexts, metadata, getpass.getuser())
    yield from apply.carry_out(applying, contexts, metadata, _built_nowhere, say)


def _built_nowhere(tables: Sequence[str]) -> Mapping[str, str]:
    return dict.fromkeys(tables, "")


@contextmanager
def _private(
    parent: Environment, metadata: MetadataStore, sources: Sequence[str], plan: Plan, project: Path
) -> Iterator[Environment]:
    wanted = environments.described(parent, f"plan-{plan.plan_id}", getpass.getuser(), None)
    if Path(wanted.home).exists():
        # a trial of this plan was killed
        environments.drop(wanted)
    made = environments.create(parent, metadata, sources, wanted).environment
    try:
        yield environment_from(made.variables, project)
    finally:
        environments.drop(made)


@contextmanager
def unreported() -> Iterator[None]:
    """Let steps report to no Dagster instance in this block."""
    home = os.environ.pop("DAGSTER_HOME", None)
    try:
        yield
    finally:
        if home is not None:
            os.environ["DAGSTER_HOME"] = home


def _personal(rules: CompiledRules) -> set[str]:
    found = {item.name for item in rules.source.columns if "pii" in item.tags}
    stages = {**rules.snapshot.rules, **rules.current.rules}
    return found | {name for name, rule in stages.items() if rule.personal}
